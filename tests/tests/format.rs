//! Programs that know record format 1 and programs that know format 2 share a store while an
//! operator activates format 2 (`docs/architecture.md`, Encoding): nothing is lost, no record goes
//! into quarantine, and an old program does not change records that it cannot read.
//!
//! Both kinds of programs run in this process: a program that is configured to know only format 1
//! (`known_format`) behaves like an older build.

use ff_sdk::core::error::{Bug, EngineError, Rejection};
use ff_sdk::core::id::{ExecutionId, LaneId};
use ff_sdk::core::op::ListFilter;
use ff_sdk::core::partition::Partition;
use ff_sdk::core::score::Score;
use ff_sdk::core::store::codec::FORMAT;
use ff_sdk::core::store::{Bytes, IndexName, Read, RecordKey, ReplyBody, Request, Stored, Version};
use ff_sdk::{
    Client, ClientConfig, FlowFabricAdminClient, FlowFabricWorker, SdkError, WorkerConfig,
    WorkerRuntime,
};
use ff_tests::Fixture;
use ff_tests::faulty_backend::{Filter, any, commits};
use ff_tests::fixture::{NAMESPACE, PARTITIONS, eligible};
use ff_tests::kit::{claim, rejection, secs, submit, work};

/// The stores that every test runs on.
fn fixtures() -> [Fixture; 3] {
    [Fixture::memory(), Fixture::sqlite(), Fixture::valkey()]
}

/// A client that knows only format 1. The first program of a store: it makes 1 the active format.
async fn old_client(fixture: &Fixture) -> Client {
    connect_old_client(fixture).await.expect("an old client connects")
}

async fn connect_old_client(fixture: &Fixture) -> Result<Client, SdkError> {
    let mut config = ClientConfig::new(NAMESPACE)?;
    (config.partition_config, config.known_format) = (Some(PARTITIONS), 1);
    Client::connect(config, fixture.backend()).await
}

async fn old_worker(
    fixture: &Fixture,
    name: &str,
    set_up: impl FnOnce(&mut WorkerConfig),
) -> FlowFabricWorker {
    let set_up = |config: &mut WorkerConfig| {
        config.known_format = 1;
        set_up(config);
    };
    fixture.worker_with(name, set_up).await
}

/// An old program that only runs a timekeeper.
async fn old_timekeeper(fixture: &Fixture) -> FlowFabricWorker {
    old_worker(fixture, "old-timekeeper", |config| {
        config.timekeeper = true;
        config.lanes = vec![LaneId::try_new("nothing").expect("a lane")];
    })
    .await
}

/// Activates format 2, and connects a client that knows it.
async fn activated(fixture: &Fixture) -> Client {
    fixture.admin().await.activate_format(2).await.expect("format 2 is activated");
    fixture.client().await
}

/// The stored state of an execution: version, record, and scores in the indexes.
async fn all_of(fixture: &Fixture, id: &ExecutionId) -> (Version, Bytes, [Option<Score>; 3]) {
    let (version, bytes) = fixture.stored(id).await.expect("the record exists");
    let lane = fixture.score(id, eligible()).await;
    let due = fixture.score(id, IndexName::Due).await;
    (version, bytes, [lane, due, fixture.score(id, IndexName::Quarantine).await])
}

async fn format_of(fixture: &Fixture, id: &ExecutionId) -> u8 {
    fixture.record(id).await.expect("the record exists")[0]
}

async fn meta(fixture: &Fixture) -> Stored {
    let (partition, records) = (Partition::META, vec![RecordKey::Meta]);
    let read = Request::Read(Read { partition, records, values: Vec::new() });
    let reply = fixture.backend().call(read).await.expect("the store answers");
    let ReplyBody::Read(mut read) = reply.body else { panic!("a read answers with values") };
    read.records.pop().flatten().expect("the store is set up")
}

/// Whether an error is that of a program that is too old.
fn is_too_old(error: &SdkError) -> bool {
    matches!(error.engine(), Some(EngineError::Bug(Bug::NewerFormat { found: 2, known: 1 })))
}

