//! The reasons why rules refuse commands, and the table of their forms.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::capability::CapabilityError;
use crate::cause::Missing;
use crate::id::{
    AttemptId, BudgetId, Dimension, ExecutionId, ExecutionIdError, LaneId, LeaseEpoch, QuotaId,
    TextIdError, WorkerInstanceId,
};
use crate::policy::PolicyError;
use crate::quota_ref::QuotaRef;
use crate::state::{EligibilityState, LifecyclePhase, PublicState, TerminalOutcome};
use crate::tags::TagError;
use crate::time::{DurationMs, TimestampMs};

use super::EngineError;

/// The class of an error. It says how a caller should react.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The same call never succeeds.
    Terminal,
    /// The same call may succeed later.
    Retryable,
    /// The caller no longer owns the work: stop working on it.
    Cooperative,
    /// Nothing is wrong: the request is already satisfied, or no longer applies.
    Informational,
    /// A defect of the engine or of the data in its store.
    Bug,
}

macro_rules! rejections {
    ($($(#[doc = $doc:literal])* #[error($($error:tt)*)] $variant:ident
        $({ $($(#[$field_doc:meta])* $field:ident : $type:ty),+ $(,)? })?
        => $engine:ident, $class:ident, $status:literal;)+) => {
        /// The reason a rule refuses a command. A refused command changes nothing.
        ///
        /// Its JSON is the object of its values, or null: the `details` of an error over HTTP.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
        #[serde(untagged)]
        #[non_exhaustive]
        pub enum Rejection {
            $($(#[doc = $doc])* #[error($($error)*)] $variant
                $({ $($(#[$field_doc])* $field: $type),+ })?,)+
        }

        /// The kind of a [`Rejection`], without its values.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum RejectionKind {
            $($(#[doc = $doc])* $variant,)+
        }

        impl Rejection {
            /// Returns the kind of the rejection.
            pub const fn kind(&self) -> RejectionKind {
                match self { $(Self::$variant { .. } => RejectionKind::$variant,)+ }
            }
        }

        /// The table of errors: a row for each kind of rejection, in the order of the kinds.
        pub const TABLE: &[ErrorRow] = &[
            $(ErrorRow {
                kind: RejectionKind::$variant,
                name: stringify!($variant),
                variant: EngineVariant::$engine,
                class: ErrorClass::$class,
                http_status: $status,
            },)+
        ];
    };
}

/// The variant of [`EngineError`] that carries a kind of rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineVariant {
    /// [`EngineError::NotFound`].
    NotFound,
    /// [`EngineError::Validation`].
    Validation,
    /// [`EngineError::Conflict`].
    Conflict,
    /// [`EngineError::State`].
    State,
}

/// The form in which callers see one kind of rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorRow {
    /// The kind of the rejection.
    pub kind: RejectionKind,
    /// The stable name of the kind.
    pub name: &'static str,
    /// The variant of [`EngineError`] that carries the rejection.
    pub variant: EngineVariant,
    /// The class of the error.
    pub class: ErrorClass,
    /// The HTTP status of a reply with this error.
    pub http_status: u16,
}

impl RejectionKind {
    /// Returns the row of this kind in [`TABLE`].
    pub const fn row(self) -> &'static ErrorRow {
        &TABLE[self as usize]
    }

    /// Returns the name of the kind in JSON, in snake case: `lease_expired`.
    pub fn wire_name(self) -> String {
        snake_case(self.row().name)
    }

    /// Returns the kind with this name in JSON.
    pub fn from_wire_name(name: &str) -> Option<Self> {
        TABLE.iter().map(|row| row.kind).find(|kind| kind.wire_name() == name)
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

rejections! {
    /// The execution does not exist, or its retention is over.
    #[error("execution not found: the id does not exist, or its retention is over")]
    NotFound => NotFound, Terminal, 404;
    /// The partition in the execution id does not exist in this store.
    #[error("partition {index} does not exist: the store has {count} partitions; check the id")]
    PartitionOutOfRange {
        /// The partition in the id.
        index: u16,
        /// The number of partitions.
        count: u16,
    } => Validation, Terminal, 400;
    /// The deadline is not in the future.
    #[error("the deadline {deadline} is not in the future: the store's time is {now}")]
    DeadlineNotInFuture {
        /// The requested deadline.
        deadline: TimestampMs,
        /// The store's time.
        now: TimestampMs,
    } => Validation, Terminal, 400;
    /// A payload or result is over its limit.
    #[error("the payload or result has {bytes} bytes; at most {limit} are allowed")]
    PayloadTooLarge {
        /// The size, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    } => Validation, Terminal, 413;
    /// The policy is not valid.
    #[error("invalid policy: {0}", .source)]
    InvalidPolicy {
        /// The problem.
        #[serde(skip)]
        source: PolicyError,
    } => Validation, Terminal, 400;
    /// The capability set is malformed or too large.
    #[error("{0}", .source)]
    InvalidCapabilities {
        /// The problem.
        #[serde(skip)]
        source: CapabilityError,
    } => Validation, Terminal, 400;
    /// A tag key is invalid, or there are too many tags.
    #[error("{0}", .source)]
    InvalidTagKey {
        /// The problem.
        #[serde(skip)]
        source: TagError,
    } => Validation, Terminal, 400;
    /// A text is not a valid id.
    #[error("{0}", .source)]
    InvalidId {
        /// The problem.
        #[serde(skip)]
        source: TextIdError,
    } => Validation, Terminal, 400;
    /// A text is not a valid execution id.
    #[error("{0}", .source)]
    InvalidExecutionId {
        /// The problem.
        #[serde(skip)]
        source: ExecutionIdError,
    } => Validation, Terminal, 400;
    /// A field is out of its bounds.
    #[error("{field} {problem}")]
    InvalidInput {
        /// The field.
        field: &'static str,
        /// The problem, and the values that are allowed.
        problem: String,
    } => Validation, Terminal, 400;
    /// A call that needs a lease has no fence.
    #[error("missing fence: this call needs lease_id, lease_epoch and attempt_id")]
    FenceRequired => Validation, Terminal, 400;
    /// A call that needs a lease has an incomplete fence.
    #[error("incomplete fence: give all of lease_id, lease_epoch and attempt_id")]
    PartialFenceTriple => Validation, Terminal, 400;
    /// The lane is draining: it accepts no submissions.
    #[error("lane {lane} is draining{}: it accepts no submissions", because(reason.as_deref()))]
    LaneDraining {
        /// The lane.
        lane: LaneId,
        /// When the state was set.
        since: TimestampMs,
        /// The reason that the operator gave.
        reason: Option<String>,
    } => Conflict, Retryable, 409;
    /// The lane is disabled: it accepts no submissions and starts nothing.
    #[error("lane {lane} is disabled{}: it accepts no submissions", because(reason.as_deref()))]
    LaneDisabled {
        /// The lane.
        lane: LaneId,
        /// When the state was set.
        since: TimestampMs,
        /// The reason that the operator gave.
        reason: Option<String>,
    } => Conflict, Retryable, 409;
    /// The idempotency key was used for other content.
    #[error("the idempotency key belongs to {existing}, which has other content; use another key")]
    IdempotencyMismatch {
        /// The execution to which the key belongs.
        existing: ExecutionId,
    } => Conflict, Terminal, 409;
    /// Another grant for the execution is still valid.
    #[error("another grant is valid until {expires_at}; try again later")]
    GrantAlreadyExists {
        /// The expiry of the other grant.
        expires_at: TimestampMs,
    } => Conflict, Retryable, 409;
    /// The operator's call was made for another life of the execution.
    #[error("the call was made for life {asked}, but the execution is in life {current}")]
    Superseded {
        /// The life that the call saw first.
        asked: u32,
        /// The current life.
        current: u32,
    } => Conflict, Terminal, 409;
    /// The fence does not belong to the latest lease.
    #[error("the lease is out of date: the latest lease has epoch {lease_epoch}")]
    StaleLease {
        /// The epoch of the latest lease.
        lease_epoch: LeaseEpoch,
    } => State, Cooperative, 409;
    /// No worker owns the execution.
    #[error("the execution is {lifecycle_phase}, not active (outcome {terminal_outcome})")]
    ExecutionNotActive {
        /// The outcome, if the execution has ended.
        terminal_outcome: TerminalOutcome,
        /// The epoch of the latest lease.
        lease_epoch: LeaseEpoch,
        /// The current phase.
        lifecycle_phase: LifecyclePhase,
        /// The current or last attempt.
        attempt_id: Option<AttemptId>,
    } => State, Cooperative, 409;
    /// The call was made for executions in other states.
    #[error("the execution is {state} now; the call was made for executions in other states")]
    OtherState {
        /// The current state.
        state: PublicState,
    } => State, Terminal, 409;
    /// An operator revoked the lease.
    #[error("the lease was revoked")]
    LeaseRevoked => State, Cooperative, 409;
    /// The lease expired.
    #[error("the lease expired at {expired_at}")]
    LeaseExpired {
        /// The expiry.
        expired_at: TimestampMs,
    } => State, Cooperative, 409;
    /// No grant of this kind, for this worker and with this key exists.
    #[error("no such grant for this worker; request a new one")]
    InvalidClaimGrant => State, Terminal, 409;
    /// The grant expired before it was used.
    #[error("the grant expired at {expired_at}; request a new one")]
    ClaimGrantExpired {
        /// The expiry.
        expired_at: TimestampMs,
    } => State, Terminal, 409;
    /// The execution has an interrupted attempt, so it needs a resumed claim.
    #[error("the execution has an interrupted attempt: use claim_resumed")]
    UseClaimResumedExecution => State, Terminal, 409;
    /// The execution has no interrupted attempt, so it needs an ordinary claim.
    #[error("the execution has no interrupted attempt: use claim")]
    NotAResumedExecution => State, Terminal, 409;
    /// The execution cannot be leased in its current phase.
    #[error("the execution is {lifecycle_phase} and cannot be leased")]
    ExecutionNotLeaseable {
        /// The current phase.
        lifecycle_phase: LifecyclePhase,
    } => State, Retryable, 409;
    /// The execution is not eligible for a grant.
    #[error("the execution is not eligible for a grant: {lifecycle_phase}, {eligibility}")]
    ExecutionNotEligible {
        /// The current phase.
        lifecycle_phase: LifecyclePhase,
        /// The reason it is not eligible.
        eligibility: EligibilityState,
    } => State, Retryable, 409;
    /// The worker lacks capabilities that the execution requires.
    #[error("the worker lacks these capabilities: {}", missing.join(","))]
    CapabilityMismatch {
        /// The missing tokens.
        missing: Vec<Arc<str>>,
    } => State, Terminal, 409;
    /// There is nothing to reclaim: no lease was lost, or the attempt's time ends with the lease,
    /// or the execution is reclaimed on request only.
    #[error("the execution has no lost lease to reclaim")]
    ExecutionNotReclaimable => State, Informational, 409;
    /// The execution reached its limit of reclaims and has failed.
    #[error("the execution has failed: it was reclaimed {reclaims} times, its limit")]
    ReclaimCapExceeded {
        /// The number of reclaims.
        reclaims: u32,
    } => State, Terminal, 409;
    /// The execution is not waiting to run.
    #[error("the execution is {lifecycle_phase}, not runnable")]
    ExecutionNotRunnable {
        /// The current phase.
        lifecycle_phase: LifecyclePhase,
    } => State, Terminal, 409;
    /// The execution has not ended.
    #[error("the execution is {lifecycle_phase}, not terminal")]
    ExecutionNotTerminal {
        /// The current phase.
        lifecycle_phase: LifecyclePhase,
    } => State, Terminal, 409;
    /// The execution reached the limit of replays in its policy.
    #[error("the execution was replayed {replays} times, its limit")]
    MaxReplaysExhausted {
        /// The number of replays.
        replays: u32,
    } => State, Terminal, 409;
    /// The caller may not signal this waitpoint. The error reveals neither whether the execution
    /// or the waitpoint exists nor why the token is not valid.
    #[error("the token is not valid for this waitpoint")]
    InvalidToken => Validation, Terminal, 403;
    /// The waitpoint accepts no more signals: its suspension, its time or its attempt is over.
    #[error("the waitpoint is closed and accepts no more signals")]
    WaitpointClosed => State, Informational, 409;
    /// The execution reached its limit of signals.
    #[error("the execution has received {limit} signals, its limit")]
    SignalLimitExceeded {
        /// The limit.
        limit: u32,
    } => State, Terminal, 409;
    /// The execution is suspended, so the caller no longer holds a lease.
    #[error("the execution is already suspended")]
    AlreadySuspended => State, Cooperative, 409;
    /// The execution is not suspended, its suspension has timed out, or its suspension is not the
    /// one that the call saw first.
    #[error("the execution is {lifecycle_phase}: the suspension to resume is over")]
    ExecutionNotSuspended {
        /// The current phase.
        lifecycle_phase: LifecyclePhase,
    } => State, Terminal, 409;
    /// The decision needs data that was not read, or was read too long ago.
    #[error("{what} must be read first")]
    Unread {
        /// The missing data.
        what: Missing,
    } => State, Retryable, 409;
    /// The worker that appends has lost its lease.
    #[error("the lease is lost: this worker may no longer append output to the attempt")]
    StaleOwnerCannotAppend => State, Cooperative, 409;
    /// The attempt whose output it is has ended or is interrupted.
    #[error("the output is closed: its attempt is not running")]
    StreamClosed => State, Cooperative, 409;
    /// A frame before this one is missing.
    #[error("frame {given} is out of order: the next frame is {expected}")]
    SequenceGap {
        /// The next sequence number.
        expected: u64,
        /// The sequence number in the call.
        given: u64,
    } => State, Retryable, 409;
    /// The key ID belongs to another secret.
    #[error("key ID {kid} belongs to another secret; choose another key ID")]
    RotationConflict {
        /// The key ID.
        kid: String,
    } => Conflict, Terminal, 409;
    /// A text is not a valid key ID.
    #[error("invalid key ID: expected 1 to 64 printable ASCII bytes without spaces and colons")]
    InvalidKid => Validation, Terminal, 400;
    /// A text is not a valid secret.
    #[error("invalid secret: expected 1 to 128 bytes in hexadecimal digits")]
    InvalidSecretHex => Validation, Terminal, 400;
    /// The grace of a rotation is too long.
    #[error("the grace of {grace} is too long: at most {max} is allowed")]
    InvalidGraceMs {
        /// The requested grace.
        #[serde(rename = "grace_ms")]
        grace: DurationMs,
        /// The longest allowed grace.
        #[serde(rename = "max_ms")]
        max: DurationMs,
    } => Validation, Terminal, 400;
    /// The budget does not exist.
    #[error("budget {budget} not found in this namespace")]
    BudgetNotFound {
        /// The budget.
        budget: BudgetId,
    } => State, Terminal, 404;
    /// Another request has created the budget.
    #[error("budget {budget} exists already; change its limits instead")]
    BudgetExists {
        /// The budget.
        budget: BudgetId,
    } => Conflict, Terminal, 409;
    /// The budget does not have the dimension.
    #[error("budget {budget} does not have the dimension {dimension}")]
    UnknownDimension {
        /// The budget.
        budget: BudgetId,
        /// The dimension.
        dimension: Dimension,
    } => State, Terminal, 400;
    /// A budget of the execution is at its hard limit.
    #[error("budget {budget} has reached its hard limit of {limit} {dimension}")]
    BudgetExhausted {
        /// The budget.
        budget: BudgetId,
        /// The dimension at its limit.
        dimension: Dimension,
        /// The hard limit.
        limit: u64,
        /// When the budget resets itself; `None` if it does not.
        resets_at: Option<TimestampMs>,
    } => State, Retryable, 429;
    /// The quota does not exist.
    #[error("quota {quota} not found in this namespace")]
    QuotaNotFound {
        /// The quota.
        quota: QuotaId,
    } => State, Terminal, 404;
    /// As many executions of the quota run as may run at a time.
    #[error("quota {quota} lets {limit} executions run at a time, and as many run")]
    ConcurrencyLimitExceeded {
        /// The quota and the key.
        quota: QuotaRef,
        /// The limit.
        limit: u32,
    } => State, Retryable, 429;
    /// As many executions of the quota were started as may start in its window, or others wait.
    #[error("quota {quota} allows no start now; try again after {retry_after}")]
    RateLimitExceeded {
        /// The quota and the key.
        quota: QuotaRef,
        /// When it may be allowed.
        #[serde(rename = "retry_after_ms")]
        retry_after: DurationMs,
    } => State, Retryable, 429;
    /// Another live process has registered under the instance id.
    #[error(
        "another process is registered as {instance} until {until}: use another instance id, wait, \
         or take over"
    )]
    WorkerInstanceInUse {
        /// The instance id.
        instance: WorkerInstanceId,
        /// When the registration ends without a further heartbeat.
        until: TimestampMs,
    } => Conflict, Retryable, 409;
    /// No process is registered under the instance id, or its registration has expired.
    #[error("no live process is registered as {instance} in this namespace")]
    WorkerNotFound {
        /// The instance id.
        instance: WorkerInstanceId,
    } => State, Terminal, 404;
    /// The process no longer holds its instance id, so it must stop claiming.
    #[error(
        "this process is no longer registered as {instance}: another process has taken over, or \
         an operator has marked it as dead; it must stop claiming"
    )]
    WorkerSuperseded {
        /// The instance id.
        instance: WorkerInstanceId,
    } => State, Cooperative, 409;
    /// This program does not know the record format.
    #[error("unknown record format {asked}: this program knows up to {known}; use a newer one")]
    FormatUnknown {
        /// The format to activate.
        asked: u8,
        /// The highest format that this program knows.
        known: u8,
    } => State, Terminal, 409;
    /// A higher record format is active. The format never goes down.
    #[error("cannot activate record format {asked}: the higher format {active} is active")]
    FormatSuperseded {
        /// The format to activate.
        asked: u8,
        /// The active format.
        active: u8,
    } => Conflict, Terminal, 409;
}

/// The reason that an operator gave, as a part of a sentence.
fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}

macro_rules! invalid {
    ($($error:ident => $variant:ident),+ $(,)?) => {
        $(impl From<$error> for Rejection {
            fn from(source: $error) -> Self {
                Self::$variant { source }
            }
        }

        impl From<$error> for EngineError {
            fn from(source: $error) -> Self {
                Rejection::from(source).into()
            }
        })+
    };
}

invalid! {
    PolicyError => InvalidPolicy,
    CapabilityError => InvalidCapabilities,
    TagError => InvalidTagKey,
    TextIdError => InvalidId,
    ExecutionIdError => InvalidExecutionId,
}

impl fmt::Display for RejectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().name)
    }
}
