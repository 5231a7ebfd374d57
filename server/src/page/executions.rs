//! The list of executions, with filters.

use axum::extract::Query;
use ff_sdk::{
    ExecutionKind, ExecutionSnapshot, LaneId, ListFilter, ListOrder, ListPosition, PublicState,
    TimestampMs,
};
use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::layout::{self, At, execution_link};
use super::link::Link;
use super::visitor::{Shown, Visitor};
use crate::answer::{Answer, Refusal};
use crate::position::PageCursor;

/// The executions of a page.
const SHOWN: usize = 50;
/// The most reads of the store for one page, since a read can find nothing although others would.
const READS: usize = 8;
/// The most characters of a text in a table.
const MAX_CHARS: usize = 160;

/// The filter as its form has it: an empty field selects all.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Selected {
    #[serde(default)]
    pub(super) lane: String,
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) state: String,
    #[serde(default)]
    pub(super) tag: String,
}

impl Selected {
    pub(super) fn filter(&self) -> Answer<ListFilter> {
        let named = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let invalid = |field: &str, error: &dyn std::fmt::Display| {
            Refusal::invalid(format!("{field}: {error}"))
        };
        let lane = named(&self.lane).map(LaneId::try_new).transpose();
        let kind = named(&self.kind).map(ExecutionKind::try_new).transpose();
        let states = named(&self.state).map(|state| state.parse::<PublicState>()).transpose();
        let tags = named(&self.tag).map(|tag| match tag.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(Refusal::invalid(format!("tag: `{tag}` is not KEY=VALUE"))),
        });
        Ok(ListFilter {
            lane: lane.map_err(|error| invalid("lane", &error))?,
            kind: kind.map_err(|error| invalid("kind", &error))?,
            states: states.map_err(|error| invalid("state", &error))?.into_iter().collect(),
            tags: tags.transpose()?.into_iter().collect(),
            ..ListFilter::default()
        })
    }

    /// Adds the selection to a link.
    pub(super) fn on(&self, link: Link) -> Link {
        let link = link.with_some("lane", &self.lane).with_some("kind", &self.kind);
        link.with_some("state", &self.state).with_some("tag", &self.tag)
    }

    /// The selection as hidden fields of a form.
    pub(super) fn hidden(&self) -> Markup {
        let fields = [
            ("lane", &self.lane),
            ("kind", &self.kind),
            ("state", &self.state),
            ("tag", &self.tag),
        ];
        html! {
            @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
        }
    }

    /// The selection in words.
    pub(super) fn words(&self) -> String {
        let part = |name: &str, value: &str| match value.trim() {
            "" => None,
            value => Some(format!("{name} {value}")),
        };
        let parts = [
            part("lane", &self.lane),
            part("kind", &self.kind),
            part("state", &self.state),
            part("tag", &self.tag),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "all executions".to_owned() } else { parts.join(", ") }
    }
}

#[derive(Deserialize)]
pub(super) struct Position {
    #[serde(default)]
    cursor: String,
}

/// A part of a list.
pub(super) struct Part {
    pub(super) executions: Vec<ExecutionSnapshot>,
    pub(super) unreadable: usize,
    pub(super) next: Option<ListPosition>,
}

/// Reads a page of a list, the newest first.
pub(super) async fn read(
    visitor: &Visitor,
    filter: &ListFilter,
    from: Option<ListPosition>,
) -> Shown<Part> {
    let mut part = Part { executions: Vec::new(), unreadable: 0, next: from };
    for _ in 0..READS {
        let limit = SHOWN - part.executions.len();
        let (filter, order) = (filter.clone(), ListOrder::NewestFirst);
        let page = visitor.client.list_by_time(filter, order, part.next, limit).await?;
        part.executions.extend(page.executions);
        part.unreadable += page.unreadable;
        part.next = page.next;
        if part.next.is_none() || part.executions.len() >= SHOWN {
            break;
        }
    }
    Ok(part)
}

