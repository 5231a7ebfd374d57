//! Events: what the journal reports of an execution (`docs/architecture.md`, Journal).

use serde::{Deserialize, Serialize};

use crate::condition::SuspensionReason;
use crate::id::{
    AttemptIndex, LaneId, LeaseEpoch, Namespace, SignalId, SignalName, SuspensionId, WaitpointId,
    WaitpointKey, WorkerInstanceId,
};
use crate::policy::Priority;
use crate::state::TerminalOutcome;
use crate::tags::Tags;
use crate::time::TimestampMs;

use super::blocks::BlockKind;
use super::lease::{ClaimKind, ReleaseOutcome};
use super::outcome::WorkFailure;
use super::signal::SignalEffect;
use super::waiting::ResumedBy;

/// One thing that happened to an execution. Renewals and progress reports have no event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It was created.
    Created {
        /// Its tenant.
        namespace: Namespace,
        /// Its lane (queue).
        lane: LaneId,
    },
    /// A grant was issued.
    GrantIssued {
        /// When it ends.
        expires_at: TimestampMs,
    },
    /// A grant expired unused.
    GrantExpired,
    /// A grant was given back unused.
    GrantReleased,
    /// A worker claimed it.
    Claimed {
        /// How.
        how: ClaimKind,
        /// The process that claimed it.
        instance: WorkerInstanceId,
        /// The attempt that runs now.
        attempt: AttemptIndex,
        /// The fencing token of the lease.
        epoch: LeaseEpoch,
    },
    /// Its lease expired.
    LeaseExpired {
        /// The fencing token of the lease.
        epoch: LeaseEpoch,
    },
    /// An operator revoked the lease.
    LeaseRevoked {
        /// The fencing token of the lease.
        epoch: LeaseEpoch,
    },
    /// An attempt failed and will be retried.
    RetryScheduled {
        /// Why it failed.
        failure: WorkFailure,
        /// When the next attempt may start.
        delay_until: TimestampMs,
    },
    /// Its worker gave it back, to go on later.
    Released {
        /// How.
        how: ReleaseOutcome,
    },
    /// A reason began to hold it back.
    Blocked {
        /// The reason.
        kind: BlockKind,
    },
    /// A reason no longer holds it back.
    Unblocked {
        /// The reason.
        kind: BlockKind,
    },
    /// Its delay is over.
    DelayOver,
    /// Its priority changed.
    PriorityChanged {
        /// The new priority.
        priority: Priority,
    },
    /// Its life is over.
    Ended {
        /// Its tenant.
        namespace: Namespace,
        /// Its lane (queue).
        lane: LaneId,
        /// Its labels.
        tags: Tags,
        /// How it ended.
        outcome: TerminalOutcome,
        /// Why it failed, if it did.
        failure: Option<WorkFailure>,
    },
    /// A new life began.
    Replayed {
        /// The number of the life.
        life: u32,
    },
    /// A waitpoint was opened before its suspension.
    WaitpointCreated {
        /// The waitpoint.
        waitpoint_id: WaitpointId,
        /// Its name.
        key: WaitpointKey,
    },
    /// A waitpoint closed because no suspension used it in time.
    WaitpointExpired {
        /// The waitpoint.
        waitpoint_id: WaitpointId,
    },
    /// Its worker gave it back until it is resumed.
    Suspended {
        /// The suspension.
        suspension_id: SuspensionId,
        /// Why.
        reason: SuspensionReason,
        /// When it times out.
        timeout_at: Option<TimestampMs>,
    },
    /// Its worker did not have to suspend it: buffered signals satisfied the condition.
    AlreadySatisfied {
        /// The suspension that was not needed.
        suspension_id: SuspensionId,
    },
    /// A signal was taken.
    SignalTaken {
        /// The signal.
        signal_id: SignalId,
        /// The waitpoint that it was sent to.
        waitpoint_id: WaitpointId,
        /// Its name.
        name: SignalName,
        /// Its effect.
        effect: SignalEffect,
    },
    /// Its suspension ended; the attempt goes on with the next claim.
    Resumed {
        /// The suspension.
        suspension_id: SuspensionId,
        /// The cause of its end.
        by: ResumedBy,
    },
    /// Its suspension timed out and goes on waiting.
    Escalated {
        /// The suspension.
        suspension_id: SuspensionId,
    },
    /// Its retention is over; the record was removed.
    Removed,
}

