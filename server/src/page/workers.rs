//! The registered workers, and draining them.

use axum::response::Redirect;
use ff_sdk::{Client, Kinds, SdkError, TimestampMs, Worker, WorkerInstanceId, WorkerState};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{self, At, hidden};
use super::visitor::{Sent, Shown, Visitor};

/// All workers of a namespace, and the store's time.
pub(super) async fn all(client: &Client) -> Result<(Vec<Worker>, TimestampMs), SdkError> {
    let (mut workers, mut next) = (Vec::new(), None);
    loop {
        let page = client.workers(next).await?;
        workers.extend(page.workers);
        next = page.next;
        if next.is_none() {
            return Ok((workers, page.at));
        }
    }
}

/// The page.
pub(super) async fn show(visitor: Visitor) -> Shown<Markup> {
    let (mut workers, now) = all(&visitor.client).await?;
    workers.sort_by(|one, other| one.info.instance.cmp(&other.info.instance));
    let unserved = visitor.client.unserved().await?;
    let content = html! {
        @for lack in &unserved {
            p.warning {
                "No live worker serves kind " strong { (lack.kind) } " in lane "
                strong { (lack.lane) }
                @if lack.requires.iter().next().is_some() { " with " (lack.requires) }
                @if let Some(nearest) = &lack.nearest { " (nearest: " (nearest) ")" }
                "."
            }
        }
        div data-live="workers" {
            @if workers.is_empty() {
                p { "No worker is registered. To start one: " code { "ff work --exec COMMAND" } }
            } @else {
                (table(&visitor, &workers, now))
            }
        }
    };
    Ok(layout::page(&visitor, "Workers", &content))
}

fn table(visitor: &Visitor, workers: &[Worker], now: TimestampMs) -> Markup {
    html! {
        div.wide { table {
            thead { tr {
                th scope="col" { "process" }
                th scope="col" { "state" }
                th scope="col" { "slots taken" }
                th scope="col" { "lanes" }
                th scope="col" { "kinds" }
                th scope="col" { "capabilities" }
                th scope="col" { "last seen" }
                th scope="col" { "version" }
                @if visitor.operates() { th scope="col" { "action" } }
            } }
            tbody {
                @for worker in workers { (row(visitor, worker, now)) }
            }
        } }
    }
}

fn joined(names: impl Iterator<Item = impl ToString>) -> String {
    names.map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

fn row(visitor: &Visitor, worker: &Worker, now: TimestampMs) -> Markup {
    let (info, state) = (&worker.info, worker.state_at(now));
    let (lanes, capabilities) = (joined(info.lanes.iter()), joined(info.capabilities.iter()));
    html! {
        tr {
            th scope="row" {
                (info.instance)
                @if info.worker.as_str() != info.instance.as_str() {
                    br; span.hint { (info.worker) }
                }
            }
            td { span.state data-state=(state) { (state) } }
            td {
                meter min="0" max=(info.slots) value=(worker.active) aria-hidden="true" {}
                " " (worker.active) " of " (info.slots)
            }
            td.text { (lanes) }
            td.text {
                @match &info.kinds {
                    Kinds::All => "all",
                    Kinds::Only(kinds) => (joined(kinds.iter())),
                }
            }
            td.text { (if capabilities.is_empty() { "–" } else { &capabilities }) }
            td { (At(worker.last_seen, now)) }
            td { (info.version) }
            @if visitor.operates() {
                td {
                    @if state == WorkerState::Live {
                        form action=(visitor.link("/workers/drain")) method="post" {
                            (hidden(visitor))
                            input type="hidden" name="instance" value=(info.instance);
                            button aria-label=(format!("Drain {}", info.instance)) { "Drain" }
                        }
                    }
                }
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Drain {
    instance: WorkerInstanceId,
}

/// Drains a worker.
pub(super) async fn drain(sent: Sent<Drain>) -> Shown<Redirect> {
    let Sent { visitor, fields: Drain { instance } } = sent;
    visitor.may_operate()?;
    visitor.client.drain_worker(&instance).await?;
    Ok(Redirect::to(&visitor.link("/workers").with("done", "drained").to_string()))
}
