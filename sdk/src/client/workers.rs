//! Calls about registered workers: lists of them, what none of them serves, draining them, and
//! marking them as dead.

use std::collections::BTreeSet;

use ff_core::capability::Capabilities;
use ff_core::execution::Execution;
use ff_core::id::{ExecutionKind, LaneId, WorkerInstanceId};
use ff_core::op::{ChangeResource, ListResources, load};
use ff_core::partition::PartitionFamily;
use ff_core::registry::{DrainWorker, MarkDead, Nearest, Worker, WorkerState, nearest};
use ff_core::resource::Change;
use ff_core::store::bounds::MAX_READ_RECORDS;
use ff_core::store::{IndexName, ScanPosition};
use ff_core::time::TimestampMs;

use super::Client;
use crate::error::SdkError;

/// A page of registered workers, as [`Client::workers`] returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerPage {
    /// The workers. A page can be empty although others follow.
    pub workers: Vec<Worker>,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<WorkerPosition>,
    /// The store's time, for [`Worker::state_at`].
    pub at: TimestampMs,
}

/// The position of a page of registered workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerPosition {
    /// The number of the partition.
    partition: u16,
    /// The position in it.
    after: Option<ScanPosition>,
}

/// Work that waits and that no registered worker serves, as [`Client::unserved`] returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unserved {
    /// The lane.
    pub lane: LaneId,
    /// The kind.
    pub kind: ExecutionKind,
    /// The capabilities that it requires, as far as they matter.
    pub requires: Capabilities,
    /// The worker that lacks the least; `None` if no worker claims now.
    pub nearest: Option<Nearest>,
    /// A worker that serves it, but drains.
    pub draining: Option<WorkerInstanceId>,
}

