//! A fresh store to run a scenario on, and the time that passes there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ff_sdk::core::backend::EngineBackend;
use ff_sdk::core::entropy::Entropy;
use ff_sdk::core::id::{ExecutionId, LaneId, Namespace};
use ff_sdk::core::op::{ApplyDue, DueReport, OperationContext};
use ff_sdk::core::partition::{Partition, PartitionConfig};
use ff_sdk::core::score::Score;
use ff_sdk::core::store::bounds::MAX_PAGE;
use ff_sdk::core::store::codec::Codec;
use ff_sdk::core::store::{
    Bytes, Commit, Fetched, IndexName, IndexWrite, Read, RecordKey, ReplyBody, Request, Scan,
    ScanEntry, ScanPosition, Take, TakeUntil, Unit, UnitReply, ValueKey, Version,
};
use ff_sdk::core::time::{DurationMs, TimestampMs};
use ff_sdk::{
    Client, ClientConfig, FlowFabricAdminClient, FlowFabricWorker, HostClock, MemoryBackend,
    WorkerConfig, drive,
};

use uuid::Uuid;

use crate::line::Line;
use crate::paced::Paced;

/// The namespace of every scenario that does not care.
pub const NAMESPACE: &str = "demo";
/// The lane of every scenario that does not care.
pub const LANE: &str = "default";
/// Few partitions, so that many of a scenario's executions meet in one.
pub const PARTITIONS: PartitionConfig =
    PartitionConfig { num_flow_partitions: 4, num_budget_partitions: 1, num_quota_partitions: 1 };

/// A store of its own for one scenario. Nothing here knows which backend it is, but for the
/// constructors.
pub struct Ground {
    backend: Arc<dyn EngineBackend>,
    entropy: Mutex<Entropy>,
}

impl Ground {
    /// The embedded backend; time is tokio's paused clock.
    pub fn memory() -> Self {
        Self::on(Arc::new(MemoryBackend::new()))
    }

    /// A Valkey server; time is tokio's paused clock ([`Paced`]).
    pub fn valkey() -> Self {
        Self::on(Arc::new(Paced::valkey()))
    }

    /// A cluster of three primaries; likewise.
    pub fn cluster() -> Self {
        Self::on(Arc::new(Paced::cluster()))
    }

    /// A ground on a backend of the caller's choice.
    pub fn on(backend: Arc<dyn EngineBackend>) -> Self {
        Self { backend, entropy: Mutex::new(Entropy::from_u64(7)) }
    }

    /// The store.
    pub fn backend(&self) -> Arc<dyn EngineBackend> {
        self.backend.clone()
    }

    /// A line to the store that can be disturbed.
    pub fn line(&self) -> Arc<Line> {
        Arc::new(Line::new(self.backend()))
    }

