//! Any command as one value, for callers that choose it at run time.

#[cfg(feature = "planted-bugs")]
use std::any::Any;

#[cfg(feature = "planted-bugs")]
use crate::id::Namespace;
use crate::id::{ExecutionId, SignalId};
use crate::policy::Priority;
use crate::time::{DurationMs, TimestampMs};
use crate::token::{Kid, KnownKeyring};

#[cfg(feature = "planted-bugs")]
use super::command::InNamespace;
use super::command::{Decide, TakeNew, TakeOver, TakeResumed};
use super::identity::{Identity, IdentityKind};
use super::record::{Execution, FailOutcome, Purpose, Ruling, SignalOutcome, ValueKind};
use super::retention::{ForgetSignals, Forgotten};
use super::rule::{
    Admit, Admitted, AppendFrame, Appended, Block, BlockOutcome, Cancel, ChangePriority, Claimed,
    Complete, Create, CreateOutcome, CreatePendingWaitpoint, DelayExecution, DeliverSignal,
    DueOutcome, Fail, FoundSignal, Granted, Heard, IssueClaimGrant, IssueReclaimGrant,
    IssuedWaitpoint, MoveToWaitingChildren, Offer, Offered, OnDue, ReclaimGranted, Renew, Renewed,
    Replay, Replayed, Resume, Resumed, RevokeLease, Revoked, Suspend, SuspendOutcome, Unblock,
    UpdateProgress,
};

macro_rules! any_command {
    ($($(#[$doc:meta])* $variant:ident($command:ty) -> $outcome:ident($value:ty);)+) => {
        /// Any command on an execution.
        #[derive(Clone, Debug)]
        #[allow(clippy::large_enum_variant)] // Short-lived: one for each call.
        pub enum AnyCommand {
            $($(#[$doc])* $variant($command),)+
        }

        /// The outcome of any command.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyOutcome {
            $($(#[$doc])* $outcome($value),)+
        }

        impl Identity for AnyCommand {
            fn identity(&self) -> IdentityKind {
                match self { $(Self::$variant(command) => command.identity(),)+ }
            }
        }

        impl Decide for AnyCommand {
            type Outcome = AnyOutcome;

            fn name(&self) -> &'static str {
                match self { $(Self::$variant(command) => command.name(),)+ }
            }

            fn purpose(&self) -> Purpose {
                match self { $(Self::$variant(command) => command.purpose(),)+ }
            }

            fn execution_id(&self) -> ExecutionId {
                match self { $(Self::$variant(command) => command.execution_id(),)+ }
            }

            fn fetches(&self) -> &'static [ValueKind] {
                match self { $(Self::$variant(command) => command.fetches(),)+ }
            }

            fn tried_for(&self) -> Option<DurationMs> {
                match self { $(Self::$variant(command) => command.tried_for(),)+ }
            }

            fn observe(&mut self, current: &Execution) {
                match self { $(Self::$variant(command) => command.observe(current),)+ }
            }

            fn signal(&self) -> Option<SignalId> {
                match self { $(Self::$variant(command) => command.signal(),)+ }
            }

            fn observe_signal(&mut self, found: FoundSignal) {
                match self { $(Self::$variant(command) => command.observe_signal(found),)+ }
            }

            fn uses_tokens(&self) -> bool {
                match self { $(Self::$variant(command) => command.uses_tokens(),)+ }
            }

            fn observe_keyring(&mut self, keyring: KnownKeyring) {
                match self { $(Self::$variant(command) => command.observe_keyring(keyring),)+ }
            }

            fn kid(&self) -> Option<Kid> {
                match self { $(Self::$variant(command) => command.kid(),)+ }
            }

            fn observe_signals(&mut self, heard: Heard) {
                match self { $(Self::$variant(command) => command.observe_signals(heard),)+ }
            }

            fn decide(
                &self,
                current: Option<&Execution>,
                now: TimestampMs,
            ) -> Ruling<AnyOutcome> {
                let ruling: Ruling<AnyOutcome> = match self {
                    $(Self::$variant(command) => command
                        .decide(current, now)
                        .map(|verdict| verdict.map(AnyOutcome::$outcome)),)+
                };
                ruling
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
