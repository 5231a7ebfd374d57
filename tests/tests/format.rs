//! Programs that know record format 1 and programs that know 2 share a store while an operator
//! activates 2 (`docs/architecture.md`, Encoding): nothing is lost, nothing goes into quarantine,
//! and what a program is too old for it leaves exactly as it is.
//!
//! Both kinds of program run here in one process: one that is told to know format 1 only does as an
//! older build.

use ff_sdk::core::error::{Bug, EngineError, Rejection};
use ff_sdk::core::id::{ExecutionId, LaneId};
use ff_sdk::core::op::ListFilter;
use ff_sdk::core::partition::Partition;
use ff_sdk::core::score::Score;
use ff_sdk::core::store::codec::FORMAT;
use ff_sdk::core::store::{Bytes, IndexName, Read, RecordKey, ReplyBody, Request, Stored, Version};
use ff_sdk::{
    Client, ClientConfig, FlowFabricAdminClient, FlowFabricWorker, SdkError, WorkerConfig,
};
use ff_tests::Ground;
use ff_tests::ground::{NAMESPACE, PARTITIONS, eligible};
use ff_tests::kit::{claim, is_idle, rejection, secs, submit, work};
use ff_tests::line::{Meets, any, commits};

/// The stores that every test runs on.
fn grounds() -> [Ground; 2] {
    [Ground::memory(), Ground::valkey()]
}

/// A client that knows format 1 only. The first program of a store: it makes 1 the active format.
async fn old_client(ground: &Ground) -> Client {
    connect_old_client(ground).await.expect("an old client connects")
}

async fn connect_old_client(ground: &Ground) -> Result<Client, SdkError> {
    let mut config = ClientConfig::new(NAMESPACE)?;
    (config.partition_config, config.known_format) = (Some(PARTITIONS), 1);
    Client::connect(config, ground.backend()).await
}

async fn old_worker(
    ground: &Ground,
    name: &str,
    set_up: impl FnOnce(&mut WorkerConfig),
) -> FlowFabricWorker {
    let set_up = |config: &mut WorkerConfig| {
        config.known_format = 1;
        set_up(config);
    };
    ground.worker_with(name, set_up).await
}

/// An old program that only keeps time.
async fn old_timekeeper(ground: &Ground) -> FlowFabricWorker {
    old_worker(ground, "old-timekeeper", |config| {
        config.timekeeper = true;
        config.lanes = vec![LaneId::try_new("nothing").expect("a lane")];
    })
    .await
}

/// A client that knows format 2 and connected after it was activated.
async fn activated(ground: &Ground) -> Client {
    ground.admin().await.activate_format(2).await.expect("format 2 is activated");
    ground.client().await
}

/// Everything that the store holds of an execution: version, bytes, and places.
async fn all_of(ground: &Ground, id: &ExecutionId) -> (Version, Bytes, [Option<Score>; 3]) {
    let (version, bytes) = ground.stored(id).await.expect("the record is there");
    let lane = ground.place(id, eligible()).await;
    let due = ground.place(id, IndexName::Due).await;
    (version, bytes, [lane, due, ground.place(id, IndexName::Quarantine).await])
}

async fn format_of(ground: &Ground, id: &ExecutionId) -> u8 {
    ground.record(id).await.expect("the record is there")[0]
}

async fn meta(ground: &Ground) -> Stored {
    let (partition, records) = (Partition::META, vec![RecordKey::Meta]);
    let read = Request::Read(Read { partition, records, values: Vec::new() });
    let reply = ground.backend().call(read).await.expect("the store answers");
    let ReplyBody::Read(mut read) = reply.body else { panic!("a read answers with values") };
    read.records.pop().flatten().expect("the store is set up")
}

/// Whether an error says that the program is too old.
fn is_too_old(error: &SdkError) -> bool {
    matches!(error.engine(), Some(EngineError::Bug(Bug::NewerFormat { found: 2, known: 1 })))
}

/// Claims and completes until there is nothing left; tells what it had.
async fn work_off(worker: &FlowFabricWorker) -> Vec<ExecutionId> {
    let mut done = Vec::new();
    while let Some(task) = worker.claim_next().await.expect("the store answers") {
        done.push(task.execution_id());
        task.complete(None).await.expect("it completes");
    }
    done.sort_unstable();
    done
}

