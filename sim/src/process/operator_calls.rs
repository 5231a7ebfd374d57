//! The calls of operators, and calls with forged fences.

use ff_core::entropy::Entropy;
use ff_core::execution::{
    AnyCommand, Block, BlockKind, Cancel, CancelledBy, ChangePriority, CheckSlot, Complete,
    DelayExecution, EventKind, Fail, Fence, FenceParts, ForgetSignals, MoveToWaitingChildren,
    OnDue, OperatorCall, Renew, Replay, Resume, RetryAdvice, RevokeLease, Unblock, UpdateProgress,
};
use ff_core::id::{
    AttemptId, ExecutionId, FailureCategory, LeaseEpoch, LeaseId, RequestId, SlotId, SuspensionId,
};
use ff_core::policy::Priority;
use ff_core::time::{DurationMs, TimestampMs};

use crate::determinism::random::{between, happens, one_of};

use super::suspensions;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Ends it.
    Cancel,
    /// Takes its lease away.
    Revoke,
    /// Begins a new life.
    Replay,
    /// Changes its priority.
    Priority,
    /// Blocks it.
    Block,
    /// Lifts a block.
    Unblock,
    /// Asks whether it has a slot, as any process may.
    CheckSlot,
    /// Applies due timers, as any process may.
    OnDue,
    /// Ends its suspension.
    Resume,
    /// Continues its retention, as any process may.
    Forget,
    /// Calls as a holder, without a valid fence.
    Unproved,
}

use Call::{
    Block as Hold, Cancel as End, CheckSlot as Check, OnDue as Due, Priority as Rank,
    Unblock as Free,
};
use Call::{Forget, Replay as Again, Resume as Wake, Revoke as Evict, Unproved as Pretend};

/// The calls at any time. Commands that succeed in fewer situations come more often.
pub const ANY: &[Call] = &[
    End, End, Evict, Evict, Evict, Again, Again, Again, Rank, Rank, Hold, Hold, Free, Due, Pretend,
    Wake, Wake, Forget, Check,
];

/// The calls that conflict most with an event.
pub const fn calls_after(event: EventKind) -> &'static [Call] {
    match event {
        EventKind::Suspended | EventKind::SignalTaken | EventKind::Escalated => &[
            Wake, Wake, Wake, Wake, Evict, End, Rank, Hold, Free, Again, Due, Pretend, Forget,
            Check,
        ],
        EventKind::Claimed => {
            &[Wake, Forget, Evict, Evict, Evict, End, Rank, Hold, Free, Again, Due, Pretend, Check]
        }
        EventKind::GrantIssued => {
            &[Wake, Forget, Hold, Hold, Hold, Free, End, Rank, Again, Evict, Due, Pretend, Check]
        }
        EventKind::LeaseExpired | EventKind::LeaseRevoked => &[
            Hold, Hold, Free, Free, End, Rank, Rank, Again, Evict, Due, Pretend, Wake, Forget,
            Check,
        ],
        EventKind::Blocked => {
            &[Wake, Forget, Free, Free, Free, Hold, End, Rank, Again, Evict, Due, Pretend, Check]
        }
        EventKind::Ended => &[
            Again, Again, Again, Again, End, Evict, Rank, Hold, Free, Due, Pretend, Wake, Forget,
            Check,
        ],
        EventKind::RetryScheduled | EventKind::Released => {
            &[Hold, Hold, Free, End, Rank, Again, Evict, Due, Pretend, Wake, Forget, Check]
        }
        _ => &[End, Evict, Again, Rank, Hold, Hold, Free, Due, Pretend, Wake, Forget, Check],
    }
}

impl Call {
    /// Whether a record remembers the call, until too many others follow.
    pub const fn is_remembered(self) -> bool {
        matches!(self, Self::Cancel | Self::Revoke | Self::Replay | Self::Priority | Self::Resume)
    }

