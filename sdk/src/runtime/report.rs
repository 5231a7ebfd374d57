//! The counters of a runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A handle to the counters of a runtime, also while it runs. Cloning is cheap.
#[derive(Clone)]
pub struct RuntimeReports(pub(super) Arc<Counters>);

#[derive(Default)]
pub(super) struct Counters {
    pub(super) completed: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) cancelled: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) given_back: AtomicU64,
    pub(super) suspended: AtomicU64,
    pub(super) running: AtomicU64,
}

/// A handler that runs, for the counters.
pub(super) struct Running<'c>(&'c AtomicU64);

impl<'c> Running<'c> {
    pub(super) fn new(counters: &'c Counters) -> Self {
        counters.running.fetch_add(1, Ordering::Relaxed);
        Self(&counters.running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The counters of a runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeReport {
    /// Executions that it completed.
    pub completed: u64,
    /// Executions that failed permanently.
    pub failed: u64,
    /// Executions that were cancelled, by their handler or by others while it ran.
    pub cancelled: u64,
    /// Attempts that failed and are retried.
    pub retried: u64,
    /// Attempts that the engine ended since they took longer than their attempt timeout.
    pub timed_out: u64,
    /// Executions whose deadline passed while their handler ran.
    pub expired: u64,
    /// Tasks whose lease was lost for another reason, or whose finishing call failed.
    pub lost: u64,
    /// Tasks that were released: delayed, waiting for children, or at shutdown.
    pub given_back: u64,
    /// Tasks that were suspended.
    pub suspended: u64,
    /// Handlers that run at present.
    pub running: u64,
}

impl RuntimeReports {
    /// Returns the present values of the counters.
    pub fn report(&self) -> RuntimeReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RuntimeReport {
            completed: read(&self.0.completed),
            failed: read(&self.0.failed),
            cancelled: read(&self.0.cancelled),
            retried: read(&self.0.retried),
            timed_out: read(&self.0.timed_out),
            expired: read(&self.0.expired),
            lost: read(&self.0.lost),
            given_back: read(&self.0.given_back),
            suspended: read(&self.0.suspended),
            running: read(&self.0.running),
        }
    }
}

impl std::fmt::Debug for RuntimeReports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.report().fmt(f)
    }
}
