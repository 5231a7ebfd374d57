//! The forms of what the store returns, shared by the routes, the page and the command `ff`.

use ff_sdk::{
    AttemptIndex, Budget, BudgetReset, CompletionItem, CountKind, CountedState, ExecutionSnapshot,
    History, HistoryEntry, Kinds, LaneStats, LaneStatus, Quota, QuotaLimits, QuotaUsage,
    SignalMatcher, StoredFrame, Tally, TimestampMs, Turn, Why, Worker,
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
    let turn =
        why.turn.map(|Turn { ahead, programs, .. }| json!({"ahead": ahead, "programs": programs}));
    let worker = |worker: &Worker| {
        json!({
            "instance": worker.info.instance,
            "worker": worker.info.worker,
            "state": worker.state_at(why.at),
            "active": worker.active,
            "slots": worker.info.slots,
            "last_seen": worker.last_seen,
        })
    };
    let execution = &why.execution;
    json!({
        "execution_id": execution.execution_id,
        "state": execution.state.public_state,
        "version": why.version,
        "at": why.at,
        "reasons": why.reasons,
        "limits": why.limits,
        "turn": turn,
        "interrupted": why.interrupted,
        "attempt": execution.latest_attempt(),
        "outcome": execution.outcome,
        "workers": why.workers.iter().map(worker).collect::<Vec<_>>(),
    })
}

/// A lane, its setting, and whether work waits in it.
pub fn lane(status: &LaneStatus) -> Value {
    let LaneStatus { lane, setting, has_waiting, .. } = status;
    json!({
        "lane": lane,
        "state": setting.state,
        "since": time_or_null(setting.since),
        "by": setting.by,
        "reason": setting.reason,
        "has_waiting": has_waiting,
    })
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
    json!({
        "concurrency": limits.concurrency,
        "rate": limits.rate.map(|rate| rate.max),
        "window_ms": limits.rate.map(|rate| rate.window),
    })
}

/// A quota and its limits.
pub fn quota(quota: &Quota) -> Value {
    let mut object = quota_limits(quota.limits);
    object["quota"] = json!(quota.id);
    object["created_at"] = json!(quota.created_at);
    object["updated_at"] = json!(quota.updated_at);
    object
}

/// The use of a quota under one key.
pub fn quota_usage(usage: &QuotaUsage) -> Value {
    let QuotaUsage { of, limits, holders, admitted, at, .. } = usage;
    let holders = holders
        .iter()
        .map(|holder| json!({ "execution_id": holder.execution, "since": holder.since }));
    let mut object = quota_limits(*limits);
    object["quota"] = json!(of.quota);
    object["key"] = json!(of.key);
    object["holders"] = holders.collect();
    object["started_in_window"] = json!(admitted);
    object["at"] = json!(at);
    object
}

/// A budget, its limits and its use.
pub fn budget(budget: &Budget) -> Value {
    let every = match budget.reset {
        BudgetReset::Never => None,
        BudgetReset::Every { every, .. } => Some(every),
    };
    let dimensions = budget.dimensions.iter().map(|usage| {
        json!({
            "dimension": usage.dimension,
            "used": usage.used,
            "soft": usage.soft,
            "hard": usage.hard,
        })
    });
    json!({
        "budget": budget.id,
        "dimensions": dimensions.collect::<Vec<_>>(),
        "period_start": budget.period_start,
        "reset_every_ms": every,
        "resets_at": budget.resets_at(),
        "created_at": budget.created_at,
    })
}

/// A registered worker, as of an instant of the store's clock.
pub fn worker(worker: &Worker, at: TimestampMs) -> Value {
    let kinds = match &worker.info.kinds {
        Kinds::All => None,
        Kinds::Only(kinds) => Some(kinds),
    };
    json!({
        "instance": worker.info.instance,
        "worker": worker.info.worker,
        "state": worker.state_at(at),
        "active": worker.active,
        "slots": worker.info.slots,
        "lanes": worker.info.lanes,
        "kinds": kinds,
        "capabilities": worker.info.capabilities,
        "version": worker.info.version,
        "registered_at": worker.registered_at,
        "last_seen": worker.last_seen,
        "expires_at": worker.expires_at,
    })
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