impl Client {
    /// Returns a page of the workers of the namespace that are registered (`docs/spec.md`, 7), from
    /// a position on; the first page from `None` on. A page has at most 128 workers, and costs one
    /// call; a list has at least 16 pages. A worker that ended without deregistering is shown as
    /// dead from the end of its registration on ([`Worker::state_at`]), until a timekeeper removes
    /// it.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use ff_sdk::{Client, FlowFabricWorker, MemoryBackend, WorkerConfig};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let backend = Arc::new(MemoryBackend::new());
    /// let client = Client::connect_with(backend.clone(), "demo").await?;
    /// let config = WorkerConfig::builder("resizer", "demo").capabilities(["gpu"]).build()?;
    /// let worker = FlowFabricWorker::connect_with(config, backend, None).await?;
    /// let (mut workers, mut next) = (Vec::new(), None);
    /// loop {
    ///     let page = client.workers(next).await?;
    ///     workers.extend(page.workers);
    ///     next = page.next;
    ///     if next.is_none() {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(workers[0].info.instance, worker.config().worker_instance_id);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn workers(&self, from: Option<WorkerPosition>) -> Result<WorkerPage, SdkError> {
        let connection = &self.0.connection;
        let WorkerPosition { partition: number, after } =
            from.unwrap_or(WorkerPosition { partition: 0, after: None });
        let mut partitions = connection.partitions.partitions(PartitionFamily::Worker);
        let Some(partition) = partitions.nth(usize::from(number)) else {
            let (workers, next, at) = (Vec::new(), None, connection.clock.now().store);
            return Ok(WorkerPage { workers, next, at });
        };
        let (namespace, patience) = (self.namespace().clone(), connection.patience());
        let list = ListResources::<Worker>::new(partition, namespace, after, patience);
        let page = connection.drive(list).await?;
        if page.unreadable > 0 {
            tracing::warn!(workers = page.unreadable, "records of workers cannot be read");
        }
        let next = match page.next {
            Some(position) => Some(WorkerPosition { partition: number, after: Some(position) }),
            None => {
                partitions.next().map(|_| WorkerPosition { partition: number + 1, after: None })
            }
        };
        Ok(WorkerPage { workers: page.records, next, at: page.at })
    }

    /// Returns all registered workers, in the order of their instance ids, and the store's time.
    pub(crate) async fn all_workers(&self) -> Result<(Vec<Worker>, TimestampMs), SdkError> {
        let (mut workers, mut next) = (Vec::new(), None);
        loop {
            let page = self.workers(next).await?;
            workers.extend(page.workers);
            next = page.next;
            if next.is_none() {
                workers.sort_by(|one, other| one.info.instance.cmp(&other.info.instance));
                return Ok((workers, page.at));
            }
        }
    }

    /// Lets a worker drain: from its next heartbeat on it claims nothing more, and it finishes the
    /// tasks that it has. It stays registered until its process ends. A worker that drains already
    /// is not changed.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `State(WorkerNotFound)` if no live process has the instance id;
    /// `Unreachable`, `Transport` and `Timeout` as for [`Client::cancel`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: if the future is dropped, the call may or may not have been applied.
    pub async fn drain_worker(&self, instance: &WorkerInstanceId) -> Result<(), SdkError> {
        let (namespace, instance) = (self.namespace().clone(), instance.clone());
        let partitions = self.0.connection.partitions;
        self.change_worker(DrainWorker { namespace, instance, partitions }).await
    }

    /// Marks a worker as dead: another process can register under its instance id immediately, and
    /// its own process, if it still runs, claims nothing more after its next heartbeat. Its leases
    /// stay until they expire. A worker that is marked already is not changed. The mark stays for
    /// 24 h.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `State(WorkerNotFound)` if there is no such registration;
    /// `Unreachable`, `Transport` and `Timeout` as for [`Client::cancel`].
    ///
    /// # Cancel safety
    ///
    /// As for [`Client::drain_worker`].
    pub async fn mark_worker_dead(&self, instance: &WorkerInstanceId) -> Result<(), SdkError> {
        let (namespace, instance) = (self.namespace().clone(), instance.clone());
        let partitions = self.0.connection.partitions;
        self.change_worker(MarkDead { namespace, instance, partitions }).await
    }

    /// Returns the work that waits and that no registered worker serves now, in the order of lanes
    /// and kinds: no live worker claims from the lane, serves the kind, or has the capabilities. Of
    /// executions that wait for a capable worker, the first 128 of each partition are looked at.
    /// Costs one call for each partition of the store, and one more for each that has such
    /// executions.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn unserved(&self) -> Result<Vec<Unserved>, SdkError> {
        let mut waiting: BTreeSet<(LaneId, ExecutionKind, Capabilities)> = BTreeSet::new();
        for partition in self.partition_config().flow_partitions() {
            for first in self.queues(partition).await? {
                match first.index {
                    IndexName::Eligible { lane, kind, .. } => {
                        waiting.insert((lane, kind, Capabilities::default()));
                    }
                    index @ IndexName::BlockedRoute { .. } => {
                        let count = MAX_READ_RECORDS as u32;
                        let (scanned, _) = self.scan(partition, index, None, count).await?;
                        let codec = self.0.connection.context().codec();
                        let stored = scanned.entries.iter().filter_map(|e| e.record.as_ref());
                        for loaded in stored.filter_map(|stored| load(stored, codec).ok()) {
                            let Execution { lane, kind, requires, .. } = &*loaded.execution;
                            waiting.insert((lane.clone(), kind.clone(), requires.clone()));
                        }
                    }
                    _ => {}
                }
            }
        }
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        let (workers, at) = self.all_workers().await?;
        let unserved = |(lane, kind, requires)| {
            let nearest = nearest(&workers, &lane, &kind, &requires, at);
            let is_served = nearest.as_ref().is_some_and(|nearest| nearest.lacks.is_empty());
            let drains = |worker: &&Worker| {
                worker.state_at(at) == WorkerState::Draining
                    && worker.info.serves(&lane, &kind, &requires)
            };
            let draining = workers.iter().find(drains).map(|worker| worker.info.instance.clone());
            (!is_served).then_some(Unserved { lane, kind, requires, nearest, draining })
        };
        Ok(waiting.into_iter().filter_map(unserved).collect())
    }

    async fn change_worker<C>(&self, change: C) -> Result<(), SdkError>
    where
        C: Change<Outcome = ()>,
    {
        let connection = &self.0.connection;
        connection.drive(ChangeResource::new(change, connection.patience())).await?;
        Ok(())
    }
}
