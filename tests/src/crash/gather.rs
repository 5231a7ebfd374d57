//! Gathers the evidence of a run from its store.

use std::collections::BTreeMap;
use std::sync::Arc;

use ff_sdk::core::backend::EngineBackend;
use ff_sdk::core::op::{ListPosition, OperationContext, Patience, Query};
use ff_sdk::core::partition::Partition;
use ff_sdk::core::score::Score;
use ff_sdk::core::store::bounds::{MAX_PAGE, MAX_PAGE_BYTES};
use ff_sdk::core::store::{
    Cursor, IndexName, JournalEntry, PollOf, Scan, ScanOrder, ScanPosition, StreamName, StreamPage,
    codec,
};
use ff_sdk::core::time::DurationMs;
use ff_sdk::{Client, ExecutionId, HostClock, LaneId, ListFilter, Namespace, SdkError, drive};

use super::check::{Evidence, Seen};

/// Reads all that the store has of a run on one lane: its list, its journals, and the remaining
/// entries in `eligible`, `due` and the quarantine.
///
/// # Errors
///
/// [`SdkError`] when the store does not answer.
pub async fn gather(client: &Client, lane: &LaneId) -> Result<Evidence, SdkError> {
    let mut evidence = Evidence::default();
    (evidence.listed, evidence.unreadable) = list(client).await?;
    let reader = Reader { backend: client.backend().clone(), clock: HostClock::new() };
    let (namespace, lane) = (client.namespace().clone(), lane.clone());
    for partition in client.partition_config().flow_partitions() {
        reader.journal(partition, &mut evidence).await?;
        let mut indexes = reader.queues(partition, &namespace).await?;
        let of_lane = |index: &IndexName| match index {
            IndexName::Eligible { lane: of, .. } => *of == lane,
            _ => false,
        };
        indexes.retain(of_lane);
        indexes.push(IndexName::Quarantine);
        for index in indexes {
            for (id, _) in reader.members(partition, &index).await? {
                evidence.left.push((index.clone(), id));
            }
        }
        for (id, due) in reader.members(partition, &IndexName::Due).await? {
            evidence.due.insert(id, due.instant().get() as i64 - client.store_now().get() as i64);
        }
    }
    Ok(evidence)
}

/// The number of executions of a namespace that have ended.
///
/// # Errors
///
/// [`SdkError`] when the store does not answer.
pub async fn count_ended(client: &Client) -> Result<usize, SdkError> {
    let (listed, _) = list(client).await?;
    Ok(listed.values().filter(|seen| seen.outcome.is_some()).count())
}

async fn list(client: &Client) -> Result<(BTreeMap<ExecutionId, Seen>, usize), SdkError> {
    let (mut listed, mut unreadable) = (BTreeMap::new(), 0);
    let mut from: Option<ListPosition> = None;
    loop {
        let page = client.list(ListFilter::default(), from, MAX_PAGE).await?;
        unreadable += page.unreadable;
        for seen in page.executions {
            let (state, epoch) = (seen.state.public_state, seen.lease_epoch.0);
            listed.insert(seen.execution_id, Seen { state, outcome: seen.outcome, epoch });
        }
        let Some(next) = page.next else { return Ok((listed, unreadable)) };
        from = Some(next);
    }
}

struct Reader {
    backend: Arc<dyn EngineBackend>,
    clock: HostClock,
}

impl Reader {
    fn patience(&self) -> Patience {
        use ff_sdk::core::entropy::Entropy;
        let context = OperationContext::new(DurationMs::from_secs(10), codec::Codec::default());
        Patience::new(context, Entropy::from_u64(1))
    }

