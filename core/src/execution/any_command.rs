//! Any command as one value, for callers that choose it at run time.

#[cfg(feature = "planted-bugs")]
use std::any::Any;

#[cfg(feature = "planted-bugs")]
use crate::id::Namespace;
use crate::policy::Priority;
use crate::time::TimestampMs;

#[cfg(feature = "planted-bugs")]
use super::command::InNamespace;
use super::command::{CommandSpec, Decide, TakeNew, TakeOver, TakeResumed};
use super::facts::Facts;
use super::record::{FailOutcome, Ruling, SignalOutcome};
use super::retention::{ForgetSignals, Forgotten};
use super::rule::{
    Admit, Admitted, AppendFrame, Appended, Block, BlockOutcome, Cancel, ChangePriority, CheckSlot,
    Claimed, Complete, Create, CreateOutcome, CreatePendingWaitpoint, DelayExecution,
    DeliverSignal, DueOutcome, Fail, Granted, IssueClaimGrant, IssueReclaimGrant, IssuedWaitpoint,
    MoveToWaitingChildren, Offer, Offered, OnDue, ReclaimGranted, ReleaseGrant, Renew, Renewed,
    Replay, Replayed, Resume, Resumed, RevokeLease, Revoked, SlotCheck, Suspend, SuspendOutcome,
    Unblock, UpdateProgress,
};

macro_rules! any_command {
    ($($(#[$doc:meta])* $variant:ident($command:ty) -> $outcome:ident($value:ty);)+) => {
        /// Any command on an execution.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::large_enum_variant)] // Short-lived: one for each call.
        pub enum AnyCommand {
            $($(#[$doc])* $variant($command),)+
        }

        /// The outcome of any command.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyOutcome {
            $($(#[$doc])* $outcome($value),)+
        }

        impl Decide for AnyCommand {
            type Outcome = AnyOutcome;

            fn spec(&self) -> CommandSpec {
                match self { $(Self::$variant(command) => command.spec(),)+ }
            }

            fn decide(&self, facts: &Facts<'_>, now: TimestampMs) -> Ruling<AnyOutcome> {
                match self {
                    $(Self::$variant(command) => command
                        .decide(facts, now)
                        .map(|verdict| verdict.map(AnyOutcome::$outcome)),)+
                }
            }
        }

        impl AnyCommand {
            /// The names of all commands.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($variant)),+];
        }

        #[cfg(feature = "planted-bugs")]
        impl AnyCommand {
            /// A command of any type, if it is one of these, and the namespace that it is in.
            pub(super) fn of(command: &dyn Any) -> Option<(Self, Option<Namespace>)> {
                $(if let Some(command) = command.downcast_ref::<$command>() {
                    return Some((Self::$variant(command.clone()), None));
                }
                if let Some(inside) = command.downcast_ref::<InNamespace<$command>>() {
                    let command = Self::$variant(inside.command.clone());
                    return Some((command, Some(inside.namespace.clone())));
                })+
                if let Some(inside) = command.downcast_ref::<InNamespace<Self>>() {
                    return Some((inside.command.clone(), Some(inside.namespace.clone())));
                }
                command.downcast_ref::<Self>().map(|command| (command.clone(), None))
            }
        }

        #[cfg(feature = "planted-bugs")]
        impl AnyOutcome {
            /// The outcome of a command, which may be any outcome already.
            pub(super) fn of(command: &AnyCommand, outcome: Box<dyn Any>) -> Self {
                let outcome = match outcome.downcast::<Self>() {
                    Ok(outcome) => return *outcome,
                    Err(outcome) => outcome,
                };
                match command {
                    $(AnyCommand::$variant(_) => {
                        Self::$outcome(*outcome.downcast().expect("it is this command's outcome"))
                    })+
                }
            }

            /// The value alone.
            pub(super) fn into_value(self) -> Box<dyn Any> {
                match self { $(Self::$outcome(value) => Box::new(value),)+ }
            }
        }

        $(impl From<$command> for AnyCommand {
            fn from(command: $command) -> Self {
                Self::$variant(command)
            }
        })+
    };
}

any_command! {
    /// [`super::create()`].
    Create(Create) -> Create(CreateOutcome);
    /// [`super::issue_claim_grant()`].
    IssueClaimGrant(IssueClaimGrant) -> IssueClaimGrant(Granted);
    /// [`super::claim()`].
    Claim(TakeNew) -> Claim(Claimed);
    /// [`super::claim_resumed()`].
    ClaimResumed(TakeResumed) -> ClaimResumed(Claimed);
    /// [`super::issue_reclaim_grant()`].
    IssueReclaimGrant(IssueReclaimGrant) -> IssueReclaimGrant(ReclaimGranted);
    /// [`super::reclaim()`].
    Reclaim(TakeOver) -> Reclaim(Claimed);
    /// [`super::offer()`].
    Offer(Offer) -> Offer(Offered);
    /// [`super::admit()`].
    Admit(Admit) -> Admit(Admitted);
    /// [`super::release_grant()`].
    ReleaseGrant(ReleaseGrant) -> ReleaseGrant(());
    /// [`super::renew()`].
    Renew(Renew) -> Renew(Renewed);
    /// [`super::complete()`].
    Complete(Complete) -> Complete(());
    /// [`super::fail()`].
    Fail(Fail) -> Fail(FailOutcome);
    /// [`super::delay_execution()`].
    DelayExecution(DelayExecution) -> DelayExecution(());
    /// [`super::move_to_waiting_children()`].
    MoveToWaitingChildren(MoveToWaitingChildren) -> MoveToWaitingChildren(());
    /// [`super::update_progress()`].
    UpdateProgress(UpdateProgress) -> UpdateProgress(());
    /// [`super::cancel()`].
    Cancel(Cancel) -> Cancel(());
    /// [`super::revoke_lease()`].
    RevokeLease(RevokeLease) -> RevokeLease(Revoked);
    /// [`super::change_priority()`].
    ChangePriority(ChangePriority) -> ChangePriority(Priority);
    /// [`super::replay()`].
    Replay(Replay) -> Replay(Replayed);
    /// [`super::suspend()`].
    Suspend(Suspend) -> Suspend(SuspendOutcome);
    /// [`super::create_pending_waitpoint()`].
    CreatePendingWaitpoint(CreatePendingWaitpoint) -> CreatePendingWaitpoint(IssuedWaitpoint);
    /// [`super::deliver_signal()`].
    DeliverSignal(DeliverSignal) -> DeliverSignal(SignalOutcome);
    /// [`super::resume()`].
    Resume(Resume) -> Resume(Resumed);
    /// [`super::append_frame()`].
    AppendFrame(AppendFrame) -> AppendFrame(Appended);
    /// [`super::forget_signals()`].
    ForgetSignals(ForgetSignals) -> ForgetSignals(Forgotten);
    /// [`super::block()`].
    Block(Block) -> Block(BlockOutcome);
    /// [`super::unblock()`].
    Unblock(Unblock) -> Unblock(BlockOutcome);
    /// [`super::check_slot()`].
    CheckSlot(CheckSlot) -> CheckSlot(SlotCheck);
    /// [`super::on_due()`].
    OnDue(OnDue) -> OnDue(DueOutcome);
}
