//! `create`: submit a new execution (`docs/spec.md`, 4).

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bounded::Bounded;
use crate::capability::Capabilities;
use crate::error::Rejection;
use crate::execution::facts::Facts;
use crate::execution::record::{
    Blocks, ContentDigest, Counts, Decision, DelayReason, Event, Execution, Limited, NextAttempt,
    NotBefore, Phase, Ruling, Runnable, ValueEffect, ValueKind, Verdict,
};
use crate::execution::retention::CREATE_WITHIN;
use crate::id::{ExecutionId, ExecutionKind, LaneId, LeaseEpoch, Namespace, Nonce};
use crate::limits::Limits;
use crate::policy::{ExecutionPolicy, Priority};
use crate::tags::{TRACE_PARENT, Tags};
use crate::time::{DurationMs, TimestampMs, Window};

/// The largest payload or result unless a client says otherwise: 1 MiB.
pub const DEFAULT_PAYLOAD_LIMIT: usize = 1 << 20;

/// A submission.
///
/// Identity: the execution id and the creator's nonce. If the id is derived from an idempotency
/// key, `content` holds the digest that distinguishes a repeat from a submission of other content.
#[derive(Clone, Debug, PartialEq)]
pub struct Create {
    /// The id.
    pub execution_id: ExecutionId,
    /// The tenant.
    pub namespace: Namespace,
    /// The lane (queue).
    pub lane: LaneId,
    /// The kind of work, which selects the handler.
    pub kind: ExecutionKind,
    /// The payload that the handler gets, byte for byte.
    pub payload: Option<Arc<[u8]>>,
    /// The largest payload that this client allows, in bytes.
    pub payload_limit: usize,
    /// Higher is served first.
    pub priority: Priority,
    /// How it is run.
    pub policy: ExecutionPolicy,
    /// The capabilities that a worker must have.
    pub requires: Capabilities,
    /// Labels.
    pub tags: Tags,
    /// The budgets and quotas that it counts towards.
    pub limits: Limits,
    /// When it may start.
    pub start: Start,
    /// When it expires; the policy's `execution_deadline_ms` counts too, and the earlier one holds.
    pub deadline: Option<TimestampMs>,
    /// Its position among executions that this client creates together.
    pub position: u16,
    /// Drawn once for this call.
    pub creator: Nonce,
    /// The digest of the content, if the id is derived from an idempotency key.
    pub content: Option<ContentDigest>,
}

/// When an execution may start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Immediately.
    #[default]
    Now,
    /// Not before an instant of the store's clock.
    At(TimestampMs),
    /// Not before a time from its creation.
    After(DurationMs),
}

/// The outcome of `create`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreateOutcome {
    /// The execution is new.
    Created(ExecutionId),
    /// The execution existed; nothing was changed.
    Duplicate(ExecutionId),
}

impl CreateOutcome {
    /// The id of the execution, new or not.
    pub const fn id(&self) -> ExecutionId {
        match self {
            Self::Created(id) | Self::Duplicate(id) => *id,
        }
    }
}

