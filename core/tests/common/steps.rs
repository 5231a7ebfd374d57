//! Random steps: what they are, how they are drawn, and which command each one means for the
//! execution as it stands.

use ff_core::capability::Capabilities;
use ff_core::execution::{
    Admit, AnyCommand, Block, BlockKind, Blocks, Cancel, CancelledBy, ChangePriority, Claim,
    Execution, Fail, Fence, FenceParts, IssueClaimGrant, IssueReclaimGrant, Offer, OperatorCall,
    Situation, Start, TakeNew, TakeOver, TakeResumed, Unblock, UpdateProgress, due_times,
    situation,
};
use ff_core::id::LeaseEpoch;
use ff_core::policy::{Backoff, Priority, ReclaimMode};
use ff_core::time::TimestampMs;
use proptest::prelude::*;

use super::suspending::resume;
use super::waits::{
    CONDITIONS, FrameChoice, POLICIES, PendingChoice, SignalChoice, SuspendChoice, TIMEOUTS,
};
use super::{
    Bench, START, Submission, at, attempt_id, call, call_for, cancel_by_holder, claim, complete,
    delay, execution_id, fail, grant, grant_id, lease_id, ms, offer, on_due, renew, replay, revoke,
    wait_for_children, worker,
};

/// One command at one time.
#[derive(Clone, Debug)]
pub struct Step {
    pub clock: Clock,
    pub action: Action,
}

/// How the store's clock moves before a command.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    Stay,
    Tick,
    /// To one of the due times that are still to come, or 1 ms before or after it.
    Due {
        pick: usize,
        nudge: i64,
    },
    Forward(u64),
    Back(u64),
}

#[derive(Clone, Copy, Debug)]
pub enum FenceChoice {
    Current,
    /// One that was given earlier.
    Stale(usize),
    Forged,
    Partial,
    Missing,
}

/// The arguments of a claim; the grant is the one that is out, unless it is wrong.
#[derive(Clone, Copy, Debug)]
pub struct ClaimChoice {
    pub right_grant: bool,
    pub right_worker: bool,
    /// Its lease and attempt; small, so that they come again.
    pub number: u64,
    pub ttl: u64,
}

/// The arguments of a request for a grant.
#[derive(Clone, Copy, Debug)]
pub struct GrantChoice {
    pub number: u64,
    pub capable: bool,
    pub ttl: u64,
}

/// The arguments of an operator's call.
#[derive(Clone, Copy, Debug)]
pub struct CallChoice {
    pub number: u64,
    /// How far the life that it is meant for is off.
    pub off: Option<u32>,
}

#[derive(Clone, Debug)]
pub enum Action {
    Create {
        creator: u64,
        idempotent: bool,
    },
    IssueClaimGrant(GrantChoice),
    IssueReclaimGrant(GrantChoice),
    Admit(GrantChoice),
    Claim(ClaimChoice),
    ClaimResumed(ClaimChoice),
    Reclaim(ClaimChoice),
    Offer {
        claim: ClaimChoice,
        capable: bool,
    },
    Renew {
        fence: FenceChoice,
        ttl: u64,
    },
    Complete {
        fence: FenceChoice,
        result: bool,
    },
    Fail {
        fence: FenceChoice,
        category: &'static str,
        permanent: bool,
    },
    Delay {
        fence: FenceChoice,
        milliseconds: i64,
    },
    WaitForChildren(FenceChoice),
    Progress {
        fence: FenceChoice,
        percent: u8,
    },
    CancelByHolder(FenceChoice),
    Cancel(CallChoice),
    Revoke(CallChoice),
    ChangePriority {
        call: CallChoice,
        priority: i64,
    },
    Replay(CallChoice),
    Block {
        kind: BlockKind,
        after: Option<u64>,
    },
    Unblock {
        kind: BlockKind,
        offered: Option<bool>,
    },
    OnDue,
    Suspend(SuspendChoice),
    CreatePending(PendingChoice),
    Signal(SignalChoice),
    Resume(CallChoice),
    Append(FrameChoice),
    /// Takes signals away whose retention is over.
    Forget,
    /// Whatever is most likely to be applied as things stand, so that sequences get far.
    Promising(usize),
}

