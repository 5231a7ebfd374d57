//! The function library in process as a store under test.

use ff_core::store::{Failure, Reply, Request, Wake};
use ff_core::time::TimestampMs;
use ff_io_valkey::model::ModelStore;
use ff_io_valkey::wire::Library;

use super::Subject;

/// The function library in process, with its own clock.
pub struct Model {
    store: ModelStore,
    now: TimestampMs,
}

impl Model {
    /// Loads this library.
    pub fn new(library: Library) -> Self {
        let store = ModelStore::with_library(0xfedc_ba98_7654_3210, library);
        Self { store: store.expect("a library that loads"), now: TimestampMs::ZERO }
    }
}

impl Default for Model {
    fn default() -> Self {
        Self::new(Library::default())
    }
}

impl Subject for Model {
    fn clear(&mut self) {
        self.store.clear();
        self.now = TimestampMs::new(1_764_000_000_000);
    }

    fn now(&self) -> TimestampMs {
        self.now
    }

    fn pass(&mut self, by_ms: i64) {
        self.now = self.now.shifted(by_ms);
    }

    fn call(&mut self, request: Request) -> Result<Reply, Failure> {
        self.store.handle(request, self.now)
    }

    fn take_wakes(&mut self) -> Option<Vec<Wake>> {
        Some(self.store.take_wakes())
    }
}
