//! Commands as values: what an operation carries to the record of an execution.

use crate::id::{ExecutionId, GrantId, Namespace, SignalId};
use crate::policy::Priority;
use crate::purpose::Purpose;
use crate::time::{DurationMs, TimestampMs};
use crate::token::Kid;

use super::facts::Facts;
use super::identity::IdentityKind;
use super::record::{FailOutcome, Ruling, SignalOutcome, ValueKind};
use super::retention::{CREATE_WITHIN, ForgetSignals, Forgotten};
use super::rule::{self, *};

/// A command on one execution, decided by the rule of its name.
pub trait Decide: 'static {
    /// The outcome that the caller gets.
    type Outcome: Clone + std::fmt::Debug + 'static;

    /// The properties of the command that an operation needs to carry it.
    fn spec(&self) -> CommandSpec;

    /// The command's rule.
    ///
    /// # Errors
    ///
    /// `NotFound` without a record; otherwise those of the rule.
    fn decide(&self, facts: &Facts<'_>, now: TimestampMs) -> Ruling<Self::Outcome>;

    /// The command's name, for errors and traces.
    fn name(&self) -> &'static str {
        self.spec().name
    }

    /// The execution that the command is about.
    fn execution_id(&self) -> ExecutionId {
        self.spec().execution_id
    }
}

/// The properties of a command that an operation needs to carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSpec {
    /// The command's name, for errors and traces.
    pub name: &'static str,
    /// The execution that it is about.
    pub execution_id: ExecutionId,
    /// Why it commits.
    pub purpose: Purpose,
    /// How the store recognises its repeat.
    pub identity: IdentityKind,
    /// The facts that the operation has to read for it.
    pub needs: Needs,
    /// The values that the caller gets with the outcome.
    pub fetches: &'static [ValueKind],
    /// How long after it was first sent it may be sent again while its record does not exist:
    /// later the record may have been created and removed. `None` for no bound.
    pub resend_within: Option<DurationMs>,
}

/// The facts, besides the record, that an operation has to read for a command. A rule that turns
/// out to need buffered signals asks for them with `Unread`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The signal whose record is read with the execution's.
    pub signal: Option<SignalId>,
    /// Whether the secrets of tokens are read.
    pub secrets: bool,
    /// The secret that the command's token names, if it has a token.
    pub kid: Option<Kid>,
    /// The namespace whose lanes are read.
    pub lanes: Option<Namespace>,
    /// The grant that the limits of the execution are asked for, if it has any.
    pub grant: Option<GrantId>,
}

impl CommandSpec {
    /// A command that needs nothing but the record, and keeps up or finishes work.
    const fn new(name: &'static str, execution_id: ExecutionId, identity: IdentityKind) -> Self {
        Self {
            name,
            execution_id,
            purpose: Purpose::Finish,
            identity,
            needs: NOTHING,
            fetches: &[],
            resend_within: None,
        }
    }
}

/// No facts but the record.
const NOTHING: Needs = Needs { signal: None, secrets: false, kid: None, lanes: None, grant: None };
/// The facts of a command that issues tokens.
const TOKENS: Needs = Needs { secrets: true, ..NOTHING };
/// The values of a command that claims.
const PAYLOAD: &[ValueKind] = &[ValueKind::Payload];

/// A row for each command: its outcome; its execution and its identity, and what else differs from
/// [`CommandSpec::new`]; and its rule.
macro_rules! commands {
    ($this:ident, $facts:ident, $now:ident;
        $($command:ty => $outcome:ty, $name:literal, $id:expr, $identity:expr,
            { $($field:ident: $value:expr),* }, $rule:expr;)+) => {
        $(
            impl Decide for $command {
                type Outcome = $outcome;

                fn spec(&self) -> CommandSpec {
                    let $this = self;
                    CommandSpec {
                        $($field: $value,)*
                        ..CommandSpec::new($name, $id, $identity)
                    }
                }

                #[allow(unused_variables)] // `on_due` looks at nothing of its command.
                fn decide(&self, $facts: &Facts<'_>, $now: TimestampMs) -> Ruling<$outcome> {
                    let $this = self;
                    $rule
                }
            }
        )+
    };
}

