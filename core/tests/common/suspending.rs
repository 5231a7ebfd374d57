//! Suspensions, waitpoints, signals and output: small ids, commands with the arguments that matter,
//! and what an operation would read for a command.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ff_core::condition::{
    Condition, CountKind, ResumePolicy, SignalMatcher, SuspensionReason, SuspensionTimeout,
    TimeoutBehaviour,
};
use ff_core::execution::{
    Admission, AnyCommand, AnyOutcome, AppendFrame, BindWaitpoint, BufferedSignals, Cancel,
    CancelledBy, CreatePendingWaitpoint, Decide, DeliverSignal, Execution, FORGOTTEN_AT_ONCE,
    Facts, FenceParts, FirstSeen, ForgetSignals, FoundSignal, Frame, IssuedWaitpoint, OperatorCall,
    Resume, Ruling, SideEffects, SignalRecord, Suspend, SuspendOutcome, Suspension,
};
use ff_core::id::{
    FrameType, Nonce, SignalId, SignalName, SignalSource, SuspensionId, WaitpointId, WaitpointKey,
};
use ff_core::lane::Lanes;
use ff_core::time::TimestampMs;
use ff_core::token::{Keyring, Kid, KnownKeyring, Secret, Subject, WaitpointToken};
use uuid::Uuid;

use super::limits::admission;
use super::{Bench, at, execution_id, ms};

pub fn suspension_id(number: u64) -> SuspensionId {
    SuspensionId::from_uuid(Uuid::from_u128(u128::from(number) | 4 << 96))
}

pub fn waitpoint_id(number: u64) -> WaitpointId {
    WaitpointId::from_uuid(Uuid::from_u128(u128::from(number) | 5 << 96))
}

pub fn signal_id(number: u64) -> SignalId {
    SignalId::from_uuid(Uuid::from_u128(u128::from(number) | 6 << 96))
}

pub fn key(text: &str) -> WaitpointKey {
    WaitpointKey::try_new(text).unwrap()
}

pub fn name(text: &str) -> SignalName {
    SignalName::try_new(text).unwrap()
}

/// The secret with which the tests sign.
pub fn known_secret() -> (Kid, Secret) {
    (Kid::try_new("k1").unwrap(), Secret::from_hex("c0ffee").unwrap())
}

/// The secrets of the tests.
pub fn ring() -> Keyring {
    let (kid, secret) = known_secret();
    Keyring::new(kid, secret)
}

/// The secrets as an operation knows them that has just read them.
pub fn known(now: TimestampMs) -> KnownKeyring {
    KnownKeyring::new(ring(), now)
}

/// A condition that any signal at this waitpoint satisfies.
pub fn any_at(waitpoint: &str) -> Condition {
    Condition::any_signal(key(waitpoint))
}

/// A condition that a signal of this name at this waitpoint satisfies.
pub fn named(waitpoint: &str, wanted: &str) -> Condition {
    Condition::signal(key(waitpoint), name(wanted))
}

pub fn all_of(members: impl Into<Vec<Condition>>) -> Condition {
    Condition::AllOf { members: members.into() }
}

pub fn any_of(members: impl Into<Vec<Condition>>) -> Condition {
    Condition::AnyOf { members: members.into() }
}

pub fn count(n: u32, kind: CountKind, waitpoints: &[&str]) -> Condition {
    let waitpoints = waitpoints.iter().map(|text| key(text)).collect();
    Condition::Count { n, kind, matcher: SignalMatcher::Wildcard, waitpoints }
}

pub fn timeout(after: u64, behaviour: TimeoutBehaviour) -> Option<SuspensionTimeout> {
    Some(SuspensionTimeout::after(ms(after), behaviour))
}

/// The names of waitpoints that a condition refers to, in order.
fn referenced(condition: &Condition, keys: &mut BTreeSet<WaitpointKey>) {
    match condition {
        Condition::Single { waitpoint, .. } => {
            keys.insert(waitpoint.clone());
        }
        Condition::OperatorOnly | Condition::TimeoutOnly => {}
        Condition::AllOf { members } | Condition::AnyOf { members } => {
            members.iter().for_each(|one| referenced(one, keys))
        }
        Condition::Count { waitpoints, .. } => keys.extend(waitpoints.iter().cloned()),
    }
}

