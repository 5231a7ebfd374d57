//! A cluster of which one primary is down, and that serves the rest (`cluster-require-full-coverage
//! no`): programs start, and serve the partitions of the other primaries (`docs/valkey.md`,
//! Clusters).

use std::sync::Arc;

use ff_sdk::core::backend::{EngineBackend, FindingLevel};
use ff_sdk::core::partition::Partition;
use ff_sdk::{Auditor, Client, ClientConfig, ValkeyBackend};
use ff_tests::Fixture;
use ff_tests::fixture::{NAMESPACE, PARTITIONS};
use ff_tests::kit::{claim, secs, work};
use ff_tests::server::{Cluster, wait_for};
use tokio::time::{Instant, timeout};

/// A cluster with a store.
struct Partial {
    cluster: Cluster,
}

impl Partial {
    async fn new() -> Self {
        let options = [
            ["--cluster-require-full-coverage", "no"],
            ["--appendonly", "yes"],
            ["--appendfsync", "always"],
        ];
        let cluster = Cluster::three_with(options.as_flattened());
        let backend = ValkeyBackend::connect(&cluster.url()).await.unwrap();
        Fixture::on(Arc::new(backend)).client().await;
        Self { cluster }
    }

    fn owner(&self, partition: Partition) -> usize {
        self.cluster.owner_of(self.cluster.slot_of(partition.to_string().as_bytes()))
    }

    fn of_configuration(&self) -> usize {
        self.owner(Partition::META)
    }

    /// A node with partitions, that does not hold the configuration.
    fn other(&self) -> usize {
        let owners = (0..PARTITIONS.num_flow_partitions).map(|n| self.owner(Partition::flow(n)));
        owners.into_iter().find(|owner| *owner != self.of_configuration()).expect("there is one")
    }

    fn partition_on(&self, node: usize, is_on: bool) -> u16 {
        let mut all = 0..PARTITIONS.num_flow_partitions;
        all.find(|n| (self.owner(Partition::flow(*n)) == node) == is_on).expect("there is one")
    }

    /// Kills a node, and waits until the others know it.
    fn kill(&mut self, node: usize) {
        let port = self.cluster.nodes()[node].port();
        self.cluster.kill(node);
        for (number, other) in self.cluster.nodes().iter().enumerate() {
            if number == node {
                continue;
            }
            wait_for("the others to know that the node is down", || {
                let nodes = ff_tests::server::text(&other.expect(&["CLUSTER", "NODES"]))?;
                let line = nodes.lines().find(|line| line.contains(&format!(":{port}@")))?;
                (line.contains("fail") && !line.contains("fail?")).then_some(())
            });
        }
    }
}

async fn client(backend: &Arc<dyn EngineBackend>) -> Client {
    let mut config = ClientConfig::new(NAMESPACE).unwrap();
    config.call_timeout = secs(2);
    Client::connect(config, backend.clone()).await.unwrap()
}

/// While a primary is down, programs start and serve the partitions of the others; the doctor names
/// the slots that are not served. When the primary is back, its partitions are served too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_start_while_a_primary_is_down() {
    let mut partial = Partial::new().await;
    let down = partial.other();
    let (lost, healthy) = (partial.partition_on(down, true), partial.partition_on(down, false));
    let address = partial.cluster.nodes()[down].address();
    partial.kill(down);

    let begun = Instant::now();
    let backend = timeout(secs(10), ff_sdk::open(&partial.cluster.url())).await;
    let backend = backend.expect("it opens in time").unwrap();
    let fixture = Fixture::on(backend.clone());
    let client = client(&backend).await;
    let worker = fixture.worker("w").await;
    println!("started after {:?}", begun.elapsed());
    assert!(begun.elapsed() < secs(5), "{:?}", begun.elapsed());
    client.submit(work().id(fixture.id_in(healthy))).await.unwrap();
    claim(&worker).await.complete(None).await.unwrap();
    let error = client.submit(work().id(fixture.id_in(lost))).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");

    let auditor = Auditor::connect(backend.clone()).await.unwrap();
    let findings = auditor.examine().await.unwrap();
    let found = findings.iter().find(|found| found.subject.contains(&address));
    let found = found.unwrap_or_else(|| panic!("{findings:?}"));
    assert_eq!(found.level, FindingLevel::Problem, "{found:?}");
    assert!(found.detail.contains("slots "), "{found:?}");

    partial.cluster.restart(down);
    let begun = Instant::now();
    while client.submit(work().id(fixture.id_in(lost))).await.is_err() {
        assert!(begun.elapsed() < secs(10), "the partition is served again");
    }
    timeout(secs(10), claim(&worker))
        .await
        .expect("its work is found")
        .complete(None)
        .await
        .unwrap();
}

/// Only the primary that holds the configuration of the store is needed, and the error says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_of_the_configuration_is_needed() {
    let mut partial = Partial::new().await;
    let down = partial.of_configuration();
    let address = partial.cluster.nodes()[down].address();
    partial.kill(down);
    let error = timeout(secs(10), ValkeyBackend::connect(&partial.cluster.url())).await;
    let error = error.expect("it ends in time").unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let text = error.to_string();
    assert!(text.contains(&address) && text.contains("configuration"), "{text}");
}
