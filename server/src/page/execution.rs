//! One execution: why it does not run, what can be done, its attempts, waitpoints and output.

use axum::extract::Query;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use ff_sdk::{
    AttemptIndex, EngineError, ExecutionId, ExecutionSnapshot, Priority, Resumes, SdkError,
    TimestampMs, ValueKind, WaitpointSnapshot,
};
use maud::{Markup, html};
use serde::Deserialize;

use super::executions;
use super::layout::{self, At, hidden, iso};
use super::link::Link;
use super::output;
use super::timeline;
use super::visitor::{Id, Shown, Visitor};
use super::why;
use crate::answer::Refusal;
use crate::view::{tallied, text_or_hex};

/// The most bytes of a payload or a result that are shown.
const MAX_SHOWN: usize = 16 << 10;

#[derive(Deserialize)]
pub(super) struct Wanted {
    /// The attempt whose output is shown; the latest if absent.
    #[serde(default)]
    attempt: Option<u32>,
}

/// The header of a request for an update: the version of the execution that the page shows.
const SHOWN_VERSION: HeaderName = HeaderName::from_static("x-shown-version");

/// The page. The answer to a request for an update is empty if the execution has not changed since,
/// and otherwise lacks the parts that are not updated: the values and the output.
pub(super) async fn show(
    visitor: Visitor,
    Id(id): Id,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Shown<Response> {
    let client = &visitor.client;
    let shown = headers.get(SHOWN_VERSION);
    if let Some(shown) = shown
        && let Some(version) = client.version(&id).await?
        && *shown == version.to_string()
    {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let explained = client.why(&id).await?.ok_or_else(|| Refusal::not_found("execution"))?;
    let (execution, now) = (&explained.execution, explained.at);
    let history = client.history(&id).await?;
    let attempt = wanted.attempt.map(AttemptIndex).or_else(|| execution.latest_attempt());
    let still = match shown {
        Some(_) => None,
        None => Some(still(&visitor, execution, attempt).await?),
    };
    let content = html! {
        p.lead data-live="state" data-version=(explained.version) {
            (layout::state(execution.state.public_state)) " "
            (execution.kind) " in lane "
            a href=(executions::of_lane(&visitor, &execution.lane)) { (execution.lane) }
            ", created " (At(execution.created_at, now))
        }
        p.id { code { (id) } }
        section aria-labelledby="why" {
            h2 #why { (why::heading(execution)) }
            div data-live="why" { (why::section(&visitor, &explained)) }
        }
        (actions(&visitor, execution))
        (waitpoints(&visitor, execution, now))
        section aria-labelledby="attempts" {
            h2 #attempts { "Attempts" }
            div data-live="attempts" { (timeline::attempts(&visitor, &id, execution, now)) }
        }
        @if let Some(still) = still { (still) }
        section aria-labelledby="facts" {
            h2 #facts { "Properties" }
            div data-live="facts" { (facts(execution, now)) }
        }
        section aria-labelledby="events" {
            h2 #events { "Events" }
            div data-live="events" { (timeline::events(&history, now)) }
        }
    };
    Ok(layout::page(&visitor, &format!("Execution {}", short(&id)), &content).into_response())
}

/// The parts that are not updated: the output, which the script follows, and the values.
async fn still(
    visitor: &Visitor,
    execution: &ExecutionSnapshot,
    attempt: Option<AttemptIndex>,
) -> Shown<Markup> {
    let (client, id) = (&visitor.client, &execution.execution_id);
    let output = async {
        match attempt {
            Some(attempt) => output::section(visitor, id, attempt, execution).await.map(Some),
            None => Ok(None),
        }
    };
    let (payload, result, output) = tokio::join!(
        client.value(id, ValueKind::Payload),
        client.value(id, ValueKind::Result),
        output,
    );
    let output = output?;
    Ok(html! {
        @if let Some(output) = output { (output) }
        (values(&payload, &result))
    })
}

/// The beginning of an id, for the title.
fn short(id: &ExecutionId) -> String {
    let text = id.url_safe();
    text.split('-').next().unwrap_or(&text).to_owned()
}

/// The address of an action on an execution.
fn action(visitor: &Visitor, id: &ExecutionId, name: &str) -> Link {
    visitor.link(format!("/executions/{}/{name}", id.url_safe()))
}

fn actions(visitor: &Visitor, execution: &ExecutionSnapshot) -> Markup {
    let id = &execution.execution_id;
    let form = |name: &str, fields: &Markup| {
        html! {
            form.inline action=(action(visitor, id, name)) method="post" {
                (hidden(visitor))
                (fields)
            }
        }
    };
    let has_ended = execution.outcome.is_some();
    let most = Priority::MAX.get();
    html! {
        @if visitor.operates() {
            section aria-labelledby="actions" {
                h2 #actions { "Actions" }
                div.buttons {
                    @if has_ended {
                        (form("replay", &html! { button.main { "Replay" } }))
                    } @else {
                        (form("cancel", &html! {
                            label for="reason" { "Reason" }
                            input #reason name="reason" maxlength="4096" size="20";
                            button.danger { "Cancel" }
                        }))
                        @if execution.lease.is_some() {
                            (form("revoke", &html! { button { "Revoke the lease" } }))
                        }
                        (form("priority", &html! {
                            label for="priority" { "Priority" }
                            input #priority name="priority" type="number" min="0" max=(most)
                                required value=(execution.priority.get());
                            button { "Change" }
                        }))
                        @if execution.suspension.is_some() {
                            (form("resume", &html! { button { "Resume without signals" } }))
                        }
                    }
                }
            }
        }
    }
}

/// The suspension and the waitpoints, with a form for a signal.
fn waitpoints(visitor: &Visitor, execution: &ExecutionSnapshot, now: TimestampMs) -> Markup {
    let open = &execution.waitpoints;
    html! {
        @if execution.suspension.is_some() || !open.is_empty() {
            section aria-labelledby="waitpoints" {
                h2 #waitpoints { "Waits for" }
                @if let Some(suspension) = &execution.suspension {
                    p {
                        "Suspended (" (layout::words(suspension.reason)) ") since "
                        (At(suspension.since, now))
                        @match &suspension.timeout {
                            Some(timeout) => {
                                ", times out at " (At(timeout.at, now)) ": "
                                (layout::words(timeout.behaviour))
                            },
                            None => ", without a timeout",
                        }
                        "."
                    }
                    @if let Resumes::Signals(tallies) = &suspension.resumes {
                        ul {
                            @for tally in &tallies.parts {
                                li { "It has " (tallied(tally)) "." }
                            }
                        }
                    }
                }
                @if open.is_empty() { p { "No waitpoint is open." } }
                @else {
                    (waitpoint_table(open, now))
                    @if visitor.submits() { (signal(visitor, execution)) }
                }
            }
        }
    }
}

fn waitpoint_table(open: &[WaitpointSnapshot], now: TimestampMs) -> Markup {
    html! {
        div.wide { table {
            thead { tr {
                th scope="col" { "waitpoint" }
                th scope="col" { "id" }
                th scope="col" { "created" }
                th.number scope="col" { "signals" }
                th scope="col" { "fingerprint of its token" }
            } }
            tbody {
                @for one in open { tr {
                    th scope="row" { (one.key) }
                    td.id { (one.waitpoint_id) }
                    td { (At(one.created_at, now)) }
                    td.number { (one.signals) }
                    td.id { (one.fingerprint) }
                } }
            }
        } }
    }
}

fn signal(visitor: &Visitor, execution: &ExecutionSnapshot) -> Markup {
    let name = execution.suspension.as_ref().and_then(why::missing_signal).unwrap_or_default();
    html! {
        form.stack action=(action(visitor, &execution.execution_id, "signal")) method="post" {
            h3 { "Send a signal" }
            (hidden(visitor))
            @if let [only] = &execution.waitpoints[..] {
                input type="hidden" name="waitpoint" value=(only.waitpoint_id);
            } @else {
                label for="waitpoint" { "Waitpoint" }
                select #waitpoint name="waitpoint" {
                    @for one in &execution.waitpoints {
                        option value=(one.waitpoint_id) { (one.key) }
                    }
                }
            }
            label for="token" { "Token of the waitpoint" }
            input #token name="token" required spellcheck="false" autocomplete="off";
            p.hint {
                "The program that created the waitpoint has its token, and passes it to \
                 those who may decide."
            }
            label for="signal" { "Signal" }
            input #signal name="name" required value=(name) spellcheck="false" autocomplete="off";
            label for="payload" { "Payload (optional; JSON or text)" }
            textarea #payload name="payload" rows="3" spellcheck="false" {}
            button.main { "Send" }
        }
    }
}

type Value = Result<Option<ff_sdk::Bytes>, SdkError>;

fn values(payload: &Value, result: &Value) -> Markup {
    let one = |id: &str, name: &str, value: &Value| {
        html! {
            @match value {
                Ok(None) | Err(SdkError::Engine(EngineError::NotFound { .. })) => {},
                Ok(Some(bytes)) if bytes.is_empty() => {},
                Ok(Some(bytes)) => section aria-labelledby=(id) {
                    h2 id=(id) { (name) }
                    (bytes_shown(bytes))
                },
                Err(error) => section aria-labelledby=(id) {
                    h2 id=(id) { (name) }
                    p.warning { "It cannot be read: " (error) }
                },
            }
        }
    };
    html! { (one("payload-value", "Payload", payload)) (one("result", "Result", result)) }
}

fn bytes_shown(bytes: &[u8]) -> Markup {
    let (shown, is_cut) = (&bytes[..bytes.len().min(MAX_SHOWN)], bytes.len() > MAX_SHOWN);
    let shown = match std::str::from_utf8(shown) {
        Ok(text) => text.as_bytes(),
        // The cut went through a character.
        Err(error) if is_cut && error.error_len().is_none() => &shown[..error.valid_up_to()],
        Err(_) => shown,
    };
    let (text, hex) = text_or_hex(Some(shown));
    html! {
        pre tabindex="0" { (text.or(hex).unwrap_or_default()) }
        @if is_cut { p.hint { "The first 16 KiB of " (bytes.len()) " bytes." } }
    }
}

fn facts(execution: &ExecutionSnapshot, now: TimestampMs) -> Markup {
    let requires = execution.requires.iter().collect::<Vec<_>>().join(", ");
    let retry = &execution.policy.retry;
    let counts = &execution.counts;
    html! {
        dl {
            @if let Some(progress) = &execution.progress {
                dt { "Progress" }
                dd {
                    progress max="100" value=(progress.percent) aria-hidden="true" {}
                    " " (progress.percent) " %"
                    @if let Some(message) = &progress.message { ": " (message) }
                }
            }
            dt { "Priority" } dd { (execution.priority.get()) }
            @if !requires.is_empty() { dt { "Requires" } dd { (requires) } }
            @if execution.tags.iter().next().is_some() {
                dt { "Tags" } dd { (executions::tags(execution)) }
            }
            dt { "Retries" } dd { (counts.retries) " of " (retry.max_retries) }
            dt { "Reclaims" } dd { (counts.reclaims) }
            dt { "Replays" } dd { (counts.replays) }
            dt { "Fencing epoch" } dd { (execution.lease_epoch) }
            dt { "Changed" } dd { (At(execution.updated_at, now)) }
            @if let Some(deadline) = execution.deadline {
                dt { "Deadline" } dd { (At(deadline, now)) }
            }
            @if let Some(ended) = execution.ended_at {
                dt { "Ended" } dd { (iso(ended)) }
            }
        }
    }
}
