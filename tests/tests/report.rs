//! What the adapter tells of real servers: figures that its own questions do not change.

use ff_sdk::core::backend::EngineBackend;
use ff_sdk::core::partition::Partition;
use ff_sdk::{Client, Submission, ValkeyBackend};
use ff_tests::server::{Cluster, Server};

/// Reports count the calls of users, and neither their own questions nor those of an examination.
async fn what_is_asked_for_a_report_counts_as_no_call(url: &str) {
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
    // The first commands may read first, where a clock is not known yet.
    assert!((64..=80).contains(&(after.calls - between.calls)), "{after:?}");
    // An entry of a journal takes some bytes, wherever the partition is.
    assert!(after.stream_bytes > before.stream_bytes + 64 * 50, "{before:?} {after:?}");
}

#[tokio::test]
async fn reports_of_one_server() {
    let server = Server::valkey();
    what_is_asked_for_a_report_counts_as_no_call(&server.url()).await;
    let store = ValkeyBackend::connect(&server.url()).await.unwrap();
    assert!((0..64).all(|index| store.clock_of(Partition::flow(index)) == 0));
}

#[tokio::test]
async fn reports_of_a_cluster() {
    let cluster = Cluster::three();
    what_is_asked_for_a_report_counts_as_no_call(&cluster.url()).await;
    let store = ValkeyBackend::connect(&cluster.url()).await.unwrap();
    let mut clocks: Vec<usize> =
        (0..64).map(|index| store.clock_of(Partition::flow(index))).collect();
    clocks.sort_unstable();
    clocks.dedup();
    assert_eq!(clocks, [0, 1, 2], "each node has a clock of its own");
}
