//! The kit of core's tests, the simulator's tests and the fuzz targets: small ids, commands with
//! the arguments that matter, and a bench that holds one execution.

#![allow(dead_code, reason = "each program that includes this uses its part of it")]

pub mod limits;
pub mod nulls;
pub mod suspending;

use std::collections::BTreeMap;
use std::sync::Arc;

use ff_core::capability::Capabilities;
use ff_core::error::Rejection;
use ff_core::execution::{
    Active, AnyCommand, AnyOutcome, Block, BlockKind, Cancel, CancelledBy, Claim, Complete, Create,
    DEFAULT_PAYLOAD_LIMIT, Decision, DelayExecution, Event, EventKind, Execution, Fail, Fence,
    FenceParts, Frame, GrantAudit, IndexEntries, IssueClaimGrant, IssueReclaimGrant,
    MoveToWaitingChildren, Next, Offer, OnDue, OperatorCall, Phase, ReleaseGrant, Renew, Replay,
    RetryAdvice, RevokeLease, SignalRecord, Situation, Start, TakeNew, TakeOver, TakeResumed,
    Terminal, Unblock, ValueEffect, ValueKind, Verdict, content_digest, index_entries, situation,
};
use ff_core::id::{
    AttemptId, AttemptIndex, ExecutionId, ExecutionKind, FailureCategory, GrantId, LaneId,
    LeaseEpoch, LeaseId, Namespace, Nonce, RequestId, SignalId, WorkerId, WorkerInstanceId,
};
use ff_core::limits::Limits;
use ff_core::policy::{ExecutionPolicy, Priority};
use ff_core::tags::Tags;
use ff_core::time::{DurationMs, TimestampMs};
use uuid::Uuid;

use suspending::Reads;

/// When the tests begin: at the start of the simulator's clock.
pub const START: u64 = 1_764_000_000_000;
/// The ttl of leases, unless a test says otherwise.
pub const LEASE: u64 = 30_000;
/// The ttl of grants, unless a test says otherwise.
pub const GRANT: u64 = 20_000;

pub fn at(milliseconds: u64) -> TimestampMs {
    TimestampMs::new(milliseconds)
}

pub fn ms(milliseconds: u64) -> DurationMs {
    DurationMs::new(milliseconds)
}

/// The one execution that the tests are about.
pub fn execution_id() -> ExecutionId {
    ExecutionId::from_parts(7, Uuid::from_u128(7))
}

/// The epoch of the lease with this number, from 1, of an execution that was created at [`START`].
pub fn epoch(number: u64) -> LeaseEpoch {
    LeaseEpoch(START + number)
}

pub fn lease_id(number: u64) -> LeaseId {
    LeaseId::from_uuid(Uuid::from_u128(u128::from(number) | 1 << 96))
}

pub fn attempt_id(number: u64) -> AttemptId {
    AttemptId::from_uuid(Uuid::from_u128(u128::from(number) | 2 << 96))
}

pub fn grant_id(number: u64) -> GrantId {
    GrantId::from_uuid(Uuid::from_u128(u128::from(number) | 3 << 96))
}

pub fn worker(number: u64) -> WorkerId {
    WorkerId::try_new(format!("worker-{number}")).unwrap()
}

pub fn instance(number: u64) -> WorkerInstanceId {
    WorkerInstanceId::try_new(format!("instance-{number}")).unwrap()
}

pub fn capabilities(tokens: &[&str]) -> Capabilities {
    Capabilities::try_new(tokens).unwrap()
}

pub fn category(text: &str) -> FailureCategory {
    FailureCategory::try_new(text).unwrap()
}

/// An operator's call for whatever life it meets.
pub fn call(number: u64) -> OperatorCall {
    OperatorCall::new(RequestId::try_new(format!("request-{number}")).unwrap())
}

