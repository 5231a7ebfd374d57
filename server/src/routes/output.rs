//! The output of an attempt, as pages and as it comes.

use std::convert::Infallible;

use axum::Json;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use ff_sdk::{AttemptIndex, Cursor, FramePage, FrameType, TailItem};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::access::{Access, Read};
use crate::answer::{Answer, Refusal};
use crate::params::{Param, Params, parse_id};
use crate::view;

/// The most frames of a page, each of which may have 64 KiB.
const MAX_FRAMES: u32 = 256;

/// The part of the output that is read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct From {
    /// Where to begin: `next` of the page before, or the id of an event; the start if absent.
    cursor: Option<String>,
    /// The most frames, 1 to 256; 100 if absent.
    #[param(minimum = 1, maximum = 256)]
    limit: Option<u32>,
    /// Only frames of this type.
    #[param(value_type = Option<String>)]
    frame_type: Option<FrameType>,
    /// The namespace.
    #[serde(rename = "namespace")]
    #[param(rename = "namespace")]
    _namespace: Option<String>,
}

impl From {
    fn cursor(&self) -> Answer<Cursor> {
        let parsed = self.cursor.as_deref().map(str::parse::<Cursor>).transpose();
        let parsed = parsed.map_err(|error| Refusal::invalid(format!("cursor: {error}")))?;
        Ok(parsed.unwrap_or(Cursor::Start))
    }
}

/// A page of the output of an attempt.
#[derive(Serialize, ToSchema)]
pub(crate) struct Frames {
    /// The frames, in their order.
    #[schema(value_type = Vec<Object>)]
    frames: Vec<Value>,
    /// Whether frames before these are missing.
    gap: bool,
    /// Why the output is closed, if it is.
    #[schema(value_type = Option<String>)]
    closed: Value,
    /// Where the next page begins.
    next: String,
}

/// Reads a page of the output of an attempt.
#[utoipa::path(get, path = "/v1/executions/{id}/attempts/{attempt}/stream", tag = "output",
    params(("id" = String, Path, description = "The execution."),
        ("attempt" = u32, Path, description = "The attempt, from 0."), From),
    responses((status = 200, body = Frames)))]
pub(crate) async fn page(
    access: Access<Read>,
    Param((id, attempt)): Param<(String, u32)>,
    Params(from): Params<From>,
) -> Answer<Json<Frames>> {
    let (id, attempt) = (parse_id(&id)?, AttemptIndex(attempt));
    let (cursor, limit) = (from.cursor()?, from.limit.unwrap_or(100));
    if !(1..=MAX_FRAMES).contains(&limit) {
        return Err(Refusal::invalid(format!("limit: is {limit}; 1 to {MAX_FRAMES} can be")));
    }
    let read = access.client.read_stream(&id, attempt, cursor, limit, from.frame_type);
    let FramePage { frames, gap, closed, next, .. } = read.await?;
    let frames = frames.iter().map(|stored| view::frame(attempt, stored)).collect();
    Ok(Json(Frames { frames, gap, closed: json!(closed), next: next.to_string() }))
}

/// Follows the output of an attempt as Server-Sent Events: `frame`, `gap`, and `closed` at the end.
/// The id of an event is its cursor, so that a browser continues after a lost connection
/// (`Last-Event-ID`).
#[utoipa::path(get, path = "/v1/executions/{id}/attempts/{attempt}/stream/tail", tag = "output",
    params(("id" = String, Path, description = "The execution."),
        ("attempt" = u32, Path, description = "The attempt, from 0."), From),
    responses((status = 200, description = "Events.", body = String,
        content_type = "text/event-stream")))]
pub(crate) async fn tail(
    access: Access<Read>,
    Param((id, attempt)): Param<(String, u32)>,
    Params(from): Params<From>,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let place = access.app.begin_tail()?;
    let (id, attempt) = (parse_id(&id)?, AttemptIndex(attempt));
    let cursor = match last_event_id(&headers) {
        Some(last) => From { cursor: Some(last), ..from_nothing() }.cursor()?,
        None => from.cursor()?,
    };
    let followed = access.client.tail(&id, Some(attempt), cursor, from.frame_type).await?;
    let app = access.app.clone();
    let events = stream::unfold(Some((followed, place)), move |state| {
        let app = app.clone();
        async move {
            let (mut followed, place) = state?;
            let item = tokio::select! {
                item = followed.next() => item?,
                () = app.closed() => return None,
            };
            let cursor = followed.cursor().to_string();
            let event = match item {
                Ok(TailItem::Frame(stored)) => {
                    named("frame", &view::frame(attempt, &stored)).id(cursor)
                }
                Ok(TailItem::Gap) => named("gap", &json!({"gap": true})).id(cursor),
                Ok(TailItem::Closed(reason)) => {
                    named("closed", &json!({"closed": reason})).id(cursor)
                }
                Ok(_) => return None,
                Err(error) if error.is_retryable() => {
                    return Some((
                        Ok(Event::default().comment("retrying")),
                        Some((followed, place)),
                    ));
                }
                Err(error) => {
                    let event = named("error", &json!(Refusal::from(error).into_detail()));
                    return Some((Ok(event), None));
                }
            };
            Some((Ok(event), Some((followed, place))))
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

const fn from_nothing() -> From {
    From { cursor: None, limit: None, frame_type: None, _namespace: None }
}

/// The id of the last event that a browser got before its connection was lost.
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("last-event-id")?.to_str().ok()?;
    (!value.is_empty()).then(|| value.to_owned())
}

/// An event with a name and one line of JSON.
pub(super) fn named(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}
