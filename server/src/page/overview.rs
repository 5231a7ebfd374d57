//! The overview: the lanes, the workers, and what failed last.

use ff_sdk::{
    CountedState, ExecutionSnapshot, LaneStats, ListFilter, ListOrder, PublicState, Stats,
    TimestampMs, Worker, WorkerState,
};
use maud::{Markup, html};

use super::executions;
use super::layout::{self, counted, counted_state, lasting};
use super::link::Link;
use super::visitor::{Shown, Visitor};
use super::workers;
use crate::view::{self, STATE_COLUMNS};

/// The most failures that are shown.
const FAILURES: usize = 10;

/// The page.
pub(super) async fn show(visitor: Visitor) -> Shown<Markup> {
    let filter = ListFilter { states: vec![PublicState::Failed], ..ListFilter::default() };
    let (stats, workers, failed, held) = tokio::try_join!(
        visitor.client.stats(),
        workers::all(&visitor.client),
        visitor.client.list_by_time(filter, ListOrder::NewestFirst, None, FAILURES),
        visitor.client.lanes(),
    )?;
    let (workers, now) = workers;
    let held: Vec<_> = held.iter().filter(|lane| !lane.setting.state.starts()).collect();
    let content = html! {
        ul.figures data-live="figures" { (figures(&visitor, &stats, &workers, now)) }
        div data-live="held" {
            @for lane in held {
                p.warning {
                    "Lane " a href=(visitor.link("/lanes")) { (lane.lane) } " is "
                    strong { (layout::words(lane.setting.state)) } " and starts no work"
                    @if let Some(reason) = &lane.setting.reason { ": " (reason) } "."
                }
            }
        }
        section aria-labelledby="lanes" {
            h2 #lanes { "Lanes" }
            (lanes(&visitor, &stats.lanes, stats.counted))
        }
        section aria-labelledby="failures" {
            h2 #failures { "Recent failures" }
            div data-live="failures" {
                @if failed.executions.is_empty() {
                    p { "No execution among the newest has failed." }
                } @else {
                    (failures(&visitor, &failed.executions, now))
                    p { a href=(in_state(&visitor, "failed")) { "All failed executions" } }
                }
            }
        }
    };
    Ok(layout::page(&visitor, "Overview", &content))
}

/// The executions in a state.
fn in_state(visitor: &Visitor, state: &str) -> Link {
    visitor.link("/executions").with("state", state)
}

/// The numbers of executions and workers.
fn figures(visitor: &Visitor, stats: &Stats, workers: &[Worker], now: TimestampMs) -> Markup {
    let count = |state| workers.iter().filter(|one| one.state_at(now) == state).count() as u64;
    let (live, draining) = (count(WorkerState::Live), count(WorkerState::Draining));
    let sum = |state| stats.lanes.iter().map(|lane| lane.count(state)).sum::<u64>();
    let waiting = sum(CountedState::Waiting) + sum(CountedState::Resumable);
    let figure = |count: u64, name: &str, link: Link| {
        html! { li { a href=(link) { strong { (count) } " " (name) } } }
    };
    let to_workers = || visitor.link("/workers");
    html! {
        @if stats.counted {
            (figure(waiting, "waiting", in_state(visitor, "waiting")))
            (figure(sum(CountedState::Active), "running", in_state(visitor, "active")))
            (figure(sum(CountedState::Suspended), "suspended", visitor.link("/waiting")))
            (figure(sum(CountedState::Failed), "failed", in_state(visitor, "failed")))
        }
        (figure(live, if live == 1 { "worker live" } else { "workers live" }, to_workers()))
        @if draining > 0 { (figure(draining, "draining", to_workers())) }
    }
}

/// The lanes with their executions by state.
fn lanes(visitor: &Visitor, lanes: &[LaneStats], has_counts: bool) -> Markup {
    html! {
        div.wide data-live="lanes" {
            @if lanes.is_empty() {
                p { "The namespace " strong { (visitor.client.namespace()) } " has no executions." }
            } @else {
                @if !has_counts {
                    p.hint {
                        "The store keeps no counts: only lanes with work for a worker are known."
                    }
                }
                table {
                    thead { tr {
                        th scope="col" { "lane" }
                        th.number scope="col" { "oldest waits" }
                        @if has_counts {
                            @for (name, _) in STATE_COLUMNS { th.number scope="col" { (name) } }
                        }
                    } }
                    tbody {
                        @for lane in lanes { tr {
                            th scope="row" {
                                a href=(executions::of_lane(visitor, &lane.lane)) { (lane.lane) }
                            }
                            td.number {
                                @match lane.oldest {
                                    Some(oldest) => (lasting(oldest.into())),
                                    None => "–",
                                }
                            }
                            @if has_counts {
                                @for (_, states) in STATE_COLUMNS {
                                    td.number title=[breakdown(lane, states)] {
                                        @match view::count(lane, states) {
                                            0 => span.zero { "0" },
                                            count => (count),
                                        }
                                    }
                                }
                            }
                        } }
                    }
                }
            }
        }
    }
}

/// The states of a column by themselves, if it counts several.
fn breakdown(lane: &LaneStats, states: &[CountedState]) -> Option<String> {
    let parts = states.iter().filter(|state| lane.count(**state) > 0);
    let parts: Vec<String> =
        parts.map(|state| format!("{} {}", lane.count(*state), counted_state(*state))).collect();
    (states.len() > 1 && !parts.is_empty()).then(|| parts.join(", "))
}

fn failures(visitor: &Visitor, failed: &[ExecutionSnapshot], now: TimestampMs) -> Markup {
    html! {
        div.wide { table {
            thead { tr {
                th scope="col" { "execution" }
                th scope="col" { "kind" }
                th scope="col" { "lane" }
                th scope="col" { "failed" }
                th scope="col" { "cause" }
            } }
            tbody {
                @for one in failed { tr {
                    th scope="row" { (layout::execution_link(visitor, &one.execution_id)) }
                    td { (one.kind) }
                    td { (one.lane) }
                    td { @if let Some(at) = one.ended_at { (layout::At(at, now)) } }
                    td.text {
                        @if let Some(failure) = one.outcome.as_ref().and_then(|end| end.failure()) {
                            (failure.category) ": " (executions::shortened(&failure.reason))
                            @if one.attempts_total > 1 {
                                " (" (counted(one.attempts_total.into(), "attempt", "attempts")) ")"
                            }
                        }
                    }
                } }
            }
        } }
    }
}
