//! The fixture of a scenario: a new store, its clients and workers, and its time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ff_sdk::core::backend::EngineBackend;
use ff_sdk::core::entropy::Entropy;
use ff_sdk::core::id::{ExecutionId, ExecutionKind, LaneId, Namespace};
use ff_sdk::core::op::{ApplyDue, DueReport, OperationContext};
use ff_sdk::core::partition::{Partition, PartitionConfig};
use ff_sdk::core::score::Score;
use ff_sdk::core::store::bounds::{MAX_PAGE, MAX_PAGE_BYTES};
use ff_sdk::core::store::codec::Codec;
use ff_sdk::core::store::{
    Bytes, Commit, Fetched, IndexName, IndexWrite, Read, RecordKey, ReplyBody, Request, Scan,
    ScanEntry, ScanOrder, ScanPosition, Take, TakeUntil, Unit, UnitReply, ValueKey, Version,
};
use ff_sdk::core::time::{DurationMs, TimestampMs};
use ff_sdk::{
    Client, ClientConfig, FlowFabricAdminClient, FlowFabricWorker, HostClock, MemoryBackend,
    WorkerConfig, drive,
};

use uuid::Uuid;

use crate::faulty_backend::FaultyBackend;
use crate::virtual_sqlite::VirtualSqlite;
use crate::virtual_time::VirtualTimeBackend;
use crate::watchdog::Watchdog;

/// The namespace of scenarios that do not need a certain one.
pub const NAMESPACE: &str = "demo";
/// The lane of scenarios that do not need a certain one.
pub const LANE: &str = "default";
/// Few partitions, so that several executions of a scenario share one.
pub const PARTITIONS: PartitionConfig =
    PartitionConfig { num_flow_partitions: 4, num_budget_partitions: 1, num_quota_partitions: 1 };

/// A separate store for one scenario. Only the constructors depend on the backend.
pub struct Fixture {
    backend: Arc<dyn EngineBackend>,
    entropy: Mutex<Entropy>,
    _watchdog: Watchdog,
}

impl Fixture {
    /// A fixture with a store in memory. Its time is tokio's paused clock.
    pub fn memory() -> Self {
        Self::on(Arc::new(MemoryBackend::new()))
    }

    /// A fixture with a SQLite file. Its time is tokio's paused clock ([`VirtualSqlite`]).
    pub fn sqlite() -> Self {
        Self::on(Arc::new(VirtualSqlite::new()))
    }

    /// A fixture with a Valkey server. Its time is tokio's paused clock ([`VirtualTimeBackend`]).
    pub fn valkey() -> Self {
        Self::on(Arc::new(VirtualTimeBackend::valkey()))
    }

    /// A fixture with a cluster of three primaries. Its time is tokio's paused clock
    /// ([`VirtualTimeBackend`]).
    pub fn cluster() -> Self {
        Self::on(Arc::new(VirtualTimeBackend::cluster()))
    }

    /// A fixture with this backend.
    pub fn on(backend: Arc<dyn EngineBackend>) -> Self {
        let entropy = Mutex::new(Entropy::from_u64(7));
        Self { backend, entropy, _watchdog: Watchdog::start() }
    }

    /// The store.
    pub fn backend(&self) -> Arc<dyn EngineBackend> {
        self.backend.clone()
    }

    /// A new handle to the store that can inject faults.
    pub fn faulty(&self) -> Arc<FaultyBackend> {
        Arc::new(FaultyBackend::new(self.backend()))
    }

