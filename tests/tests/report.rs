//! Reports of the adapter on real servers, which its own commands do not change.

use ff_sdk::core::backend::EngineBackend;
use ff_sdk::core::partition::Partition;
use ff_sdk::{Client, Submission, ValkeyBackend};
use ff_tests::server::{Cluster, Server};

/// Reports count the calls of users, but not the commands of a report or an examination.
async fn commands_of_a_report_are_not_counted_as_calls(url: &str) {
    let store = std::sync::Arc::new(ValkeyBackend::connect(url).await.unwrap());
    let client = Client::connect_with(store.clone(), "report").await.unwrap();
    let before = store.report().await.unwrap();
    store.examine().await.unwrap();
    let between = store.report().await.unwrap();
    assert_eq!(between.calls, before.calls);
    assert!(between.commands > before.commands, "the server has answered them");
    for _ in 0..64 {
        client.submit(Submission::new("work")).await.unwrap();
    }
    let after = store.report().await.unwrap();
    // The first command on a node may read first, since its clock is not known yet.
    assert!((64..=80).contains(&(after.calls - between.calls)), "{after:?}");
    // Each entry of a journal takes some bytes, in all partitions.
    assert!(after.stream_bytes > before.stream_bytes + 64 * 50, "{before:?} {after:?}");
}

#[tokio::test]
async fn reports_of_one_server() {
    let server = Server::valkey();
    commands_of_a_report_are_not_counted_as_calls(&server.url()).await;
    let store = ValkeyBackend::connect(&server.url()).await.unwrap();
    assert!((0..64).all(|index| store.clock_of(Partition::flow(index)) == 0));
}

#[tokio::test]
async fn reports_of_a_cluster() {
    let cluster = Cluster::three();
    commands_of_a_report_are_not_counted_as_calls(&cluster.url()).await;
    let store = ValkeyBackend::connect(&cluster.url()).await.unwrap();
    let mut clocks: Vec<usize> =
        (0..64).map(|index| store.clock_of(Partition::flow(index))).collect();
    clocks.sort_unstable();
    clocks.dedup();
    assert_eq!(clocks, [0, 1, 2], "each node has its own clock");
}
