//! Why a command is refused, and what a caller sees of it (`docs/spec.md`, 10).
//!
//! [`Rejection`] is what a rule answers. [`TABLE`] maps each kind of it to a variant of
//! [`EngineError`], a class and an HTTP status; `docs/errors.md` is generated from that table.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::capability::CapabilityError;
use crate::id::{AttemptId, ExecutionId, ExecutionIdError, LeaseEpoch, TextIdError};
use crate::policy::PolicyError;
use crate::state::{EligibilityState, LifecyclePhase, TerminalOutcome};
use crate::tags::TagError;
use crate::time::{DurationMs, TimestampMs};

pub use crate::cause::{Bug, Missing};

/// What a caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The same call will never succeed.
    Terminal,
    /// The same call may succeed later.
    Retryable,
    /// Somebody else owns the work now: stop working on it.
    Cooperative,
    /// Nothing is wrong; the wish is fulfilled or void.
    Informational,
    /// A defect of the engine or of its store's content.
    Bug,
}

macro_rules! rejections {
    ($($(#[doc = $doc:literal])* #[error($($error:tt)*)] $variant:ident
        $({ $($(#[$field_doc:meta])* $field:ident : $type:ty),+ $(,)? })?
        => $engine:ident, $class:ident, $status:literal;)+) => {
        /// Why a rule refuses a command. A refused command changes nothing at all.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
            /// Its kind.
            pub const fn kind(&self) -> RejectionKind {
                match self { $(Self::$variant { .. } => RejectionKind::$variant,)+ }
            }
        }

        /// The one table of errors: a row for each kind of rejection, in the order of the kinds.
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

/// How one kind of rejection is shown to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorRow {
    /// The kind.
    pub kind: RejectionKind,
    /// Its stable name.
    pub name: &'static str,
    /// The variant of [`EngineError`] that carries it.
    pub variant: EngineVariant,
    /// What a caller should do about it.
    pub class: ErrorClass,
    /// The status of an HTTP reply.
    pub http_status: u16,
}

impl RejectionKind {
    /// The kind's row in [`TABLE`].
    pub const fn row(self) -> &'static ErrorRow {
        &TABLE[self as usize]
    }
}

rejections! {
    /// There is no execution of this id, or its retention is over.
    #[error("there is no such execution; its retention may be over")]
    NotFound => NotFound, Terminal, 404;
    /// The id's partition is outside of the store's configuration.
    #[error("partition {index} does not exist: the store has {count}")]
    PartitionOutOfRange {
        /// The partition of the id.
        index: u16,
        /// How many there are.
        count: u16,
    } => Validation, Terminal, 400;
    /// The deadline is not in the future.
    #[error("the deadline {deadline} is not after now, which is {now}")]
    DeadlineNotInFuture {
        /// The deadline that was asked for.
        deadline: TimestampMs,
        /// The time by the store's clock.
        now: TimestampMs,
    } => Validation, Terminal, 400;
    /// A payload or result is over its limit.
    #[error("a payload or result of {bytes} bytes is over the limit of {limit}")]
    PayloadTooLarge {
        /// How many bytes there are.
        bytes: usize,
        /// How many are allowed.
        limit: usize,
    } => Validation, Terminal, 413;
    /// A policy that cannot be carried out.
    #[error("the policy cannot be carried out: {0}", .source)]
    InvalidPolicy {
        /// What is wrong.
        source: PolicyError,
    } => Validation, Terminal, 400;
    /// A capability set that is malformed or too large.
    #[error("{0}", .source)]
    InvalidCapabilities {
        /// What is wrong.
        source: CapabilityError,
    } => Validation, Terminal, 400;
    /// A batch of tags with a bad key or too many of them.
    #[error("{0}", .source)]
    InvalidTagKey {
        /// What is wrong.
        source: TagError,
    } => Validation, Terminal, 400;
    /// A text that is no id.
    #[error("{0}", .source)]
    InvalidId {
        /// What is wrong.
        source: TextIdError,
    } => Validation, Terminal, 400;
    /// A text that is no execution id.
    #[error("{0}", .source)]
    InvalidExecutionId {
        /// What is wrong.
        source: ExecutionIdError,
    } => Validation, Terminal, 400;
    /// A field outside of its bounds.
    #[error("{field} {problem}")]
    InvalidInput {
        /// The field.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    } => Validation, Terminal, 400;
    /// A lease-bound call without a fence.
    #[error("this call needs the fence of a lease: lease_id, lease_epoch and attempt_id")]
    FenceRequired => Validation, Terminal, 400;
    /// A lease-bound call with a part of a fence.
    #[error("a fence has three parts, lease_id, lease_epoch and attempt_id; some are missing")]
    PartialFenceTriple => Validation, Terminal, 400;
    /// The idempotency key was used for other content.
    #[error("this idempotency key stands for {existing}, which has other content")]
    IdempotencyMismatch {
        /// The execution that the key stands for.
        existing: ExecutionId,
    } => Conflict, Terminal, 409;
    /// A live grant is out already.
    #[error("a grant is out until {expires_at}")]
    GrantAlreadyExists {
        /// When it ends.
        expires_at: TimestampMs,
    } => Conflict, Retryable, 409;
    /// The operator's call was meant for another life of the execution.
    #[error("the call was meant for life {asked}; the execution is in life {current}")]
    Superseded {
        /// The life that the call saw first.
        asked: u32,
        /// The present one.
        current: u32,
    } => Conflict, Terminal, 409;
    /// The fence is not that of the latest lease.
    #[error("the lease is not the latest one any more; the latest has epoch {lease_epoch}")]
    StaleLease {
        /// The epoch of the latest lease.
        lease_epoch: LeaseEpoch,
    } => State, Cooperative, 409;
    /// No worker owns the execution.
    #[error("the execution is {lifecycle_phase}, not active (outcome {terminal_outcome})")]
    ExecutionNotActive {
        /// How it ended, if it did.
        terminal_outcome: TerminalOutcome,
        /// The epoch of its latest lease.
        lease_epoch: LeaseEpoch,
        /// Where it is instead.
        lifecycle_phase: LifecyclePhase,
        /// Its present or last attempt.
        attempt_id: Option<AttemptId>,
    } => State, Cooperative, 409;
    /// An operator took the lease away.
    #[error("the lease was revoked")]
    LeaseRevoked => State, Cooperative, 409;
    /// The lease ran out.
    #[error("the lease ran out at {expired_at}")]
    LeaseExpired {
        /// When.
        expired_at: TimestampMs,
    } => State, Cooperative, 409;
    /// There is no grant of this kind, for this worker, by this key.
    #[error("there is no such grant for this worker; ask for a new one")]
    InvalidClaimGrant => State, Terminal, 409;
    /// The grant ran out before it was used.
    #[error("the grant ran out at {expired_at}; ask for a new one")]
    ClaimGrantExpired {
        /// When.
        expired_at: TimestampMs,
    } => State, Terminal, 409;
    /// The execution has an interrupted attempt: take it with a resumed claim.
    #[error("the execution goes on with an interrupted attempt: use claim_resumed")]
    UseClaimResumedExecution => State, Terminal, 409;
    /// The execution has no interrupted attempt: take it with an ordinary claim.
    #[error("the execution has no interrupted attempt: use claim")]
    NotAResumedExecution => State, Terminal, 409;
    /// The execution cannot be leased as it is now.
    #[error("the execution is {lifecycle_phase} and cannot be leased")]
    ExecutionNotLeaseable {
        /// Where it is.
        lifecycle_phase: LifecyclePhase,
    } => State, Retryable, 409;
    /// The execution is not ready to be granted.
    #[error("the execution is {lifecycle_phase}, {eligibility}")]
    ExecutionNotEligible {
        /// Where it is.
        lifecycle_phase: LifecyclePhase,
        /// What holds it back.
        eligibility: EligibilityState,
    } => State, Retryable, 409;
    /// The worker lacks capabilities that the execution needs.
    #[error("the worker lacks the capabilities {}", missing.join(","))]
    CapabilityMismatch {
        /// The missing tokens.
        missing: Vec<Arc<str>>,
    } => State, Terminal, 409;
    /// There is nothing to reclaim: no lease was lost, or it ends with its attempt's time, or the
    /// execution is reclaimed on request only.
    #[error("there is no lost lease to take over")]
    ExecutionNotReclaimable => State, Informational, 409;
    /// The execution was reclaimed too often and has failed.
    #[error("the execution was reclaimed {reclaims} times, its limit, and has failed")]
    ReclaimCapExceeded {
        /// How often it was reclaimed.
        reclaims: u32,
    } => State, Terminal, 409;
    /// The execution is not waiting to run.
    #[error("the execution is {lifecycle_phase}, not runnable")]
    ExecutionNotRunnable {
        /// Where it is instead.
        lifecycle_phase: LifecyclePhase,
    } => State, Terminal, 409;
    /// The execution is not over.
    #[error("the execution is {lifecycle_phase}, not terminal")]
    ExecutionNotTerminal {
        /// Where it is instead.
        lifecycle_phase: LifecyclePhase,
    } => State, Terminal, 409;
    /// The execution was replayed as often as its policy allows.
    #[error("the execution was replayed {replays} times, its limit")]
    MaxReplaysExhausted {
        /// How often it was replayed.
        replays: u32,
    } => State, Terminal, 409;
    /// Whoever calls may not signal this waitpoint: whether there is such an execution or
    /// waitpoint, and what is wrong with the token, is not told.
    #[error("the token is not good for this waitpoint")]
    InvalidToken => Validation, Terminal, 403;
    /// The waitpoint takes no signals any more: its suspension, its time or its attempt is over.
    #[error("the waitpoint is closed: it takes no signals any more")]
    WaitpointClosed => State, Informational, 409;
    /// The execution had as many signals as it may.
    #[error("the execution had {limit} signals, its limit")]
    SignalLimitExceeded {
        /// How many it may have.
        limit: u32,
    } => State, Terminal, 409;
    /// The holder's lease is given back already: the execution is suspended.
    #[error("the execution is suspended already")]
    AlreadySuspended => State, Cooperative, 409;
    /// The execution is not suspended, its suspension has taken too long, or it is another one than
    /// the call saw first.
    #[error("the execution is {lifecycle_phase}: there is no such suspension to resume")]
    ExecutionNotSuspended {
        /// Where it is.
        lifecycle_phase: LifecyclePhase,
    } => State, Terminal, 409;
    /// The decision needs something that was not read, or was read too long ago.
    #[error("{what} have to be read first")]
    Unread {
        /// What.
        what: Missing,
    } => State, Retryable, 409;
    /// The lease of whoever appends is lost.
    #[error("the lease is lost: output of this attempt is not taken from here any more")]
    StaleOwnerCannotAppend => State, Cooperative, 409;
    /// The attempt whose output it is has ended or is interrupted.
    #[error("the output is closed: its attempt does not run")]
    StreamClosed => State, Cooperative, 409;
    /// A frame before this one is missing.
    #[error("frame {given} does not follow: {expected} is the next one")]
    SequenceGap {
        /// The next sequence.
        expected: u64,
        /// The sequence that was given.
        given: u64,
    } => State, Retryable, 409;
    /// The kid stands for another secret.
    #[error("kid {kid} stands for another secret; choose another kid")]
    RotationConflict {
        /// The kid.
        kid: String,
    } => Conflict, Terminal, 409;
    /// A text that is no kid.
    #[error("a kid is 1 to 64 printable ASCII bytes without space and colon")]
    InvalidKid => Validation, Terminal, 400;
    /// A text that is no secret.
    #[error("a secret is 1 to 128 bytes in hexadecimal digits")]
    InvalidSecretHex => Validation, Terminal, 400;
    /// A grace that is too long.
    #[error("a grace of {grace} is over the limit of {max}")]
    InvalidGraceMs {
        /// The grace.
        grace: DurationMs,
        /// The longest one.
        max: DurationMs,
    } => Validation, Terminal, 400;
    /// The record format is beyond what this program knows.
    #[error("this program knows record formats up to {known}, not {asked}; use a newer one")]
    FormatUnknown {
        /// The format that was to be activated.
        asked: u8,
        /// The highest that this program knows.
        known: u8,
    } => State, Terminal, 409;
    /// A higher record format is active; the number never goes down.
    #[error("record format {active} is active and stays so; {asked} is lower")]
    FormatSuperseded {
        /// The format that was to be activated.
        asked: u8,
        /// The active one.
        active: u8,
    } => Conflict, Terminal, 409;
}

/// Whether a call took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Applied {
    /// It did not.
    No,
    /// Nobody can say: a reply was lost and the store could not be asked again, or the record has
    /// moved on too far since.
    Unknown,
}

/// What a caller of the engine sees.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The thing that was asked for does not exist.
    #[error("{entity} was not found")]
    NotFound {
        /// What was looked for.
        entity: &'static str,
    },
    /// The arguments cannot be right.
    #[error("{detail}")]
    Validation {
        /// The kind of mistake.
        kind: RejectionKind,
        /// What is wrong, in words.
        detail: String,
    },
    /// Others changed the same record again and again while this call tried.
    #[error("{op} met {tries} conflicts in a row; try again later")]
    Contention {
        /// The operation.
        op: &'static str,
        /// How often it tried.
        tries: u32,
    },
    /// The call contradicts an earlier one.
    #[error("{0}")]
    Conflict(Rejection),
    /// The execution is not in a state that allows the call.
    #[error("{0}")]
    State(Rejection),
    /// A defect of the engine or of its store's content.
    #[error("internal error: {0}")]
    Bug(Bug),
    /// The store refused the call for a reason of its own.
    #[error("the store refused {op}: {message}")]
    Transport {
        /// The operation.
        op: &'static str,
        /// What it said.
        message: String,
    },
    /// The store cannot be reached.
    #[error("{op} could not reach the store: {message}")]
    Unavailable {
        /// The operation.
        op: &'static str,
        /// What the transport said.
        message: String,
    },
    /// A bound of the store contract is exceeded; nothing was sent.
    #[error("{what}: {given} is over the bound of {bound}")]
    ResourceExhausted {
        /// What is bounded.
        what: &'static str,
        /// How much there is.
        given: usize,
        /// How much is allowed.
        bound: usize,
    },
    /// The call took longer than it was allowed to.
    #[error("{op} did not end within {elapsed}{}", match applied {
        Applied::No => "; it was not applied",
        Applied::Unknown => "; whether it was applied is unknown",
    })]
    Timeout {
        /// The operation.
        op: &'static str,
        /// How long it tried.
        elapsed: DurationMs,
        /// Whether it took effect.
        applied: Applied,
    },
    /// Another error with what was being done.
    #[error("{context}: {source}")]
    Contextual {
        /// What was being done.
        context: String,
        /// The error itself.
        source: Box<EngineError>,
    },
}