    async fn journal(&self, partition: Partition, evidence: &mut Evidence) -> Result<(), SdkError> {
        let mut from = Cursor::Start;
        loop {
            let (stream, limit) = (StreamName::Journal, MAX_PAGE as u32);
            let page = StreamPage { partition, stream, from, limit };
            let query = Query::stream(page, self.patience());
            let (page, _) = drive(&*self.backend, &self.clock, query).await?;
            let is_last = page.entries.len() < MAX_PAGE;
            evidence.gaps += usize::from(page.gap);
            for entry in page.entries {
                match codec::decode::<JournalEntry>(&entry.entry, codec::FORMAT) {
                    Ok(entry) => evidence.journal.push(entry),
                    Err(_) => evidence.unreadable += 1,
                }
            }
            if is_last {
                return Ok(());
            }
            from = page.next;
        }
    }

    /// The listed queues of a partition, at most a page.
    async fn queues(
        &self,
        partition: Partition,
        namespace: &Namespace,
    ) -> Result<Vec<IndexName>, SdkError> {
        let of = PollOf::Queues { namespace: namespace.clone(), skip: 0 };
        let query = Query::poll(of, partition, self.patience());
        let found = drive(&*self.backend, &self.clock, query).await?;
        Ok(found.into_iter().map(|first| first.index).collect())
    }

    async fn members(
        &self,
        partition: Partition,
        index: &IndexName,
    ) -> Result<Vec<(ExecutionId, Score)>, SdkError> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let (index, limit) = (index.clone(), MAX_PAGE as u32);
            let scan = Scan {
                partition,
                index,
                order: ScanOrder::Ascending,
                after,
                limit,
                bytes: MAX_PAGE_BYTES,
            };
            let query = Query::scan(scan, self.patience());
            let (page, _) = drive(&*self.backend, &self.clock, query).await?;
            found.extend(page.entries.iter().map(|entry| {
                let ScanPosition { score, member } = entry.position;
                (ExecutionId::from_parts(partition.index, member), score)
            }));
            let Some(next) = page.next else { return Ok(found) };
            after = Some(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::check::{Problem, check};
    use crate::fixture::{Fixture, LANE, lane};
    use crate::kit::{claim, submit, work};
    use ff_sdk::PublicState;

    /// The evidence of a run with a reclaim is complete and has no problems; an execution that has
    /// not ended is one.
    #[tokio::test(start_paused = true)]
    async fn the_evidence_of_a_run_is_complete() {
        let fixture = Fixture::memory();
        let (client, worker) = (fixture.client().await, fixture.worker("w").await);
        for _ in 0..700 {
            submit(&client, work().lane(LANE)).await;
        }
        let mut started = Vec::new();
        let lost = claim(&worker).await;
        let (left, epoch) = (lost.execution_id(), lost.lease_epoch().0);
        started.push((left, epoch));
        client.revoke_lease(&left).await.unwrap();
        drop(lost);
        let other = fixture.worker("other").await;
        for _ in 0..699 {
            let task = claim(&other).await;
            started.push((task.execution_id(), task.lease_epoch().0));
            task.complete(None).await.unwrap();
        }
        assert_eq!(count_ended(&client).await.unwrap(), 699);
        let mut evidence = gather(&client, &lane()).await.unwrap();
        let (waiting, id) = evidence.left.pop().expect("one waits");
        assert_eq!(waiting, crate::fixture::eligible());
        (evidence.expected, evidence.started) = (700, started.clone());
        evidence.acknowledged = evidence.listed.keys().copied().collect();
        let problems = check(&evidence);
        assert!(matches!(&problems[..], [Problem::NotEnded(other, _, None)] if *other == id));

        let task = claim(&other).await;
        started.push((task.execution_id(), task.lease_epoch().0));
        task.complete(None).await.unwrap();
        let mut evidence = gather(&client, &lane()).await.unwrap();
        (evidence.expected, evidence.started) = (700, started);
        assert_eq!(check(&evidence), []);
        assert!(evidence.listed.values().all(|seen| seen.state == PublicState::Completed));
        assert_eq!(evidence.listed[&left].epoch, epoch + 1);
    }
}