/// Any submission: without bounds, or with every bound so low that it is met.
pub fn submissions() -> impl Strategy<Value = Submission> {
    let backoff = prop_oneof![
        Just(Backoff::Fixed { delay_ms: ms(0) }),
        Just(Backoff::Fixed { delay_ms: ms(2_000) }),
        Just(Backoff::default()),
    ];
    let limits = (0..3_u32, 0..3_u32, 0..3_u32, backoff);
    let attempt_timeout = prop_oneof![2 => Just(None), 1 => (1..60_000_u64).prop_map(Some)];
    let deadline = prop_oneof![3 => Just(None), 1 => (1..400_000_u64).prop_map(Some)];
    let retention = prop_oneof![Just(0), Just(10_000_u64), Just(86_400_000)];
    let start = prop_oneof![
        3 => Just(Start::Now),
        1 => (-2_000..9_000_i64).prop_map(|off| Start::At(at(START.saturating_add_signed(off)))),
        1 => (0..9_000_u64).prop_map(|after| Start::After(ms(after))),
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (limits, attempt_timeout, deadline, retention, start, flags).prop_map(
        |((retries, reclaims, replays, backoff), timeout, deadline, retention, start, flags)| {
            let (on_request, choosy, picky) = flags;
            let mut submission = Submission::new().payload(b"payload").start(start);
            submission.0.deadline = deadline.map(|after| at(START + after));
            if choosy {
                submission = submission.requires(&["gpu"]);
            }
            submission.policy(|policy| {
                policy.retry.max_retries = retries;
                policy.retry.backoff = backoff;
                if picky {
                    policy.retry.retryable_categories = vec![super::category("broken")];
                }
                policy.timeout.attempt_timeout_ms = timeout.map(ms);
                policy.max_reclaim_count = reclaims;
                policy.max_replay_count = replays;
                policy.retention_ms = ms(retention);
                if on_request {
                    policy.reclaim_mode = ReclaimMode::OnRequest;
                }
            })
        },
    )
}

pub fn sequences() -> impl Strategy<Value = Vec<Step>> {
    let step = (clocks(), actions()).prop_map(|(clock, action)| Step { clock, action });
    proptest::collection::vec(step, 1..100)
}

fn clocks() -> impl Strategy<Value = Clock> {
    prop_oneof![
        16 => Just(Clock::Stay),
        6 => Just(Clock::Tick),
        6 => (0..4_usize, -1..=1_i64).prop_map(|(pick, nudge)| Clock::Due { pick, nudge }),
        2 => prop_oneof![Just(500), Just(31_000), Just(90_000), Just(90_000_000_u64)]
            .prop_map(Clock::Forward),
        1 => prop_oneof![Just(1), Just(2_000), Just(100_000), Just(4_000_000_u64)]
            .prop_map(Clock::Back),
    ]
}

fn fences() -> impl Strategy<Value = FenceChoice> {
    prop_oneof![
        12 => Just(FenceChoice::Current),
        2 => (0..9_usize).prop_map(FenceChoice::Stale),
        1 => Just(FenceChoice::Forged),
        1 => Just(FenceChoice::Partial),
        1 => Just(FenceChoice::Missing),
    ]
}

fn claim_choices() -> impl Strategy<Value = ClaimChoice> {
    let ttl = prop_oneof![8 => Just(30_000), 1 => Just(0), 1 => Just(1), 1 => Just(86_400_001)];
    let rarely_wrong = || prop::bool::weighted(0.9);
    (rarely_wrong(), rarely_wrong(), 0..6_u64, ttl).prop_map(
        |(right_grant, right_worker, number, ttl)| ClaimChoice {
            right_grant,
            right_worker,
            number,
            ttl,
        },
    )
}

fn grant_choices() -> impl Strategy<Value = GrantChoice> {
    let ttl = prop_oneof![8 => Just(20_000), 1 => Just(0), 1 => Just(1), 1 => Just(60_001)];
    (0..6_u64, prop::bool::weighted(0.8), ttl).prop_map(|(number, capable, ttl)| GrantChoice {
        number,
        capable,
        ttl,
    })
}

fn calls() -> impl Strategy<Value = CallChoice> {
    let off = prop_oneof![4 => Just(None), 4 => Just(Some(0)), 1 => Just(Some(1))];
    (0..12_u64, off).prop_map(|(number, off)| CallChoice { number, off })
}

fn kinds() -> impl Strategy<Value = BlockKind> {
    proptest::sample::select(&BlockKind::ALL[..])
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![
        16 => (0..60_usize).prop_map(Action::Promising),
        10 => admissions(),
        12 => holders(),
        12 => waits(),
        3 => operators(),
        2 => Just(Action::OnDue),
        1 => (1..3_u64, any::<bool>())
            .prop_map(|(creator, idempotent)| Action::Create { creator, idempotent }),
        1 => (kinds(), prop_oneof![Just(None), Just(Some(5_000))])
            .prop_map(|(kind, after)| Action::Block { kind, after }),
        2 => (kinds(), prop_oneof![Just(None), any::<bool>().prop_map(Some)])
            .prop_map(|(kind, offered)| Action::Unblock { kind, offered }),
    ]
}

fn admissions() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => grant_choices().prop_map(Action::IssueClaimGrant),
        2 => grant_choices().prop_map(Action::IssueReclaimGrant),
        1 => grant_choices().prop_map(Action::Admit),
        2 => claim_choices().prop_map(Action::Claim),
        1 => claim_choices().prop_map(Action::ClaimResumed),
        2 => claim_choices().prop_map(Action::Reclaim),
        6 => (claim_choices(), prop::bool::weighted(0.8))
            .prop_map(|(claim, capable)| Action::Offer { claim, capable }),
    ]
}