    /// Lets time pass; whoever waits for an instant in between is woken at it.
    pub async fn advance(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Lets time pass until the store's clock shows exactly this.
    pub async fn advance_to(&self, instant: TimestampMs) {
        let left = instant.since(self.now().await);
        if left > DurationMs::ZERO {
            self.advance(left.into()).await;
        }
        assert_eq!(self.now().await, instant, "the clock stands at the instant that was asked for");
    }

    /// The store's clock.
    pub async fn now(&self) -> TimestampMs {
        let read = Read { partition: Partition::META, records: Vec::new(), values: Vec::new() };
        self.backend.call(Request::Read(read)).await.expect("the store answers").at
    }

    /// Randomness for ids.
    pub fn entropy(&self) -> Entropy {
        self.entropy.lock().expect("nobody panics in here").fork()
    }

    /// An id that nobody has, in a partition.
    pub fn id_in(&self, partition: u16) -> ExecutionId {
        ExecutionId::from_parts(partition, self.entropy().uuid())
    }

    /// A client of [`NAMESPACE`].
    pub async fn client(&self) -> Client {
        self.client_on(self.backend()).await
    }

    /// A client of [`NAMESPACE`] on a line or another handle to the store.
    pub async fn client_on(&self, backend: Arc<dyn EngineBackend>) -> Client {
        self.client_of(NAMESPACE, backend).await
    }

    /// A client of another namespace.
    pub async fn client_of(&self, namespace: &str, backend: Arc<dyn EngineBackend>) -> Client {
        let mut config = ClientConfig::new(namespace).expect("a namespace");
        config.partition_config = Some(PARTITIONS);
        Client::connect(config, backend).await.expect("a client connects")
    }

    /// A worker with one instance, one slot and no timekeeper: what is due is applied by
    /// [`Ground::tick`] only.
    pub async fn worker(&self, name: &str) -> FlowFabricWorker {
        self.worker_with(name, |_| {}).await
    }

    /// A worker that is set up differently.
    pub async fn worker_with(
        &self,
        name: &str,
        set_up: impl FnOnce(&mut WorkerConfig),
    ) -> FlowFabricWorker {
        self.worker_on(self.backend(), name, set_up).await
    }

    /// A worker on a line or another handle to the store.
    pub async fn worker_on(
        &self,
        backend: Arc<dyn EngineBackend>,
        name: &str,
        set_up: impl FnOnce(&mut WorkerConfig),
    ) -> FlowFabricWorker {
        let mut config = self.worker_config(name);
        set_up(&mut config);
        FlowFabricWorker::connect_with(config, backend, None).await.expect("a worker connects")
    }

    /// The configuration of [`Ground::worker`].
    pub fn worker_config(&self, name: &str) -> WorkerConfig {
        let instance = format!("{name}-1");
        let mut config = WorkerConfig::new(name, instance, NAMESPACE).expect("a worker's ids");
        config.partition_config = Some(PARTITIONS);
        config.timekeeper = false;
        config
    }

    /// A worker that only keeps time, for as long as it is held.
    pub async fn timekeeper(&self) -> FlowFabricWorker {
        self.worker_with("timekeeper", |config| {
            config.timekeeper = true;
            config.lanes = vec![LaneId::try_new("nothing").expect("a lane")];
        })
        .await
    }

    /// A client that grants work.
    pub async fn admin(&self) -> FlowFabricAdminClient {
        FlowFabricAdminClient::connect_with(self.backend()).await.expect("an admin client connects")
    }

    /// Applies what is due now, once.
    pub async fn tick(&self) -> DueReport {
        let context = OperationContext::new(DurationMs::from_secs(30), Codec::default());
        let tick = ApplyDue::new(PARTITIONS, context, self.entropy());
        drive(&*self.backend, &HostClock::new(), tick).await.expect("the store answers")
    }

    /// Where an execution stands in an index, if it does.
    pub async fn place(&self, id: &ExecutionId, index: IndexName) -> Option<Score> {
        let mut after: Option<ScanPosition> = None;
        loop {
            let (partition, limit) = (id.partition(), MAX_PAGE as u32);
            let scan = Scan { partition, index: index.clone(), after, limit };
            let reply = self.backend.call(Request::Scan(scan)).await.expect("the store answers");
            let ReplyBody::Scan(page) = reply.body else { panic!("a scan answers with a page") };
            let found = page.entries.iter().find(|entry| entry.position.member == id.uuid());
            if let Some(entry) = found {
                return Some(entry.position.score);
            }
            after = Some(page.next?);
        }
    }

    /// The members of an index of a partition, with their scores: at most a page.
    pub async fn entries_of(&self, partition: Partition, index: IndexName) -> Vec<(Uuid, Score)> {
        let scan = Scan { partition, index, after: None, limit: MAX_PAGE as u32 };
        let reply = self.backend.call(Request::Scan(scan)).await.expect("the store answers");
        let ReplyBody::Scan(page) = reply.body else { panic!("a scan answers with a page") };
        let place = |entry: &ScanEntry| (entry.position.member, entry.position.score);
        page.entries.iter().map(place).collect()
    }

    /// Whether there is a record of this key.
    pub async fn has_record(&self, partition: Partition, key: RecordKey) -> bool {
        let read = Read { partition, records: vec![key], values: Vec::new() };
        let reply = self.backend.call(Request::Read(read)).await.expect("the store answers");
        let ReplyBody::Read(values) = reply.body else { panic!("a read answers with values") };
        values.records[0].is_some()
    }

    /// The record of an execution as the store holds it.
    pub async fn record(&self, id: &ExecutionId) -> Option<Bytes> {
        self.stored(id).await.map(|(_, bytes)| bytes)
    }

    /// The version and the record of an execution as the store holds them.
    pub async fn stored(&self, id: &ExecutionId) -> Option<(Version, Bytes)> {
        let (partition, records) = (id.partition(), vec![RecordKey::of(id)]);
        let read = Request::Read(Read { partition, records, values: Vec::new() });
        let reply = self.backend.call(read).await.expect("the store answers");
        let ReplyBody::Read(mut values) = reply.body else { panic!("a read answers with values") };
        values.records.pop().flatten().map(|stored| (stored.version, stored.bytes))
    }

    /// Whether an execution's payload and result are there.
    pub async fn values(&self, id: &ExecutionId) -> Vec<bool> {
        let (partition, uuid) = (id.partition(), id.uuid());
        let values = vec![ValueKey::Payload(uuid), ValueKey::Result(uuid)];
        let read = Request::Read(Read { partition, records: Vec::new(), values });
        let reply = self.backend.call(read).await.expect("the store answers");
        let ReplyBody::Read(found) = reply.body else { panic!("a read answers with values") };
        found.values.iter().map(|value| *value != Fetched::Absent).collect()
    }

    /// Takes what is due first in the execution's partition, whenever it is, and does nothing with
    /// it, as a timekeeper that dies would.
    pub async fn hold_due(&self, id: &ExecutionId) {
        let take = Take {
            partition: id.partition(),
            index: IndexName::Due,
            count: 1,
            until: TakeUntil::End,
            hold: DurationMs::from_secs(5),
            ring_rest: false,
        };
        let reply = self.backend.call(Request::Take(take)).await.expect("the store answers");
        let ReplyBody::Take(taken) = reply.body else { panic!("a take answers with entries") };
        assert_eq!(taken.entries.len(), 1);
    }

    /// Writes a record that does not decode, before everything else in [`LANE`].
    pub async fn put_corrupt_head(&self, id: &ExecutionId) {
        let (key, score) = (RecordKey::of(id), Score::MIN);
        let unit = Unit {
            expect: vec![(key.clone(), Version::ABSENT)],
            put: vec![(key, Bytes::from([1_u8, 0xff, 0xff, 0xff].as_slice()))],
            index: vec![IndexWrite { index: eligible(), member: id.uuid(), score: Some(score) }],
            ..Unit::new(ff_sdk::core::execution::Purpose::Finish, 1)
        };
        let commit = Commit { partition: id.partition(), units: vec![unit] };
        let reply = self.backend.call(Request::Commit(commit)).await.expect("the store answers");
        let committed = |units: &[UnitReply]| matches!(units, [UnitReply::Committed { .. }]);
        assert!(matches!(&reply.body, ReplyBody::Commit(units) if committed(units)));
    }
}

/// The index of [`LANE`] in [`NAMESPACE`].
pub fn eligible() -> IndexName {
    let lane = LaneId::try_new(LANE).expect("a lane");
    IndexName::Eligible { namespace: namespace(), lane }
}

/// [`NAMESPACE`].
pub fn namespace() -> Namespace {
    Namespace::try_new(NAMESPACE).expect("a namespace")
}

/// [`LANE`].
pub fn lane() -> LaneId {
    LaneId::try_new(LANE).expect("a lane")
}
