//! Heartbeats of registered processes, and the request of an operator that one of them drains.

use crate::error::Rejection;
use crate::id::{Namespace, Nonce, WorkerInstanceId};
use crate::partition::PartitionConfig;
use crate::planted::planted;
use crate::purpose::Purpose;
use crate::resource::{Change, Changed, Decided, Facts, ResourceId};
use crate::time::{TimestampMs, Window};

use super::change::found;
use super::record::{Worker, WorkerState};

/// Prolongs a registration. \[INV-REGISTRY-1\]
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// The namespace.
    pub namespace: Namespace,
    /// The instance id.
    pub instance: WorkerInstanceId,
    /// The number that the process drew when it started.
    pub nonce: Nonce,
    /// How many executions it holds.
    pub active: u32,
    /// Whether it claims nothing more.
    pub draining: bool,
    /// The partitions of the store.
    pub partitions: PartitionConfig,
}

impl Change for Heartbeat {
    type Record = Worker;
    type Beside = Worker;
    type Outcome = ();

    const NAME: &'static str = "heartbeat";

    fn target(&self) -> ResourceId {
        Worker::key(&self.namespace, &self.instance, &self.partitions)
    }

    fn purpose(&self) -> Purpose {
        Purpose::Finish
    }

    fn is_absolute(&self) -> bool {
        true
    }

    fn is_contended(&self) -> bool {
        true
    }

    /// # Errors
    ///
    /// `WorkerSuperseded` if another process has taken over the instance id, or an operator has
    /// marked this one as dead; `WorkerNotFound` if the registration has ended: the process
    /// registers anew.
    fn decide(&self, facts: &Facts<'_, Worker, Worker>, now: TimestampMs) -> Decided<Self> {
        let mut worker = found(facts, &self.instance)?.clone();
        let instance = || self.instance.clone();
        let is_other = worker.nonce != self.nonce && !planted!(HeartbeatOfOther);
        let is_dead = worker.state == WorkerState::Dead && !planted!(HeartbeatRevives);
        if is_other || is_dead {
            return Err(Rejection::WorkerSuperseded { instance: instance() });
        }
        let mut window = Window::until(worker.expires_at);
        if now >= worker.expires_at || worker.state == WorkerState::Dead {
            if !planted!(HeartbeatRevives) {
                return Err(Rejection::WorkerNotFound { instance: instance() });
            }
            window = Window::ALWAYS;
            worker.state = WorkerState::Live;
        }
        worker.nonce = self.nonce;
        worker.active = self.active;
        worker.last_seen = now;
        worker.expires_at = now.plus(worker.ttl);
        if self.draining {
            worker.state = WorkerState::Draining;
        }
        Ok(Changed::put(worker, ()).within(window))
    }
}

/// Lets a worker drain, on request of an operator: from its next heartbeat on it claims nothing
/// more, and finishes the executions that it has. A worker that drains changes nothing.
#[derive(Clone, Debug)]
pub struct DrainWorker {
    /// The namespace.
    pub namespace: Namespace,
    /// The instance id.
    pub instance: WorkerInstanceId,
    /// The partitions of the store.
    pub partitions: PartitionConfig,
}

impl Change for DrainWorker {
    type Record = Worker;
    type Beside = Worker;
    type Outcome = ();

    const NAME: &'static str = "drain_worker";

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
    /// `WorkerNotFound` if no process holds the instance id.
    fn decide(&self, facts: &Facts<'_, Worker, Worker>, now: TimestampMs) -> Decided<Self> {
        let mut worker = found(facts, &self.instance)?.clone();
        match worker.state_at(now) {
            WorkerState::Dead => Err(Rejection::WorkerNotFound { instance: self.instance.clone() }),
            WorkerState::Draining => Ok(Changed::keep(())),
            WorkerState::Live => {
                let window = Window::until(worker.expires_at);
                worker.state = WorkerState::Draining;
                Ok(Changed::put(worker, ()).within(window))
            }
        }
    }
}
