//! Waitpoints, suspensions and frames of handlers.

use ff_core::condition::{
    Condition, CountKind, ResumePolicy, SignalMatcher, SuspensionReason, SuspensionTimeout,
    TimeoutAt, TimeoutBehaviour,
};
use ff_core::entropy::Entropy;
use ff_core::execution::{
    AppendFrame, BindWaitpoint, CreatePendingWaitpoint, Execution, FenceParts, Frame, Suspend,
};
use ff_core::id::{
    AttemptId, ExecutionId, FrameType, SignalName, SuspensionId, WaitpointId, WaitpointKey,
};
use ff_core::time::{DurationMs, TimestampMs};

use crate::determinism::random::{between, happens, one_of};

/// The keys of waitpoints.
const KEYS: [&str; 4] = ["approval", "payment", "tool", "call"];

/// The name of the signals that conditions require.
pub const AWAITED: &str = "go";

fn key(name: &str) -> WaitpointKey {
    WaitpointKey::try_new(name).expect("a valid key")
}

/// A waitpoint before its suspension.
pub fn waitpoint(
    execution_id: ExecutionId,
    fence: FenceParts,
    entropy: &mut Entropy,
) -> CreatePendingWaitpoint {
    let expires_in = match entropy.below(12) {
        0..5 => None,
        5 => Some(DurationMs::ZERO),
        _ => Some(DurationMs::new(between(entropy, 1, 2_500))),
    };
    CreatePendingWaitpoint {
        execution_id,
        fence,
        waitpoint_id: WaitpointId::random(entropy),
        key: key(one_of(entropy, &KEYS)),
        expires_in,
    }
}

/// A suspension. `record`: the record that its worker knows, `store`: the worker's estimate of the
/// store's clock.
pub fn suspension(
    execution_id: ExecutionId,
    fence: FenceParts,
    record: Option<&Execution>,
    store: TimestampMs,
    entropy: &mut Entropy,
) -> Suspend {
    let (waitpoints, keys) = waitpoints(record, entropy);
    let condition = condition(&keys, entropy);
    let waitpoints = match condition {
        Condition::OperatorOnly | Condition::TimeoutOnly if happens(entropy, 900) => Vec::new(),
        _ => waitpoints,
    };
    let timed = matches!(condition, Condition::TimeoutOnly) || happens(entropy, 500);
    let timeout = (timed && happens(entropy, 980)).then(|| timeout(store, entropy));
    let delayed = happens(entropy, 300);
    let policy = ResumePolicy {
        resume_delay_ms: DurationMs::new(if delayed { between(entropy, 1, 1_500) } else { 0 }),
        close_waitpoints: happens(entropy, 600),
        consume_signals: happens(entropy, 600),
    };
    Suspend {
        execution_id,
        fence,
        suspension_id: SuspensionId::random(entropy),
        reason: one_of(entropy, &[SuspensionReason::Signal, SuspensionReason::Approval]),
        waitpoints,
        condition,
        timeout,
        policy,
    }
}

/// Some waitpoints that are open already, and some new ones.
fn waitpoints(
    record: Option<&Execution>,
    entropy: &mut Entropy,
) -> (Vec<BindWaitpoint>, Vec<WaitpointKey>) {
    let open = record.and_then(|record| record.waiting.as_ref());
    let (mut bound, mut keys, mut taken) = (Vec::new(), Vec::new(), Vec::new());
    for waitpoint in open.into_iter().flat_map(|waiting| &waiting.open) {
        taken.push(waitpoint.key.clone());
        if happens(entropy, 800) {
            bound.push(BindWaitpoint::Open { id: waitpoint.id });
            keys.push(waitpoint.key.clone());
        }
    }
    let least = u64::from(bound.is_empty());
    for _ in 0..between(entropy, least, 2) {
        let key = key(one_of(entropy, &KEYS));
        if !taken.contains(&key) {
            taken.push(key.clone());
            let id = WaitpointId::random(entropy);
            bound.push(BindWaitpoint::New { id, key: key.clone() });
            keys.push(key);
        }
    }
    if happens(entropy, 15) {
        // A waitpoint that was never opened.
        bound.push(BindWaitpoint::Open { id: WaitpointId::random(entropy) });
    }
    (bound, keys)
}

