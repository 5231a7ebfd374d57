//! The audit: it finds no faults in a store that is in use, and finds each planted fault.

use std::sync::Arc;
use std::time::Duration;

use ff_sdk::core::backend::{EngineBackend, FindingLevel};
use ff_sdk::core::execution::Purpose;
use ff_sdk::core::op::Fault;
use ff_sdk::core::partition::PartitionConfig;
use ff_sdk::core::store::codec::checksummed;
use ff_sdk::core::store::{Commit, IndexName, IndexWrite, MemoryStore, RecordKey, Request, Unit};

use ff_sdk::{
    AuditProgress, AuditReport, Auditor, Client, ClientConfig, ExecutionId, FlowFabricWorker,
    MemoryBackend, Namespace, Submission, WorkerConfig,
};

const LIMIT: usize = 1_000;
/// An execution in a partition that is not among the four of these stores.
const OUTSIDE: &str = "{fp:9}:00000000-0000-4000-8000-000000000001";

async fn client(store: &Arc<MemoryBackend>) -> Client {
    let mut config = ClientConfig::new("audit").expect("a namespace");
    config.partition_config =
        Some(PartitionConfig { num_flow_partitions: 4, ..PartitionConfig::default() });
    Client::connect(config, store.clone()).await.expect("it connects")
}

async fn audit(store: &Arc<MemoryBackend>) -> (AuditReport, Vec<AuditProgress>) {
    let auditor = Auditor::connect(store.clone()).await.expect("it connects");
    let namespace = Namespace::try_new("audit").expect("a namespace");
    let mut steps = Vec::new();
    let report = auditor.audit(&namespace, LIMIT, |progress| steps.push(progress)).await;
    (report.expect("the store answers"), steps)
}

fn levels(report: &AuditReport) -> Vec<FindingLevel> {
    report.findings().iter().map(|finding| finding.level).collect()
}

/// Changes the store directly.
fn corrupt(store: &MemoryBackend, id: &ExecutionId, change: impl FnOnce(&MemoryStore, &mut Unit)) {
    let now = store.now();
    store.with_store(|store| {
        let mut unit = Unit::new(Purpose::Admit, 1);
        change(store, &mut unit);
        let commit = Commit { partition: id.partition(), units: vec![unit] };
        store.handle(Request::Commit(commit), now);
    });
}

#[tokio::test(start_paused = true)]
async fn an_auditor_changes_nothing_not_even_an_empty_store() {
    let store = Arc::new(MemoryBackend::new());
    let auditor = Auditor::connect(store.clone()).await.expect("it connects");
    assert_eq!(auditor.meta(), None);
    let findings = auditor.examine().await.expect("the store answers");
    assert!(findings.iter().all(|finding| finding.level == FindingLevel::Good), "{findings:?}");
    let (report, _) = audit(&store).await;
    assert_eq!((report.partitions, levels(&report)), (0, Vec::new()));
    assert_eq!(store.with_store(|store| store.partitions().count()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_in_use_is_clean() {
    let store = Arc::new(MemoryBackend::new());
    let client = client(&store).await;
    let submissions = (0..40).map(|_| Submission::new("work"));
    for outcome in client.submit_many(submissions).await {
        outcome.expect("it is submitted");
    }
    let config = WorkerConfig::new("worker", "worker-1", "audit").expect("a configuration");
    let worker = FlowFabricWorker::connect_with(config, store.clone(), None).await;
    let worker = worker.expect("it connects");
    for _ in 0..10 {
        let task = worker.claim_next().await.expect("the store answers").expect("there is work");
        task.complete(None).await.expect("it completes");
    }
    let held = worker.claim_next().await.expect("the store answers").expect("there is work");
    let calls = |report: ff_sdk::core::backend::BackendReport| report.used_bytes;
    let before = calls(store.report().await.expect("it reports"));
    let (report, steps) = audit(&store).await;
    assert_eq!((report.partitions, report.executions), (4, 40));
    assert_eq!(levels(&report), [FindingLevel::Good], "{report:?}");
    assert_eq!(calls(store.report().await.expect("it reports")), before, "it only reads");
    assert_eq!(steps.last(), Some(&AuditProgress::Looking { done: 4, total: 4 }));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_reported_when_it_is_found_twice() {
    let store = Arc::new(MemoryBackend::new());
    let client = client(&store).await;
    let id = client.submit(Submission::new("work")).await.expect("it is submitted").id();
    corrupt(&store, &id, |store, unit| {
        let entries = store.entries(id.partition());
        let eligible = entries.filter(|(name, _)| matches!(name, IndexName::Eligible { .. }));
        let write = |(name, entry): (&IndexName, ff_sdk::core::store::ScanPosition)| IndexWrite {
            index: name.clone(),
            member: entry.member,
            score: None,
        };
        unit.index.extend(eligible.map(write));
    });
    let begun = tokio::time::Instant::now();
    let (report, steps) = audit(&store).await;
    assert!(begun.elapsed() >= Duration::from_secs(6), "a worker may hold entries for 5 s");
    let waited = steps.iter().any(|step| matches!(step, AuditProgress::Waiting { .. }));
    assert!(waited, "{steps:?}");
    let [suspect] = &report.faults[..] else { panic!("{report:?}") };
    let lane = matches!(&suspect.fault, Fault::Missing { index: IndexName::Eligible { .. } });
    assert!(lane && suspect.execution == id, "{suspect:?}");
    let [finding] = &report.findings()[..] else { panic!("{report:?}") };
    assert_eq!(finding.level, FindingLevel::Problem);
    assert!(finding.detail.contains(&id.to_string()) && finding.advice.is_some(), "{finding:?}");
    // The advice fixes it.
    client.cancel(&id, "").await.expect("it is cancelled");
    client.replay(&id).await.expect("it is replayed");
    assert_eq!(levels(&audit(&store).await.0), [FindingLevel::Good]);
}

#[tokio::test(start_paused = true)]
async fn executions_in_unknown_partitions_are_reported() {
    let store = Arc::new(MemoryBackend::new());
    client(&store).await;
    let id: ExecutionId = OUTSIDE.parse().expect("an id");
    corrupt(&store, &id, |_, unit| {
        let namespace = Namespace::try_new("audit").expect("a namespace");
        let (index, member) = (IndexName::All { namespace }, id.uuid());
        unit.index.push(IndexWrite { index, member, score: Some(ff_sdk::core::score::Score::MIN) });
    });
    let (report, _) = audit(&store).await;
    assert_eq!(
        (&report.outside[..], levels(&report)),
        (&[id.partition()][..], vec![FindingLevel::Problem])
    );
}

#[tokio::test(start_paused = true)]
async fn records_of_a_newer_format_and_overdue_entries_are_warnings() {
    let store = Arc::new(MemoryBackend::new());
    let client = client(&store).await;
    let newer = client.submit(Submission::new("work")).await.expect("it is submitted").id();
    let delay = Duration::from_secs(10);
    let delayed = Submission::new("work").delay(delay);
    client.submit(delayed).await.expect("it is submitted");
    corrupt(&store, &newer, |store, unit| {
        let key = RecordKey::of(&newer);
        let mut records = store.records(newer.partition());
        let (_, stored) = records.find(|(held, _)| **held == key).expect("it exists");
        unit.expect.push((key.clone(), stored.version));
        unit.put.push((key, checksummed(vec![255, 1]).into()));
    });
    tokio::time::advance(delay + Duration::from_secs(61)).await;
    let (report, _) = audit(&store).await;
    assert_eq!((report.newer_format, report.overdue), (1, 1));
    assert_eq!(levels(&report), [FindingLevel::Warning; 2]);
}