impl Bug {
    /// The store answered `op` with something else than it was asked.
    pub(crate) fn unexpected_reply(op: &str) -> EngineError {
        let detail = format!("{op} got the reply of another request");
        EngineError::Bug(Self::UnexpectedReply { detail })
    }
}

impl EngineError {
    /// What a caller should do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. } | Self::ResourceExhausted { .. } => ErrorClass::Terminal,
            Self::Validation { kind, .. } => kind.row().class,
            Self::Conflict(rejection) | Self::State(rejection) => rejection.kind().row().class,
            Self::Contention { .. }
            | Self::Transport { .. }
            | Self::Unavailable { .. }
            | Self::Timeout { .. } => ErrorClass::Retryable,
            Self::Bug(_) => ErrorClass::Bug,
            Self::Contextual { source, .. } => source.class(),
        }
    }

    /// The status of an HTTP reply that carries it.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::NotFound { .. } => 404,
            Self::Validation { kind, .. } => kind.row().http_status,
            Self::Conflict(rejection) | Self::State(rejection) => {
                rejection.kind().row().http_status
            }
            Self::Contention { .. } => 409,
            Self::ResourceExhausted { .. } => 413,
            Self::Transport { .. } | Self::Unavailable { .. } => 503,
            Self::Timeout { .. } => 504,
            Self::Bug(_) => 500,
            Self::Contextual { source, .. } => source.http_status(),
        }
    }

    /// Whether nobody can say if the call took effect; of any other error it is certain that it did
    /// not.
    pub fn may_be_applied(&self) -> bool {
        match self {
            Self::Timeout { applied, .. } => *applied == Applied::Unknown,
            Self::Contextual { source, .. } => source.may_be_applied(),
            _ => false,
        }
    }

    /// The rejection behind it, where a rule refused the call.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Conflict(rejection) | Self::State(rejection) => Some(rejection),
            Self::Contextual { source, .. } => source.rejection(),
            _ => None,
        }
    }

    /// The same error with what was being done.
    #[must_use]
    pub fn context(self, context: impl Into<String>) -> Self {
        Self::Contextual { context: context.into(), source: Box::new(self) }
    }
}

impl From<Rejection> for EngineError {
    fn from(rejection: Rejection) -> Self {
        let kind = rejection.kind();
        match kind.row().variant {
            EngineVariant::NotFound => Self::NotFound { entity: "execution" },
            EngineVariant::Validation => Self::Validation { kind, detail: rejection.to_string() },
            EngineVariant::Conflict => Self::Conflict(rejection),
            EngineVariant::State => Self::State(rejection),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_stands_at_its_kind() {
        for (position, row) in TABLE.iter().enumerate() {
            assert_eq!(row.kind as usize, position);
            assert_eq!(row.kind.row().name, row.name);
        }
    }

    #[test]
    fn a_rejection_becomes_the_variant_of_its_row() {
        let error = EngineError::from(Rejection::LeaseRevoked);
        assert!(matches!(error, EngineError::State(Rejection::LeaseRevoked)));
        assert_eq!((error.class(), error.http_status()), (ErrorClass::Cooperative, 409));
        let error = EngineError::from(Rejection::FenceRequired).context("complete");
        assert_eq!((error.class(), error.http_status()), (ErrorClass::Terminal, 400));
    }
}
