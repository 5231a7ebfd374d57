//! The wire form of every command: its JSON, what may be left out, and what is refused at the edge.

use std::collections::BTreeSet;

use ff_core::entropy::Entropy;
use ff_core::error::{Rejection, RejectionKind};
use ff_core::execution::{
    AnyCommand, BlockKind, CancelledBy, Command, Decide, FenceParts, RetryAdvice, parse_grant_key,
};
use ff_core::policy::{ExecutionPolicy, Priority};
use ff_core::time::DurationMs;
use serde_json::{Value, json};

use crate::common::suspending::{signal_id, suspension_id, waitpoint_id};
use crate::common::{attempt_id, execution_id, grant_id, lease_id};

fn parse(text: Value) -> Result<AnyCommand, Rejection> {
    let command: Command = serde_json::from_value(text).expect("a well-formed command");
    command.parse(&mut Entropy::from_u64(1))
}

/// A command with these fields besides its execution.
pub(super) fn command(name: &str, fields: Value) -> Value {
    let mut command = json!({ "command": name, "execution_id": execution_id().to_string() });
    let all = command.as_object_mut().unwrap();
    all.extend(fields.as_object().unwrap().clone());
    command
}

pub(super) fn by_holder(name: &str, fields: Value) -> Value {
    let mut call = command(name, fields);
    let fence = json!({ "lease_id": lease_id(1), "lease_epoch": 3, "attempt_id": attempt_id(1) });
    call.as_object_mut().unwrap().extend(fence.as_object().unwrap().clone());
    call
}

pub(super) fn claim(name: &str) -> Value {
    let key = grant_id(1).to_string();
    command(
        name,
        json!({
            "grant_key": key, "worker_id": "w", "worker_instance_id": "w-1",
            "lease_id": lease_id(1), "attempt_id": attempt_id(1), "lease_ttl_ms": 30_000,
        }),
    )
}

pub(super) fn grant(name: &str) -> Value {
    let key = grant_id(1).to_string();
    command(name, json!({ "grant_key": key, "worker_id": "w", "grant_ttl_ms": 1_000 }))
}

/// Every command, as short as it may be, with the name of the rule that decides it.
pub(super) fn all() -> Vec<(Value, &'static str)> {
    let request = || json!({ "request_id": "r" });
    let create = json!({ "namespace": "n", "lane": "l", "kind": "k" });
    vec![
        (command("create", create), "create"),
        (grant("issue_claim_grant"), "issue_claim_grant"),
        (claim("claim"), "claim"),
        (claim("claim_resumed"), "claim_resumed"),
        (grant("issue_reclaim_grant"), "issue_reclaim_grant"),
        (claim("reclaim"), "reclaim"),
        (
            command("release_grant", json!({ "grant_key": grant_id(1), "worker_id": "w" })),
            "release_grant",
        ),
        (by_holder("renew", json!({ "lease_ttl_ms": 5 })), "renew"),
        (by_holder("complete", json!({})), "complete"),
        (by_holder("fail", json!({ "reason": "why", "category": "c" })), "fail"),
        (by_holder("delay_execution", json!({ "until": 9 })), "delay_execution"),
        (by_holder("move_to_waiting_children", json!({})), "move_to_waiting_children"),
        (by_holder("update_progress", json!({ "percent": 7 })), "update_progress"),
        (by_holder("cancel_by_holder", json!({ "reason": "why" })), "cancel"),
        (command("cancel", json!({ "request_id": "r", "reason": "why" })), "cancel"),
        (command("revoke_lease", request()), "revoke_lease"),
        (
            command("change_priority", json!({ "request_id": "r", "priority": 1 })),
            "change_priority",
        ),
        (command("replay", request()), "replay"),
        (command("resume", request()), "resume"),
        (
            by_holder(
                "suspend",
                json!({ "suspension_id": suspension_id(1), "condition": "operator_only" }),
            ),
            "suspend",
        ),
        (
            by_holder(
                "create_pending_waitpoint",
                json!({ "waitpoint_id": waitpoint_id(1), "key": "a" }),
            ),
            "create_pending_waitpoint",
        ),
        (
            command(
                "deliver_signal",
                json!({
                    "waitpoint_id": waitpoint_id(1), "token": "k1:00",
                    "signal_id": signal_id(1), "name": "x",
                }),
            ),
            "deliver_signal",
        ),
        (
            by_holder("append_frame", json!({ "sequence": 1, "frame_type": "log", "payload": [] })),
            "append_frame",
        ),
        (command("block", json!({ "kind": "budget" })), "block"),
        (command("unblock", json!({ "kind": "route" })), "unblock"),
    ]
}

