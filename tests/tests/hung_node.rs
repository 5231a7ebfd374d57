//! A server that hangs: it accepts connections and calls, and answers nothing. It slows no call to
//! other nodes, and every call ends at its own deadline (`docs/spec.md`, Stores).

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use ff_sdk::core::backend::{EngineBackend, FindingLevel};
use ff_sdk::core::error::EngineError;
use ff_sdk::core::partition::Partition;
use ff_sdk::core::store::{IndexName, Poll, PollOf, Polled, Read, ReplyBody, Request};
use ff_sdk::{Client, ClientConfig, FlowFabricWorker, SdkError, ValkeyBackend};
use ff_tests::Fixture;
use ff_tests::fixture::{NAMESPACE, PARTITIONS};
use ff_tests::kit::{claim, ms, secs, submit, work};
use ff_tests::server::{Cluster, Proxy, ProxyFault, Server};
use futures_util::future::join_all;
use tokio::time::Instant;

/// The deadline of calls. It is shorter than the response timeout of 5 s.
const DEADLINE: Duration = secs(2);
/// The longest time that a call may take although another node hangs, or beyond its deadline. A
/// search for work waits for a late node for 250 ms.
const TOLERANCE: Duration = ms(1_000);

/// The result of a future and the time that it took.
async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    let result = future.await;
    (result, begun.elapsed())
}

async fn client_on(fixture: &Fixture, call_timeout: Duration) -> Client {
    let mut config = ClientConfig::new(NAMESPACE).unwrap();
    (config.partition_config, config.call_timeout) = (Some(PARTITIONS), call_timeout);
    Client::connect(config, fixture.backend()).await.unwrap()
}

/// Whether a worker finds an execution, which it completes.
async fn completes_one(worker: &FlowFabricWorker) -> bool {
    match worker.claim_next().await.unwrap() {
        Some(task) => task.complete(None).await.map(|()| true).unwrap(),
        None => false,
    }
}

/// A cluster of three primaries, of which the one with partition 0 can hang.
struct Hangs {
    cluster: Cluster,
    hung: usize,
    /// A partition on another node.
    healthy: u16,
    fixture: Fixture,
    client: Client,
    worker: FlowFabricWorker,
}

impl Hangs {
    async fn new() -> Self {
        let cluster = Cluster::three_with(&["--cluster-require-full-coverage", "no"]);
        let owner = |index: u16| {
            cluster.owner_of(cluster.slot_of(Partition::flow(index).to_string().as_bytes()))
        };
        let hung = owner(0);
        let healthy = (1..PARTITIONS.num_flow_partitions).find(|index| owner(*index) != hung);
        let healthy = healthy.expect("the partitions are on several nodes");
        let fixture = Fixture::on(Arc::new(ValkeyBackend::connect(&cluster.url()).await.unwrap()));
        let client = client_on(&fixture, DEADLINE).await;
        let worker = fixture.worker("worker").await;
        let hangs = Self { cluster, hung, healthy, fixture, client, worker };
        for partition in 0..PARTITIONS.num_flow_partitions {
            hangs.submit_in(partition).await.unwrap();
            claim(&hangs.worker).await.complete(None).await.unwrap();
        }
        hangs
    }

    async fn submit_in(&self, partition: u16) -> Result<(), SdkError> {
        self.client.submit(work().id(self.fixture.id_in(partition))).await.map(drop)
    }

    /// For this time submits to the healthy partition, and claims what it submitted. Returns the
    /// longest times of a submission and of a claim.
    async fn work_for(&self, time: Duration) -> (Duration, Duration) {
        let (begun, mut submission, mut search) = (Instant::now(), Duration::ZERO, Duration::ZERO);
        while begun.elapsed() < time {
            let (submitted, took) = timed(self.submit_in(self.healthy)).await;
            submitted.unwrap();
            submission = submission.max(took);
            let (task, took) = timed(claim(&self.worker)).await;
            search = search.max(took);
            task.complete(None).await.unwrap();
            tokio::time::sleep(ms(20)).await;
        }
        (submission, search)
    }

    /// The time of a poll of all partitions, and which of them it reports.
    async fn poll(&self) -> (Vec<bool>, Duration) {
        let partitions = (0..PARTITIONS.num_flow_partitions).map(Partition::flow).collect();
        let poll =
            Request::Poll(Poll { of: PollOf::Index(IndexName::Due), partitions, listeners: None });
        let (reply, took) = timed(self.fixture.backend().call(poll)).await;
        let ReplyBody::Poll(Polled { firsts, .. }) = reply.unwrap().body else { panic!("a poll") };
        (firsts.iter().map(Result::is_ok).collect(), took)
    }
}

