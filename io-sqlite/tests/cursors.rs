//! Readers that follow streams while many writers append: none skips an entry or sees one twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use ff_core::backend::EngineBackend;
use ff_core::execution::Purpose;
use ff_core::partition::Partition;
use ff_core::store::{
    Bytes, Commit, Cursor, ReplyBody, Request, StreamAppend, StreamName, StreamPage, Unit,
};
use ff_io_sqlite::{Durability, Location, SqliteBackend};
use tokio::runtime::{Builder, Runtime};

const PROCESSES: u64 = 4;
const WRITERS: u64 = 16;
/// Far fewer than a journal keeps, so that a reader never meets a gap.
const AHEAD: u64 = 1_000;
/// How long a reader waits for an entry.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many entries each writer appends; `FF_ENTRIES` has the number of all of them.
fn entries() -> u64 {
    let all = std::env::var("FF_ENTRIES").map(|number| number.parse().expect("a number"));
    all.unwrap_or(16_000) / WRITERS
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime")
}

/// The partition of a writer: each partition has several.
fn partition(writer: u64) -> Partition {
    Partition::flow((writer % PROCESSES) as u16)
}

/// Appends entries with the writer and their number, 1 to 20 in a commit. It waits for the readers.
fn write(backend: &SqliteBackend, writer: u64, seen: &[Arc<AtomicU64>]) {
    let (runtime, mut number) = (runtime(), 0);
    while number < entries() {
        let slowest = seen.iter().map(|seen| seen.load(Ordering::Relaxed)).min().unwrap_or(0);
        if number > slowest / WRITERS + AHEAD / WRITERS {
            std::thread::yield_now();
            continue;
        }
        let count = (1 + (writer * 7 + number * 13) % 20).min(entries() - number);
        let append = |number: u64| {
            let entry = [writer.to_be_bytes(), number.to_be_bytes()].concat();
            StreamAppend::new(StreamName::Journal, Bytes::from(entry))
        };
        let append = (number..number + count).map(append).collect();
        let units = vec![Unit { append, ..Unit::new(Purpose::Finish, 1) }];
        let commit = Request::Commit(Commit { partition: partition(writer), units });
        runtime.block_on(backend.call(commit)).expect("it is committed");
        number += count;
    }
}

/// Follows all streams to their ends, and checks that each writer's entries come in their order.
fn follow(backend: &SqliteBackend, seen: &AtomicU64) {
    let runtime = runtime();
    let (mut next, mut cursors) =
        (BTreeMap::<u64, u64>::new(), [Cursor::Start; PROCESSES as usize]);
    let mut latest = Instant::now();
    while seen.load(Ordering::Relaxed) < entries() * WRITERS {
        assert!(latest.elapsed() < PATIENCE, "a writer has stopped");
        for (number, cursor) in cursors.iter_mut().enumerate() {
            let page = StreamPage {
                partition: partition(number as u64),
                stream: StreamName::Journal,
                from: *cursor,
                limit: 100,
            };
            let reply = runtime.block_on(backend.call(Request::Stream(page)));
            let ReplyBody::Stream(page) = reply.expect("it answers").body else { panic!("a page") };
            assert!(!page.gap, "no entry was dropped");
            for entry in &page.entries {
                let (writer, number) = entry.entry.split_at(8);
                let number_of =
                    |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("8 bytes"));
                let expected = next.entry(number_of(writer)).or_default();
                assert_eq!(number_of(number), *expected, "of writer {}", number_of(writer));
                *expected += 1;
            }
            if !page.entries.is_empty() {
                latest = Instant::now();
            }
            *cursor = page.next;
            seen.fetch_add(page.entries.len() as u64, Ordering::Relaxed);
        }
    }
}

/// `FF_ENTRIES=1000000 cargo test --release -p ff-io-sqlite --test cursors` takes a minute.
#[test]
fn readers_skip_no_entry_and_see_none_twice() {
    let folder = tempfile::tempdir().expect("a folder can be created");
    let location = Location::new(folder.path().join("work.db")).durability(Durability::Relaxed);
    let open = |_| SqliteBackend::open_blocking(location.clone()).expect("the file can be opened");
    let backends: Vec<SqliteBackend> = (0..PROCESSES).map(open).collect();
    let seen: Vec<Arc<AtomicU64>> = backends.iter().map(|_| Arc::default()).collect();
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for (backend, own) in backends.iter().zip(&seen) {
        let (backend, own) = (backend.clone(), own.clone());
        threads.push(spawn(move || follow(&backend, &own)));
    }
    for writer in 0..WRITERS {
        let backend = backends[(writer / PROCESSES) as usize].clone();
        let seen = seen.clone();
        threads.push(spawn(move || write(&backend, writer, &seen)));
    }
    for thread in threads {
        thread.join().expect("it saw each entry once");
    }
    assert!(seen.iter().all(|seen| seen.load(Ordering::Relaxed) == entries() * WRITERS));
}
