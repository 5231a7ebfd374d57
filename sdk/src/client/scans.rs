//! Calls that read the indexes: the quarantine, and whether lanes are idle.

use std::time::Duration;

use ff_core::error::EngineError;
use ff_core::execution::{BlockKind, Phase};
use ff_core::id::{ExecutionId, LaneId};
use ff_core::kinds::Kinds;
use ff_core::op::{ListPosition, Query, load};
use ff_core::partition::Partition;
use ff_core::score::Score;
use ff_core::store::bounds::{MAX_PAGE, MAX_PAGE_BYTES};
use ff_core::store::codec::Codec;
use ff_core::store::{
    FirstOf, IndexName, PollOf, Scan, ScanEntry, ScanOrder, ScanPosition, Scanned,
};
use ff_core::time::TimestampMs;

use super::Client;
use crate::config::MAX_LEASE_TTL;
use crate::error::SdkError;

/// A page of the quarantine: partition by partition, and by time within each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuarantinePage {
    /// The records in quarantine.
    pub records: Vec<Quarantined>,
    /// The position of the next page; `None` at the end.
    pub next: Option<ListPosition>,
}

/// A record in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quarantined {
    /// The execution whose record it is.
    pub execution_id: ExecutionId,
    /// The time it was put there, by the store's clock.
    pub since: TimestampMs,
    /// The reason why it cannot be decoded; `None` when it can by now.
    pub problem: Option<String>,
}

