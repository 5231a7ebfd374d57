//! Whether the service runs, and whether it can serve.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::{Answer, Refusal};
use crate::app::App;

/// How long the store may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A sign of life.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    status: &'static str,
}

/// Whether the process runs. It does not ask the store. No token is needed.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Health)))]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the service can take requests: the store answers, and no shutdown was requested. No
/// token is needed.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, body = Health)))]
pub(crate) async fn readyz(State(app): State<App>) -> Answer<Json<Health>> {
    if app.is_closing() {
        return Err(Refusal::shutting_down());
    }
    let asked = tokio::time::timeout(ANSWER_WITHIN, app.default_client().store_time()).await;
    match asked {
        Ok(Ok(_)) => Ok(Json(Health { status: "ok" })),
        _ => {
            let (status, kind) = (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable");
            let refusal = Refusal::new(status, kind, "the store does not answer");
            Err(refusal.retry_after(Duration::from_secs(1)))
        }
    }
}