/// Creates an execution, or recognises one that exists.
///
/// # Errors
///
/// `IdempotencyMismatch`, `LaneDraining`, `LaneDisabled`, `PayloadTooLarge`, `InvalidPolicy`,
/// `InvalidInput` for the limits, `DeadlineNotInFuture`. A repeat is recognised before any of them.
pub fn create(facts: &Facts<'_>, command: &Create, now: TimestampMs) -> Ruling<CreateOutcome> {
    let id = command.execution_id;
    if let Some(existing) = facts.record {
        if existing.creator == command.creator {
            return Ok(Verdict::Repeat(CreateOutcome::Created(id)));
        }
        if command.content.is_some() && existing.content != command.content {
            return Err(Rejection::IdempotencyMismatch { existing: id });
        }
        return Ok(Verdict::Repeat(CreateOutcome::Duplicate(id)));
    }
    facts.check_accepts(&command.lane)?;
    let bytes = command.payload.as_ref().map_or(0, |payload| payload.len());
    if bytes > command.payload_limit {
        return Err(Rejection::PayloadTooLarge { bytes, limit: command.payload_limit });
    }
    command.policy.check()?;
    let limits = command.limits.clone().checked()?;
    let by_policy = command.policy.timeout.execution_deadline_ms.map(|after| now.plus(after));
    let deadline = [command.deadline, by_policy].into_iter().flatten().min();
    if let Some(deadline) = deadline
        && deadline <= now
    {
        return Err(Rejection::DeadlineNotInFuture { deadline, now });
    }
    let until = match command.start {
        Start::Now => TimestampMs::ZERO,
        Start::At(instant) => instant,
        Start::After(delay) => now.plus(delay),
    };
    let mut next = waiting(command, until, deadline, now);
    if !limits.is_empty() {
        next.limits = Some(Box::new(Limited { limits, waits_for: None, slot: None, turn: None }));
    }
    let event = Event::Created { namespace: command.namespace.clone(), lane: command.lane.clone() };
    // One that starts immediately must not be committed before its start.
    let started = if until > now { Window::ALWAYS } else { Window::from(until) };
    // None may be committed so late that its record may have been created and removed before.
    let arrived = Window::until(now.plus(CREATE_WITHIN));
    let mut decision = Decision::put(next, now, CreateOutcome::Created(id))
        .within(started.and(arrived).and(deadline.map_or(Window::ALWAYS, Window::until)))
        .event(event);
    if let Some(payload) = &command.payload {
        decision = decision.value(ValueEffect::Put(ValueKind::Payload, payload.clone()));
    }
    Ok(decision.into())
}

/// The record of an execution that waits for its first attempt.
fn waiting(
    command: &Create,
    until: TimestampMs,
    deadline: Option<TimestampMs>,
    now: TimestampMs,
) -> Execution {
    let delayed = NotBefore { until, reason: DelayReason::Requested };
    Execution {
        id: command.execution_id,
        namespace: command.namespace.clone(),
        lane: command.lane.clone(),
        kind: command.kind.clone(),
        priority: command.priority,
        created_at: now,
        position: command.position,
        updated_at: now,
        creator: command.creator,
        content: command.content,
        policy: command.policy.clone(),
        requires: command.requires.clone(),
        tags: command.tags.clone(),
        deadline,
        phase: Phase::Runnable(Runnable {
            next: NextAttempt::First,
            not_before: (until > now).then_some(delayed),
            blocks: Blocks::default(),
            grant: None,
        }),
        epoch: LeaseEpoch::default(),
        last_fence: None,
        attempts_total: 0,
        past_attempts: Bounded::new(),
        counts: Counts::default(),
        progress: None,
        last_release: None,
        requests: Bounded::new(),
        limits: None,
        waiting: None,
        framed: 0,
        continuation: None,
    }
}

/// The digest of a submission's content: lane, kind, payload, priority, policy, capabilities, tags,
/// limits and delay. The trace context among the tags is not part of it.
pub fn content_digest(command: &Create) -> ContentDigest {
    let tags = match command.tags.get(TRACE_PARENT) {
        Some(_) => Cow::Owned(command.tags.without(TRACE_PARENT)),
        None => Cow::Borrowed(&command.tags),
    };
    let fields = (
        &command.lane,
        &command.kind,
        command.priority,
        &command.policy,
        &command.requires,
        &*tags,
        &command.limits,
        command.start,
        command.payload.is_some(),
    );
    let mut hash = Sha256::new();
    let encoded = postcard::to_allocvec(&fields).expect("these fields always serialize");
    hash.update((encoded.len() as u64).to_le_bytes());
    hash.update(encoded);
    hash.update(command.payload.as_deref().unwrap_or_default());
    ContentDigest(hash.finalize().into())
}