fn sorted(mut ids: Vec<ExecutionId>) -> Vec<ExecutionId> {
    ids.sort_unstable();
    ids
}

/// A program writes the active format, and one that was connected before notices by itself.
#[tokio::test(start_paused = true)]
async fn the_active_format_is_written_and_noticed() {
    for ground in grounds() {
        let (old, new) = (old_client(&ground).await, ground.client().await);
        let worker = ground.worker("new").await;
        let ids = [submit(&new, work()).await, submit(&old, work()).await];
        assert_eq!(format_of(&ground, &ids[0]).await, 1, "1 is active, whatever the writer knows");
        let admin = ground.admin().await;
        for _ in 0..2 {
            admin.activate_format(2).await.expect("to activate a format again is nothing");
        }
        assert_eq!(format_of(&ground, &ids[0]).await, 1, "activation rewrites nothing");

        let later = submit(&new, work()).await;
        assert_eq!(format_of(&ground, &later).await, 1, "it has not noticed yet");
        // The upkeep of a worker reads the configuration again.
        ground.advance(secs(31)).await;
        let task = claim(&worker).await;
        let id = task.execution_id();
        assert_eq!(format_of(&ground, &id).await, 2, "what was read in format 1 is written in 2");
        // A client learns from the records that it meets.
        new.describe(&id).await.expect("the store answers").expect("it is there");
        let last = submit(&new, work()).await;
        assert_eq!(format_of(&ground, &last).await, 2);
        task.complete(None).await.expect("it completes");
        assert_eq!(work_off(&worker).await.len(), 3);
        for id in [ids[0], ids[1], later, last] {
            assert!(new.result(&id).await.expect("it is over").is_success());
        }
    }
}

/// A lost reply leaves no doubt: activation is found out by reading, and said again.
#[tokio::test(start_paused = true)]
async fn activation_survives_a_lost_reply() {
    for ground in grounds() {
        old_client(&ground).await;
        let line = ground.line();
        let admin = FlowFabricAdminClient::connect_with(line.clone()).await.expect("it connects");
        for what in [commits as Meets, any] {
            line.lose_replies(1, what);
            admin.activate_format(2).await.expect("it is activated");
            assert_eq!(line.commits(), 1, "there is nothing to write twice");
        }
        assert!(is_too_old(&connect_old_client(&ground).await.expect_err("it is active")));
    }
}

/// An old worker draws what it can read from behind what it cannot, which stays as it is.
#[tokio::test(start_paused = true)]
async fn an_old_worker_is_not_starved_and_changes_nothing() {
    for ground in grounds() {
        let old = old_client(&ground).await;
        let (first, second) =
            (old_worker(&ground, "old", |_| {}).await, old_worker(&ground, "other", |_| {}).await);
        let new = activated(&ground).await;
        let newer: Vec<_> = (0..700).map(|_| work().id(ground.id_in(0))).collect();
        let newer = new.submit_many(newer).await.into_iter();
        let newer: Vec<_> = newer.map(|outcome| outcome.expect("it is taken").id()).collect();
        ground.advance(secs(1)).await;
        let mut readable = Vec::new();
        for partition in [0, 0, 0, 1] {
            readable.push(submit(&old, work().id(ground.id_in(partition))).await);
        }
        let mut before = Vec::new();
        for id in &newer {
            before.push(all_of(&ground, id).await);
        }
        assert_eq!((before[0].1[0], format_of(&ground, &readable[0]).await), (2, 1));

        let mut done = work_off(&first).await;
        done.extend(work_off(&second).await);
        assert_eq!(sorted(done), sorted(readable));
        assert!(is_idle(&first).await && is_idle(&second).await);
        let page = old.list(ListFilter::default(), None, 1_000).await.expect("the store answers");
        assert_eq!((page.executions.len(), page.unreadable), (4, 700));
        assert!(is_too_old(&old.result(&newer[0]).await.expect_err("it cannot be read")));

        // What the first draw took before it knew was put back at once; only a note in `due`
        // stays, for the first program that can read the record.
        for (id, (version, bytes, [lane, _, _])) in newer.iter().zip(before) {
            let after = all_of(&ground, id).await;
            assert_eq!((after.0, after.1), (version, bytes), "not a byte has changed");
            assert_eq!(after.2[0], lane, "it stands where it stood");
            assert_eq!(after.2[2], None, "nothing is in quarantine");
        }
        let worker = ground.worker("new").await;
        assert_eq!(work_off(&worker).await, sorted(newer.clone()), "a newer program has them all");
        assert!(new.result(&newer[699]).await.expect("it is over").is_success());
    }
}