/// Suspends with a new waitpoint for each name that the condition refers to: those of suspension 7
/// are the waitpoints 700, 701 and so on.
pub fn suspend(fence: impl Into<FenceParts>, number: u64, condition: Condition) -> Suspend {
    let mut keys = BTreeSet::new();
    referenced(&condition, &mut keys);
    let ids = (number * 100..).map(waitpoint_id);
    let waitpoints = keys.into_iter().zip(ids).map(|(key, id)| BindWaitpoint::New { id, key });
    Suspend {
        execution_id: execution_id(),
        fence: fence.into(),
        suspension_id: suspension_id(number),
        reason: SuspensionReason::default(),
        waitpoints: waitpoints.collect(),
        condition,
        timeout: None,
        policy: ResumePolicy::default(),
    }
}

/// Suspends on a waitpoint that is open already.
pub fn suspend_on(
    fence: impl Into<FenceParts>,
    number: u64,
    condition: Condition,
    open: &[u64],
) -> Suspend {
    let bind = |number: &u64| BindWaitpoint::Open { id: waitpoint_id(*number) };
    Suspend { waitpoints: open.iter().map(bind).collect(), ..suspend(fence, number, condition) }
}

pub fn pending(
    fence: impl Into<FenceParts>,
    number: u64,
    waitpoint: &str,
) -> CreatePendingWaitpoint {
    CreatePendingWaitpoint {
        execution_id: execution_id(),
        fence: fence.into(),
        waitpoint_id: waitpoint_id(number),
        key: key(waitpoint),
        expires_in: None,
    }
}

/// A signal by a call of the same number.
pub fn deliver(
    waitpoint: u64,
    token: &WaitpointToken,
    number: u64,
    signal_name: &str,
) -> DeliverSignal {
    DeliverSignal {
        execution_id: execution_id(),
        waitpoint_id: waitpoint_id(waitpoint),
        token: token.clone(),
        signal_id: signal_id(number),
        name: name(signal_name),
        source: None,
        context: Default::default(),
        payload: None,
        creator: Nonce(number),
    }
}

pub fn from_source(signal: DeliverSignal, source: &str) -> DeliverSignal {
    DeliverSignal { source: Some(SignalSource::try_new(source).unwrap()), ..signal }
}

pub fn resume(call: OperatorCall) -> Resume {
    Resume { execution_id: execution_id(), call, suspension: None }
}

pub fn frame(sequence: u64) -> Frame {
    Frame {
        sequence,
        frame_type: FrameType::try_new("log").unwrap(),
        payload: Arc::from(*b"a line"),
        metadata: BTreeMap::new(),
    }
}

pub fn append(fence: impl Into<FenceParts>, sequence: u64) -> AppendFrame {
    let (execution_id, fence) = (execution_id(), fence.into());
    AppendFrame { execution_id, fence, frame: frame(sequence), rings: false }
}

/// The good token of a waitpoint that the record remembers; a bad one where it does not.
pub fn token_of(record: Option<&Execution>, id: WaitpointId) -> WaitpointToken {
    let waiting = record.and_then(|record| record.waiting.as_ref());
    let found = waiting.and_then(|waiting| waiting.waitpoint(id));
    let other = key("other");
    let absent = Subject { id, key: &other, created_at: at(0) };
    let subject = found.map_or(absent, |(waitpoint, _)| waitpoint.subject());
    ring().sign(subject).expect("there is a secret").1
}

/// The waitpoints of a suspension that was entered.
#[track_caller]
pub fn issued(outcome: AnyOutcome) -> Vec<IssuedWaitpoint> {
    match outcome {
        AnyOutcome::Suspend(SuspendOutcome::Suspended { waitpoints, .. }) => waitpoints,
        AnyOutcome::CreatePendingWaitpoint(waitpoint) => vec![waitpoint],
        other => panic!("no waitpoints: {other:?}"),
    }
}

/// The facts that an operation has read for a command, besides the record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reads {
    pub signal: Option<FoundSignal>,
    pub keyring: Option<KnownKeyring>,
    pub buffered: Option<BufferedSignals>,
    pub lanes: Option<Lanes>,
    pub admission: Option<Admission>,
    pub first_seen: Option<FirstSeen>,
}

impl Reads {
    /// Nothing was read but the lanes, all of which are active. An operator's call may say by its
    /// request id which life was seen first.
    pub fn nothing(command: &AnyCommand) -> Self {
        let call = match command {
            AnyCommand::Cancel(Cancel { by: CancelledBy::Operator(call), .. }) => Some(call),
            AnyCommand::RevokeLease(command) => Some(&command.call),
            AnyCommand::ChangePriority(command) => Some(&command.call),
            AnyCommand::Replay(command) => Some(&command.call),
            AnyCommand::Resume(command) => Some(&command.call),
            _ => None,
        };
        let life = call.and_then(|call| call.request_id.as_str().split_once('/')?.1.parse().ok());
        let first_seen = life.map(|life| FirstSeen { life, suspension: None, origin: None });
        let lanes = match command {
            AnyCommand::Create(create) => Some(Lanes::new(create.namespace.clone())),
            _ => None,
        };
        Self { first_seen, lanes, ..Self::default() }
    }

