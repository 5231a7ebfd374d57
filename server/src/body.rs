//! Bodies of requests: JSON within a bound.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::answer::Refusal;
use crate::app::App;

/// The largest body with executions: a payload of 1 MiB in base64, and the other fields.
pub(crate) const EXECUTIONS: usize = 2 << 20;
/// The largest body with many executions.
pub(crate) const BATCH: usize = 16 << 20;
/// The largest body with a signal: 256 KiB in base64, and the other fields.
pub(crate) const SIGNAL: usize = 384 << 10;
/// The largest body of any other call.
pub(crate) const OTHER: usize = 64 << 10;

/// A body that is JSON. An empty one stands for `{}`.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let is_json = is_json(request.headers());
        let bytes = received(request, app).await?;
        if bytes.is_empty() {
            return parse(b"{}").map(Self);
        }
        if !is_json {
            return Err(not_json());
        }
        parse(&bytes).map(Self)
    }
}

/// The bytes of a body that is JSON, for a type that parses itself.
pub(crate) struct JsonText(pub(crate) String);

impl FromRequest<App> for JsonText {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let is_json = is_json(request.headers());
        let bytes = received(request, app).await?;
        if !is_json {
            return Err(not_json());
        }
        let text = String::from_utf8(bytes.into());
        text.map(Self).map_err(|error| Refusal::invalid(format!("the body is not text: {error}")))
    }
}

fn not_json() -> Refusal {
    Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "send the body with the header Content-Type: application/json",
    )
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/json")
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    // Serde takes a list as the fields of an object in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Refusal::invalid("the body is not a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            "." | "?" => Refusal::invalid(error.inner().to_string()),
            path => Refusal::invalid(format!("{path}: {}", error.inner())),
        }
    })?;
    json.end().map_err(|error| Refusal::invalid(error.to_string()))?;
    Ok(value)
}

/// Receives a body, within its bound and its time.
pub(crate) async fn received(request: Request, app: &App) -> Result<Bytes, Refusal> {
    let received = timeout(app.body_timeout(), Bytes::from_request(request, app)).await;
    received.map_err(|_| not_received())?.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "the body is larger than this route takes",
        ),
        _ => not_received(),
    })
}

fn not_received() -> Refusal {
    let message = "the body was not received in time";
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_not_received", message)
}
