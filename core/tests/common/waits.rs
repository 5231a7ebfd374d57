//! Suspensions, waitpoints, signals and output as arguments of a systematic walk, and as random
//! steps: which command each one means for the execution as it stands.

use std::sync::{Arc, LazyLock};

use ff_core::condition::{Condition, CountKind, ResumePolicy, TimeoutBehaviour};
use ff_core::execution::{
    AnyCommand, AppendFrame, BindWaitpoint, CreatePendingWaitpoint, DeliverSignal, Execution,
    FenceParts, Frame, MAX_FRAME_PAYLOAD, MAX_SIGNAL_PAYLOAD, SignalRecord, Suspend, Waiting,
    Waitpoint,
};
use ff_core::id::{Nonce, SignalId, SignalSource, WaitpointId};
use ff_core::token::WaitpointToken;

use super::steps::FenceChoice;
use super::suspending::{
    all_of, any_at, append, count, deliver, from_source, name, named, pending, ring, signal_id,
    suspend, suspend_on, suspension_id, timeout, token_of, waitpoint_id,
};
use super::{Bench, ms};

/// One byte more than a signal may have.
static TOO_LARGE: LazyLock<Arc<[u8]>> =
    LazyLock::new(|| Arc::from(vec![0; MAX_SIGNAL_PAYLOAD + 1]));

/// The ways in which a suspension ends by itself.
pub const BEHAVIOURS: [TimeoutBehaviour; 6] = [
    TimeoutBehaviour::Fail,
    TimeoutBehaviour::Cancel,
    TimeoutBehaviour::Expire,
    TimeoutBehaviour::AutoResume,
    TimeoutBehaviour::AutoResumeWithTimeoutSignal,
    TimeoutBehaviour::Escalate,
];

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
    let mut all: Vec<Suspend> = BEHAVIOURS
        .map(|behaviour| Suspend { timeout: timeout(50_000, behaviour), ..with(any_at("a")) })
        .to_vec();
    let after = timeout(20_000, TimeoutBehaviour::AutoResume);
    all.extend([
        Suspend { policy: delayed(3_000), timeout: after, ..with(named("a", "approved")) },
        Suspend { policy: keeping(true), timeout: after, ..with(any_at("a")) },
        Suspend { policy: keeping(false), ..with(named("a", "approved")) },
        with(all_of([any_at("a"), any_at("b")])),
        with(count(2, CountKind::DistinctSources, &["a"])),
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

/// How a worker suspends. What it waits for, for how long and what happens then are picked from a
/// few of each.
#[derive(Clone, Copy, Debug)]
pub struct SuspendChoice {
    pub fence: FenceChoice,
    /// Its id; small, so that it comes again.
    pub number: u64,
    pub condition: usize,
    /// No timeout where it is 0.
    pub timeout: usize,
    pub policy: usize,
    /// Whether it uses the waitpoints that are open already.
    pub open: bool,
}

/// How many different things there are to pick from.
pub const CONDITIONS: usize = 10;
pub const TIMEOUTS: usize = 13;
pub const POLICIES: usize = 4;

#[derive(Clone, Copy, Debug)]
pub struct PendingChoice {
    pub fence: FenceChoice,
    pub number: u64,
    pub key: usize,
    pub expires_in: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub struct SignalChoice {
    /// Which waitpoint of those that are open or remembered.
    pub pick: usize,
    pub good_token: bool,
    /// Its id; small, so that it comes again.
    pub number: u64,
    /// Whether another call sends it.
    pub by_another: bool,
    pub approved: bool,
    pub source: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct FrameChoice {
    pub fence: FenceChoice,
    /// How far behind the last frame: 1 is the next one.
    pub ahead: u64,
}

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

fn condition(pick: usize, keys: [&str; 2]) -> Condition {
    let [first, second] = keys;
    match pick % CONDITIONS {
        0 => any_at(first),
        1 => named(first, "approved"),
        2 => all_of([any_at(first), any_at(second)]),
        3 => all_of([named(first, "approved"), any_at(first)]),
        4 => count(2, CountKind::DistinctSources, &[first]),
        5 => count(2, CountKind::DistinctSignals, &keys),
        6 => count(2, CountKind::DistinctWaitpoints, &keys),
        7 => Condition::OperatorOnly,
        8 => Condition::TimeoutOnly,
        _ => all_of([]),
    }
}

impl SuspendChoice {
    pub fn command(&self, record: Option<&Execution>, fence: FenceParts) -> Suspend {
        let open: Vec<&Waitpoint> =
            waiting(record).map_or(Vec::new(), |waiting| waiting.open.iter().collect());
        let mut keys = ["a", "b"];
        if self.open {
            keys = [0, 1].map(|place| open.get(place).map_or("z", |one| one.key.as_str()));
        }
        let condition = condition(self.condition, keys);
        let mut command = suspend(fence, self.number, condition);
        if self.open {
            for bound in &mut command.waitpoints {
                let BindWaitpoint::New { key, .. } = &*bound else { continue };
                let found = open.iter().find(|waitpoint| waitpoint.key == *key);
                let id = found.map_or(waitpoint_id(9), |waitpoint| waitpoint.id);
                *bound = BindWaitpoint::Open { id };
            }
        }
        command.suspension_id = suspension_id(self.number);
        if let Some(pick) = (self.timeout % TIMEOUTS).checked_sub(1) {
            let after = if pick < BEHAVIOURS.len() { 9_000 } else { 1 };
            command.timeout = timeout(after, BEHAVIOURS[pick % BEHAVIOURS.len()]);
        }
        command.policy = match self.policy % POLICIES {
            0 => ResumePolicy::default(),
            1 => delayed(2_500),
            2 => keeping(true),
            _ => keeping(false),
        };
        command
    }
}

impl PendingChoice {
    pub fn command(&self, fence: FenceParts) -> CreatePendingWaitpoint {
        let expires_in = self.expires_in.map(ms);
        let key = KEYS[self.key % KEYS.len()];
        CreatePendingWaitpoint { expires_in, ..pending(fence, self.number, key) }
    }
}

impl SignalChoice {
    pub fn command(&self, record: Option<&Execution>) -> DeliverSignal {
        let known: Vec<WaitpointId> = waiting(record)
            .into_iter()
            .flat_map(|waiting| waiting.open.iter().chain(waiting.closed.iter().rev()))
            .map(|waitpoint| waitpoint.id)
            .collect();
        let id = known.get(self.pick % known.len().max(1)).copied().unwrap_or(waitpoint_id(9));
        let token = match self.good_token {
            true => token_of(record, id),
            false => WaitpointToken::new("k1:00"),
        };
        let said = if self.approved { "approved" } else { "rejected" };
        let sources = ["alice", "bob"];
        let source = sources.get(self.source % 3);
        let source = source.map(|text| SignalSource::try_new(text).unwrap());
        let payload = Some(Arc::from(*b"payload"));
        let creator = Nonce(if self.by_another { 77 } else { self.number });
        let signal_id: SignalId = signal_id(self.number);
        let signal = deliver(0, &token, self.number, said);
        DeliverSignal { waitpoint_id: id, signal_id, source, payload, creator, ..signal }
    }
}

impl FrameChoice {
    pub fn command(&self, record: Option<&Execution>, fence: FenceParts) -> AppendFrame {
        append(fence, (next_sequence(record) - 1) + self.ahead)
    }
}