    /// Decides a command with these facts.
    pub fn decide(
        &self,
        command: &AnyCommand,
        record: Option<&Execution>,
        now: TimestampMs,
    ) -> Ruling<AnyOutcome> {
        let facts = Facts {
            record,
            signal: self.signal.as_ref(),
            keyring: self.keyring.as_ref(),
            buffered: self.buffered.as_ref(),
            lanes: self.lanes.as_ref(),
            admission: self.admission.as_ref(),
            first_seen: self.first_seen,
        };
        command.decide(&facts, now)
    }
}

/// Decides a command for which nothing but the record was read.
pub fn decide(
    command: &AnyCommand,
    record: Option<&Execution>,
    now: TimestampMs,
) -> Ruling<AnyOutcome> {
    Reads::nothing(command).decide(command, record, now)
}

impl Bench {
    /// All facts that an operation would have read for a command: secrets, the signal of its id,
    /// the signals that were taken, and what the limits of the execution say.
    pub fn reads(&self, command: &AnyCommand, now: TimestampMs) -> Reads {
        let signal = command.spec().needs.signal.map(|id| match self.signals.get(&id).cloned() {
            Some(record) => FoundSignal::Taken(Box::new(record)),
            None => FoundSignal::Absent,
        });
        // A signal is decided without the signals before it, of which there may be thousands.
        let buffered = signal.is_none().then(|| self.buffered());
        let keyring = Some(known(now));
        let admission = admission(command, self.record.as_ref());
        Reads { signal, keyring, buffered, admission, ..Reads::nothing(command) }
    }

    /// Every signal, in the order of the numbers.
    pub fn buffered(&self) -> BufferedSignals {
        let mut signals: Vec<SignalRecord> = self.signals.values().cloned().collect();
        signals.sort_by_key(|signal| signal.number);
        BufferedSignals { through: signals.last().map_or(0, |last| last.number + 1), signals }
    }

    /// The next request of retention: the first signals, as a scan would find them.
    pub fn forget(&self) -> ForgetSignals {
        let all = self.buffered().signals;
        let page = all.iter().take(FORGOTTEN_AT_ONCE as usize);
        let signals = page.map(|signal| (signal.id, Some(1))).collect();
        let last = all.len() <= FORGOTTEN_AT_ONCE as usize;
        ForgetSignals { execution_id: execution_id(), signals, last }
    }

    /// Writes what a decision wants beside the record, as a store would.
    pub(super) fn commit_beside(&mut self, beside: SideEffects) {
        if let Some(signal) = beside.signal {
            let before = self.signals.insert(signal.id, signal);
            assert_eq!(before, None, "a signal is taken once");
        }
        for (id, _) in beside.forgotten {
            self.signals.remove(&id);
        }
        if let Some((attempt, frame)) = beside.frame {
            let frames = self.frames.entry(attempt).or_default();
            assert_eq!(frame.sequence, frames.len() as u64 + 1, "frames follow each other");
            frames.push(frame);
        }
        for attempt in beside.dropped {
            self.frames.remove(&attempt);
        }
    }

    /// Whether nothing is left of an execution whose record is gone.
    pub fn is_empty(&self) -> bool {
        self.record.is_none()
            && self.values.is_empty()
            && self.signals.is_empty()
            && self.frames.is_empty()
    }

    #[track_caller]
    pub fn suspension(&self) -> &Suspension {
        self.record().suspension().expect("it is suspended")
    }

    /// Delivers a signal with the good token of its waitpoint.
    #[track_caller]
    pub fn signalled(&mut self, waitpoint: u64, number: u64, name: &str, now: u64) -> AnyOutcome {
        let command = self.signal(waitpoint, number, name);
        self.applied(command, now)
    }

    /// A signal with the good token of its waitpoint.
    pub fn signal(&self, waitpoint: u64, number: u64, name: &str) -> DeliverSignal {
        let token = token_of(self.record.as_ref(), waitpoint_id(waitpoint));
        deliver(waitpoint, &token, number, name)
    }
}