#[test]
fn every_command_has_a_wire_form_that_round_trips() {
    let mut names = BTreeSet::new();
    for (text, rule) in all() {
        let command: Command = serde_json::from_value(text.clone()).expect("it parses");
        let written = serde_json::to_value(&command).expect("it is written");
        for (field, value) in text.as_object().unwrap() {
            assert_eq!(written[field], *value, "{rule}: {field}");
        }
        let again: Command = serde_json::from_value(written).expect("it parses again");
        assert_eq!(again, command);
        let parsed = parse(text).expect("it is right");
        assert_eq!(parsed.name(), rule);
        assert_eq!(parsed.execution_id(), execution_id());
        names.insert(rule);
    }
    // What has none is made by the engine itself.
    let made_by_engine = ["offer", "admit", "on_due", "forget_signals", "check_slot"];
    let missing: Vec<String> = crate::one_record::exploration::command_names()
        .into_iter()
        .filter(|name| !names.contains(name.as_str()) && !made_by_engine.contains(&&**name))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn the_parts_of_a_fence_are_optional_and_their_lack_is_left_to_the_rule() {
    let fence_of = |text: Value| match parse(text) {
        Ok(AnyCommand::Complete(complete)) => complete.fence,
        other => panic!("parsed as {other:?}"),
    };
    assert!(fence_of(by_holder("complete", json!({}))).complete().is_some());
    assert_eq!(fence_of(command("complete", json!({}))), FenceParts::MISSING);
    let nulls = json!({ "lease_id": null, "lease_epoch": null, "attempt_id": null });
    assert_eq!(fence_of(command("complete", nulls)), FenceParts::MISSING);
    for part in ["lease_id", "lease_epoch", "attempt_id"] {
        let mut partial = by_holder("complete", json!({}));
        partial.as_object_mut().unwrap().remove(part);
        let fence = fence_of(partial);
        assert!(fence != FenceParts::MISSING && fence.complete().is_none());
    }
}

#[test]
fn priority_is_clamped_and_null_is_the_same_as_nothing() {
    let create = |fields: Value| {
        let mut create = command("create", json!({ "namespace": "n", "lane": "l", "kind": "k" }));
        create.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        match parse(create) {
            Ok(AnyCommand::Create(create)) => create,
            other => panic!("parsed as {other:?}"),
        }
    };
    assert_eq!(create(json!({ "priority": 99_999 })).priority, Priority::MAX);
    assert_eq!(create(json!({ "priority": -5 })).priority, Priority::clamped(0));
    let nulls = create(json!({
        "priority": null, "policy": null, "payload": null, "start": null, "deadline": null,
    }));
    assert_eq!(nulls.policy, ExecutionPolicy::default());
    assert_eq!((nulls.payload, nulls.deadline, nulls.content), (None, None, None));
    assert!(create(json!({ "idempotent": true })).content.is_some());
}

#[test]
fn what_is_malformed_is_refused_before_any_rule() {
    let create = |name: &str, value: Value| {
        let mut create = command("create", json!({ "namespace": "n", "lane": "l", "kind": "k" }));
        create[name] = value;
        parse(create).unwrap_err().kind()
    };
    assert_eq!(create("lane", json!("")), RejectionKind::InvalidId);
    assert_eq!(create("requires", json!(["a,b"])), RejectionKind::InvalidCapabilities);
    assert_eq!(create("tags", json!({ "nodot": "x" })), RejectionKind::InvalidTagKey);
    let with_key = |mut call: Value, key: &str| {
        call["grant_key"] = json!(key);
        parse(call).unwrap_err().kind()
    };
    assert_eq!(with_key(claim("claim"), "no uuid"), RejectionKind::InvalidClaimGrant);
    assert_eq!(with_key(grant("issue_claim_grant"), "no uuid"), RejectionKind::InvalidInput);
    assert_eq!(parse_grant_key(&grant_id(5).to_string()), Ok(grant_id(5)));
    let id = json!({ "command": "replay", "execution_id": "{fp:007}:x", "request_id": "r" });
    assert!(serde_json::from_value::<Command>(id).is_err());
}

#[test]
fn a_grant_remembers_the_process_that_asked_for_it_if_it_says_so() {
    let audit = |mut request: Value, instance: Value| {
        request["worker_instance_id"] = instance;
        let Ok(AnyCommand::IssueClaimGrant(asked)) = parse(request) else { panic!("no grant") };
        asked.audit.instance.map(|instance| instance.to_string())
    };
    let request = || grant("issue_claim_grant");
    assert_eq!(audit(request(), json!("w-1")), Some("w-1".to_owned()));
    assert_eq!(audit(request(), Value::Null), None);
}

#[test]
fn an_operators_call_is_parsed_with_its_request_id() {
    let cancel = parse(command("cancel", json!({ "request_id": "r", "reason": "why" })));
    let Ok(AnyCommand::Cancel(cancel)) = cancel else { panic!("no cancel") };
    let CancelledBy::Operator(call) = cancel.by else { panic!("by its holder") };
    assert_eq!(call.request_id.as_str(), "r");
    let block = parse(command("block", json!({ "kind": "quota", "recheck_at": 5 })));
    let Ok(AnyCommand::Block(block)) = block else { panic!("no block") };
    assert_eq!((block.kind, block.recheck_at.map(|at| at.get())), (BlockKind::Quota, Some(5)));
}

#[test]
fn a_failure_says_that_a_retry_cannot_help_or_when_it_can() {
    let advice = |fields: Value| {
        let mut call = by_holder("fail", json!({ "reason": "why", "category": "c" }));
        call.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        match parse(call) {
            Ok(AnyCommand::Fail(fail)) => Ok(fail.retry),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.kind()),
        }
    };
    let after = RetryAdvice::After(DurationMs::new(5));
    assert_eq!(advice(json!({})), Ok(RetryAdvice::ByPolicy));
    assert_eq!(advice(json!({ "permanent": true })), Ok(RetryAdvice::Never));
    assert_eq!(advice(json!({ "retry_after_ms": 5 })), Ok(after));
    let both = json!({ "permanent": true, "retry_after_ms": 5 });
    assert_eq!(advice(both), Err(RejectionKind::InvalidInput));
}
