//! The interruption of an attempt.

use serde::{Deserialize, Serialize};

use super::snapshot::ExecutionSnapshot;
use crate::id::{AttemptIndex, WorkerId, WorkerInstanceId};
use crate::state::{AttemptState, OwnershipState};
use crate::time::TimestampMs;

/// The interruption of an attempt that waits to be continued or taken over. It does not hold the
/// execution back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "cause")]
#[non_exhaustive]
pub enum Interrupted {
    /// The lease of its worker expired: the next worker starts another attempt.
    LeaseExpired {
        /// The attempt.
        attempt: AttemptIndex,
        /// The worker that lost the lease.
        worker: WorkerId,
        /// Its process.
        instance: WorkerInstanceId,
        /// When the lease expired.
        at: TimestampMs,
    },
    /// An operator revoked the lease of its worker: the next worker starts another attempt.
    LeaseRevoked {
        /// The attempt.
        attempt: AttemptIndex,
        /// The worker that lost the lease.
        worker: WorkerId,
        /// Its process.
        instance: WorkerInstanceId,
    },
    /// It was suspended, or delayed by its worker, and is resumed: the attempt goes on.
    Resumed {
        /// The attempt.
        attempt: AttemptIndex,
    },
}

impl Interrupted {
    /// Returns the interruption of an execution, if there is one.
    pub fn of(execution: &ExecutionSnapshot) -> Option<Self> {
        let attempt = execution.attempt_index?;
        let Some(lease) = &execution.lease else {
            let is_open = execution.suspension.is_none() && execution.outcome.is_none();
            let is_over = execution.state.attempt_state == AttemptState::AttemptInterrupted;
            return (is_open && is_over).then_some(Self::Resumed { attempt });
        };
        let (worker, instance) = (lease.worker_id.clone(), lease.worker_instance_id.clone());
        match execution.state.ownership_state {
            OwnershipState::LeaseRevoked => Some(Self::LeaseRevoked { attempt, worker, instance }),
            OwnershipState::LeaseExpiredReclaimable => {
                Some(Self::LeaseExpired { attempt, worker, instance, at: lease.expires_at })
            }
            OwnershipState::Leased | OwnershipState::Unowned => None,
        }
    }
}