/// The kind of an [`Event`], without its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// It was created.
    Created,
    /// A grant was issued.
    GrantIssued,
    /// A grant expired unused.
    GrantExpired,
    /// A grant was given back unused.
    GrantReleased,
    /// A worker claimed it.
    Claimed,
    /// Its lease expired.
    LeaseExpired,
    /// An operator revoked the lease.
    LeaseRevoked,
    /// An attempt failed and will be retried.
    RetryScheduled,
    /// Its worker gave it back, to go on later.
    Released,
    /// A reason began to hold it back.
    Blocked,
    /// A reason no longer holds it back.
    Unblocked,
    /// Its delay is over.
    DelayOver,
    /// Its priority changed.
    PriorityChanged,
    /// Its life is over.
    Ended,
    /// A new life began.
    Replayed,
    /// A waitpoint was opened before its suspension.
    WaitpointCreated,
    /// A waitpoint closed because no suspension used it in time.
    WaitpointExpired,
    /// Its worker gave it back until it is resumed.
    Suspended,
    /// Its worker did not have to suspend it.
    AlreadySatisfied,
    /// A signal was taken.
    SignalTaken,
    /// Its suspension ended; the attempt goes on with the next claim.
    Resumed,
    /// Its suspension timed out and goes on waiting.
    Escalated,
    /// Its retention is over. Must stay the last: [`EventKind::ALL`] counts up to here.
    Removed,
}

impl EventKind {
    /// Every kind, in order.
    pub const ALL: [Self; Self::Removed as usize + 1] = [
        Self::Created,
        Self::GrantIssued,
        Self::GrantExpired,
        Self::GrantReleased,
        Self::Claimed,
        Self::LeaseExpired,
        Self::LeaseRevoked,
        Self::RetryScheduled,
        Self::Released,
        Self::Blocked,
        Self::Unblocked,
        Self::DelayOver,
        Self::PriorityChanged,
        Self::Ended,
        Self::Replayed,
        Self::WaitpointCreated,
        Self::WaitpointExpired,
        Self::Suspended,
        Self::AlreadySatisfied,
        Self::SignalTaken,
        Self::Resumed,
        Self::Escalated,
        Self::Removed,
    ];
}

impl Event {
    /// Its kind.
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::Created { .. } => EventKind::Created,
            Self::GrantIssued { .. } => EventKind::GrantIssued,
            Self::GrantExpired => EventKind::GrantExpired,
            Self::GrantReleased => EventKind::GrantReleased,
            Self::Claimed { .. } => EventKind::Claimed,
            Self::LeaseExpired { .. } => EventKind::LeaseExpired,
            Self::LeaseRevoked { .. } => EventKind::LeaseRevoked,
            Self::RetryScheduled { .. } => EventKind::RetryScheduled,
            Self::Released { .. } => EventKind::Released,
            Self::Blocked { .. } => EventKind::Blocked,
            Self::Unblocked { .. } => EventKind::Unblocked,
            Self::DelayOver => EventKind::DelayOver,
            Self::PriorityChanged { .. } => EventKind::PriorityChanged,
            Self::Ended { .. } => EventKind::Ended,
            Self::Replayed { .. } => EventKind::Replayed,
            Self::WaitpointCreated { .. } => EventKind::WaitpointCreated,
            Self::WaitpointExpired { .. } => EventKind::WaitpointExpired,
            Self::Suspended { .. } => EventKind::Suspended,
            Self::AlreadySatisfied { .. } => EventKind::AlreadySatisfied,
            Self::SignalTaken { .. } => EventKind::SignalTaken,
            Self::Resumed { .. } => EventKind::Resumed,
            Self::Escalated { .. } => EventKind::Escalated,
            Self::Removed => EventKind::Removed,
        }
    }
}
