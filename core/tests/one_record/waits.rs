//! Commands about suspensions, waitpoints, signals and output, with valid and invalid arguments.

use std::sync::{Arc, LazyLock};

use ff_core::condition::{Condition, CountKind, ResumePolicy, TimeoutBehaviour};
use ff_core::execution::{
    AnyCommand, AppendFrame, BindWaitpoint, CreatePendingWaitpoint, DeliverSignal, Execution,
    FenceParts, Frame, MAX_FRAME_PAYLOAD, MAX_SIGNAL_PAYLOAD, SignalRecord, Suspend, Waiting,
};
use ff_core::id::{Nonce, WaitpointId};
use ff_core::token::WaitpointToken;

use crate::common::suspending::{
    all_of, any_at, any_of, append, count, deliver, from_source, name, named, pending, ring,
    suspend, suspend_on, timeout, token_of, waitpoint_id,
};
use crate::common::{Bench, ms};

/// One byte more than a signal may have.
static TOO_LARGE: LazyLock<Arc<[u8]>> =
    LazyLock::new(|| Arc::from(vec![0; MAX_SIGNAL_PAYLOAD + 1]));

/// Every command about waiting and output with every kind of arguments.
pub fn waits(bench: &Bench, fences: [FenceParts; 4], fresh: u64) -> Vec<AnyCommand> {
    let record = bench.record.as_ref();
    let next = next_sequence(record);
    let mut all: Vec<AnyCommand> = Vec::new();
    for fence in fences {
        all.push(suspend(fence, fresh, any_at("a")).into());
        all.push(pending(fence, fresh, "p").into());
        all.push(append(fence, next).into());
    }
    let [fence, ..] = fences;
    all.extend(suspensions(fence, fresh));
    all.extend(on_known_waitpoints(record, fence, fresh));
    all.extend(frames(fence, next));
    all.extend(signals(bench, fresh));
    all.push(bench.forget().into());
    all
}

fn next_sequence(record: Option<&Execution>) -> u64 {
    record.and_then(Execution::attempt).map_or(0, |attempt| attempt.frames).saturating_add(1)
}

fn keeping(consume_signals: bool) -> ResumePolicy {
    ResumePolicy { close_waitpoints: false, consume_signals, ..ResumePolicy::default() }
}

fn delayed(milliseconds: u64) -> ResumePolicy {
    ResumePolicy { resume_delay_ms: ms(milliseconds), ..ResumePolicy::default() }
}

fn suspensions(fence: FenceParts, fresh: u64) -> Vec<AnyCommand> {
    let with = |condition: Condition| suspend(fence, fresh, condition);
    let mut all: Vec<Suspend> = TimeoutBehaviour::ALL
        .map(|behaviour| Suspend { timeout: timeout(50_000, behaviour), ..with(any_at("a")) })
        .to_vec();
    let after = timeout(20_000, TimeoutBehaviour::AutoResume);
    all.extend([
        Suspend { policy: delayed(3_000), timeout: after, ..with(named("a", "approved")) },
        Suspend { policy: keeping(true), timeout: after, ..with(any_at("a")) },
        Suspend { policy: keeping(false), ..with(named("a", "approved")) },
        with(all_of([any_at("a"), any_at("b")])),
        with(all_of([named("a", "approved"), any_at("a")])),
        with(any_of([named("a", "approved"), count(2, CountKind::DistinctSignals, &["a"])])),
        with(count(2, CountKind::DistinctSources, &["a"])),
        with(count(2, CountKind::DistinctSignals, &["a", "b"])),
        with(count(2, CountKind::DistinctWaitpoints, &["a", "b"])),
        with(Condition::OperatorOnly),
        Suspend { timeout: after, ..with(Condition::TimeoutOnly) },
        with(Condition::TimeoutOnly),
        with(all_of([])),
    ]);
    all.into_iter().map(AnyCommand::from).collect()
}

fn waiting(record: Option<&Execution>) -> Option<&Waiting> {
    record.and_then(|record| record.waiting.as_deref())
}