fn holders() -> impl Strategy<Value = Action> {
    let categories = proptest::sample::select(&["broken", "odd"][..]);
    let ttls = proptest::sample::select(&[30_000, 5_000, 1, 0][..]);
    let delays = proptest::sample::select(&[-1_500, 0, 1, 8_000_i64][..]);
    let percents = proptest::sample::select(&[0, 100, 101][..]);
    prop_oneof![
        3 => (fences(), ttls).prop_map(|(fence, ttl)| Action::Renew { fence, ttl }),
        1 => (fences(), any::<bool>())
            .prop_map(|(fence, result)| Action::Complete { fence, result }),
        3 => (fences(), categories, prop::bool::weighted(0.1))
            .prop_map(|(fence, category, permanent)| Action::Fail { fence, category, permanent }),
        2 => (fences(), delays)
            .prop_map(|(fence, milliseconds)| Action::Delay { fence, milliseconds }),
        1 => fences().prop_map(Action::WaitForChildren),
        1 => (fences(), percents).prop_map(|(fence, percent)| Action::Progress { fence, percent }),
        1 => fences().prop_map(Action::CancelByHolder),
    ]
}

fn waits() -> impl Strategy<Value = Action> {
    let picks = (0..CONDITIONS, 0..TIMEOUTS, 0..POLICIES);
    let suspends = (fences(), 1..6_u64, picks, any::<bool>()).prop_map(
        |(fence, number, (condition, timeout, policy), open)| SuspendChoice {
            fence,
            number,
            condition,
            timeout,
            policy,
            open,
        },
    );
    let expiries = prop_oneof![Just(None), Just(Some(3_000)), Just(Some(0))];
    let pendings =
        (fences(), 1..9_u64, 0..4_usize, expiries).prop_map(|(fence, number, key, expires_in)| {
            PendingChoice { fence, number, key, expires_in }
        });
    let flags = (prop::bool::weighted(0.9), prop::bool::weighted(0.1), any::<bool>());
    let signals = (0..20_usize, 0..40_u64, flags, 0..3_usize).prop_map(
        |(pick, number, (good_token, by_another, approved), source)| SignalChoice {
            pick,
            good_token,
            number,
            by_another,
            approved,
            source,
        },
    );
    prop_oneof![
        4 => suspends.prop_map(Action::Suspend),
        2 => pendings.prop_map(Action::CreatePending),
        6 => signals.prop_map(Action::Signal),
        1 => calls().prop_map(Action::Resume),
        2 => (fences(), 0..3_u64)
            .prop_map(|(fence, ahead)| Action::Append(FrameChoice { fence, ahead })),
        1 => Just(Action::Forget),
    ]
}

fn operators() -> impl Strategy<Value = Action> {
    prop_oneof![
        1 => calls().prop_map(Action::Cancel),
        1 => calls().prop_map(Action::Revoke),
        1 => (calls(), -1..9_001_i64)
            .prop_map(|(call, priority)| Action::ChangePriority { call, priority }),
        5 => calls().prop_map(Action::Replay),
    ]
}

impl Clock {
    /// The time after this move.
    pub fn moved(self, record: Option<&Execution>, now: TimestampMs) -> TimestampMs {
        match self {
            Self::Stay => now,
            Self::Tick => now.plus(ms(1)),
            Self::Forward(milliseconds) => now.plus(ms(milliseconds)),
            Self::Back(milliseconds) => now.minus(ms(milliseconds)).max(at(1_000)),
            Self::Due { pick, nudge } => {
                let later = record.into_iter().flat_map(due_times).map(|(at, _)| at);
                let mut later: Vec<TimestampMs> = later.filter(|at| *at > now).collect();
                later.sort();
                match later.get(pick % later.len().max(1)) {
                    Some(due) => at(due.get().saturating_add_signed(nudge)),
                    None => now,
                }
            }
        }
    }
}