/// An operator's call whose operation saw this life first: its request id names the life, for
/// [`Reads`](suspending::Reads).
pub fn call_for(number: u64, life: u32) -> OperatorCall {
    OperatorCall::new(RequestId::try_new(format!("request-{number}/{life}")).unwrap())
}

/// A submission with the defaults of the specification, to be changed.
#[derive(Clone, Debug)]
pub struct Submission(pub Create);

impl Submission {
    pub fn new() -> Self {
        Self(Create {
            execution_id: execution_id(),
            namespace: Namespace::try_new("tenant").unwrap(),
            lane: LaneId::try_new("default").unwrap(),
            kind: ExecutionKind::try_new("email").unwrap(),
            payload: None,
            payload_limit: DEFAULT_PAYLOAD_LIMIT,
            priority: Priority::default(),
            policy: ExecutionPolicy::default(),
            requires: Capabilities::default(),
            tags: Tags::default(),
            limits: Limits::default(),
            start: Start::Now,
            deadline: None,
            position: 0,
            creator: Nonce(1),
            content: None,
        })
    }

    pub fn policy(mut self, change: impl FnOnce(&mut ExecutionPolicy)) -> Self {
        change(&mut self.0.policy);
        self
    }

    pub fn attempt_timeout(self, milliseconds: u64) -> Self {
        self.policy(|policy| policy.timeout.attempt_timeout_ms = Some(ms(milliseconds)))
    }

    pub fn retries(self, max_retries: u32) -> Self {
        self.policy(|policy| policy.retry.max_retries = max_retries)
    }

    pub fn requires(mut self, tokens: &[&str]) -> Self {
        self.0.requires = capabilities(tokens);
        self
    }

    pub fn start(mut self, start: Start) -> Self {
        self.0.start = start;
        self
    }

    pub fn deadline(mut self, milliseconds: u64) -> Self {
        self.0.deadline = Some(at(milliseconds));
        self
    }

    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.0.payload = Some(Arc::from(bytes));
        self
    }

    pub fn creator(mut self, number: u64) -> Self {
        self.0.creator = Nonce(number);
        self
    }

    /// Its id stands for an idempotency key.
    pub fn idempotent(mut self) -> Self {
        self.0.content = Some(content_digest(&self.0));
        self
    }
}

impl From<Submission> for AnyCommand {
    fn from(submission: Submission) -> Self {
        Self::Create(submission.0)
    }
}

/// A request for a claim grant by worker 1.
pub fn grant(number: u64) -> IssueClaimGrant {
    IssueClaimGrant {
        execution_id: execution_id(),
        lane: None,
        grant_id: grant_id(number),
        worker: worker(1),
        capabilities: capabilities(&["gpu", "eu"]),
        ttl: ms(GRANT),
        audit: GrantAudit::default(),
    }
}

pub fn reclaim_grant(number: u64) -> IssueReclaimGrant {
    IssueReclaimGrant(grant(number))
}

/// Gives the grant of this number, issued to worker 1, back.
pub fn release(number: u64) -> ReleaseGrant {
    ReleaseGrant { execution_id: execution_id(), grant_id: grant_id(number), worker: worker(1) }
}

/// A claim by worker 1; its grant, lease and attempt have the same number.
pub fn claim(number: u64) -> Claim {
    Claim {
        execution_id: execution_id(),
        grant_id: grant_id(number),
        worker: worker(1),
        instance: instance(1),
        lane: None,
        lease_id: lease_id(number),
        attempt_id: attempt_id(number),
        lease_ttl: ms(LEASE),
    }
}

pub fn take_new(number: u64) -> TakeNew {
    TakeNew(claim(number))
}

pub fn take_resumed(number: u64) -> TakeResumed {
    TakeResumed(claim(number))
}

pub fn take_over(number: u64) -> TakeOver {
    TakeOver(claim(number))
}

/// An offer to a worker that has every capability.
pub fn offer(number: u64) -> Offer {
    Offer { claim: claim(number), capabilities: capabilities(&["gpu", "eu"]) }
}