/// Waitpoints that there are already, and copies of earlier calls.
fn on_known_waitpoints(
    record: Option<&Execution>,
    fence: FenceParts,
    fresh: u64,
) -> Vec<AnyCommand> {
    let expiring =
        CreatePendingWaitpoint { expires_in: Some(ms(4_000)), ..pending(fence, fresh, "x") };
    let never = CreatePendingWaitpoint { expires_in: Some(ms(0)), ..expiring.clone() };
    let mut all: Vec<AnyCommand> = vec![expiring.into(), never.into()];
    let Some(waiting) = waiting(record) else { return all };
    for known in waiting.open.iter().take(1).chain(waiting.closed.last()) {
        let condition = Condition::any_signal(known.key.clone());
        let mut on_it = suspend_on(fence, fresh, condition, &[]);
        on_it.waitpoints = vec![BindWaitpoint::Open { id: known.id }];
        all.push(Suspend { policy: keeping(true), ..on_it.clone() }.into());
        let condition = Condition::signal(known.key.clone(), name("approved"));
        all.push(Suspend { condition, ..on_it }.into());
        let again = pending(fence, 0, known.key.as_str());
        all.push(CreatePendingWaitpoint { waitpoint_id: known.id, ..again.clone() }.into());
        all.push(CreatePendingWaitpoint { waitpoint_id: waitpoint_id(fresh), ..again }.into());
    }
    if let Some(latest) = &waiting.latest {
        let again = suspend(fence, fresh, any_at("a"));
        all.push(Suspend { suspension_id: latest.id, ..again }.into());
    }
    all
}

fn frames(fence: FenceParts, next: u64) -> Vec<AnyCommand> {
    let too_large = Arc::from(vec![0; MAX_FRAME_PAYLOAD + 1]);
    let large = append(fence, next);
    let large = AppendFrame { frame: Frame { payload: too_large, ..large.frame }, ..large };
    vec![
        append(fence, next.saturating_add(1)).into(),
        append(fence, next.saturating_sub(1)).into(),
        large.into(),
    ]
}

/// Signals to what is open and what is closed, with good tokens and bad ones.
fn signals(bench: &Bench, fresh: u64) -> Vec<AnyCommand> {
    let record = bench.record.as_ref();
    let unknown = waitpoint_id(fresh);
    let bad = token_of(record, unknown);
    let signal = |id: WaitpointId, token: &WaitpointToken| DeliverSignal {
        waitpoint_id: id,
        ..deliver(0, token, fresh, "approved")
    };
    let mut all: Vec<AnyCommand> = vec![signal(unknown, &bad).into()];
    let Some(waiting) = waiting(record) else { return all };
    let known = waiting.open.iter().take(2).chain(waiting.closed.last());
    for waitpoint in known {
        let token = token_of(record, waitpoint.id);
        let good = signal(waitpoint.id, &token);
        let other = DeliverSignal { name: name("other"), ..from_source(good.clone(), "bob") };
        let payload = Some(Arc::from(*b"yes"));
        let too_large = Some(TOO_LARGE.clone());
        all.push(good.clone().into());
        all.push(other.into());
        all.push(DeliverSignal { payload, ..from_source(good.clone(), "alice") }.into());
        all.push(DeliverSignal { payload: too_large, ..good.clone() }.into());
        all.push(DeliverSignal { token: bad.clone(), ..good }.into());
    }
    for first in bench.signals.values().take(1) {
        let token = token_of_signal(first);
        let again = DeliverSignal {
            signal_id: first.id,
            creator: first.creator,
            ..signal(first.waitpoint_id, &token)
        };
        all.push(DeliverSignal { creator: Nonce(u64::MAX), ..again.clone() }.into());
        all.push(again.into());
    }
    all
}

/// The good token of the waitpoint that a signal was sent to, remembered or not.
fn token_of_signal(signal: &SignalRecord) -> WaitpointToken {
    ring().sign(signal.subject()).expect("there is a secret").1
}
