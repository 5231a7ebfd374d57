//! JSON null behaves as absent for every field of every command.

use std::collections::BTreeSet;

use ff_core::execution::Command;
use serde_json::{Value, json};

use crate::common::nulls::behave_as_absent;
use crate::common::suspending::waitpoint_id;

use super::wire::{all, command};

/// Every command with all of its fields, and with more than one element in its lists.
fn whole() -> Vec<Value> {
    let audited = json!({
        "worker_instance_id": "w-1", "worker_capabilities": ["gpu"], "capability_hash": "ff",
        "lane": "l",
        "route_snapshot_json": "{}", "admission_summary": "first",
    });
    let optional = json!({
        "create": {
            "payload": [1, 2], "priority": 5, "requires": ["gpu"], "tags": { "a.b": "c" },
            "start": { "after": 1 }, "deadline": 9, "idempotent": true,
            "limits": { "budgets": ["b"], "quotas": [{ "quota": "q", "key": "k" }] },
            "policy": {
                "retry": {
                    "max_retries": 1, "retryable_categories": ["c"],
                    "backoff": { "exponential": { "initial_ms": 1, "multiplier": 2, "max_ms": 3 } },
                },
                "timeout": { "attempt_timeout_ms": 4, "execution_deadline_ms": 5 },
                "reclaim_mode": "on_request", "max_reclaim_count": 6, "max_replay_count": 7,
                "retention_ms": 8,
            },
        },
        "issue_claim_grant": audited,
        "issue_reclaim_grant": audited,
        "claim": { "lane": "l" },
        "claim_resumed": { "lane": "l" },
        "reclaim": { "lane": "l" },
        "complete": { "result": [1, 2] },
        "fail": { "permanent": true, "retry_after_ms": 5 },
        "delay_execution": { "keeps_resumption": true },
        "update_progress": { "message": "half" },
        "suspend": {
            "reason": "approval",
            "waitpoints": [
                { "new": { "id": waitpoint_id(1), "key": "a" } },
                { "open": { "id": waitpoint_id(2) } },
            ],
            "timeout": { "when": { "after": 5 }, "behaviour": "cancel" },
            "policy": {
                "resume_delay_ms": 5, "close_waitpoints": false, "consume_signals": false,
            },
            "condition": { "all_of": { "members": [
                { "single": { "waitpoint": "a", "matcher": { "by_name": "x" } } },
                { "count": {
                    "n": 1, "kind": "distinct_signals", "matcher": { "by_name": "x" },
                    "waitpoints": ["b"],
                } },
            ] } },
        },
        "create_pending_waitpoint": { "expires_in_ms": 5 },
        "deliver_signal": {
            "source": "s", "category": "c", "source_type": "t", "correlation_id": "i",
            "payload": [1, 2],
        },
        "append_frame": { "metadata": { "a": "b" } },
        "block": { "recheck_at": 5 },
    });
    let mut commands: Vec<Value> = all().into_iter().map(|(command, _)| command).collect();
    for command in &mut commands {
        let name = command["command"].as_str().expect("a name").to_owned();
        if let Some(fields) = optional[&name].as_object() {
            command.as_object_mut().expect("an object").extend(fields.clone());
        }
    }
    commands
}

#[test]
fn null_behaves_as_absent_in_every_command() {
    for whole in whole() {
        let command: Command = serde_json::from_value(whole.clone()).expect("it parses");
        let written = serde_json::to_value(&command).expect("it is written");
        assert_eq!(written, whole, "the test does not give every field");
        behave_as_absent::<Command>(&whole);
    }
}

#[test]
fn the_check_finds_the_optional_fields() {
    let whole = command("block", json!({ "kind": "quota", "recheck_at": 5 }));
    let optional: BTreeSet<String> = behave_as_absent::<Command>(&whole).into_iter().collect();
    assert_eq!(optional, BTreeSet::from(["/recheck_at".to_owned()]));
}