/// What is due and cannot be read waits, untouched, for a program that can, which applies it at
/// once; what can be read is applied meanwhile.
#[tokio::test(start_paused = true)]
async fn an_old_timekeeper_leaves_what_is_due() {
    for ground in grounds() {
        let old = old_client(&ground).await;
        let timekeeper = old_timekeeper(&ground).await;
        let worker = old_worker(&ground, "old", |_| {}).await;
        let new = activated(&ground).await;
        let delayed = || work().id(ground.id_in(0)).delay(secs(5));
        let mut newer = Vec::new();
        for _ in 0..100 {
            newer.push(submit(&new, delayed()).await);
        }
        // It stands behind them all.
        ground.advance(secs(1)).await;
        let readable = submit(&old, delayed()).await;
        let mut before = Vec::new();
        for id in &newer {
            before.push(all_of(&ground, id).await);
        }
        ground.advance(secs(20)).await;
        assert_eq!(claim(&worker).await.execution_id(), readable);
        for (id, before) in newer.iter().zip(before) {
            assert_eq!(all_of(&ground, id).await, before, "not a byte and not a place has changed");
        }
        let newer_timekeeper = ground.timekeeper().await;
        ground.advance(secs(2)).await;
        let newer_worker = ground.worker("new").await;
        assert_eq!(work_off(&newer_worker).await, sorted(newer));
        drop((timekeeper, newer_timekeeper));
    }
}

/// An old holder whose execution was written in a newer format meanwhile changes nothing any more;
/// a newer program takes over when the lease has run out.
#[tokio::test(start_paused = true)]
async fn an_old_holder_loses_what_it_cannot_read() {
    for ground in grounds() {
        let old = old_client(&ground).await;
        let worker = old_worker(&ground, "old", |_| {}).await;
        let id = submit(&old, work()).await;
        let task = claim(&worker).await;
        let new = activated(&ground).await;
        new.change_priority(&id, 7).await.expect("an operator may");
        let before = ground.stored(&id).await;
        assert_eq!(before.as_ref().map(|(_, bytes)| bytes[0]), Some(2));
        assert!(is_too_old(&task.complete(None).await.expect_err("it cannot be read")));
        assert_eq!(ground.stored(&id).await, before);
        ground.advance(secs(31)).await;
        ground.tick().await;
        let newer = ground.worker("new").await;
        let task = claim(&newer).await;
        assert_eq!(task.execution_id(), id);
        task.complete(None).await.expect("it completes");
        assert!(new.result(&id).await.expect("it is over").is_success());
    }
}

/// A program that does not know the active format does not connect, and changes nothing.
#[tokio::test(start_paused = true)]
async fn an_old_program_does_not_connect_after_activation() {
    for ground in grounds() {
        let new = ground.client().await;
        let id = submit(&new, work()).await;
        assert_eq!(format_of(&ground, &id).await, FORMAT, "a new store begins with the latest");
        let before = (meta(&ground).await, ground.stored(&id).await);
        assert!(is_too_old(&connect_old_client(&ground).await.expect_err("it is too old")));
        assert_eq!((meta(&ground).await, ground.stored(&id).await), before);
    }
}

/// The number only goes up, and only as far as the program that activates it can read.
#[tokio::test(start_paused = true)]
async fn activation_is_refused_where_it_cannot_be_right() {
    for ground in grounds() {
        old_client(&ground).await;
        let admin = ground.admin().await;
        let before = meta(&ground).await;
        let unknown = rejection(admin.activate_format(3).await);
        assert_eq!(unknown, Rejection::FormatUnknown { asked: 3, known: 2 });
        let lower = Rejection::FormatSuperseded { asked: 0, active: 1 };
        assert_eq!(rejection(admin.activate_format(0).await), lower);
        assert_eq!(meta(&ground).await, before);
        admin.activate_format(2).await.expect("it is activated");
        let lower = Rejection::FormatSuperseded { asked: 1, active: 2 };
        assert_eq!(rejection(admin.activate_format(1).await), lower);
    }
}
