//! A SQLite file as a store under test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ff_core::backend::EngineBackend;
use ff_core::store::{Failure, Reply, Request, Wake};
use ff_core::time::TimestampMs;
use ff_io_sqlite::{Clock, Location, SqliteBackend};
use futures_util::FutureExt;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::conformance::Subject;

/// A store in a new file for each sequence, with its own clock.
pub struct Sqlite {
    store: Option<(SqliteBackend, TempDir)>,
    now: Arc<AtomicU64>,
    wakes: Vec<Wake>,
    runtime: Runtime,
}

impl Default for Sqlite {
    fn default() -> Self {
        let runtime = Builder::new_current_thread().build().expect("a runtime can be built");
        Self { store: None, now: Arc::default(), wakes: Vec::new(), runtime }
    }
}

impl Subject for Sqlite {
    fn clear(&mut self) {
        self.store = None;
        self.now.store(1_764_000_000_000, Ordering::SeqCst);
        let folder = TempDir::new().expect("a folder can be created");
        let now = self.now.clone();
        let clock = Clock::of(move || TimestampMs::new(now.load(Ordering::SeqCst)));
        let location = Location::new(folder.path().join("store.db")).clock(clock);
        let backend = SqliteBackend::open_blocking(location).expect("a file can be created");
        self.store = Some((backend, folder));
    }

    fn now(&self) -> TimestampMs {
        TimestampMs::new(self.now.load(Ordering::SeqCst))
    }

    fn pass(&mut self, by_ms: i64) {
        self.now.store(self.now().shifted(by_ms).get(), Ordering::SeqCst);
    }

    fn call(&mut self, request: Request) -> Result<Reply, Failure> {
        let (backend, _) = self.store.as_ref().expect("a sequence begins with an empty store");
        let mut wake_ups =
            backend.subscribe(request.topics().into_iter().collect()).expect("there are wake-ups");
        let reply = self.runtime.block_on(backend.call(request));
        // The wake-ups of a call arrive before its reply.
        while let Some(Some(wake)) = wake_ups.next().now_or_never() {
            self.wakes.push(wake.expect("a queue holds the wake-ups of one call"));
        }
        reply
    }

    fn take_wakes(&mut self) -> Option<Vec<Wake>> {
        Some(std::mem::take(&mut self.wakes))
    }
}