commands! {
    this, facts, now;
    Create => CreateOutcome, "create", this.execution_id, IdentityKind::Creator,
        {
            purpose: Purpose::Admit,
            resend_within: Some(CREATE_WITHIN),
            needs: needs_of_create(this)
        },
        rule::create(facts, this, now);
    IssueClaimGrant => Granted, "issue_claim_grant", this.execution_id, IdentityKind::Grant,
        { needs: needs_of_grant(this.grant_id) },
        rule::within_limits(
            facts,
            this.grant_id,
            now,
            rule::issue_claim_grant(facts.execution()?, this, now),
            |_| None,
        );
    IssueReclaimGrant => ReclaimGranted, "issue_reclaim_grant",
        this.0.execution_id, IdentityKind::Grant, { needs: needs_of_grant(this.0.grant_id) },
        rule::within_limits(
            facts,
            this.0.grant_id,
            now,
            rule::issue_reclaim_grant(facts.execution()?, this, now),
            |_| None,
        );
    ReleaseGrant => (), "release_grant", this.execution_id, IdentityKind::Absolute, {},
        rule::release_grant(facts.execution()?, this, now);
    Admit => Admitted, "admit", this.0.execution_id, IdentityKind::Grant,
        { needs: needs_of_grant(this.0.grant_id) },
        rule::within_limits(
            facts,
            this.0.grant_id,
            now,
            rule::admit(facts.same_execution()?, this, now),
            |rejection| Some(Admitted::HeldByLimit(rejection)),
        );
    TakeNew => Claimed, "claim", this.0.execution_id, IdentityKind::Lease, { fetches: PAYLOAD },
        rule::claim(facts.execution()?, &this.0, now);
    TakeResumed => Claimed, "claim_resumed", this.0.execution_id, IdentityKind::Lease,
        { fetches: PAYLOAD },
        rule::claim_resumed(facts.execution()?, &this.0, now);
    TakeGranted => Claimed, "claim_granted", this.0.execution_id, IdentityKind::Lease,
        { fetches: PAYLOAD },
        rule::claim_granted(facts.execution()?, &this.0, now);
    TakeOver => Claimed, "reclaim", this.0.execution_id, IdentityKind::Lease, { fetches: PAYLOAD },
        rule::reclaim(facts.execution()?, &this.0, now);
    Offer => Offered, "offer", this.claim.execution_id, IdentityKind::Lease,
        { fetches: PAYLOAD, needs: needs_of_grant(this.claim.grant_id) },
        rule::within_limits(
            facts,
            this.claim.grant_id,
            now,
            rule::offer(facts.same_execution()?, this, now),
            |rejection| Some(Offered::HeldByLimit(rejection)),
        );
    Renew => Renewed, "renew", this.execution_id, IdentityKind::Absolute, {},
        rule::renew(facts.execution()?, this, now);
    Complete => (), "complete", this.execution_id, IdentityKind::Fence, {},
        rule::complete(facts.execution()?, this, now);
    Fail => FailOutcome, "fail", this.execution_id, IdentityKind::Fence, {},
        rule::fail(facts.execution()?, this, now);
    DelayExecution => (), "delay_execution", this.execution_id, IdentityKind::Fence, {},
        rule::delay_execution(facts.execution()?, this, now);
    MoveToWaitingChildren => (), "move_to_waiting_children",
        this.execution_id, IdentityKind::Fence, {},
        rule::move_to_waiting_children(facts.execution()?, this, now);
    UpdateProgress => (), "update_progress", this.execution_id, IdentityKind::Absolute, {},
        rule::update_progress(facts.execution()?, this, now);
    Suspend => SuspendOutcome, "suspend", this.execution_id, IdentityKind::Suspension,
        { needs: TOKENS },
        rule::suspend(facts, this, now);
    CreatePendingWaitpoint => IssuedWaitpoint, "create_pending_waitpoint",
        this.execution_id, IdentityKind::Waitpoint, { needs: TOKENS },
        rule::create_pending_waitpoint(facts, this, now);
    AppendFrame => Appended, "append_frame", this.execution_id, IdentityKind::Sequence,
        { purpose: Purpose::Admit },
        rule::append_frame(facts.execution()?, this, now);
    DeliverSignal => SignalOutcome, "deliver_signal", this.execution_id, IdentityKind::Signal,
        { purpose: Purpose::Admit, needs: needs_of_signal(this) },
        rule::deliver_signal(facts, this, now);
    Cancel => (), "cancel", this.execution_id, identity_of_cancel(&this.by), {},
        rule::cancel(facts, this, now);
    RevokeLease => Revoked, "revoke_lease", this.execution_id, IdentityKind::Request, {},
        rule::revoke_lease(facts, this, now);
    ChangePriority => Priority, "change_priority", this.execution_id, IdentityKind::Request, {},
        rule::change_priority(facts, this, now);
    Replay => Replayed, "replay", this.execution_id, IdentityKind::Request,
        { purpose: Purpose::Admit },
        rule::replay(facts, this, now);
    Resume => Resumed, "resume", this.execution_id, IdentityKind::Request, {},
        rule::resume(facts, this, now);
    Block => BlockOutcome, "block", this.execution_id, IdentityKind::Absolute, {},
        rule::block(facts.execution()?, this, now);
    Unblock => BlockOutcome, "unblock", this.execution_id, IdentityKind::Absolute, {},
        rule::unblock(facts.execution()?, this, now);
    CheckSlot => SlotCheck, "check_slot", this.execution_id, IdentityKind::Absolute, {},
        rule::check_slot(facts.execution()?, this, now);
    ForgetSignals => Forgotten, "forget_signals", this.execution_id, IdentityKind::Absolute, {},
        rule::forget_signals(facts.execution()?, this, now);
    OnDue => DueOutcome, "on_due", this.execution_id, IdentityKind::Absolute, {},
        rule::on_due(facts.execution()?, now);
}

