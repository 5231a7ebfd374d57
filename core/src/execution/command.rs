//! Commands as values: what an operation carries to the record of an execution.

use crate::error::Rejection;
use crate::id::{ExecutionId, Namespace, SignalId};
use crate::policy::Priority;
use crate::time::{DurationMs, TimestampMs};
use crate::token::{Kid, KnownKeyring};

use super::identity::{Identity, IdentityKind};
use super::record::{Execution, FailOutcome, Purpose, Ruling, SignalOutcome, ValueKind};
use super::retention::{ForgetSignals, Forgotten};
use super::rule::{
    Admit, Admitted, AppendFrame, Appended, Block, BlockOutcome, CREATE_WITHIN, Cancel,
    CancelledBy, ChangePriority, Claim, Claimed, Complete, Create, CreateOutcome,
    CreatePendingWaitpoint, DelayExecution, DeliverSignal, DueOutcome, Fail, FoundSignal, Granted,
    Heard, IssueClaimGrant, IssueReclaimGrant, IssuedWaitpoint, MoveToWaitingChildren, Offer,
    Offered, OnDue, OperatorCall, ReclaimGranted, Renew, Renewed, Replay, Replayed, Resume,
    Resumed, RevokeLease, Revoked, Suspend, SuspendOutcome, Unblock, UpdateProgress,
};

/// A command on one execution, decided by the rule of its name.
pub trait Decide: Identity + 'static {
    /// What the caller learns.
    type Outcome: Clone + std::fmt::Debug + 'static;

    /// The command's name, for errors and traces.
    fn name(&self) -> &'static str;

    /// Why it commits.
    fn purpose(&self) -> Purpose {
        Purpose::Finish
    }

    /// The execution that it is about.
    fn execution_id(&self) -> ExecutionId;

    /// The values that the caller gets with the outcome.
    fn fetches(&self) -> &'static [ValueKind] {
        &[]
    }

    /// Notes what the operation sees of the record first.
    fn observe(&mut self, _current: &Execution) {}

    /// The signal whose record the decision looks at too, if it does.
    fn signal(&self) -> Option<SignalId> {
        None
    }

    /// Notes that signal's record, as it stands in the same reply as the execution's.
    fn observe_signal(&mut self, _found: FoundSignal) {}

    /// Whether the decision needs the secrets of tokens.
    fn uses_tokens(&self) -> bool {
        false
    }

    /// Notes the secrets of tokens, as the operation has read them.
    fn observe_keyring(&mut self, _keyring: KnownKeyring) {}

    /// The secret that the command's token names, if it has one.
    fn kid(&self) -> Option<Kid> {
        None
    }

    /// Notes the signals of the execution, as the operation has read them.
    fn observe_signals(&mut self, _heard: Heard) {}

    /// How long after it was first sent it may be sent again without its record, if it has such a
    /// bound: later the record may have come and gone.
    fn tried_for(&self) -> Option<DurationMs> {
        None
    }

    /// The command's rule.
    ///
    /// # Errors
    ///
    /// `NotFound` without a record; otherwise those of the rule.
    fn decide(&self, current: Option<&Execution>, now: TimestampMs) -> Ruling<Self::Outcome>;
}

macro_rules! commands {
    ($($command:ident => $rule:ident, $outcome:ty, $identity:ident
        $(, purpose: $purpose:ident)? $(, observe: $($call:ident)+)?;)+) => {
        $(
            impl Identity for $command {
                fn identity(&self) -> IdentityKind {
                    IdentityKind::$identity
                }
            }

            impl Decide for $command {
                type Outcome = $outcome;

                fn name(&self) -> &'static str {
                    stringify!($rule)
                }

                $(fn purpose(&self) -> Purpose {
                    Purpose::$purpose
                })?

                fn execution_id(&self) -> ExecutionId {
                    self.execution_id
                }

                $(fn observe(&mut self, current: &Execution) {
                    $(self.$call.observe(current);)+
                })?

                fn decide(
                    &self,
                    current: Option<&Execution>,
                    now: TimestampMs,
                ) -> Ruling<$outcome> {
                    super::rule::$rule(current.ok_or(Rejection::NotFound)?, self, now)
                }
            }
        )+
    };
}

commands! {
    IssueClaimGrant => issue_claim_grant, Granted, Grant;
    Renew => renew, Renewed, Absolute;
    Complete => complete, (), Fence;
    Fail => fail, FailOutcome, Fence;
    DelayExecution => delay_execution, (), Fence;
    MoveToWaitingChildren => move_to_waiting_children, (), Fence;
    UpdateProgress => update_progress, (), Absolute;
    RevokeLease => revoke_lease, Revoked, Request, observe: call;
    ChangePriority => change_priority, Priority, Request, observe: call;
    Replay => replay, Replayed, Request, purpose: Admit, observe: call;
    Resume => resume, Resumed, Request, observe: call suspension;
    AppendFrame => append_frame, Appended, Sequence, purpose: Admit;
    ForgetSignals => forget_signals, Forgotten, Absolute;
    Block => block, BlockOutcome, Absolute;
    Unblock => unblock, BlockOutcome, Absolute;
}