impl Action {
    /// The command that this means for an execution; `given` are all fences that were ever given.
    pub fn command(
        &self,
        submission: &Submission,
        bench: &Bench,
        given: &[Fence],
        now: TimestampMs,
    ) -> AnyCommand {
        let record = bench.record.as_ref();
        let fence = |choice| resolve_fence(choice, record, given);
        let call = |choice| resolve_call(choice, record);
        match self {
            Self::Create { creator, idempotent } => {
                let again = submission.clone().creator(*creator);
                if *idempotent { again.idempotent().into() } else { again.into() }
            }
            Self::Renew { fence: choice, ttl } => renew(fence(*choice), *ttl).into(),
            Self::Complete { fence: choice, result } => {
                complete(fence(*choice), result.then_some(b"result")).into()
            }
            Self::Fail { fence: choice, category, permanent } => {
                Fail { permanent: *permanent, ..fail(fence(*choice), category) }.into()
            }
            Self::Delay { fence: choice, milliseconds } => {
                delay(fence(*choice), now.get().saturating_add_signed(*milliseconds)).into()
            }
            Self::WaitForChildren(choice) => wait_for_children(fence(*choice)).into(),
            Self::Progress { fence: choice, percent } => {
                let (execution_id, fence, percent) = (execution_id(), fence(*choice), *percent);
                let message = Some("halfway".to_owned());
                UpdateProgress { execution_id, fence, percent, message }.into()
            }
            Self::CancelByHolder(choice) => cancel_by_holder(fence(*choice)).into(),
            Self::Cancel(choice) => {
                let by = CancelledBy::Operator(call(*choice));
                let reason = "not needed".to_owned();
                Cancel { execution_id: execution_id(), by, reason }.into()
            }
            Self::Revoke(choice) => revoke(call(*choice)).into(),
            Self::ChangePriority { call: choice, priority } => {
                let (call, priority) = (call(*choice), Priority::clamped(*priority));
                ChangePriority { execution_id: execution_id(), call, priority }.into()
            }
            Self::Replay(choice) => replay(call(*choice)).into(),
            Self::Block { kind, after } => {
                let recheck_at = after.map(|after| now.plus(ms(after)));
                Block { execution_id: execution_id(), kind: *kind, recheck_at }.into()
            }
            Self::Unblock { kind, offered } => {
                let offered = offered.map(offered_capabilities);
                Unblock { execution_id: execution_id(), kind: *kind, offered }.into()
            }
            Self::OnDue => on_due().into(),
            Self::Promising(pick) => {
                let promising = promising(record, *pick, now);
                promising.command(submission, bench, given, now)
            }
            Self::Forget => bench.forget().into(),
            other => other.waits(record, given).unwrap_or_else(|| other.admission(record)),
        }
    }

    fn waits(&self, record: Option<&Execution>, given: &[Fence]) -> Option<AnyCommand> {
        let fence = |choice| resolve_fence(choice, record, given);
        Some(match self {
            Self::Suspend(choice) => choice.command(record, fence(choice.fence)).into(),
            Self::CreatePending(choice) => choice.command(fence(choice.fence)).into(),
            Self::Signal(choice) => choice.command(record).into(),
            Self::Resume(choice) => resume(resolve_call(*choice, record)).into(),
            Self::Append(choice) => choice.command(record, fence(choice.fence)).into(),
            _ => return None,
        })
    }

    fn admission(&self, record: Option<&Execution>) -> AnyCommand {
        match self {
            Self::IssueClaimGrant(choice) => resolve_grant(*choice).into(),
            Self::IssueReclaimGrant(choice) => IssueReclaimGrant(resolve_grant(*choice)).into(),
            Self::Admit(choice) => Admit(resolve_grant(*choice)).into(),
            Self::Claim(choice) => TakeNew(resolve_claim(*choice, record)).into(),
            Self::ClaimResumed(choice) => TakeResumed(resolve_claim(*choice, record)).into(),
            Self::Reclaim(choice) => TakeOver(resolve_claim(*choice, record)).into(),
            Self::Offer { claim, capable } => Offer {
                claim: resolve_claim(*claim, None),
                capabilities: offered_capabilities(*capable),
            }
            .into(),
            other => unreachable!("{other:?} admits nobody"),
        }
    }
}

