//! The metrics of the service.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use ff_sdk::QueueGauges;

use crate::access::{Access, Read};
use crate::answer::{Answer, Refusal};
use crate::app::App;

/// The content type of the text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of this process in the text format of Prometheus, with the depths of the queues of
/// the namespaces that it has served, at most 1,024. A token must be for all namespaces.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, description = "The metrics.", body = String,
        content_type = "text/plain")))]
pub(crate) async fn metrics(
    access: Access<Read>,
    State(app): State<App>,
) -> Answer<impl IntoResponse> {
    if access.caller.is_limited_to_some() {
        return Err(Refusal::not_found("metrics"));
    }
    let Some(metrics) = app.metrics() else { return Err(Refusal::not_found("metrics")) };
    let mut gauges = app.gauges().lock().await;
    for client in app.clients() {
        let stats = client.stats().await?;
        let of = client.namespace().clone();
        gauges.entry(of.clone()).or_insert_with(|| QueueGauges::new(&of)).record(&stats);
    }
    Ok(([(header::CONTENT_TYPE, TEXT)], metrics.render()))
}