/// A command that sees the executions of one namespace only: another tenant's is not found.
#[derive(Clone, Debug)]
pub struct InNamespace<C> {
    /// The tenant.
    pub namespace: Namespace,
    /// The command.
    pub command: C,
}

impl<C: Identity> Identity for InNamespace<C> {
    fn identity(&self) -> IdentityKind {
        self.command.identity()
    }
}

impl<C: Decide> Decide for InNamespace<C> {
    type Outcome = C::Outcome;

    fn name(&self) -> &'static str {
        self.command.name()
    }

    fn purpose(&self) -> Purpose {
        self.command.purpose()
    }

    fn execution_id(&self) -> ExecutionId {
        self.command.execution_id()
    }

    fn fetches(&self) -> &'static [ValueKind] {
        self.command.fetches()
    }

    fn observe(&mut self, current: &Execution) {
        if current.namespace == self.namespace {
            self.command.observe(current);
        }
    }

    fn signal(&self) -> Option<SignalId> {
        self.command.signal()
    }

    fn observe_signal(&mut self, found: FoundSignal) {
        self.command.observe_signal(found);
    }

    fn uses_tokens(&self) -> bool {
        self.command.uses_tokens()
    }

    fn observe_keyring(&mut self, keyring: KnownKeyring) {
        self.command.observe_keyring(keyring);
    }

    fn kid(&self) -> Option<Kid> {
        self.command.kid()
    }

    fn observe_signals(&mut self, heard: Heard) {
        self.command.observe_signals(heard);
    }

    fn tried_for(&self) -> Option<DurationMs> {
        self.command.tried_for()
    }

    fn decide(&self, current: Option<&Execution>, now: TimestampMs) -> Ruling<C::Outcome> {
        // To a command, what is another tenant's is not there.
        self.command.decide(current.filter(|found| found.namespace == self.namespace), now)
    }
}

/// A claim by one of its names.
macro_rules! claims {
    ($($(#[$doc:meta])* $command:ident => $rule:ident;)+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug)]
            pub struct $command(
                /// The arguments.
                pub Claim,
            );

            impl Identity for $command {
                fn identity(&self) -> IdentityKind {
                    IdentityKind::Lease
                }
            }

            impl Decide for $command {
                type Outcome = Claimed;

                fn name(&self) -> &'static str {
                    stringify!($rule)
                }

                fn execution_id(&self) -> ExecutionId {
                    self.0.execution_id
                }

                fn fetches(&self) -> &'static [ValueKind] {
                    &[ValueKind::Payload]
                }

                fn decide(
                    &self,
                    current: Option<&Execution>,
                    now: TimestampMs,
                ) -> Ruling<Claimed> {
                    super::rule::$rule(current.ok_or(Rejection::NotFound)?, &self.0, now)
                }
            }
        )+
    };
}

claims! {
    /// Takes an execution with a new attempt: [`super::claim()`].
    TakeNew => claim;
    /// Takes an execution with its interrupted attempt: [`super::claim_resumed()`].
    TakeResumed => claim_resumed;
    /// Takes an execution with a new or its interrupted attempt: [`super::claim_granted()`].
    TakeGranted => claim_granted;
    /// Takes an execution from an owner that lost its lease: [`super::reclaim()`].
    TakeOver => reclaim;
}

/// A command that hands out tokens.
macro_rules! issues_tokens {
    ($($command:ident => $rule:ident, $outcome:ty, $identity:ident
        $(, hears: $heard:ident)?;)+) => {
        $(
            impl Identity for $command {
                fn identity(&self) -> IdentityKind {
                    IdentityKind::$identity
                }
            }

            impl Decide for $command {
                type Outcome = $outcome;

                fn name(&self) -> &'static str {
                    stringify!($rule)
                }

                fn execution_id(&self) -> ExecutionId {
                    self.execution_id
                }

                fn uses_tokens(&self) -> bool {
                    true
                }

                fn observe_keyring(&mut self, keyring: KnownKeyring) {
                    self.keyring = keyring;
                }

                $(fn observe_signals(&mut self, heard: Heard) {
                    self.$heard = heard;
                })?

                fn decide(
                    &self,
                    current: Option<&Execution>,
                    now: TimestampMs,
                ) -> Ruling<$outcome> {
                    super::rule::$rule(current.ok_or(Rejection::NotFound)?, self, now)
                }
            }
        )+
    };
}

issues_tokens! {
    Suspend => suspend, SuspendOutcome, Suspension, hears: heard;
    CreatePendingWaitpoint => create_pending_waitpoint,
        IssuedWaitpoint, Waitpoint;
}