/// While a node of a cluster hangs, calls to the others are as fast as before, and calls to the
/// hung one end at their deadline, however many there are. Afterwards the node is used as before.
#[tokio::test]
async fn a_hung_node_holds_up_no_call_beyond_its_deadline_and_none_of_other_nodes() {
    let hangs = Hangs::new().await;
    hangs.cluster.nodes()[hangs.hung].pause();
    let to_hung = join_all((0..8).map(|_| timed(hangs.submit_in(0))));
    let first_poll = hangs.poll();
    let working = hangs.work_for(DEADLINE + ms(300));
    let (to_hung, (first, poll), (submission, search)) = tokio::join!(to_hung, first_poll, working);
    let slowest = to_hung.iter().map(|(_, took)| *took).max().unwrap();
    let (_, next_poll) = hangs.poll().await;
    println!("slowest: to the hung node {slowest:?}, to another {submission:?}");
    println!("slowest: search {search:?}, first poll {poll:?}, next one {next_poll:?}");
    for (result, _) in to_hung {
        let Err(SdkError::Engine(error)) = result else { panic!("{result:?}") };
        let ends = matches!(error, EngineError::Timeout { .. } | EngineError::Unreachable { .. });
        assert!(ends, "{error}");
    }
    assert!(slowest < DEADLINE + TOLERANCE, "a call to the hung node took {slowest:?}");
    assert!(submission < TOLERANCE, "a submission to another node took {submission:?}");
    assert!(search < TOLERANCE, "a search for work took {search:?}");
    assert!(poll < TOLERANCE && next_poll < TOLERANCE, "polls took {poll:?} and {next_poll:?}");
    assert!(!first[0] && first[usize::from(hangs.healthy)], "only the hung node is not reported");
    hangs.cluster.nodes()[hangs.hung].unpause();
    hangs.submit_in(0).await.unwrap();
    // The answers that were late arrive with the next poll; the one after it is sent anew.
    let begun = Instant::now();
    while hangs.poll().await.0.contains(&false) || !completes_one(&hangs.worker).await {
        assert!(begun.elapsed() < secs(5), "the node is used again");
    }
}

/// The result of a report or an examination, which must end within two seconds.
async fn in_time<T, E: Debug>(call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let (result, took) = timed(call).await;
    assert!(took < secs(2), "it took {took:?}");
    result
}

/// The subjects of the problems that an examination finds.
async fn problems(backend: &dyn EngineBackend) -> Vec<String> {
    let mut findings = in_time(backend.examine()).await.unwrap();
    findings.retain(|found| found.level == FindingLevel::Problem);
    findings.into_iter().map(|found| found.subject).collect()
}

/// While a node hangs that does not hold the configuration, programs connect and work. Reports and
/// examinations name a node that hangs.
#[tokio::test]
async fn programs_connect_while_a_node_hangs_and_reports_name_it() {
    let hangs = Hangs::new().await;
    let nodes = hangs.cluster.nodes();
    let slot = hangs.cluster.slot_of(Partition::META.to_string().as_bytes());
    let configuration = hangs.cluster.owner_of(slot);
    assert_ne!(configuration, hangs.hung);
    nodes[hangs.hung].pause();
    let (backend, connecting) = timed(ValkeyBackend::connect(&hangs.cluster.url())).await;
    let fixture = Fixture::on(Arc::new(backend.unwrap()));
    let (client, opening) = timed(client_on(&fixture, DEADLINE)).await;
    println!("connecting took {connecting:?}, and the first call {opening:?}");
    assert!(connecting + opening < ms(2_500), "{connecting:?} and {opening:?}");
    client.submit(work().id(fixture.id_in(hangs.healthy))).await.unwrap();
    let hung = nodes[hangs.hung].address();
    for backend in [fixture.backend(), hangs.fixture.backend()] {
        let report = in_time(backend.report()).await.unwrap();
        assert_eq!(report.silent_nodes, std::slice::from_ref(&hung));
        assert!(report.used_bytes > 0);
        assert_eq!(problems(&*backend).await, [format!("node {hung}")]);
    }
    nodes[hangs.hung].unpause();
    let begun = Instant::now();
    while fixture.backend().report().await.map_or(true, |found| !found.silent_nodes.is_empty()) {
        assert!(begun.elapsed() < secs(10), "the node is used again");
    }
    assert!(problems(&*fixture.backend()).await.is_empty());
    nodes[configuration].pause();
    let hung = nodes[configuration].address();
    let failure = in_time(fixture.backend().report()).await.unwrap_err();
    assert!(failure.to_string().contains(&hung), "{failure}");
    assert_eq!(problems(&*fixture.backend()).await, [format!("node {hung}")]);
    nodes[configuration].unpause();
}

/// A connection on which nothing is answered is replaced after the response timeout, also if no
/// caller waits for that long.
#[tokio::test]
async fn a_silent_connection_is_replaced_although_its_callers_give_up_earlier() {
    let server = Server::valkey();
    let address = server.address();
    let proxy = tokio::task::spawn_blocking(move || Proxy::before(&address)).await.unwrap();
    let url = format!("{}?response_timeout_ms=500", proxy.url());
    let fixture = Fixture::on(Arc::new(ValkeyBackend::connect(&url).await.unwrap()));
    let client = client_on(&fixture, ms(200)).await;
    let id = submit(&client, work()).await;
    proxy.set(ProxyFault::Swallow { close: false });
    client.describe(&id).await.unwrap_err();
    // From now on only the connection that has lost a reply is silent.
    proxy.set(ProxyFault::Pass);
    let begun = Instant::now();
    while client.describe(&id).await.is_err() {
        assert!(begun.elapsed() < secs(10), "the connection is replaced");
    }
}

/// Whether a request reads the configuration of the store.
fn reads_configuration(request: &Request) -> bool {
    matches!(request, Request::Read(Read { partition: Partition::META, .. }))
}

/// The regular check of the store's identity delays no call for long, also if the node of the
/// configuration hangs.
#[tokio::test(start_paused = true)]
async fn a_hung_node_of_the_configuration_delays_no_call_for_long() {
    let fixture = Fixture::memory();
    let faulty = fixture.faulty();
    let client = fixture.client_on(faulty.clone()).await;
    faulty.slow_requests(secs(60), reads_configuration);
    for _ in 0..3 {
        fixture.advance(secs(31)).await;
        let (submitted, took) = timed(client.submit(work())).await;
        submitted.unwrap();
        assert!(took <= ms(300), "{took:?}");
    }
}