/// Parses the position of a page.
pub(super) fn position(cursor: &str) -> Answer<Option<ListPosition>> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let parsed = cursor.parse::<PageCursor>();
    parsed
        .map(|cursor| Some(cursor.0))
        .map_err(|error| Refusal::invalid(format!("cursor: {error}")))
}

/// The page.
pub(super) async fn show(
    visitor: Visitor,
    Query(selected): Query<Selected>,
    Query(Position { cursor }): Query<Position>,
) -> Shown<Markup> {
    let part = read(&visitor, &selected.filter()?, position(&cursor)?).await?;
    let now = visitor.client.store_time().await?;
    let first = selected.on(visitor.link("/executions"));
    let bulk = |command: &'static str| {
        selected.on(visitor.link("/executions/bulk").with("command", command))
    };
    let content = html! {
        (form(&visitor, &selected))
        @if visitor.operates() {
            p.actions {
                "All that the filter selects: "
                a href=(bulk("replay")) { "replay…" } " "
                a href=(bulk("cancel")) { "cancel…" }
            }
        }
        (table(&visitor, &part.executions, now))
        @if part.unreadable > 0 {
            p.warning { (part.unreadable) " records cannot be read. See " code { "ff doctor" } "." }
        }
        nav.paging aria-label="Pages of the list" {
            @if !cursor.is_empty() { a href=(first) { "Newest" } }
            @if let Some(next) = part.next {
                a rel="next" href=(first.clone().with("cursor", PageCursor(next).to_string())) {
                    "Older"
                }
            }
        }
    };
    Ok(layout::page(&visitor, "Executions", &content))
}

fn form(visitor: &Visitor, selected: &Selected) -> Markup {
    let field = |name: &str, label: &str, value: &str, hint: &str| {
        html! {
            span.field {
                label for=(name) { (label) }
                input id=(name) name=(name) value=(value) placeholder=(hint) size="14"
                    spellcheck="false" autocomplete="off";
            }
        }
    };
    html! {
        form.filter action="/executions" method="get" role="search" {
            @if visitor.is_named() {
                input type="hidden" name="namespace" value=(visitor.client.namespace());
            }
            (field("lane", "Lane", &selected.lane, ""))
            (field("kind", "Kind", &selected.kind, ""))
            span.field {
                label for="state" { "State" }
                select #state name="state" {
                    option value="" { "any" }
                    @for state in PublicState::ALL {
                        option value=(state) selected[selected.state == state.as_str()] {
                            (layout::words(state))
                        }
                    }
                }
            }
            (field("tag", "Tag", &selected.tag, "KEY=VALUE"))
            button.main { "Filter" }
        }
    }
}

/// Executions as a table.
pub(super) fn table(visitor: &Visitor, shown: &[ExecutionSnapshot], now: TimestampMs) -> Markup {
    html! {
        @if shown.is_empty() {
            p { "No executions." }
        } @else {
            div.wide { table {
                thead { tr {
                    th scope="col" { "execution" }
                    th scope="col" { "kind" }
                    th scope="col" { "lane" }
                    th scope="col" { "state" }
                    th.number scope="col" { "attempts" }
                    th scope="col" { "created" }
                    th scope="col" { "tags" }
                } }
                tbody {
                    @for one in shown { tr {
                        th scope="row" { (execution_link(visitor, &one.execution_id)) }
                        td { (one.kind) }
                        td { a href=(of_lane(visitor, &one.lane)) { (one.lane) } }
                        td { (layout::state(one.state.public_state)) }
                        td.number { (one.attempts_total) }
                        td { (At(one.created_at, now)) }
                        td.text { (tags(one)) }
                    } }
                }
            } }
        }
    }
}

/// The tags of an execution.
pub(super) fn tags(execution: &ExecutionSnapshot) -> Markup {
    html! {
        @for (key, value) in execution.tags.iter() { span.tag { (key) "=" (value) } " " }
    }
}

/// The executions of a lane.
pub(super) fn of_lane(visitor: &Visitor, lane: &LaneId) -> Link {
    visitor.link("/executions").with("lane", lane.as_str())
}

/// A text, short enough for a table.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