/// Claims and completes until there is no work; returns the completed executions.
async fn complete_all(worker: &FlowFabricWorker) -> Vec<ExecutionId> {
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

/// A program writes the active format, and a program that was connected before learns it.
#[tokio::test(start_paused = true)]
async fn the_active_format_is_learned_and_written() {
    for fixture in fixtures() {
        let (old, new) = (old_client(&fixture).await, fixture.client().await);
        let worker = fixture.worker("new").await;
        let ids = [submit(&new, work()).await, submit(&old, work()).await];
        assert_eq!(format_of(&fixture, &ids[0]).await, 1, "format 1 is active");
        let admin = fixture.admin().await;
        for _ in 0..2 {
            admin.activate_format(2).await.expect("a format can be activated again");
        }
        assert_eq!(format_of(&fixture, &ids[0]).await, 1, "activation rewrites nothing");

        let later = submit(&new, work()).await;
        assert_eq!(format_of(&fixture, &later).await, 1, "the client has not learned it yet");
        // A background task of the worker reads the configuration again.
        fixture.advance(secs(31)).await;
        let task = claim(&worker).await;
        let id = task.execution_id();
        assert_eq!(format_of(&fixture, &id).await, 2, "a record of format 1 is written in 2");
        // A client learns the active format from the records that it reads.
        new.describe(&id).await.expect("the store answers").expect("it exists");
        let last = submit(&new, work()).await;
        assert_eq!(format_of(&fixture, &last).await, 2);
        task.complete(None).await.expect("it completes");
        assert_eq!(complete_all(&worker).await.len(), 3);
        for id in [ids[0], ids[1], later, last] {
            assert!(new.result(&id).await.expect("it has ended").is_success());
        }
    }
}

/// After a lost reply, the activation is recognised by a read, and reported as a success.
#[tokio::test(start_paused = true)]
async fn activation_survives_a_lost_reply() {
    for fixture in fixtures() {
        old_client(&fixture).await;
        let faulty = fixture.faulty();
        let admin = FlowFabricAdminClient::connect_with(faulty.clone()).await.expect("it connects");
        for of in [commits as Filter, any] {
            faulty.lose_replies(1, of);
            admin.activate_format(2).await.expect("it is activated");
            assert_eq!(faulty.commits(), 1, "it is written once");
        }
        assert!(is_too_old(&connect_old_client(&fixture).await.expect_err("it is active")));
    }
}

/// An old worker that meets a newer record puts its entry back and claims nothing more. It still
/// renews the leases that it has. Newer programs claim everything immediately.
#[tokio::test(start_paused = true)]
async fn an_old_worker_stops_claiming_and_changes_nothing() {
    for fixture in fixtures() {
        let old = old_client(&fixture).await;
        let slots = |config: &mut WorkerConfig| config.max_concurrent_tasks = 100;
        let first = old_worker(&fixture, "old", slots).await;
        let second = old_worker(&fixture, "other", slots).await;
        let held = submit(&old, work()).await;
        let task = claim(&first).await;
        let new = activated(&fixture).await;
        let newer: Vec<_> = (0..700).map(|_| work().id(fixture.id_in(0))).collect();
        let newer = new.submit_many(newer).await.into_iter();
        let newer: Vec<_> = newer.map(|outcome| outcome.expect("it is accepted").id()).collect();
        fixture.advance(secs(1)).await;
        let readable = submit(&old, work().id(fixture.id_in(0))).await;
        let mut before = Vec::new();
        for id in &newer {
            before.push(all_of(&fixture, id).await);
        }
        assert_eq!((before[0].1[0], format_of(&fixture, &readable).await), (2, 1));

        for (worker, count) in [(&first, 1), (&first, 50), (&second, 50)] {
            assert!(is_too_old(&worker.claim_many(count).await.expect_err("it stops")));
        }
        let page = old.list(ListFilter::default(), None, 1_000).await.expect("the store answers");
        assert_eq!((page.executions.len(), page.unreadable), (2, 700));
        assert!(is_too_old(&old.result(&newer[0]).await.expect_err("it cannot be read")));
        // Only an entry in `due` remains, for the first program that can read the record.
        for (id, (version, bytes, [lane, _, _])) in newer.iter().zip(before) {
            let after = all_of(&fixture, id).await;
            assert_eq!((after.0, after.1), (version, bytes), "the record is unchanged");
            assert_eq!(after.2[0], lane, "the position in the lane is unchanged");
            assert_eq!(after.2[2], None, "it is not in quarantine");
        }
        let done = complete_all(&fixture.worker("new").await).await;
        assert_eq!(done, sorted([newer, vec![readable]].concat()), "a newer program claims all");

        fixture.advance(secs(100)).await;
        fixture.tick().await;
        task.complete(None).await.expect("its lease was renewed");
        assert!(new.result(&held).await.expect("it has ended").is_success());
    }
}

/// The runtime of an old worker reports that the worker is too old, after its handlers have ended.
#[tokio::test(start_paused = true)]
async fn an_old_runtime_ends_after_its_handlers() {
    for fixture in fixtures() {
        let old = old_client(&fixture).await;
        let worker = old_worker(&fixture, "old", |config| config.max_concurrent_tasks = 2).await;
        let runtime =
            WorkerRuntime::new(worker).handle("work", async || tokio::time::sleep(secs(100)).await);
        let reports = runtime.reports();
        let readable = submit(&old, work()).await;
        let activation = async {
            fixture.advance(secs(10)).await;
            let new = activated(&fixture).await;
            (submit(&new, work()).await, new)
        };
        let ended = runtime.run_until(std::future::pending::<()>());
        let (ended, (newer, new)) = tokio::join!(ended, activation);
        assert!(is_too_old(&ended.expect_err("it stops")));
        assert_eq!(reports.report().completed, 1);
        assert!(new.result(&readable).await.expect("it has ended").is_success());
        assert_eq!(complete_all(&fixture.worker("new").await).await, [newer]);
    }
}

/// An old timekeeper that meets a due record of a newer format puts its entry back and applies no
/// more timers; a newer one applies them all.
#[tokio::test(start_paused = true)]
async fn an_old_timekeeper_stops_and_changes_nothing() {
    for fixture in fixtures() {
        let old = old_client(&fixture).await;
        let timekeeper = old_timekeeper(&fixture).await;
        let new = activated(&fixture).await;
        let delayed = || work().id(fixture.id_in(0)).delay(secs(5));
        let mut newer = Vec::new();
        for _ in 0..100 {
            newer.push(submit(&new, delayed()).await);
        }
        // It is due after all of them.
        fixture.advance(secs(1)).await;
        let readable = submit(&old, delayed()).await;
        let mut before = Vec::new();
        for id in newer.iter().chain([&readable]) {
            before.push(all_of(&fixture, id).await);
        }
        fixture.advance(secs(20)).await;
        for (id, before) in newer.iter().chain([&readable]).zip(before) {
            assert_eq!(all_of(&fixture, id).await, before, "record and indexes are unchanged");
        }
        let newer_timekeeper = fixture.timekeeper().await;
        fixture.advance(secs(2)).await;
        let newer_worker = fixture.worker("new").await;
        assert_eq!(complete_all(&newer_worker).await, sorted([newer, vec![readable]].concat()));
        drop((timekeeper, newer_timekeeper));
    }
}

/// An old holder whose execution was written in a newer format meanwhile can change nothing any
/// more; a newer program reclaims it when the lease has expired.
#[tokio::test(start_paused = true)]
async fn an_old_holder_loses_what_it_cannot_read() {
    for fixture in fixtures() {
        let old = old_client(&fixture).await;
        let worker = old_worker(&fixture, "old", |_| {}).await;
        let id = submit(&old, work()).await;
        let task = claim(&worker).await;
        let new = activated(&fixture).await;
        new.change_priority(&id, 7).await.expect("an operator may change it");
        let before = fixture.stored(&id).await;
        assert_eq!(before.as_ref().map(|(_, bytes)| bytes[0]), Some(2));
        assert!(is_too_old(&task.complete(None).await.expect_err("it cannot be read")));
        assert_eq!(fixture.stored(&id).await, before);
        fixture.advance(secs(31)).await;
        fixture.tick().await;
        let newer = fixture.worker("new").await;
        let task = claim(&newer).await;
        assert_eq!(task.execution_id(), id);
        task.complete(None).await.expect("it completes");
        assert!(new.result(&id).await.expect("it has ended").is_success());
    }
}

/// A program that does not know the active format does not connect, and changes nothing.
#[tokio::test(start_paused = true)]
async fn an_old_program_does_not_connect_after_activation() {
    for fixture in fixtures() {
        let new = fixture.client().await;
        let id = submit(&new, work()).await;
        assert_eq!(format_of(&fixture, &id).await, FORMAT, "a new store begins with the latest");
        let before = (meta(&fixture).await, fixture.stored(&id).await);
        assert!(is_too_old(&connect_old_client(&fixture).await.expect_err("it is too old")));
        assert_eq!((meta(&fixture).await, fixture.stored(&id).await), before);
    }
}

/// The active format never goes down, and never above the format that the activating program
/// knows.
#[tokio::test(start_paused = true)]
async fn an_unknown_or_lower_format_cannot_be_activated() {
    for fixture in fixtures() {
        old_client(&fixture).await;
        let admin = fixture.admin().await;
        let before = meta(&fixture).await;
        let unknown = rejection(admin.activate_format(3).await);
        assert_eq!(unknown, Rejection::FormatUnknown { asked: 3, known: 2 });
        let lower = Rejection::FormatSuperseded { asked: 0, active: 1 };
        assert_eq!(rejection(admin.activate_format(0).await), lower);
        assert_eq!(meta(&fixture).await, before);
        admin.activate_format(2).await.expect("it is activated");
        let lower = Rejection::FormatSuperseded { asked: 1, active: 2 };
        assert_eq!(rejection(admin.activate_format(1).await), lower);
    }
}