/// An offer to a worker that can only do what every worker can.
pub fn offer_plain(number: u64) -> Offer {
    Offer { capabilities: Capabilities::default(), ..offer(number) }
}

pub fn renew(fence: impl Into<FenceParts>, ttl: u64) -> Renew {
    Renew { execution_id: execution_id(), fence: fence.into(), lease_ttl: ms(ttl) }
}

pub fn complete(fence: impl Into<FenceParts>, result: Option<&[u8]>) -> Complete {
    let result = result.map(Arc::from);
    Complete { execution_id: execution_id(), fence: fence.into(), result }
}

pub fn fail(fence: impl Into<FenceParts>, category_text: &str) -> Fail {
    Fail {
        execution_id: execution_id(),
        fence: fence.into(),
        reason: "it broke".to_owned(),
        category: category(category_text),
        retry: RetryAdvice::ByPolicy,
    }
}

pub fn delay(fence: impl Into<FenceParts>, until: u64) -> DelayExecution {
    DelayExecution {
        execution_id: execution_id(),
        fence: fence.into(),
        until: at(until),
        keeps_resumption: false,
    }
}

pub fn wait_for_children(fence: impl Into<FenceParts>) -> MoveToWaitingChildren {
    MoveToWaitingChildren { execution_id: execution_id(), fence: fence.into() }
}

pub fn cancel_by_holder(fence: impl Into<FenceParts>) -> Cancel {
    let by = CancelledBy::Holder(fence.into());
    Cancel { execution_id: execution_id(), by, reason: "not needed".to_owned() }
}

pub fn cancel(call: OperatorCall) -> Cancel {
    let by = CancelledBy::Operator(call);
    Cancel { execution_id: execution_id(), by, reason: "not needed".to_owned() }
}

pub fn revoke(call: OperatorCall) -> RevokeLease {
    RevokeLease { execution_id: execution_id(), call }
}

pub fn replay(call: OperatorCall) -> Replay {
    Replay { execution_id: execution_id(), call }
}

pub fn block(kind: BlockKind) -> Block {
    Block { execution_id: execution_id(), kind, recheck_at: None }
}

pub fn unblock(kind: BlockKind) -> Unblock {
    Unblock { execution_id: execution_id(), kind }
}

pub fn on_due() -> OnDue {
    OnDue { execution_id: execution_id() }
}

/// The result of a command on a bench.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It was applied: a record was written or removed.
    Applied(AnyOutcome),
    /// The record stays; only its index entries are written again.
    Kept(AnyOutcome),
    /// It was recognised as a repeat.
    Repeated(AnyOutcome),
}

/// One execution, what is kept beside it, and all that ever happened to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bench {
    pub record: Option<Execution>,
    pub values: BTreeMap<ValueKind, Arc<[u8]>>,
    pub signals: BTreeMap<SignalId, SignalRecord>,
    pub frames: BTreeMap<AttemptIndex, Vec<Frame>>,
    pub history: Vec<Event>,
}

impl Bench {
    /// A bench with an execution that was created at [`START`].
    pub fn new(submission: Submission) -> Self {
        let mut bench = Self::default();
        bench.applied(submission, START);
        bench
    }

    /// A bench whose execution was claimed at [`START`], with the fence of its lease.
    pub fn claimed() -> (Self, Fence) {
        let mut bench = Self::new(Submission::new());
        let fence = bench.take(1, START);
        (bench, fence)
    }

    /// Decides a command by its rule, with all that an operation would have read for it, and
    /// commits what it decides, as a store would.
    pub fn apply(&mut self, command: impl Into<AnyCommand>, now: u64) -> Result<Answer, Rejection> {
        let command = command.into();
        let reads = self.reads(&command, at(now));
        self.apply_with(&command, &reads, now)
    }

