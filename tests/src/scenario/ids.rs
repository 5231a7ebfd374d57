//! Ids, partitions and capability sets (`docs/spec.md`, 2).

use ff_sdk::core::error::RejectionKind;
use ff_sdk::core::execution::ValueKind;
use ff_sdk::core::partition::PartitionConfig;
use ff_sdk::{Client, ClientConfig, FlowFabricWorker, SdkError};

use crate::fixture::{Fixture, NAMESPACE, PARTITIONS};
use crate::kit::{kind, submit, work};

/// Every call refuses an id whose partition the store does not have, as a `Validation` error,
/// before anything is sent (`docs/spec.md`, 2).
pub async fn an_id_beyond_the_partitions_is_refused_before_anything_is_sent(fixture: &Fixture) {
    let faulty = fixture.faulty();
    let client = fixture.client_on(faulty.clone()).await;
    let worker = fixture.worker_on(fixture.backend(), "w", |_| {}).await;
    let beyond = fixture.id_in(PARTITIONS.num_flow_partitions);
    let before = faulty.calls();

    let out_of_range = RejectionKind::PartitionOutOfRange;
    assert_eq!(kind(client.submit(work().id(beyond)).await), out_of_range);
    assert_eq!(kind(client.submit_many([work().id(beyond)]).await.remove(0)), out_of_range);
    assert_eq!(kind(client.describe(&beyond).await), out_of_range);
    assert_eq!(kind(client.result(&beyond).await), out_of_range);
    assert_eq!(kind(client.history(&beyond).await), out_of_range);
    assert_eq!(kind(client.value(&beyond, ValueKind::Payload).await), out_of_range);
    assert_eq!(kind(client.cancel(&beyond, "no").await), out_of_range);
    assert_eq!(kind(client.replay(&beyond).await), out_of_range);
    assert_eq!(kind(worker.describe_execution(&beyond).await), out_of_range);
    assert_eq!(faulty.calls(), before, "nothing was sent");
}

/// The first process that connects fixes the partitions. Another count, or a count of zero, is a
/// configuration error of clients and workers that connect (`docs/spec.md`, 2).
pub async fn partitions_that_contradict_the_store_are_a_configuration_error(fixture: &Fixture) {
    fixture.client().await;
    let connect = async |partitions: PartitionConfig| {
        let mut config = ClientConfig::new(NAMESPACE).unwrap();
        config.partition_config = Some(partitions);
        let client = Client::connect(config, fixture.backend()).await.map(|_| ());
        let mut config = fixture.worker_config("w");
        config.partition_config = Some(partitions);
        let worker = FlowFabricWorker::connect_with(config, fixture.backend(), None).await;
        [client, worker.map(|_| ())]
    };
    for count in [5, 0] {
        let other = PartitionConfig { num_flow_partitions: count, ..PARTITIONS };
        for result in connect(other).await {
            let Err(SdkError::Config { field, .. }) = result else { panic!("{result:?}") };
            assert_eq!(field, "partition_config");
        }
    }
    for result in connect(PARTITIONS).await {
        result.unwrap();
    }
    let client = Client::connect_with(fixture.backend(), NAMESPACE).await.unwrap();
    assert_eq!(*client.partition_config(), PARTITIONS, "no configuration accepts the store's");
}

/// A malformed or too large capability set is refused with `InvalidCapabilities`, and nothing is
/// written (`docs/spec.md`, 2).
pub async fn bad_capabilities_are_refused_and_nothing_is_written(fixture: &Fixture) {
    let faulty = fixture.faulty();
    let client = fixture.client_on(faulty.clone()).await;
    let before = faulty.calls();
    let many: Vec<String> = (0..257).map(|number| format!("c{number}")).collect();
    let long = "x".repeat(4_097);
    let bad: [&[String]; 6] = [
        &[String::new()],
        &["a,b".to_owned()],
        &["a b".to_owned()],
        &["a\u{7}".to_owned()],
        &many,
        &[long],
    ];
    for tokens in bad {
        let id = fixture.id_in(0);
        let refused = client.submit(work().id(id).requires(tokens.iter().cloned())).await;
        assert_eq!(kind(refused), RejectionKind::InvalidCapabilities, "{tokens:?}");
        assert_eq!(fixture.record(&id).await, None);
    }
    assert_eq!(faulty.calls(), before, "nothing was sent");
    let most: Vec<String> = many[..256].to_vec();
    submit(&client, work().requires(most)).await;
}
