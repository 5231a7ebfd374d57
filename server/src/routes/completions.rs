//! The ends of executions, as they happen.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use ff_sdk::{CompletionBackend, CompletionCursor, CompletionFilter, CompletionItem, LaneId};
use futures_util::{Stream, stream};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use super::output::{last_event_id, named};
use crate::access::{Access, Read};
use crate::answer::{Answer, Refusal};
use crate::params::Params;
use crate::view;

/// The filter of completions, and where to begin.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct From {
    /// Where to begin: `start`, `end`, or the id of an event; `end` if absent.
    cursor: Option<String>,
    /// Only those of this lane.
    #[param(value_type = Option<String>)]
    lane: Option<LaneId>,
    /// Only those with this tag, `KEY=VALUE`; several are separated by commas.
    tag: Option<String>,
    /// The namespace.
    #[serde(rename = "namespace")]
    #[param(rename = "namespace")]
    _namespace: Option<String>,
}

/// Follows the ends of executions as Server-Sent Events: `completed`, and `gap` where some are
/// missing. The id of an event is its cursor, so that a browser continues after a lost connection
/// (`Last-Event-ID`).
#[utoipa::path(get, path = "/v1/completions", tag = "completions", params(From),
    responses((status = 200, description = "Events.", body = String,
        content_type = "text/event-stream")))]
pub(crate) async fn follow(
    access: Access<Read>,
    Params(from): Params<From>,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let place = access.app.begin_tail()?;
    let cursor = last_event_id(&headers).or(from.cursor);
    let cursor = cursor.as_deref().map_or(Ok(CompletionCursor::end()), str::parse);
    let cursor = cursor.map_err(|error| Refusal::invalid(format!("cursor: {error}")))?;
    let mut tags = BTreeMap::new();
    for tag in from.tag.as_deref().unwrap_or_default().split(',').filter(|tag| !tag.is_empty()) {
        let Some((key, value)) = tag.split_once('=') else {
            return Err(Refusal::invalid(format!("tag: `{tag}` is not KEY=VALUE")));
        };
        tags.insert(key.to_owned(), value.to_owned());
    }
    let namespace = Some(access.client.namespace().clone());
    let filter = CompletionFilter { namespace, lane: from.lane, tags };
    let mut completions = access.app.completions().completions(cursor, filter);
    tokio::select! {
        ready = completions.ready() => {
            ready.map_err(|error| Refusal::invalid(format!("cursor: {error}")))?;
        }
        () = access.app.closed() => {}
    }
    let app = access.app.clone();
    let events = stream::unfold((completions, place), move |(mut completions, place)| {
        let app = app.clone();
        async move {
            let item = tokio::select! {
                item = completions.next() => item.ok()??,
                () = app.closed() => return None,
            };
            let cursor = completions.cursor().to_string();
            let name = match &item {
                CompletionItem::Gap { .. } => "gap",
                _ => "completed",
            };
            let data = view::completion(&item).unwrap_or_else(|| json!({}));
            Some((Ok(named(name, &data).id(cursor)), (completions, place)))
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}