const fn identity_of_cancel(by: &CancelledBy) -> IdentityKind {
    match by {
        CancelledBy::Holder(_) => IdentityKind::Fence,
        CancelledBy::Operator(_) => IdentityKind::Request,
    }
}

fn needs_of_signal(command: &DeliverSignal) -> Needs {
    let (signal, kid) = (Some(command.signal_id), command.token.kid());
    Needs { signal, secrets: true, kid, ..NOTHING }
}

const fn needs_of_grant(grant: GrantId) -> Needs {
    Needs { grant: Some(grant), ..NOTHING }
}

fn needs_of_create(command: &Create) -> Needs {
    Needs { lanes: Some(command.namespace.clone()), ..NOTHING }
}

/// A command that sees the executions of one namespace only: those of other namespaces do not
/// exist for it.
#[derive(Clone, Debug, PartialEq)]
pub struct InNamespace<C> {
    /// The namespace.
    pub namespace: Namespace,
    /// The command.
    pub command: C,
}

impl<C: Decide> Decide for InNamespace<C> {
    type Outcome = C::Outcome;

    fn spec(&self) -> CommandSpec {
        self.command.spec()
    }

    fn decide(&self, facts: &Facts<'_>, now: TimestampMs) -> Ruling<C::Outcome> {
        self.command.decide(&facts.in_namespace(&self.namespace), now)
    }
}

/// A claim by the name of its rule.
macro_rules! claims {
    ($($(#[$doc:meta])* $command:ident;)+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $command(
                /// The arguments.
                pub Claim,
            );
        )+
    };
}

claims! {
    /// Takes an execution with a new attempt: [`super::claim()`].
    TakeNew;
    /// Takes an execution with its interrupted attempt: [`super::claim_resumed()`].
    TakeResumed;
    /// Takes an execution with a new or its interrupted attempt: [`super::claim_granted()`].
    TakeGranted;
    /// Takes an execution from an owner that lost its lease: [`super::reclaim()`].
    TakeOver;
}