impl Client {
    /// Reads a page of the quarantine: at most `limit` records that cannot be decoded although
    /// their format is known. `from` is [`QuarantinePage::next`] of the page before.
    ///
    /// The records are of all namespaces, since an undecodable record does not reveal its own.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn quarantined(
        &self,
        from: Option<ListPosition>,
        limit: usize,
    ) -> Result<QuarantinePage, SdkError> {
        let limit = limit.max(1);
        let mut position = from.unwrap_or(ListPosition { partition: 0, after: None });
        let mut page = QuarantinePage::default();
        while position.partition < self.partition_config().num_flow_partitions {
            let missing = limit - page.records.len();
            if missing == 0 {
                page.next = Some(position);
                break;
            }
            let partition = Partition::flow(position.partition);
            let count = missing.min(MAX_PAGE) as u32;
            let (scanned, _) =
                self.scan(partition, IndexName::Quarantine, position.after, count).await?;
            let codec = self.0.connection.context().codec();
            let entries = scanned.entries.iter();
            page.records.extend(entries.filter_map(|entry| quarantined(partition, entry, codec)));
            position = match scanned.next {
                Some(after) => ListPosition { after: Some(after), ..position },
                None => ListPosition { partition: position.partition + 1, after: None },
            };
        }
        Ok(page)
    }

    /// Returns whether these lanes are idle for these kinds: no execution waits for a worker or has
    /// a lease, and none has a delay or a deadline that ends within this time. Executions that no
    /// worker is capable of running do not count.
    ///
    /// The call reads every partition. It is meant for scripts that wait until all work has ended,
    /// not for the loop of a worker.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn is_idle(
        &self,
        lanes: &[LaneId],
        kinds: &Kinds,
        within: Duration,
    ) -> Result<bool, SdkError> {
        for index in 0..self.partition_config().num_flow_partitions {
            let partition = Partition::flow(index);
            if self.is_due(partition, lanes, kinds, within).await? {
                return Ok(false);
            }
            let is_ready = |first: &FirstOf| match &first.index {
                IndexName::Eligible { lane, kind, .. } => {
                    lanes.contains(lane) && kinds.serves(kind)
                }
                _ => false,
            };
            if self.queues(partition).await?.iter().any(is_ready) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns whether an open execution of these lanes is due within this time, or has a lease,
    /// however long that is.
    async fn is_due(
        &self,
        partition: Partition,
        lanes: &[LaneId],
        kinds: &Kinds,
        within: Duration,
    ) -> Result<bool, SdkError> {
        let mut after = None;
        loop {
            let (scanned, at) =
                self.scan(partition, IndexName::Due, after, MAX_PAGE as u32).await?;
            let end = Score::at(at.plus(within.into()));
            let end_of_leases = Score::at(at.plus(MAX_LEASE_TTL.into())).max(end);
            for entry in &scanned.entries {
                if entry.position.score > end_of_leases {
                    return Ok(false);
                }
                let is_soon = entry.position.score <= end;
                if self.is_open(entry, lanes, kinds, is_soon) {
                    return Ok(true);
                }
            }
            after = match scanned.next {
                Some(next) => Some(next),
                None => return Ok(false),
            };
        }
    }

    /// Returns whether the entry is an execution of these lanes that has not ended; unless
    /// `is_soon`, only if it has a lease.
    fn is_open(&self, entry: &ScanEntry, lanes: &[LaneId], kinds: &Kinds, is_soon: bool) -> bool {
        // No worker can run an execution whose record cannot be read.
        let codec = self.0.connection.context().codec();
        let record = entry.record.as_ref().map(|stored| load(stored, codec));
        let Some(Ok(loaded)) = record else { return false };
        let execution = &loaded.execution;
        // An execution that no worker fits is due again and again, for a recheck.
        let unfit = execution.blocks().is_some_and(|blocks| blocks.get(BlockKind::Route).is_some());
        !unfit
            && match &execution.phase {
                Phase::Active(_) => true,
                Phase::Terminal(_) => false,
                Phase::Runnable(_) | Phase::Suspended(_) => is_soon,
            }
            && execution.namespace == *self.namespace()
            && lanes.contains(&execution.lane)
            && kinds.serves(&execution.kind)
    }

    /// Reads the list of queues of a partition.
    pub(super) async fn queues(&self, partition: Partition) -> Result<Vec<FirstOf>, EngineError> {
        let connection = &self.0.connection;
        let (mut queues, page) = (Vec::new(), MAX_PAGE);
        loop {
            let (namespace, skip) = (self.namespace().clone(), queues.len() as u32);
            let of = PollOf::Queues { namespace, skip };
            let found = connection.drive(Query::poll(of, partition, connection.patience())).await?;
            let is_last = found.len() < page;
            queues.extend(found);
            if is_last {
                return Ok(queues);
            }
        }
    }

    pub(super) async fn scan(
        &self,
        partition: Partition,
        index: IndexName,
        after: Option<ScanPosition>,
        limit: u32,
    ) -> Result<(Scanned, TimestampMs), EngineError> {
        let connection = &self.0.connection;
        let scan = Scan {
            partition,
            index,
            order: ScanOrder::Ascending,
            after,
            limit,
            bytes: MAX_PAGE_BYTES,
        };
        connection.drive(Query::scan(scan, connection.patience())).await
    }
}

/// The record of a quarantine entry; `None` when it was removed.
fn quarantined(partition: Partition, entry: &ScanEntry, codec: &Codec) -> Option<Quarantined> {
    let problem = load(entry.record.as_ref()?, codec).err().map(|error| error.to_string());
    Some(Quarantined {
        execution_id: ExecutionId::from_parts(partition.index, entry.position.member),
        since: entry.position.score.instant(),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use ff_core::backend::EngineBackend;
    use ff_core::execution::Purpose;
    use ff_core::store::{Bytes, Commit, IndexWrite, RecordKey, Request, Unit, Version};
    use uuid::Uuid;

    use crate::config::WorkerConfig;
    use crate::memory::MemoryBackend;
    use crate::submission::Submission;
    use crate::worker::FlowFabricWorker;

    const MINUTE: Duration = Duration::from_secs(60);

    async fn client(backend: &Arc<MemoryBackend>) -> Client {
        Client::connect_with(backend.clone(), "ns").await.expect("it connects")
    }

    /// Writes a record that cannot be decoded, with its quarantine entry.
    async fn put_into_quarantine(backend: &MemoryBackend, id: ExecutionId, at: u64) {
        let key = RecordKey::of(&id);
        let score = Some(Score::at(TimestampMs::new(at)));
        let unit = Unit {
            expect: vec![(key.clone(), Version::ABSENT)],
            put: vec![(key, Bytes::from([1_u8, 0xff, 0xff, 0xff].as_slice()))],
            index: vec![IndexWrite { index: IndexName::Quarantine, member: id.uuid(), score }],
            ..Unit::new(Purpose::Finish, 1)
        };
        let commit = Commit { partition: id.partition(), units: vec![unit] };
        backend.call(Request::Commit(commit)).await.expect("it answers");
    }

    #[tokio::test]
    async fn the_quarantine_is_read_page_by_page() {
        let backend = Arc::new(MemoryBackend::new());
        let client = client(&backend).await;
        let ids = [(3, 1), (3, 2), (200, 3)]
            .map(|(index, number)| ExecutionId::from_parts(index, Uuid::from_u128(number)));
        for (number, id) in ids.into_iter().enumerate() {
            put_into_quarantine(&backend, id, 10 + number as u64).await;
        }
        let first = client.quarantined(None, 2).await.expect("it answers");
        let seen: Vec<_> =
            first.records.iter().map(|record| (record.execution_id, record.since.get())).collect();
        assert_eq!(seen, [(ids[0], 10), (ids[1], 11)]);
        assert!(first.records.iter().all(|record| record.problem.is_some()), "{first:?}");
        let rest = client.quarantined(first.next, 2).await.expect("it answers");
        assert_eq!(rest.records.len(), 1, "{rest:?}");
        assert_eq!((rest.records[0].execution_id, rest.next), (ids[2], None));
    }

    #[tokio::test]
    async fn a_lane_is_idle_when_nothing_waits_runs_or_is_due() {
        let backend = Arc::new(MemoryBackend::new());
        let client = client(&backend).await;
        let config = WorkerConfig::new("w", "w-1", "ns").expect("names");
        let lanes = config.lanes.clone();
        let worker = FlowFabricWorker::connect_with(config, backend.clone(), None).await;
        let worker = worker.expect("it connects");
        let idle =
            || async { client.is_idle(&lanes, &Kinds::All, MINUTE).await.expect("it answers") };
        assert!(idle().await, "an empty store");
        client.submit(Submission::new("k").lane("other")).await.expect("it is accepted");
        client.submit(Submission::new("k").delay(2 * MINUTE)).await.expect("it is accepted");
        assert!(idle().await, "another lane, and a delay that ends later, do not count");
        client.submit(Submission::new("k")).await.expect("it is accepted");
        assert!(!idle().await, "an execution waits");
        let task = worker.claim_next().await.expect("it answers").expect("there is work");
        assert!(!idle().await, "an execution runs");
        task.complete(None).await.expect("it completes");
        let config = WorkerConfig { lease_ttl: 10 * MINUTE, ..worker.config().clone() };
        let long = FlowFabricWorker::connect_with(config, backend.clone(), None).await;
        let long = long.expect("it connects");
        client.submit(Submission::new("k")).await.expect("it is accepted");
        let lease = long.claim_next().await.expect("it answers").expect("there is work");
        assert!(!idle().await, "an execution runs, with a lease that ends after the horizon");
        lease.complete(None).await.expect("it completes");
        assert!(idle().await, "the retention of a completed execution does not count");
    }
}
