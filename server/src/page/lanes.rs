//! The lanes, and changing their state.

use std::collections::BTreeMap;

use axum::response::Redirect;
use ff_sdk::{LaneId, LaneNote, LaneSetting, LaneState, TimestampMs};
use maud::{Markup, html};
use serde::Deserialize;

use super::executions;
use super::layout::{self, At, hidden};
use super::visitor::{Sent, Shown, Visitor};

/// The changes of a lane that an operator can make: the state to set, and the word for it.
const CHANGES: [(LaneState, &str); 3] =
    [(LaneState::Active, "Resume"), (LaneState::Paused, "Pause"), (LaneState::Draining, "Drain")];

/// A lane of the page.
#[derive(Default)]
struct Row {
    setting: Option<LaneSetting>,
    open: Option<u64>,
}

/// The page.
pub(super) async fn show(visitor: Visitor) -> Shown<Markup> {
    let (statuses, stats, now) = tokio::try_join!(
        visitor.client.lanes(),
        visitor.client.stats(),
        visitor.client.store_time(),
    )?;
    let mut rows: BTreeMap<LaneId, Row> = BTreeMap::new();
    for lane in &stats.lanes {
        let open = stats.counted.then(|| lane.open());
        rows.insert(lane.lane.clone(), Row { open, ..Row::default() });
    }
    for status in statuses {
        rows.entry(status.lane).or_default().setting = Some(status.setting);
    }
    let content = html! {
        p.hint {
            "A paused lane accepts executions and starts none. A draining lane accepts none and \
             ends what it has. Work that runs goes on."
        }
        div.wide data-live="lanes" {
            @if rows.is_empty() { p { "There are no lanes with executions." } }
            @else {
                table {
                    thead { tr {
                        th scope="col" { "lane" }
                        th scope="col" { "state" }
                        th scope="col" { "since, by, reason" }
                        th.number scope="col" { "not ended" }
                        @if visitor.operates() { th scope="col" { "change" } }
                    } }
                    tbody { @for (lane, row) in &rows { (self::row(&visitor, lane, row, now)) } }
                }
            }
        }
        @if visitor.operates() {
            section aria-labelledby="another" {
                h2 #another { "Another lane" }
                p.hint { "A lane need not have executions yet." }
                form.inline action=(visitor.link("/lanes")) method="post" {
                    (hidden(&visitor))
                    label for="lane" { "Lane" }
                    input #lane name="lane" required size="14" spellcheck="false"
                        autocomplete="off";
                    label for="reason" { "Reason" }
                    input #reason name="reason" maxlength="256" size="24";
                    (buttons(LaneState::Active, None))
                }
            }
        }
    };
    Ok(layout::page(&visitor, "Lanes", &content))
}

fn row(visitor: &Visitor, lane: &LaneId, row: &Row, now: TimestampMs) -> Markup {
    let state = row.setting.as_ref().map_or(LaneState::Active, |setting| setting.state);
    let changed = row.setting.as_ref().filter(|one| one.since > TimestampMs::ZERO);
    html! {
        tr {
            th scope="row" { a href=(executions::of_lane(visitor, lane)) { (lane) } }
            td { span.state data-state=(state) { (state) } }
            td.text {
                @if let Some(setting) = changed {
                    (At(setting.since, now))
                    @if let Some(by) = &setting.by { ", " (by) }
                    @if let Some(reason) = &setting.reason { ": " (reason) }
                } @else { "–" }
            }
            td.number { @match row.open { Some(open) => (open), None => "–" } }
            @if visitor.operates() {
                td {
                    form.inline action=(visitor.link("/lanes")) method="post" {
                        (hidden(visitor))
                        input type="hidden" name="lane" value=(lane);
                        input name="reason" maxlength="256" size="16" placeholder="reason"
                            aria-label=(format!("Reason for lane {lane}"));
                        (buttons(state, Some(lane)))
                    }
                }
            }
        }
    }
}

fn buttons(now: LaneState, lane: Option<&LaneId>) -> Markup {
    html! {
        @for (state, word) in CHANGES {
            @if state != now {
                button name="state" value=(state)
                    aria-label=[lane.map(|lane| format!("{word} lane {lane}"))] { (word) }
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Change {
    lane: LaneId,
    state: LaneState,
    #[serde(default)]
    reason: String,
}

/// Sets the state of a lane.
pub(super) async fn set(sent: Sent<Change>) -> Shown<Redirect> {
    let Sent { visitor, fields: Change { lane, state, reason } } = sent;
    visitor.may_operate()?;
    let reason = Some(reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    let note = LaneNote { reason, by: Some(visitor.caller.name.clone()) };
    visitor.client.set_lane(&lane, state, note).await?;
    Ok(Redirect::to(&visitor.link("/lanes").with("done", "lane").to_string()))
}
