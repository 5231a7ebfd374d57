//! The forms of what the store returns, shared by the routes, the page and the command `ff`.

use ff_sdk::{
    AttemptIndex, Budget, BudgetView, CompletionItem, CountKind, CountedState, ExecutionSnapshot,
    History, HistoryEntry, LaneStats, LaneStatus, LaneView, Quota, QuotaLimits, QuotaLimitsView,
    QuotaUsage, QuotaUseView, QuotaView, SignalMatcher, StoredFrame, Tally, TimestampMs, Why,
    WhyView, Worker, WorkerView,
};
use serde_json::{Map, Value, json};

/// The columns of a table of lanes, each with the states that it counts.
pub const STATE_COLUMNS: [(&str, &[CountedState]); 9] = [
    ("waiting", &[CountedState::Waiting, CountedState::Resumable]),
    (
        "blocked",
        &[
            CountedState::BlockedByOperator,
            CountedState::BlockedByLaneState,
            CountedState::BlockedByDependencies,
            CountedState::BlockedByBudget,
            CountedState::BlockedByQuota,
            CountedState::BlockedByRoute,
        ],
    ),
    ("delayed", &[CountedState::Delayed]),
    ("active", &[CountedState::Active]),
    ("suspended", &[CountedState::Suspended]),
    ("completed", &[CountedState::Completed]),
    ("failed", &[CountedState::Failed]),
    ("cancelled", &[CountedState::Cancelled, CountedState::Skipped]),
    ("expired", &[CountedState::Expired]),
];

/// The attempts and events of an execution.
pub fn history(history: &History) -> Value {
    let event = |entry: &HistoryEntry| {
        json!({
            "at": entry.at,
            "version": entry.version,
            "epoch": entry.epoch,
            "event": entry.event,
        })
    };
    let events: Vec<Value> = history.events.iter().map(event).collect();
    json!({"attempts": history.attempts, "events": events})
}

/// The explanation why an execution does not run.
pub fn why(why: &Why) -> Value {
    json!(WhyView::from(why))
}

/// A lane, its setting, and whether work waits in it.
pub fn lane(status: &LaneStatus) -> Value {
    json!(LaneView::from(status.clone()))
}

/// A time in milliseconds; null for a lane that was never changed.
pub fn time_or_null(at: TimestampMs) -> Value {
    if at == TimestampMs::ZERO { Value::Null } else { json!(at) }
}

/// The number of executions of a lane in any of these states.
pub fn count(lane: &LaneStats, states: &[CountedState]) -> u64 {
    states.iter().map(|state| lane.count(*state)).sum()
}

/// The executions of a lane: every state with its number, also those without executions; null if
/// the store keeps no counts.
pub fn lane_stats(lane: &LaneStats, counted: bool) -> Value {
    let states = CountedState::ALL.iter();
    let states: Map<String, Value> =
        states.map(|state| (state.to_string(), json!(lane.count(*state)))).collect();
    json!({
        "lane": lane.lane,
        "states": if counted { Value::Object(states) } else { Value::Null },
        "oldest_waiting_ms": lane.oldest.map(|oldest| oldest.as_millis() as u64),
    })
}

/// The limits of a quota.
pub fn quota_limits(limits: QuotaLimits) -> Value {
    json!(QuotaLimitsView::from(limits))
}

/// A quota and its limits.
pub fn quota(quota: &Quota) -> Value {
    json!(QuotaView::from(quota))
}

/// The use of a quota under one key.
pub fn quota_usage(usage: &QuotaUsage) -> Value {
    json!(QuotaUseView::from(usage))
}

/// A budget, its limits and its use.
pub fn budget(budget: &Budget) -> Value {
    json!(BudgetView::from(budget))
}

/// A registered worker, as of an instant of the store's clock.
pub fn worker(worker: &Worker, at: TimestampMs) -> Value {
    json!(WorkerView::new(worker, at))
}

/// The suspension and the waitpoints of an execution.
pub fn waitpoints(snapshot: &ExecutionSnapshot) -> Value {
    json!({
        "execution_id": snapshot.execution_id,
        "state": snapshot.state.public_state,
        "suspension": snapshot.suspension,
        "waitpoints": snapshot.waitpoints,
        "signals": snapshot.signals,
    })
}

/// How far a part of the condition of a suspension is, in words.
pub fn tallied(tally: &Tally) -> String {
    let part = &tally.part;
    let kind = match part.kind {
        CountKind::DistinctSignals => "signals",
        CountKind::DistinctWaitpoints => "waitpoints with a signal",
        CountKind::DistinctSources => "sources of a signal",
    };
    let name = match &part.matcher {
        SignalMatcher::Wildcard => String::new(),
        SignalMatcher::ByName(name) => format!(" named {name}"),
    };
    let keys: Vec<&str> = part.waitpoints.iter().map(|key| key.as_str()).collect();
    format!("{} of {} {kind}{name} at {}", tally.counted.len(), part.n, keys.join(", "))
}

/// A frame of the output of an attempt. A payload that is not text is in hexadecimal.
pub fn frame(attempt: AttemptIndex, stored: &StoredFrame) -> Value {
    let frame = &stored.frame;
    let (text, hex) = text_or_hex(Some(&frame.payload));
    let mut object = json!({
        "attempt": attempt,
        "sequence": frame.sequence,
        "type": frame.frame_type,
        "metadata": frame.metadata,
        "payload": text,
        "at": stored.at,
        "cursor": stored.cursor.to_string(),
    });
    if let Some(hex) = hex {
        object["payload_hex"] = json!(hex);
    }
    object
}

/// A value as text, or in hexadecimal if it is not text.
pub fn text_or_hex(bytes: Option<&[u8]>) -> (Option<String>, Option<String>) {
    match bytes.map(std::str::from_utf8) {
        None => (None, None),
        Some(Ok(text)) => (Some(text.to_owned()), None),
        Some(Err(_)) => (None, bytes.map(hex)),
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String never fails");
        text
    })
}

/// A completion or a gap between completions; `None` for an item that this version does not know.
pub fn completion(item: &CompletionItem) -> Option<Value> {
    match item {
        CompletionItem::Completed { execution_id, namespace, lane, tags, outcome, failure, at } => {
            Some(json!({
                "item": "completed", "execution_id": execution_id, "namespace": namespace,
                "lane": lane, "tags": tags, "outcome": outcome, "failure": failure, "at": at,
            }))
        }
        CompletionItem::Gap { partition } => {
            Some(json!({"item": "gap", "partition": partition.index}))
        }
        _ => None,
    }
}
