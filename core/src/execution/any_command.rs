//! Any command as one value, for callers that choose it at run time.

use crate::policy::Priority;
use crate::time::TimestampMs;

use super::command::{CommandSpec, Decide, TakeNew, TakeOver, TakeResumed};
use super::facts::Facts;
use super::record::{FailOutcome, Ruling, SignalOutcome};
use super::retention::{ForgetSignals, Forgotten};
use super::rule::{
    Admit, Admitted, AppendFrame, Appended, Block, BlockOutcome, Cancel, ChangePriority, Claimed,
    Complete, Create, CreateOutcome, CreatePendingWaitpoint, DelayExecution, DeliverSignal,
    DueOutcome, Fail, Granted, IssueClaimGrant, IssueReclaimGrant, IssuedWaitpoint,
    MoveToWaitingChildren, Offer, Offered, OnDue, ReclaimGranted, Renew, Renewed, Replay, Replayed,
    Resume, Resumed, RevokeLease, Revoked, Suspend, SuspendOutcome, Unblock, UpdateProgress,
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
    /// [`super::on_due()`].
    OnDue(OnDue) -> OnDue(DueOutcome);
}