    /// The call about an execution. `held_by`: the block that the caller expects there; `slot`: the
    /// slot that it expects.
    pub fn command(
        self,
        id: ExecutionId,
        held_by: Option<BlockKind>,
        slot: Option<SlotId>,
        entropy: &mut Entropy,
    ) -> AnyCommand {
        let call = operator_call(entropy);
        let kind = one_of(entropy, &KINDS);
        match self {
            Self::Cancel => {
                let by = CancelledBy::Operator(call);
                Cancel { execution_id: id, by, reason: "not wanted".to_owned() }.into()
            }
            Self::Revoke => RevokeLease { execution_id: id, call }.into(),
            Self::Replay => Replay { execution_id: id, call }.into(),
            Self::Priority => {
                let priority = Priority::clamped(between(entropy, 0, 9_000) as i64);
                ChangePriority { execution_id: id, call, priority }.into()
            }
            Self::Block => Block { execution_id: id, kind, recheck_at: None }.into(),
            Self::Unblock => {
                let kind = held_by.filter(|_| happens(entropy, 800)).unwrap_or(kind);
                Unblock { execution_id: id, kind }.into()
            }
            Self::CheckSlot => {
                let slot = slot.unwrap_or_else(|| SlotId::random(entropy));
                CheckSlot { execution_id: id, slot }.into()
            }
            Self::OnDue => OnDue { execution_id: id }.into(),
            Self::Resume => Resume { execution_id: id, call, suspension: None }.into(),
            Self::Forget => {
                let signals = Vec::new();
                ForgetSignals { execution_id: id, signals, last: false }.into()
            }
            Self::Unproved => {
                let forged = Fence {
                    lease_id: LeaseId::random(entropy),
                    lease_epoch: LeaseEpoch(between(entropy, 0, 3)),
                    attempt_id: AttemptId::random(entropy),
                };
                let partial = FenceParts { lease_id: None, ..forged.into() };
                let parts = [FenceParts::MISSING, partial, forged.into()];
                let fence = one_of(entropy, &parts);
                as_holder(id, fence, entropy)
            }
        }
    }

    /// The call to resume that suspension.
    pub fn resume(
        id: ExecutionId,
        suspension: Option<SuspensionId>,
        entropy: &mut Entropy,
    ) -> AnyCommand {
        Resume { execution_id: id, call: operator_call(entropy), suspension }.into()
    }
}

fn operator_call(entropy: &mut Entropy) -> OperatorCall {
    let request = format!("request-{}", entropy.next_u64());
    OperatorCall::new(RequestId::try_new(request).expect("a valid id"))
}

const KINDS: [BlockKind; 5] =
    [BlockKind::Operator, BlockKind::Lane, BlockKind::Budget, BlockKind::Quota, BlockKind::Route];

/// Any call of a holder, with that fence.
pub fn as_holder(id: ExecutionId, fence: FenceParts, entropy: &mut Entropy) -> AnyCommand {
    match entropy.below(10) {
        7 => suspensions::waitpoint(id, fence, entropy).into(),
        8 => suspensions::suspension(id, fence, None, TimestampMs::ZERO, entropy).into(),
        9 => {
            let sequence = between(entropy, 1, 3);
            let attempt = match fence.complete() {
                Some(fence) => fence.attempt_id,
                None => AttemptId::random(entropy),
            };
            suspensions::frame(id, fence, attempt, sequence, entropy).into()
        }
        0 => Renew { execution_id: id, fence, lease_ttl: DurationMs::new(1_000) }.into(),
        1 => Complete { execution_id: id, fence, result: None }.into(),
        2 => {
            let category = FailureCategory::try_new("flaky").expect("a valid category");
            let reason = "it said so".to_owned();
            Fail { execution_id: id, fence, reason, category, retry: RetryAdvice::ByPolicy }.into()
        }
        3 => {
            let until = TimestampMs::ZERO;
            DelayExecution { execution_id: id, fence, until, keeps_resumption: false }.into()
        }
        4 => MoveToWaitingChildren { execution_id: id, fence }.into(),
        5 => UpdateProgress { execution_id: id, fence, percent: 50, message: None }.into(),
        _ => {
            let by = CancelledBy::Holder(fence);
            Cancel { execution_id: id, by, reason: "it said so".to_owned() }.into()
        }
    }
}
