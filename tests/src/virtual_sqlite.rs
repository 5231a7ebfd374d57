//! A SQLite file whose clock is the paused clock of the test.
//!
//! A call blocks the test's thread until its reply has arrived, as on a server
//! ([`virtual_time`](crate::virtual_time)). The wake-ups of a call arrive before its reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use ff_io_sqlite::{Clock, Durability, Location, SqliteBackend};
use ff_sdk::core::backend::{BackendReport, BoxFuture, EngineBackend, Finding, WakeUps};
use ff_sdk::core::store::{Failure, Reply, Request, Topic};
use ff_sdk::core::time::TimestampMs;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::virtual_time::{MAX_CALLS, wait};

/// A backend on a new file, whose clock is the wall clock at its creation plus tokio's time since
/// then. The fields are dropped in this order: the file is closed before its folder is removed.
pub struct VirtualSqlite {
    backend: SqliteBackend,
    clock: Arc<AtomicU64>,
    origin: Instant,
    origin_ms: u64,
    calls: AtomicUsize,
    _folder: TempDir,
}

impl VirtualSqlite {
    /// Creates the file. Its durability is relaxed, since no scenario ends the machine.
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a folder can be created");
        let clock = Arc::new(AtomicU64::new(0));
        let shown = clock.clone();
        let location = Location::new(folder.path().join("store.db"))
            .durability(Durability::Relaxed)
            .clock(Clock::of(move || TimestampMs::new(shown.load(Ordering::SeqCst))));
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            backend: SqliteBackend::open_blocking(location).expect("a file can be created"),
            clock,
            origin: Instant::now(),
            origin_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            calls: AtomicUsize::new(0),
            _folder: folder,
        }
    }

    fn handle(&self, request: Request) -> Result<Reply, Failure> {
        let calls = self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(calls < MAX_CALLS, "the scenario makes no progress");
        let elapsed = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.clock.store(self.origin_ms.saturating_add(elapsed), Ordering::SeqCst);
        let backend = self.backend.clone();
        wait(async move { backend.call(request).await })
    }
}

impl Default for VirtualSqlite {
    fn default() -> Self {
        Self::new()
    }
}

impl EngineBackend for VirtualSqlite {
    fn name(&self) -> &'static str {
        self.backend.name()
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(async { self.handle(request) })
    }

    fn subscribe(&self, topics: Vec<Topic>) -> Option<Box<dyn WakeUps>> {
        self.backend.subscribe(topics)
    }

    fn report(&self) -> BoxFuture<'_, Result<BackendReport, Failure>> {
        let backend = self.backend.clone();
        Box::pin(async { wait(async move { backend.report().await }) })
    }

    fn examine(&self) -> BoxFuture<'_, Result<Vec<Finding>, Failure>> {
        let backend = self.backend.clone();
        Box::pin(async { wait(async move { backend.examine().await }) })
    }
}