impl Identity for DeliverSignal {
    fn identity(&self) -> IdentityKind {
        IdentityKind::Signal
    }
}

impl Decide for DeliverSignal {
    type Outcome = SignalOutcome;

    fn name(&self) -> &'static str {
        "deliver_signal"
    }

    fn purpose(&self) -> Purpose {
        Purpose::Admit
    }

    fn execution_id(&self) -> ExecutionId {
        self.execution_id
    }

    fn signal(&self) -> Option<SignalId> {
        Some(self.signal_id)
    }

    fn observe_signal(&mut self, found: FoundSignal) {
        self.found = found;
    }

    fn uses_tokens(&self) -> bool {
        true
    }

    fn observe_keyring(&mut self, keyring: KnownKeyring) {
        self.keyring = keyring;
    }

    fn kid(&self) -> Option<Kid> {
        self.token.kid()
    }

    fn decide(&self, current: Option<&Execution>, now: TimestampMs) -> Ruling<SignalOutcome> {
        super::rule::deliver_signal(current, self, now)
    }
}

impl Identity for Create {
    fn identity(&self) -> IdentityKind {
        IdentityKind::Creator
    }
}

impl Decide for Create {
    type Outcome = CreateOutcome;

    fn name(&self) -> &'static str {
        "create"
    }

    fn purpose(&self) -> Purpose {
        Purpose::Admit
    }

    fn execution_id(&self) -> ExecutionId {
        self.execution_id
    }

    fn tried_for(&self) -> Option<DurationMs> {
        Some(CREATE_WITHIN)
    }

    fn decide(&self, current: Option<&Execution>, now: TimestampMs) -> Ruling<CreateOutcome> {
        super::rule::create(current, self, now)
    }
}

impl Identity for IssueReclaimGrant {
    fn identity(&self) -> IdentityKind {
        IdentityKind::Grant
    }
}

impl Decide for IssueReclaimGrant {
    type Outcome = ReclaimGranted;

    fn name(&self) -> &'static str {
        "issue_reclaim_grant"
    }

    fn execution_id(&self) -> ExecutionId {
        self.0.execution_id
    }

    fn decide(&self, current: Option<&Execution>, now: TimestampMs) -> Ruling<ReclaimGranted> {
        super::rule::issue_reclaim_grant(current.ok_or(Rejection::NotFound)?, self, now)
    }
}

impl Identity for Cancel {
    fn identity(&self) -> IdentityKind {
        match self.by {
            CancelledBy::Holder(_) => IdentityKind::Fence,
            CancelledBy::Operator(_) => IdentityKind::Request,
        }
    }
}

impl Decide for Cancel {
    type Outcome = ();

    fn name(&self) -> &'static str {
        "cancel"
    }

    fn execution_id(&self) -> ExecutionId {
        self.execution_id
    }

    fn observe(&mut self, current: &Execution) {
        if let CancelledBy::Operator(call) = &mut self.by {
            OperatorCall::observe(call, current);
        }
    }

    fn decide(&self, current: Option<&Execution>, now: TimestampMs) -> Ruling<()> {
        super::rule::cancel(current.ok_or(Rejection::NotFound)?, self, now)
    }
}

impl Identity for Offer {
    fn identity(&self) -> IdentityKind {
        IdentityKind::Lease
    }
}

impl Decide for Offer {
    type Outcome = Offered;

    fn name(&self) -> &'static str {
        "offer"
    }

    fn execution_id(&self) -> ExecutionId {
        self.claim.execution_id
    }

    fn fetches(&self) -> &'static [ValueKind] {
        &[ValueKind::Payload]
    }

    fn decide(&self, current: Option<&Execution>, now: TimestampMs) -> Ruling<Offered> {
        super::rule::offer(current.ok_or(Rejection::NotFound)?, self, now)
    }
}

impl Identity for Admit {
    fn identity(&self) -> IdentityKind {
        IdentityKind::Grant
    }
}

impl Decide for Admit {
    type Outcome = Admitted;

    fn name(&self) -> &'static str {
        "admit"
    }

    fn execution_id(&self) -> ExecutionId {
        self.0.execution_id
    }

    fn decide(&self, current: Option<&Execution>, now: TimestampMs) -> Ruling<Admitted> {
        super::rule::admit(current.ok_or(Rejection::NotFound)?, self, now)
    }
}

impl Identity for OnDue {
    fn identity(&self) -> IdentityKind {
        IdentityKind::Absolute
    }
}

impl Decide for OnDue {
    type Outcome = DueOutcome;

    fn name(&self) -> &'static str {
        "on_due"
    }

    fn execution_id(&self) -> ExecutionId {
        self.execution_id
    }

    fn decide(&self, current: Option<&Execution>, now: TimestampMs) -> Ruling<DueOutcome> {
        super::rule::on_due(current.ok_or(Rejection::NotFound)?, now)
    }
}