fn matcher(entropy: &mut Entropy) -> SignalMatcher {
    match entropy.below(2) {
        0 => SignalMatcher::Wildcard,
        _ => SignalMatcher::ByName(SignalName::try_new(AWAITED).expect("a valid name")),
    }
}

/// A condition over these waitpoints, sometimes an invalid one.
fn condition(keys: &[WaitpointKey], entropy: &mut Entropy) -> Condition {
    use CountKind::{DistinctSignals, DistinctSources, DistinctWaitpoints};
    let single = |key: &WaitpointKey, entropy: &mut Entropy| Condition::Single {
        waitpoint: key.clone(),
        matcher: matcher(entropy),
    };
    let count = |n: u64, kind, entropy: &mut Entropy| Condition::Count {
        n: n as u32,
        kind,
        matcher: matcher(entropy),
        waitpoints: keys.to_vec(),
    };
    let all = |entropy: &mut Entropy| match keys {
        [one] => single(one, entropy),
        _ => Condition::AllOf { members: keys.iter().map(|key| single(key, entropy)).collect() },
    };
    let any = |entropy: &mut Entropy| {
        let awaited = keys.iter().map(|key| single(key, entropy)).collect();
        let (kind, all) = (one_of(entropy, &[DistinctSignals, DistinctSources]), all(entropy));
        let members = match entropy.below(3) {
            0 => awaited,
            1 => vec![count(2, kind, entropy), all],
            _ => vec![all, Condition::AllOf { members: vec![count(1, kind, entropy)] }],
        };
        let any = Condition::AnyOf { members };
        match entropy.below(3) {
            0 => Condition::AllOf { members: vec![count(1, kind, entropy), any] },
            _ => any,
        }
    };
    match entropy.below(20) {
        0 => Condition::OperatorOnly,
        1 => Condition::TimeoutOnly,
        2..6 => all(entropy),
        6..8 => any(entropy),
        8..10 => count(between(entropy, 1, keys.len().max(1) as u64), DistinctWaitpoints, entropy),
        10..13 => count(between(entropy, 1, 3), DistinctSignals, entropy),
        13..16 => count(between(entropy, 1, 3), DistinctSources, entropy),
        16..19 => {
            let kind = one_of(entropy, &[DistinctSignals, DistinctSources, DistinctWaitpoints]);
            let many = if kind == DistinctWaitpoints { 1 } else { 2 };
            let members = vec![count(many, kind, entropy), all(entropy)];
            Condition::AllOf { members }
        }
        _ => match entropy.below(4) {
            0 => Condition::AnyOf { members: Vec::new() },
            1 => count(0, DistinctSignals, entropy),
            2 => Condition::AllOf { members: Vec::new() },
            _ => count(keys.len() as u64 + 1, DistinctWaitpoints, entropy),
        },
    }
}

fn timeout(store: TimestampMs, entropy: &mut Entropy) -> SuspensionTimeout {
    let after = DurationMs::new(between(entropy, 20, 4_000));
    let when = match entropy.below(5) {
        0 => TimeoutAt::At(store.plus(after)),
        1 if happens(entropy, 100) => TimeoutAt::After(DurationMs::ZERO),
        _ => TimeoutAt::After(after),
    };
    SuspensionTimeout { when, behaviour: one_of(entropy, &TimeoutBehaviour::ALL) }
}

/// A frame. Its content names its position.
pub fn frame(
    execution_id: ExecutionId,
    fence: FenceParts,
    attempt: AttemptId,
    sequence: u64,
    entropy: &mut Entropy,
) -> AppendFrame {
    let (sequence, payload) = match entropy.below(100) {
        // Larger than the limit.
        0 => (sequence + 1_000, vec![0; (64 << 10) + 1]),
        1 => {
            let later = sequence + between(entropy, 1, 3);
            (later, format!("{attempt} {later}").into_bytes())
        }
        _ => (sequence, format!("{attempt} {sequence}").into_bytes()),
    };
    let frame = Frame {
        sequence,
        frame_type: FrameType::try_new("log").expect("a valid type"),
        payload: payload.into(),
        metadata: Default::default(),
    };
    AppendFrame { execution_id, fence, frame, rings: happens(entropy, 500) }
}
