//! Several backends on one file, as in several processes: each has its own threads, connections and
//! locks.

use std::fs::{File, TryLockError};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ff_core::backend::{EngineBackend, FindingLevel};
use ff_core::execution::Purpose;
use ff_core::partition::Partition;
use ff_core::store::IndexName;
use ff_core::store::{
    Bytes, Commit, Failure, Poll, PollOf, Read, RecordKey, ReplyBody, Request, Topic, Unit,
    UnitReply, ValueKey, ValueWrite, Version, Wake,
};
use ff_core::time::{TimestampMs, Window};
use ff_io_sqlite::{Clock, Durability, Location, OpenError, SqliteBackend};
use tempfile::TempDir;
use uuid::Uuid;

const AT: Partition = Partition::flow(3);

fn folder() -> (TempDir, Location) {
    let folder = tempfile::tempdir().expect("a folder can be created");
    let location = Location::new(folder.path().join("work.db"));
    (folder, location)
}

async fn open(location: &Location) -> SqliteBackend {
    SqliteBackend::open(location.clone()).await.expect("the file can be opened")
}

/// A unit that writes a value of this size.
fn value(number: u128, bytes: usize, purpose: Purpose) -> Unit {
    let key = ValueKey::Payload(Uuid::from_u128(number));
    let value = Some(Bytes::from(vec![7; bytes]));
    Unit { values: vec![ValueWrite { key, value }], ..Unit::new(purpose, 1) }
}

async fn commit(backend: &SqliteBackend, unit: Unit) -> Result<UnitReply, Failure> {
    let commit = Commit { partition: AT, units: vec![unit] };
    match backend.call(Request::Commit(commit)).await?.body {
        ReplyBody::Commit(mut replies) => Ok(replies.pop().expect("one unit")),
        body => panic!("{body:?}"),
    }
}

fn read() -> Request {
    let records = vec![RecordKey::Execution(Uuid::from_u128(1))];
    Request::Read(Read { partition: AT, records, values: Vec::new() })
}

#[tokio::test]
async fn a_wake_up_reaches_the_subscribers_of_other_processes() {
    let (_folder, location) = folder();
    let (one, other) = (open(&location).await, open(&location).await);
    let topic = Topic::Journal(AT);
    let mut wake_ups = other.subscribe(vec![topic.clone()]).expect("there are wake-ups");
    let ring = vec![topic.clone()];
    commit(&one, Unit { ring, ..Unit::new(Purpose::Finish, 1) }).await.unwrap();
    let wake = tokio::time::timeout(Duration::from_secs(10), wake_ups.next()).await;
    assert_eq!(wake, Ok(Some(Some(Wake { topic, partition: AT, first: None }))));
    drop(other);
    assert_eq!(wake_ups.next().await, None, "the stream ends with its backend");
}

/// Two writers decide on the same version of a record, and one of them meets a conflict.
#[tokio::test]
async fn of_two_processes_one_replaces_a_version() {
    let (_folder, location) = folder();
    let (one, other) = (open(&location).await, open(&location).await);
    let key = RecordKey::Execution(Uuid::from_u128(1));
    let unit = |nonce| Unit {
        expect: vec![(key.clone(), Version::ABSENT)],
        put: vec![(key.clone(), Bytes::from(b"record".as_slice()))],
        ..Unit::new(Purpose::Finish, nonce)
    };
    let (one, other) = tokio::join!(commit(&one, unit(1)), commit(&other, unit(2)));
    let outcomes = [one.unwrap(), other.unwrap()];
    let committed = outcomes.iter().filter(|it| matches!(it, UnitReply::Committed { .. }));
    assert_eq!(committed.count(), 1, "{outcomes:?}");
}

#[test]
fn four_writers_share_the_file_fairly() {
    const COMMITS: usize = 400;
    let (_folder, location) = folder();
    let left = Arc::new(AtomicUsize::new(COMMITS));
    let write = |number: u128| {
        let (location, left) = (location.clone(), left.clone());
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let backend = SqliteBackend::open_blocking(location).unwrap();
            let mut done = 0;
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
                let unit = value(number, 100, Purpose::Admit);
                runtime.block_on(commit(&backend, unit)).unwrap();
                done += 1;
            }
            done
        }
    };
    let threads: Vec<_> = (0..4).map(|number| std::thread::spawn(write(number))).collect();
    let done: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(done.iter().sum::<usize>(), COMMITS);
    assert!(done.iter().all(|done| *done >= COMMITS / 10), "{done:?}");
}

/// The time of a commit is read while no other process can write.
#[tokio::test]
async fn the_clock_is_read_under_the_lock() {
    let (_folder, location) = folder();
    let turn = location.path().with_file_name("work.db-turn");
    let reads = Arc::new(AtomicUsize::new(0));
    let (seen, now) = (reads.clone(), TimestampMs::new(1_764_000_000_000));
    let clock = Clock::of(move || {
        let other = File::options().write(true).open(&turn).expect("the file exists");
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)), "the lock is free");
        seen.fetch_add(1, Ordering::SeqCst);
        now
    });
    let backend = open(&location.clock(clock)).await;
    commit(&backend, Unit::new(Purpose::Finish, 1)).await.unwrap();
    assert_eq!(backend.call(read()).await.unwrap().at, now);
    assert_eq!(reads.load(Ordering::SeqCst), 2);
}

