//! One command for all executions that a filter selects: first a dry run, then the command.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::extract::Query;
use ff_sdk::{
    Bulk, BulkCommand, BulkOutcome, BulkPage, ExecutionId, ListOrder, ListPosition, PublicState,
    TimestampMs,
};
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::executions::{Selected, position, table};
use super::layout::{self, counted, csrf, execution_link, iso, words};
use super::visitor::{Sent, Shown, Visitor};
use crate::answer::{Answer, Refusal};
use crate::position::PageCursor;

/// The most executions of one page of a bulk.
const PAGE: usize = 200;
/// The executions that are read in one call of a dry run.
const READ: usize = 1_000;
/// The most executions that a dry run shows.
const SHOWN: usize = 20;
/// The most failures that are shown.
const MAX_FAILURES: usize = 20;
/// After this time, a dry run or a bulk stops with the position where it goes on.
const WITHIN: Duration = Duration::from_secs(8);

#[derive(Deserialize)]
pub(super) struct Named {
    command: String,
}

impl Named {
    fn command(&self, by: &str) -> Answer<BulkCommand> {
        match self.command.as_str() {
            "replay" => Ok(BulkCommand::Replay),
            "cancel" => Ok(BulkCommand::Cancel { reason: format!("cancelled by {by}") }),
            other => Err(Refusal::invalid(format!("command: `{other}` is not replay or cancel"))),
        }
    }
}

/// The executions that a dry run found.
#[derive(Default)]
struct Found {
    selected: u64,
    states: BTreeMap<PublicState, u64>,
    shown: Vec<ff_sdk::ExecutionSnapshot>,
    /// Whether there may be more.
    is_partial: bool,
}

/// Shows what a command would change, with the form that does it.
pub(super) async fn dry_run(
    visitor: Visitor,
    Query(named): Query<Named>,
    Query(selected): Query<Selected>,
) -> Shown<Markup> {
    visitor.may_operate()?;
    let (id, now) = (Uuid::new_v4().to_string(), visitor.client.store_time().await?);
    let command = named.command(&visitor.caller.name)?;
    let bulk = Bulk::new(&id, command, selected.filter()?, now)?;
    let found = find(&visitor, &bulk).await?;
    let verb = &named.command;
    let count = counted(found.selected, "execution", "executions");
    let states = found.states.iter().map(|(state, count)| format!("{count} {}", words(state)));
    let states = states.collect::<Vec<_>>().join(", ");
    let content = html! {
        p.lead #would {
            "This would " (verb) " " strong { (count) @if found.is_partial { " or more" } }
            @if found.selected > 0 { " (" (states) ")" }
            " of: " (selected.words()) ", in the namespace " (visitor.client.namespace()) "."
        }
        @if found.selected > 0 {
            form.stack action=(visitor.link("/executions/bulk")) method="post" {
                (csrf(&visitor))
                (selected.hidden())
                input type="hidden" name="command" value=(verb);
                input type="hidden" name="bulk_id" value=(id);
                input type="hidden" name="created_before" value=(now.get());
                p.buttons {
                    button.danger[verb == "cancel"].main[verb == "replay"] {
                        (if verb == "cancel" { "Cancel " } else { "Replay " }) (count)
                    }
                    a href=(selected.on(visitor.link("/executions"))) { "Go back" }
                }
            }
            h2 { "The oldest of them" }
            (table(&visitor, &found.shown, now))
        } @else {
            p { a href=(selected.on(visitor.link("/executions"))) { "Go back" } }
        }
    };
    Ok(layout::page(&visitor, &format!("Dry run: {verb}"), &content))
}