    /// Lets time pass. Timers in between fire at their instants.
    pub async fn advance(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Lets time pass until the store's clock shows exactly this time.
    pub async fn advance_to(&self, instant: TimestampMs) {
        let left = instant.since(self.now().await);
        if left > DurationMs::ZERO {
            self.advance(left.into()).await;
        }
        assert_eq!(self.now().await, instant, "the store's clock shows the requested time");
    }

    /// The time of the store's clock.
    pub async fn now(&self) -> TimestampMs {
        let read = Read { partition: Partition::META, records: Vec::new(), values: Vec::new() };
        self.backend.call(Request::Read(read)).await.expect("the store answers").at
    }

    /// Entropy for ids.
    pub fn entropy(&self) -> Entropy {
        self.entropy.lock().expect("no holder panics").fork()
    }

    /// A new id in a partition.
    pub fn id_in(&self, partition: u16) -> ExecutionId {
        ExecutionId::from_parts(partition, self.entropy().uuid())
    }

    /// A client of [`NAMESPACE`].
    pub async fn client(&self) -> Client {
        self.client_on(self.backend()).await
    }

    /// A client of [`NAMESPACE`] with this handle to the store.
    pub async fn client_on(&self, backend: Arc<dyn EngineBackend>) -> Client {
        self.client_of(NAMESPACE, backend).await
    }

    /// A client of this namespace.
    pub async fn client_of(&self, namespace: &str, backend: Arc<dyn EngineBackend>) -> Client {
        let mut config = ClientConfig::new(namespace).expect("a namespace");
        config.partition_config = Some(PARTITIONS);
        Client::connect(config, backend).await.expect("a client connects")
    }

    /// A worker with one slot and no timekeeper: only [`Fixture::tick`] applies due timers.
    pub async fn worker(&self, name: &str) -> FlowFabricWorker {
        self.worker_with(name, |_| {}).await
    }

    /// A worker with a changed configuration.
    pub async fn worker_with(
        &self,
        name: &str,
        set_up: impl FnOnce(&mut WorkerConfig),
    ) -> FlowFabricWorker {
        self.worker_on(self.backend(), name, set_up).await
    }

    /// A worker with this handle to the store.
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

    /// The configuration of [`Fixture::worker`].
    pub fn worker_config(&self, name: &str) -> WorkerConfig {
        let instance = format!("{name}-1");
        let mut config = WorkerConfig::new(name, instance, NAMESPACE).expect("a worker's ids");
        config.partition_config = Some(PARTITIONS);
        config.timekeeper = false;
        config
    }

    /// A worker that only runs a timekeeper, until it is dropped.
    pub async fn timekeeper(&self) -> FlowFabricWorker {
        self.worker_with("timekeeper", |config| {
            config.timekeeper = true;
            config.lanes = vec![LaneId::try_new("nothing").expect("a lane")];
        })
        .await
    }

    /// An admin client.
    pub async fn admin(&self) -> FlowFabricAdminClient {
        FlowFabricAdminClient::connect_with(self.backend()).await.expect("an admin client connects")
    }

    /// Applies the timers that are due now, once.
    pub async fn tick(&self) -> DueReport {
        let context = OperationContext::new(DurationMs::from_secs(30), Codec::default());
        let tick = ApplyDue::new(PARTITIONS, context, self.entropy());
        drive(&*self.backend, &HostClock::new(), tick).await.expect("the store answers")
    }

    /// The score of an execution in an index; `None` if it has no entry there.
    pub async fn score(&self, id: &ExecutionId, index: IndexName) -> Option<Score> {
        let mut after: Option<ScanPosition> = None;
        loop {
            let (partition, limit) = (id.partition(), MAX_PAGE as u32);
            let (index, bytes) = (index.clone(), MAX_PAGE_BYTES);
            let scan = Scan { partition, index, order: ScanOrder::Ascending, after, limit, bytes };
            let reply = self.backend.call(Request::Scan(scan)).await.expect("the store answers");
            let ReplyBody::Scan(page) = reply.body else { panic!("a scan answers with a page") };
            let found = page.entries.iter().find(|entry| entry.position.member == id.uuid());
            if let Some(entry) = found {
                return Some(entry.position.score);
            }
            after = Some(page.next?);
        }
    }

    /// The members of an index of a partition with their scores, at most a page.
    pub async fn entries_of(&self, partition: Partition, index: IndexName) -> Vec<(Uuid, Score)> {
        let (limit, bytes) = (MAX_PAGE as u32, MAX_PAGE_BYTES);
        let scan =
            Scan { partition, index, order: ScanOrder::Ascending, after: None, limit, bytes };
        let reply = self.backend.call(Request::Scan(scan)).await.expect("the store answers");
        let ReplyBody::Scan(page) = reply.body else { panic!("a scan answers with a page") };
        let entry = |entry: &ScanEntry| (entry.position.member, entry.position.score);
        page.entries.iter().map(entry).collect()
    }

    /// Whether a record of this key exists.
    pub async fn has_record(&self, partition: Partition, key: RecordKey) -> bool {
        let read = Read { partition, records: vec![key], values: Vec::new() };
        let reply = self.backend.call(Request::Read(read)).await.expect("the store answers");
        let ReplyBody::Read(values) = reply.body else { panic!("a read answers with values") };
        values.records[0].is_some()
    }

    /// The stored record of an execution.
    pub async fn record(&self, id: &ExecutionId) -> Option<Bytes> {
        self.stored(id).await.map(|(_, bytes)| bytes)
    }

    /// The stored version and record of an execution.
    pub async fn stored(&self, id: &ExecutionId) -> Option<(Version, Bytes)> {
        let (partition, records) = (id.partition(), vec![RecordKey::of(id)]);
        let read = Request::Read(Read { partition, records, values: Vec::new() });
        let reply = self.backend.call(read).await.expect("the store answers");
        let ReplyBody::Read(mut values) = reply.body else { panic!("a read answers with values") };
        values.records.pop().flatten().map(|stored| (stored.version, stored.bytes))
    }

    /// Whether the payload and the result of an execution exist.
    pub async fn values(&self, id: &ExecutionId) -> Vec<bool> {
        let (partition, uuid) = (id.partition(), id.uuid());
        let values = vec![ValueKey::Payload(uuid), ValueKey::Result(uuid)];
        let read = Request::Read(Read { partition, records: Vec::new(), values });
        let reply = self.backend.call(read).await.expect("the store answers");
        let ReplyBody::Read(found) = reply.body else { panic!("a read answers with values") };
        found.values.iter().map(|value| *value != Fetched::Absent).collect()
    }

    /// Takes the first entry of `due` in the execution's partition, whatever its time, like a
    /// timekeeper that crashes after the take.
    pub async fn hold_due(&self, id: &ExecutionId) {
        let take = Take {
            partition: id.partition(),
            from: vec![IndexName::Due],
            count: 1,
            bytes: MAX_PAGE_BYTES,
            until: TakeUntil::End,
            hold: DurationMs::from_secs(5),
            ring_rest: false,
        };
        let reply = self.backend.call(Request::Take(take)).await.expect("the store answers");
        let ReplyBody::Take(taken) = reply.body else { panic!("a take answers with entries") };
        assert_eq!(taken.entries.len(), 1);
    }

    /// Writes a record that cannot be decoded, and puts it at the head of [`LANE`].
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

/// The queue of [`LANE`] in [`NAMESPACE`], of the kind of [`work`](crate::kit::work).
pub fn eligible() -> IndexName {
    let lane = LaneId::try_new(LANE).expect("a lane");
    let kind = ExecutionKind::try_new("work").expect("a kind");
    IndexName::Eligible { namespace: namespace(), lane, kind }
}

/// [`NAMESPACE`].
pub fn namespace() -> Namespace {
    Namespace::try_new(NAMESPACE).expect("a namespace")
}

/// [`LANE`].
pub fn lane() -> LaneId {
    LaneId::try_new(LANE).expect("a lane")
}