    /// The same with these facts.
    pub fn apply_with(
        &mut self,
        command: &AnyCommand,
        reads: &Reads,
        now: u64,
    ) -> Result<Answer, Rejection> {
        match reads.decide(command, self.record.as_ref(), at(now))? {
            Verdict::Repeat(outcome) => Ok(Answer::Repeated(outcome)),
            Verdict::Apply(decision) => {
                assert!(decision.window.contains(at(now)), "{:?} at {now}", decision.window);
                let kept = decision.next == Next::Keep;
                let outcome = decision.outcome.clone();
                self.commit(decision);
                Ok(if kept { Answer::Kept(outcome) } else { Answer::Applied(outcome) })
            }
        }
    }

    pub fn commit(&mut self, decision: Decision<AnyOutcome>) {
        match decision.next {
            Next::Put(record) => self.record = Some(record),
            Next::Keep => {}
            Next::Remove => self.record = None,
        }
        for effect in decision.values {
            match effect {
                ValueEffect::Put(kind, bytes) => self.values.insert(kind, bytes),
                ValueEffect::Remove(kind) => self.values.remove(&kind),
            };
        }
        self.commit_beside(decision.side_effects.map(|beside| *beside).unwrap_or_default());
        self.history.extend(decision.events);
    }

    /// The decision of a command that must be applied, without committing it.
    #[track_caller]
    pub fn decision(&self, command: impl Into<AnyCommand>, now: u64) -> Decision<AnyOutcome> {
        let command = command.into();
        match self.reads(&command, at(now)).decide(&command, self.record.as_ref(), at(now)) {
            Ok(Verdict::Apply(decision)) => decision,
            other => panic!("not applied: {other:?}"),
        }
    }

    /// The outcome of a command that must be applied.
    #[track_caller]
    pub fn applied(&mut self, command: impl Into<AnyCommand>, now: u64) -> AnyOutcome {
        match self.apply(command, now) {
            Ok(Answer::Applied(outcome)) => outcome,
            other => panic!("not applied: {other:?}"),
        }
    }

    /// The outcome of a command that must be recognised as a repeat.
    #[track_caller]
    pub fn repeated(&mut self, command: impl Into<AnyCommand>, now: u64) -> AnyOutcome {
        match self.apply(command, now) {
            Ok(Answer::Repeated(outcome)) => outcome,
            other => panic!("no repeat: {other:?}"),
        }
    }

    /// The rejection of a command that must be refused and leave everything as it is.
    #[track_caller]
    pub fn refused(&mut self, command: impl Into<AnyCommand>, now: u64) -> Rejection {
        let before = self.clone();
        match self.apply(command, now) {
            Err(rejection) => {
                assert_eq!(*self, before);
                rejection
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Offers the execution to a worker with every capability, which must get it.
    #[track_caller]
    pub fn take(&mut self, number: u64, now: u64) -> Fence {
        self.applied(offer(number), now);
        self.active();
        self.record().last_fence.expect("a claimed execution has a fence")
    }

    #[track_caller]
    pub fn record(&self) -> &Execution {
        self.record.as_ref().expect("the execution exists")
    }

    #[track_caller]
    pub fn active(&self) -> &Active {
        match &self.record().phase {
            Phase::Active(active) => active,
            phase => panic!("not active: {phase:?}"),
        }
    }

    #[track_caller]
    pub fn terminal(&self) -> &Terminal {
        match &self.record().phase {
            Phase::Terminal(terminal) => terminal,
            phase => panic!("not terminal: {phase:?}"),
        }
    }

    #[track_caller]
    pub fn situation(&self, now: u64) -> Situation {
        situation(self.record(), at(now))
    }

    #[track_caller]
    pub fn entries(&self) -> IndexEntries {
        index_entries(self.record())
    }

    /// How often an event of this kind has happened.
    pub fn count(&self, kind: EventKind) -> usize {
        self.history.iter().filter(|event| event.kind() == kind).count()
    }
}
