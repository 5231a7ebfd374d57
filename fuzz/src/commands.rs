//! Decodes JSON from users as commands, policies and lines of input. A value that was read is
//! unchanged after it was written and read again, and a null in it behaves as an absent field.
//! Parsing and deciding a command never panic.

use std::fmt::Debug;
use std::sync::Arc;

use ff_core::condition::{Condition, MAX_CONDITION_SIGNALS, ResumePolicy, SuspensionTimeout};
use ff_core::entropy::Entropy;
use ff_core::execution::{
    AnyCommand, Claim, Command, Create, Decide, Execution, FenceParts, Next, Offer, Start, Verdict,
};
use ff_core::id::{AttemptIndex, ExecutionId};
use ff_core::policy::{Backoff, ExecutionPolicy};
use ff_core::store::bounds::MAX_RECORD_BYTES;
use ff_core::store::codec::{FORMAT, encode};
use ff_core::time::{DurationMs, TimestampMs};
use ff_server::JobLine;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::common::nulls::behave_as_absent;
use crate::common::suspending::decide as decide_by;
use crate::common::{Bench, claim};

/// Decodes the bytes as each kind of input.
pub fn check(data: &[u8]) {
    if let Some(command) = json::<Command>(data) {
        decide(command);
    }
    if let Some(policy) = json::<ExecutionPolicy>(data) {
        check_backoff(&policy);
    }
    if let Some(condition) = json::<Condition>(data) {
        check_condition(&condition);
    }
    let _ = json::<SuspensionTimeout>(data);
    let _ = json::<ResumePolicy>(data);
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(line) = JobLine::parse(text)
    {
        drop(line.submission("default", ExecutionPolicy::default()));
    }
}

/// Decodes a value, if the bytes are one. Checks that it can be written and read again, and that a
/// null in it behaves as an absent field.
pub(crate) fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let text = serde_json::to_string(&value).expect("a decoded value can be written");
    assert_eq!(serde_json::from_str::<T>(&text).expect("a written value can be read"), value);
    behave_as_absent::<T>(&serde_json::to_value(&value).expect("a decoded value can be written"));
    Some(value)
}

/// Decides a command without a record, and with the record of a submitted execution.
fn decide(command: Command) {
    let now = TimestampMs::new(1_764_000_000_000);
    let Ok(command) = command.parse(&mut Entropy::from_u64(7)) else { return };
    let created = decide_by(&command, None, now);
    if let (AnyCommand::Create(create), Ok(Verdict::Apply(decision))) = (&command, &created) {
        let Next::Put(record) = &decision.next else { panic!("no record was created") };
        check_created(create, record, now);
        let again = decide_by(&command, Some(record), now);
        assert!(matches!(again, Ok(Verdict::Repeat(_))), "created twice: {again:?}");
        check_backoff(&record.policy);
        return;
    }
    let Some(record) = existing(command.execution_id(), now) else { return };
    by_owner(command.clone(), &record, now);
    for now in [TimestampMs::ZERO, now, TimestampMs::MAX] {
        let ruling = decide_by(&command, Some(&record), now);
        assert_eq!(decide_by(&command, Some(&record), now), ruling, "two decisions differ");
    }
}

/// Decides the same command for the owner of the execution, with all facts that it may need.
fn by_owner(mut command: AnyCommand, record: &Execution, now: TimestampMs) {
    let bench = Bench { record: Some(record.clone()), ..Bench::default() };
    let claimed = Offer {
        claim: Claim { execution_id: record.id, ..claim(1) },
        capabilities: record.requires.clone(),
    };
    let Ok(Verdict::Apply(taken)) = decide_by(&claimed.into(), Some(record), now) else {
        return;
    };
    let Next::Put(leased) = taken.next else { return };
    let fence = leased.last_fence.map_or(FenceParts::MISSING, FenceParts::of);
    match &mut command {
        AnyCommand::Suspend(command) => command.fence = fence,
        AnyCommand::CreatePendingWaitpoint(command) => command.fence = fence,
        AnyCommand::AppendFrame(command) => command.fence = fence,
        AnyCommand::DeliverSignal(_) => {}
        _ => return,
    }
    let reads = bench.reads(&command, now);
    if let Ok(Verdict::Apply(decision)) = reads.decide(&command, Some(&leased), now)
        && let Next::Put(next) = &decision.next
    {
        assert!(encode(next, FORMAT).len() <= MAX_RECORD_BYTES, "the record is over its bound");
        let again = reads.decide(&command, Some(next), now);
        assert!(matches!(again, Ok(Verdict::Repeat(_))), "applied twice: {again:?}");
    }
}

/// Checks that the parts of a condition are within their bounds.
fn check_condition(condition: &Condition) {
    let Ok(parts) = condition.parts() else { return };
    let asked: u64 = parts.iter().map(|part| u64::from(part.n)).sum();
    assert!(parts.len() as u64 <= asked && asked <= MAX_CONDITION_SIGNALS as u64);
    assert!(parts.iter().all(|part| !part.waitpoints.is_empty()));
}

fn check_created(create: &Create, record: &Execution, now: TimestampMs) {
    assert_eq!(record.id, create.execution_id);
    assert_eq!((&record.namespace, &record.lane), (&create.namespace, &create.lane));
    assert_eq!((&record.kind, &record.tags), (&create.kind, &create.tags));
    assert_eq!((&record.requires, &record.policy), (&create.requires, &create.policy));
    assert_eq!((record.created_at, record.updated_at), (now, now));
    assert_eq!(record.policy.check(), Ok(()), "an invalid policy was stored");
}

/// Returns the record of an execution with this id that waits for a worker.
fn existing(id: ExecutionId, now: TimestampMs) -> Option<Execution> {
    let create = serde_json::json!({
        "command": "create", "execution_id": id.to_string(), "namespace": "tenant",
        "lane": "default", "kind": "email", "payload": [1, 2, 3],
        "policy": { "max_replay_count": 1 },
    });
    let command: Command = serde_json::from_value(create).expect("a command");
    let mut command = command.parse(&mut Entropy::from_u64(8)).expect("a valid command");
    if let AnyCommand::Create(create) = &mut command {
        (create.start, create.payload) = (Start::Now, Some(Arc::from([])));
    }
    match decide_by(&command, None, now) {
        Ok(Verdict::Apply(decision)) => match decision.next {
            Next::Put(record) => Some(record),
            Next::Keep | Next::Remove => None,
        },
        other => panic!("a valid submission was refused: {other:?}"),
    }
}

/// Checks that the delays of a policy are within its bounds.
fn check_backoff(policy: &ExecutionPolicy) {
    if policy.check().is_err() {
        return;
    }
    let backoff = policy.retry.backoff;
    let longest = match backoff {
        Backoff::Fixed { delay_ms } => delay_ms,
        Backoff::Exponential { max_ms, .. } => max_ms,
    };
    let id = ExecutionId::from_parts(7, Uuid::from_u128(7));
    let mut previous = DurationMs::ZERO;
    for retry in [0, 1, 2, 31, 63, u32::MAX] {
        let base = backoff.base(retry);
        assert!(previous <= base && base <= longest, "{backoff:?} has {base} at retry {retry}");
        let delay = backoff.delay(retry, &id, AttemptIndex(retry));
        assert!(delay <= base && delay.get() >= base.get() - base.get() / 4);
        previous = base;
    }
    let binary = postcard::to_allocvec(policy).expect("a policy has a binary form");
    let again: ExecutionPolicy = postcard::from_bytes(&binary).expect("the binary form is read");
    assert_eq!(again, *policy);
}