/// A commit that waits until its window is over changes nothing.
#[tokio::test]
async fn a_commit_that_waits_for_the_lock_past_its_window_is_refused() {
    let (_folder, location) = folder();
    let now = Arc::new(AtomicU64::new(1_764_000_000_000));
    let read = now.clone();
    let clock = Clock::of(move || TimestampMs::new(read.load(Ordering::SeqCst)));
    let backend = open(&location.clone().clock(clock)).await;
    let turn = File::options().write(true).open(location.path().with_file_name("work.db-turn"));
    let turn = turn.expect("the file exists");
    turn.lock().expect("no other process writes");
    let window = Window::until(TimestampMs::new(now.load(Ordering::SeqCst) + 1_000));
    let unit = Unit { window, ..value(1, 10, Purpose::Finish) };
    let late = tokio::spawn({
        let backend = backend.clone();
        async move { commit(&backend, unit).await }
    });
    while !is_waited_for(&location) {
        tokio::task::yield_now().await;
    }
    now.fetch_add(2_000, Ordering::SeqCst);
    turn.unlock().expect("the lock is free");
    assert_eq!(late.await.unwrap().unwrap(), UnitReply::OutsideWindow);
}

/// Whether a writer waits for its turn.
fn is_waited_for(location: &Location) -> bool {
    let next = location.path().with_file_name("work.db-next");
    let next = File::options().write(true).open(next).expect("the file exists");
    matches!(next.try_lock(), Err(TryLockError::WouldBlock))
}

#[tokio::test]
async fn a_full_store_refuses_new_work_and_lets_the_rest_finish() {
    let (_folder, location) = folder();
    let url = format!("sqlite:{}?max_bytes=1000000", location.path().display());
    let backend = SqliteBackend::connect(&url).await.unwrap();
    commit(&backend, value(1, 2_000_000, Purpose::Admit)).await.unwrap();
    let refused = commit(&backend, value(2, 1, Purpose::Admit)).await.unwrap_err();
    assert!(matches!(&refused, Failure::Refused(text) if text.contains("max_bytes")), "{refused}");
    let key = ValueKey::Payload(Uuid::from_u128(1));
    let remove = vec![ValueWrite { key, value: None }];
    commit(&backend, Unit { values: remove, ..Unit::new(Purpose::Finish, 1) }).await.unwrap();
    commit(&backend, value(2, 1, Purpose::Admit)).await.unwrap();
}

/// A conflict of one request does not touch the others in the same transaction.
#[tokio::test]
async fn requests_of_one_transaction_have_their_own_replies() {
    let (_folder, location) = folder();
    let backend = open(&location).await;
    let key = RecordKey::Execution(Uuid::from_u128(1));
    let stale = Unit {
        expect: vec![(key, Version { count: 1, nonce: 1 })],
        ..Unit::new(Purpose::Finish, 1)
    };
    let calls = (0..50).map(|number| {
        let unit = if number % 2 == 0 { stale.clone() } else { value(number, 10, Purpose::Admit) };
        let backend = backend.clone();
        tokio::spawn(async move { commit(&backend, unit).await })
    });
    for (number, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
        let reply = call.await.unwrap().unwrap();
        assert_eq!(matches!(reply, UnitReply::Conflict { .. }), number % 2 == 0, "{reply:?}");
    }
}

#[tokio::test]
async fn what_was_answered_is_there_when_the_file_is_opened_again() {
    let (_folder, location) = folder();
    for durability in [Durability::Full, Durability::Relaxed] {
        let location = location.clone().durability(durability);
        let backend = open(&location).await;
        commit(&backend, value(durability as u128, 10, Purpose::Admit)).await.unwrap();
        drop(backend);
        let values = vec![ValueKey::Payload(Uuid::from_u128(durability as u128))];
        let read = Read { partition: AT, records: Vec::new(), values: values.clone() };
        let reply = open(&location).await.call(Request::Read(read)).await.unwrap();
        let ReplyBody::Read(found) = reply.body else { panic!("{reply:?}") };
        assert_eq!(found.values.len(), 1);
        assert_ne!(found.values[0], ff_core::store::Fetched::Absent);
    }
    assert!(!location.path().with_file_name("work.db-wal").exists(), "the file is closed");
}

/// Overwrites all pages but the first.
fn damage(path: &Path) {
    let file = File::options().write(true).open(path).expect("the file exists");
    let length = file.metadata().expect("it has a length").len() as usize;
    file.write_all_at(&vec![0xa5; length - 4_096], 4_096).expect("it can be written");
}

#[tokio::test]
async fn a_damaged_file_stops_the_backend() {
    let (_folder, location) = folder();
    drop(open(&location).await);
    let backend = open(&location).await;
    assert!(backend.examine().await.unwrap().iter().all(|it| it.level == FindingLevel::Good));
    drop(backend);
    let backend = open(&location).await;
    damage(location.path());
    for _ in 0..2 {
        let refused = backend.call(read()).await.unwrap_err();
        assert!(matches!(refused, Failure::Refused(_)), "{refused}");
    }
    let of = PollOf::Index(IndexName::Due);
    let poll = Request::Poll(Poll { of, partitions: vec![AT], listeners: None });
    let refused = backend.call(poll).await.unwrap_err().to_string();
    assert!(refused.contains("is damaged"), "{refused}");
    drop(backend);
    let error = SqliteBackend::open(location).await.unwrap_err();
    assert!(matches!(&error, OpenError::Unfit { .. }), "{error}");
}