/// The likely action number `pick` for an execution as it stands.
fn promising(record: Option<&Execution>, pick: usize, now: TimestampMs) -> Action {
    let number = (pick % 6) as u64;
    let grant = GrantChoice { number, capable: true, ttl: 20_000 };
    let claim = ClaimChoice { right_grant: true, right_worker: true, number, ttl: 30_000 };
    let call = CallChoice { number, off: None };
    let (fence, offer) = (FenceChoice::Current, Action::Offer { claim, capable: true });
    let Some(record) = record else {
        return Action::Create { creator: 1, idempotent: false };
    };
    let taken = record.waiting.as_ref().map_or(0, |waiting| waiting.signals);
    let signal = SignalChoice {
        pick,
        good_token: true,
        number: 100 + u64::from(taken),
        by_another: false,
        approved: true,
        source: pick,
    };
    let suspend = SuspendChoice {
        fence,
        number: 10 + record.epoch.0,
        condition: pick,
        timeout: pick,
        policy: pick,
        open: false,
    };
    let likely = match situation(record, now) {
        Situation::Waiting | Situation::Interrupted => {
            vec![Action::IssueClaimGrant(grant), Action::Admit(grant), offer]
        }
        Situation::Granted => vec![Action::Claim(claim), Action::ClaimResumed(claim)],
        Situation::Delayed => vec![Action::OnDue],
        Situation::Blocked => {
            let held = record.blocks().and_then(Blocks::first);
            let kind = held.map_or(BlockKind::Operator, |held| held.kind);
            vec![Action::Unblock { kind, offered: None }]
        }
        Situation::Leased => vec![
            Action::Renew { fence, ttl: 30_000 },
            Action::Complete { fence, result: true },
            Action::Fail { fence, category: "broken", permanent: false },
            Action::Delay { fence, milliseconds: 4_000 },
            Action::WaitForChildren(fence),
            Action::Progress { fence, percent: 50 },
            Action::Revoke(call),
            Action::Suspend(suspend),
            Action::Suspend(SuspendChoice { open: true, ..suspend }),
            Action::CreatePending(PendingChoice { fence, number, key: pick, expires_in: None }),
            Action::Signal(signal),
            Action::Append(FrameChoice { fence, ahead: 1 }),
        ],
        Situation::Suspended => {
            vec![Action::Signal(signal), Action::OnDue, Action::Resume(call)]
        }
        Situation::Expired | Situation::Revoked => {
            vec![Action::IssueReclaimGrant(grant), Action::Reclaim(claim), offer, Action::OnDue]
        }
        Situation::Terminal => vec![Action::Replay(call), Action::OnDue, Action::Forget],
    };
    likely[pick % likely.len()].clone()
}

fn offered_capabilities(capable: bool) -> Capabilities {
    if capable { offer(0).capabilities } else { Capabilities::default() }
}

fn resolve_fence(choice: FenceChoice, record: Option<&Execution>, given: &[Fence]) -> FenceParts {
    let latest = record.and_then(|record| record.last_fence);
    let forged =
        Fence { lease_id: lease_id(99), lease_epoch: LeaseEpoch(1), attempt_id: attempt_id(99) };
    match choice {
        FenceChoice::Current => latest.unwrap_or(forged).into(),
        FenceChoice::Stale(pick) => match given.len() {
            0 => forged.into(),
            count => given[pick % count].into(),
        },
        FenceChoice::Forged => forged.into(),
        FenceChoice::Partial => FenceParts { attempt_id: None, ..forged.into() },
        FenceChoice::Missing => FenceParts::MISSING,
    }
}

fn resolve_call(choice: CallChoice, record: Option<&Execution>) -> OperatorCall {
    let life = record.map_or(0, |record| record.counts.replays);
    match choice.off {
        Some(off) => call_for(choice.number, life + off),
        None => call(choice.number),
    }
}

fn resolve_grant(choice: GrantChoice) -> IssueClaimGrant {
    IssueClaimGrant {
        capabilities: offered_capabilities(choice.capable),
        ttl: ms(choice.ttl),
        ..grant(choice.number)
    }
}

fn resolve_claim(choice: ClaimChoice, record: Option<&Execution>) -> Claim {
    let out = record.and_then(Execution::grant).map(|grant| grant.id);
    Claim {
        grant_id: out.filter(|_| choice.right_grant).unwrap_or(grant_id(choice.number)),
        worker: worker(if choice.right_worker { 1 } else { 2 }),
        lease_ttl: ms(choice.ttl),
        ..claim(choice.number)
    }
}
