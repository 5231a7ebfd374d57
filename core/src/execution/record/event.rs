//! What happened to an execution, as the journal tells it (`docs/architecture.md`, Journal).

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
use super::outcome::Failure;
use super::signal::SignalEffect;
use super::waiting::ResumedBy;

/// One thing that happened. Renewals and progress are not worth an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It was created.
    Created {
        /// Its tenant.
        namespace: Namespace,
        /// Its queue.
        lane: LaneId,
    },
    /// A grant went out.
    GrantIssued {
        /// When it ends.
        expires_at: TimestampMs,
    },
    /// A grant ran out unused.
    GrantExpired,
    /// A worker took it.
    Claimed {
        /// How.
        how: ClaimKind,
        /// The process that took it.
        instance: WorkerInstanceId,
        /// The attempt that runs now.
        attempt: AttemptIndex,
        /// The fencing token of the lease.
        epoch: LeaseEpoch,
    },
    /// Its lease ran out.
    LeaseExpired {
        /// The fencing token of the lease.
        epoch: LeaseEpoch,
    },
    /// An operator took the lease away.
    LeaseRevoked {
        /// The fencing token of the lease.
        epoch: LeaseEpoch,
    },
    /// An attempt failed and is tried again.
    RetryScheduled {
        /// Why it failed.
        failure: Failure,
        /// When the next attempt may start.
        delay_until: TimestampMs,
    },
    /// Its worker gave it back for later.
    Released {
        /// How.
        how: ReleaseOutcome,
    },
    /// Something holds it back.
    Blocked {
        /// What.
        kind: BlockKind,
    },
    /// Something no longer holds it back.
    Unblocked {
        /// What.
        kind: BlockKind,
    },
    /// Its delay is over.
    DelayOver,
    /// Its priority changed.
    PriorityChanged {
        /// To what.
        priority: Priority,
    },
    /// Its life is over.
    Ended {
        /// Its tenant.
        namespace: Namespace,
        /// Its queue.
        lane: LaneId,
        /// Its labels.
        tags: Tags,
        /// How it ended.
        outcome: TerminalOutcome,
        /// Why it failed, if it did.
        failure: Option<Failure>,
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
    /// A waitpoint closed that no suspension has used in time.
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
        /// When it has taken too long.
        timeout_at: Option<TimestampMs>,
    },
    /// Its worker need not suspend it: the signals were there already.
    AlreadySatisfied {
        /// The suspension that was not needed.
        suspension_id: SuspensionId,
    },
    /// A signal was taken.
    SignalTaken {
        /// The signal.
        signal_id: SignalId,
        /// Where.
        waitpoint_id: WaitpointId,
        /// What it says.
        name: SignalName,
        /// What it did.
        effect: SignalEffect,
    },
    /// Its suspension has ended and it goes on.
    Resumed {
        /// The suspension.
        suspension_id: SuspensionId,
        /// By what.
        by: ResumedBy,
    },
    /// Its suspension has taken too long, and waits on.
    Escalated {
        /// The suspension.
        suspension_id: SuspensionId,
    },
    /// Its retention is over; the record is gone.
    Removed,
}

/// The kind of an [`Event`], without its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// It was created.
    Created,
    /// A grant went out.
    GrantIssued,
    /// A grant ran out unused.
    GrantExpired,
    /// A worker took it.
    Claimed,
    /// Its lease ran out.
    LeaseExpired,
    /// An operator took the lease away.
    LeaseRevoked,
    /// An attempt failed and is tried again.
    RetryScheduled,
    /// Its worker gave it back for later.
    Released,
    /// Something holds it back.
    Blocked,
    /// Something no longer holds it back.
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
    /// A waitpoint closed that no suspension has used in time.
    WaitpointExpired,
    /// Its worker gave it back until it is resumed.
    Suspended,
    /// Its worker need not suspend it.
    AlreadySatisfied,
    /// A signal was taken.
    SignalTaken,
    /// Its suspension has ended and it goes on.
    Resumed,
    /// Its suspension has taken too long, and waits on.
    Escalated,
    /// Its retention is over. The last: [`EventKind::ALL`] counts up to here.
    Removed,
}

impl EventKind {
    /// Every kind, in order.
    pub const ALL: [Self; Self::Removed as usize + 1] = [
        Self::Created,
        Self::GrantIssued,
        Self::GrantExpired,
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
