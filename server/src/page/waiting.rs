//! The executions that are suspended: many of them wait for people.

use axum::extract::Query;
use ff_sdk::{ExecutionSnapshot, ListFilter, PublicState, Resumes, TimestampMs};
use maud::{Markup, html};
use serde::Deserialize;

use super::executions::{position, read};
use super::layout::{self, At, execution_path, words};
use super::visitor::{Shown, Visitor};
use crate::position::PageCursor;

#[derive(Deserialize)]
pub(super) struct From {
    #[serde(default)]
    cursor: String,
}

/// The page.
pub(super) async fn show(visitor: Visitor, Query(From { cursor }): Query<From>) -> Shown<Markup> {
    let filter = ListFilter { states: vec![PublicState::Suspended], ..ListFilter::default() };
    let part = read(&visitor, &filter, position(&cursor)?).await?;
    let now = visitor.client.store_time().await?;
    let content = html! {
        p.hint {
            "Suspended executions, the newest first. Open one to send its signal or to resume it."
        }
        @if part.executions.is_empty() { p { "No execution is suspended." } }
        @else { (table(&visitor, &part.executions, now)) }
        nav.paging aria-label="Pages of the list" {
            @if !cursor.is_empty() { a href=(visitor.link("/waiting")) { "Newest" } }
            @if let Some(next) = part.next {
                @let cursor = PageCursor(next).to_string();
                a rel="next" href=(visitor.link("/waiting").with("cursor", cursor)) { "Older" }
            }
        }
    };
    Ok(layout::page(&visitor, "Waiting for people", &content))
}

fn table(visitor: &Visitor, shown: &[ExecutionSnapshot], now: TimestampMs) -> Markup {
    html! {
        div.wide { table {
            thead { tr {
                th scope="col" { "execution" }
                th scope="col" { "kind" }
                th scope="col" { "lane" }
                th scope="col" { "waits for" }
                th scope="col" { "since" }
                th scope="col" { "times out" }
            } }
            tbody {
                @for one in shown { tr {
                    th scope="row" {
                        @let path = execution_path(visitor, &one.execution_id);
                        a.id href=(format!("{path}#waitpoints")) {
                            (one.execution_id.url_safe())
                        }
                    }
                    td { (one.kind) }
                    td { (one.lane) }
                    @if let Some(suspension) = &one.suspension {
                        td.text {
                            (words(suspension.reason)) ": "
                            @match &suspension.resumes {
                                Resumes::Signals(_) => {
                                    @for (number, open) in one.waitpoints.iter().enumerate() {
                                        @if number > 0 { ", " }
                                        (open.key)
                                    }
                                },
                                Resumes::OperatorOnly => "an operator",
                                Resumes::TimeoutOnly => "its timeout",
                            }
                        }
                        td { (At(suspension.since, now)) }
                        td {
                            @match &suspension.timeout {
                                Some(timeout) => (At(timeout.at, now)),
                                None => "never",
                            }
                        }
                    } @else { td { "–" } td { "–" } td { "–" } }
                } }
            }
        } }
    }
}
