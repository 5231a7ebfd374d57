//! Counts of executions by lane and state (`docs/spec.md`, 7).

use std::collections::BTreeMap;

use ff_sdk::CountedState::{self, Active, BlockedByRoute, Cancelled, Completed, Delayed, Waiting};
use ff_sdk::{Client, ClientConfig, LaneStats, PublicState};

use crate::faulty_backend::commits;
use crate::fixture::{Fixture, NAMESPACE, PARTITIONS, lane};
use crate::kit::{claim, is_idle, ms, secs, submit, work};

type Counts = BTreeMap<CountedState, u64>;

/// The counts of one lane.
async fn counts(client: &Client, lane: &str) -> Counts {
    let lanes = client.stats().await.unwrap().lanes;
    let found = lanes.iter().find(|stats| stats.lane.as_str() == lane);
    found.map(|stats| stats.states().collect()).unwrap_or_default()
}

/// Every change of an execution moves it from one count to another, also if the reply to the
/// change is lost and the call is repeated. An execution that is removed is not counted any more.
/// \[INV-COUNT-1\]
pub async fn counts_follow_every_change(fixture: &Fixture) {
    let faulty = fixture.faulty();
    let client = fixture.client_on(faulty.clone()).await;
    let stats = client.stats().await.unwrap();
    assert!(stats.counted && stats.lanes.is_empty(), "{stats:?}");
    let lane = lane();
    let lane = lane.as_str();
    let mut ids = Vec::new();
    for partition in [0, 1, 1, 2] {
        faulty.lose_replies(1, commits);
        ids.push(submit(&client, work().id(fixture.id_in(partition))).await);
    }
    submit(&client, work().delay(secs(3_600))).await;
    submit(&client, work().requires(["a-gpu"])).await;
    submit(&client, work().lane("other")).await;
    let waiting = Counts::from([(Waiting, 5), (Delayed, 1)]);
    assert_eq!(counts(&client, lane).await, waiting);
    assert_eq!(counts(&client, "other").await, Counts::from([(Waiting, 1)]));
    let elsewhere = fixture.client_of("elsewhere", fixture.backend()).await;
    assert!(elsewhere.stats().await.unwrap().lanes.is_empty());

    let worker = fixture.worker_on(faulty.clone(), "w", |config| {
        config.max_concurrent_tasks = 4;
    });
    let worker = worker.await;
    let mut tasks = Vec::new();
    for _ in 0..4 {
        faulty.lose_replies(1, commits);
        tasks.push(claim(&worker).await);
    }
    let running = Counts::from([(Waiting, 1), (Delayed, 1), (Active, 4)]);
    assert_eq!(counts(&client, lane).await, running);
    for task in tasks.drain(..2) {
        faulty.lose_replies(1, commits);
        task.complete(None).await.unwrap();
    }
    drop(tasks);
    // The one that needs a capability is left, and becomes blocked when a worker takes it.
    assert!(is_idle(&worker).await);
    let open: Vec<_> = client.list(Default::default(), None, 10).await.unwrap().executions;
    let active = open.iter().filter(|seen| seen.state.public_state == PublicState::Active);
    let [first, second] = active.collect::<Vec<_>>()[..] else {
        panic!("two are active: {open:?}")
    };
    faulty.lose_replies(1, commits);
    client.cancel(&first.execution_id, "not needed").await.unwrap();
    let cancelled = Counts::from([
        (BlockedByRoute, 1),
        (Delayed, 1),
        (Active, 1),
        (Completed, 2),
        (Cancelled, 1),
    ]);
    assert_eq!(counts(&client, lane).await, cancelled);
    client.replay(&first.execution_id).await.unwrap();
    client.cancel(&second.execution_id, "not needed").await.unwrap();
    let replayed = Counts::from([
        (Waiting, 1),
        (BlockedByRoute, 1),
        (Delayed, 1),
        (Completed, 2),
        (Cancelled, 1),
    ]);
    assert_eq!(counts(&client, lane).await, replayed);
}

/// The age of the oldest execution that a worker can claim is that of the lane's queues.
pub async fn stats_have_the_age_of_the_oldest_waiting_execution(fixture: &Fixture) {
    let client = fixture.client().await;
    submit(&client, work().delay(secs(3_600))).await;
    let oldest = async || {
        let [LaneStats { oldest, .. }] = client.stats().await.unwrap().lanes[..] else {
            panic!("one lane")
        };
        oldest
    };
    assert_eq!(oldest().await, None, "a delayed execution does not wait for a worker");
    submit(&client, work().id(fixture.id_in(2))).await;
    // The clocks of two nodes may differ by some milliseconds.
    fixture.advance(ms(710)).await;
    submit(&client, work().id(fixture.id_in(1))).await;
    let age = oldest().await.unwrap();
    assert!((ms(700)..secs(30)).contains(&age), "{age:?}");
}

/// A store that was set up without counts keeps none, whatever later programs ask for.
pub async fn a_store_can_leave_counts_out(fixture: &Fixture) {
    let connect = async |keep_counts| {
        let mut config = ClientConfig::new(NAMESPACE).unwrap();
        (config.partition_config, config.keep_counts) = (Some(PARTITIONS), keep_counts);
        Client::connect(config, fixture.backend()).await.unwrap()
    };
    let (first, later) = (connect(false).await, connect(true).await);
    submit(&first, work().delay(secs(3_600))).await;
    let id = submit(&later, work()).await;
    let worker = fixture.worker("w").await;
    for client in [&first, &later] {
        let stats = client.stats().await.unwrap();
        assert!(!stats.counted);
        let [lane] = &stats.lanes[..] else { panic!("a lane with work: {stats:?}") };
        assert!(lane.states().count() == 0 && lane.oldest.is_some());
    }
    let task = claim(&worker).await;
    assert_eq!(task.execution_id(), id);
    task.complete(None).await.unwrap();
    assert!(later.stats().await.unwrap().lanes.is_empty());
}
