//! The end of a registration, by its process or by an operator.

use crate::id::{Namespace, Nonce, WorkerInstanceId};
use crate::partition::PartitionConfig;
use crate::planted::planted;
use crate::purpose::Purpose;
use crate::resource::{Change, Changed, Decided, Facts, ResourceId};
use crate::time::TimestampMs;

use super::change::found;
use super::record::{DEAD_FOR, Worker, WorkerState};

/// Removes the registration of a process that shuts down, and no later one with the same instance
/// id, so that the next process can register immediately. \[INV-REGISTRY-1\]
#[derive(Clone, Debug)]
pub struct Deregister {
    /// The namespace.
    pub namespace: Namespace,
    /// The instance id.
    pub instance: WorkerInstanceId,
    /// The number that the process drew when it started.
    pub nonce: Nonce,
    /// The partitions of the store.
    pub partitions: PartitionConfig,
}

impl Change for Deregister {
    type Record = Worker;
    type Beside = Worker;
    type Outcome = ();

    const NAME: &'static str = "deregister_worker";

    fn target(&self) -> ResourceId {
        Worker::key(&self.namespace, &self.instance, &self.partitions)
    }

    fn purpose(&self) -> Purpose {
        Purpose::Finish
    }

    /// No later process has the nonce of this one.
    fn is_absolute(&self) -> bool {
        true
    }

    fn is_contended(&self) -> bool {
        true
    }

    fn decide(&self, facts: &Facts<'_, Worker, Worker>, _now: TimestampMs) -> Decided<Self> {
        match facts.record {
            Some(worker) if worker.nonce == self.nonce || planted!(StrangerDeregistered) => {
                Ok(Changed::remove(()))
            }
            _ => Ok(Changed::keep(())),
        }
    }
}

/// Marks a worker as dead, on request of an operator: another process can register under its
/// instance id, and its own process is refused at its next heartbeat, for [`DEAD_FOR`]. Its leases
/// stay until they expire.
#[derive(Clone, Debug)]
pub struct MarkDead {
    /// The namespace.
    pub namespace: Namespace,
    /// The instance id.
    pub instance: WorkerInstanceId,
    /// The partitions of the store.
    pub partitions: PartitionConfig,
}

impl Change for MarkDead {
    type Record = Worker;
    type Beside = Worker;
    type Outcome = ();

    const NAME: &'static str = "mark_worker_dead";

    fn target(&self) -> ResourceId {
        Worker::key(&self.namespace, &self.instance, &self.partitions)
    }

    fn purpose(&self) -> Purpose {
        Purpose::Finish
    }

    fn is_contended(&self) -> bool {
        true
    }

    /// # Errors
    ///
    /// `WorkerNotFound` if there is no registration.
    fn decide(&self, facts: &Facts<'_, Worker, Worker>, now: TimestampMs) -> Decided<Self> {
        let mut worker = found(facts, &self.instance)?.clone();
        if worker.state == WorkerState::Dead {
            return Ok(Changed::keep(()));
        }
        worker.state = WorkerState::Dead;
        worker.expires_at = now.plus(DEAD_FOR);
        Ok(Changed::put(worker, ()))
    }
}