async fn find(visitor: &Visitor, bulk: &Bulk) -> Shown<Found> {
    let (began, mut found, mut from) = (Instant::now(), Found::default(), None);
    loop {
        let (filter, order) = (bulk.filter().clone(), ListOrder::OldestFirst);
        let page = visitor.client.list_by_time(filter, order, from, READ).await?;
        found.selected += page.executions.len() as u64;
        for execution in page.executions {
            *found.states.entry(execution.state.public_state).or_default() += 1;
            if found.shown.len() < SHOWN {
                found.shown.push(execution);
            }
        }
        from = page.next;
        found.is_partial = from.is_some();
        if from.is_none() || began.elapsed() > WITHIN {
            return Ok(found);
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Order {
    command: String,
    bulk_id: String,
    created_before: u64,
    #[serde(default)]
    cursor: String,
    #[serde(default)]
    lane: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    tag: String,
}

/// The figures of a bulk.
#[derive(Default)]
struct Done {
    applied: u64,
    skipped: u64,
    failed: u64,
    failures: Vec<(ExecutionId, String)>,
    next: Option<ListPosition>,
}

impl Done {
    fn add(&mut self, page: BulkPage) {
        self.next = page.next;
        for result in page.results {
            match result.outcome {
                BulkOutcome::Applied => self.applied += 1,
                BulkOutcome::Skipped => self.skipped += 1,
                BulkOutcome::Failed(error) => {
                    self.failed += 1;
                    if self.failures.len() < MAX_FAILURES {
                        self.failures.push((result.execution.execution_id, error.to_string()));
                    }
                }
                _ => {}
            }
        }
    }
}

/// Applies a command to what the filter of its dry run selects. A repeat of the form changes
/// nothing twice.
pub(super) async fn run(sent: Sent<Order>) -> Shown<Markup> {
    let Sent { visitor, fields: order } = sent;
    visitor.may_operate()?;
    let Order { command, bulk_id, created_before, cursor, lane, kind, state, tag } = order;
    let (named, selected) = (Named { command }, Selected { lane, kind, state, tag });
    let command = named.command(&visitor.caller.name)?;
    let before = TimestampMs::new(created_before);
    let bulk = Bulk::new(&bulk_id, command, selected.filter()?, before)?;
    let mut done = Done { next: position(&cursor)?, ..Done::default() };
    let client = visitor.client.clone();
    // In a separate task: a page of a bulk must not end in the middle if the browser goes away.
    let applied = tokio::spawn(async move {
        let began = Instant::now();
        loop {
            done.add(client.bulk_page(&bulk, done.next, PAGE).await?);
            if done.next.is_none() || began.elapsed() > WITHIN {
                return Ok::<Done, ff_sdk::SdkError>(done);
            }
        }
    });
    let done = applied.await.map_err(|error| {
        let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        Refusal::new(status, "bug", error.to_string())
    })??;
    tracing::info!(
        by = visitor.caller.name,
        command = named.command,
        applied = done.applied,
        bulk_id,
        "a bulk was applied from the page"
    );
    let order = Continued { bulk_id: &bulk_id, before, selected: &selected };
    Ok(report(&visitor, &named.command, &done, &order))
}

/// The arguments with which a bulk goes on.
struct Continued<'a> {
    bulk_id: &'a str,
    before: TimestampMs,
    selected: &'a Selected,
}

fn report(visitor: &Visitor, verb: &str, done: &Done, order: &Continued<'_>) -> Markup {
    let past = if verb == "replay" { "Replayed" } else { "Cancelled" };
    let again = |cursor: Option<ListPosition>, word: &str| {
        html! {
            form action=(visitor.link("/executions/bulk")) method="post" {
                (csrf(visitor))
                (order.selected.hidden())
                input type="hidden" name="command" value=(verb);
                input type="hidden" name="bulk_id" value=(order.bulk_id);
                input type="hidden" name="created_before" value=(order.before.get());
                @if let Some(cursor) = cursor {
                    input type="hidden" name="cursor" value=(PageCursor(cursor));
                }
                button.main { (word) }
            }
        }
    };
    let content = html! {
        p.done role="status" {
            (past) " " (counted(done.applied, "execution", "executions"))
            @if done.skipped > 0 { ", skipped " (done.skipped) " whose state had changed" }
            @if done.failed > 0 { ", " (done.failed) " failed" }
            "."
        }
        @if let Some(next) = done.next {
            p.warning { "There may be more." }
            (again(Some(next), "Continue"))
        }
        @if done.failed > 0 {
            p { "Repeat it for those that failed: it changes no execution twice." }
            (again(None, "Repeat"))
            ul {
                @for (id, error) in &done.failures {
                    li { (execution_link(visitor, id)) ": " (error) }
                }
            }
        }
        p.hint {
            "Bulk " code { (order.bulk_id) } ", executions created before " (iso(order.before)) "."
        }
        p { a href=(order.selected.on(visitor.link("/executions"))) { "Go to the executions" } }
    };
    layout::page(visitor, past, &content)
}
