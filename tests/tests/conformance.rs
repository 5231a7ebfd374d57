//! Every store answers as the reference store does: sequences of requests, drawn at random and
//! shrunk when they show a difference. FF_CONFORMANCE_CASES says how many, 2,000 unless told.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use ff_core::backend::EngineBackend;
use ff_core::store::{Failure, Reply, Request, Wake};
use ff_core::time::{DurationMs, TimestampMs};
use ff_io_valkey::ValkeyBackend;
use ff_io_valkey::model::ModelStore;
use ff_tests::conformance::{
    Census, Subject, conform, journals_are_capped_by_bytes, large_values_are_deferred, sequences,
};
use ff_tests::server::Server;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use tokio::runtime::{Builder, Runtime};

/// Steps of a sequence, at most.
const STEPS: usize = 30;

/// The function library in process, with a clock of its own.
struct Model {
    store: ModelStore,
    now: TimestampMs,
}

impl Model {
    fn new() -> Self {
        Self { store: ModelStore::new(0xfedc_ba98_7654_3210), now: TimestampMs::ZERO }
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
        let by = DurationMs::new(by_ms.unsigned_abs());
        self.now = if by_ms < 0 { self.now.minus(by) } else { self.now.plus(by) };
    }

    fn call(&mut self, request: Request) -> Result<Reply, Failure> {
        self.store.handle(request, self.now)
    }

    fn take_wakes(&mut self) -> Option<Vec<Wake>> {
        Some(self.store.take_wakes())
    }
}

/// A real server behind the adapter.
struct Remote {
    server: Server,
    backend: ValkeyBackend,
    runtime: Runtime,
}

impl Remote {
    fn new(server: Server) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        let backend = runtime.block_on(ValkeyBackend::connect(&server.url()));
        Self { backend: backend.expect("the server is up"), server, runtime }
    }
}

impl Subject for Remote {
    fn clear(&mut self) {
        self.server.expect(&["FLUSHALL"]);
    }

    fn now(&self) -> TimestampMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let since = since.expect("the clock is past the epoch");
        TimestampMs::new(DurationMs::from(since).get())
    }

    /// The server's clock is its own.
    fn pass(&mut self, _by_ms: i64) {}

    fn call(&mut self, request: Request) -> Result<Reply, Failure> {
        self.runtime.block_on(self.backend.call(request))
    }

    fn take_wakes(&mut self) -> Option<Vec<Wake>> {
        None
    }
}

fn cases() -> u32 {
    let cases = std::env::var("FF_CONFORMANCE_CASES");
    cases.map_or(2_000, |cases| cases.parse().expect("FF_CONFORMANCE_CASES is a number"))
}

/// Draws sequences for a subject, and checks that they met everything that can be met.
fn draw(subject: impl Subject) {
    let (subject, census) = (RefCell::new(subject), RefCell::new(Census::default()));
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&sequences(STEPS), |sequence| {
        conform(&mut *subject.borrow_mut(), &sequence, &mut census.borrow_mut())
            .map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, sequence)) => panic!("{reason}\nin {sequence:?}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
    assert_eq!(census.borrow().gaps(), Vec::<String>::new(), "unseen, or new");
}

#[test]
fn the_function_library_in_process_answers_as_the_reference() {
    draw(Model::new());
}

#[test]
fn the_function_library_in_process_caps_journals_as_the_reference() {
    assert_eq!(journals_are_capped_by_bytes(&mut Model::new()), Ok(()));
}

#[test]
fn the_function_library_in_process_defers_what_the_reference_defers() {
    assert_eq!(large_values_are_deferred(&mut Model::new()), Ok(()));
}

#[test]
fn valkey_answers_as_the_reference() {
    draw(Remote::new(Server::valkey()));
}

#[test]
fn redis_7_answers_as_the_reference() {
    draw(Remote::new(Server::redis7()));
}

#[test]
fn servers_cap_journals_as_the_reference() {
    for server in [Server::valkey(), Server::redis7()] {
        assert_eq!(journals_are_capped_by_bytes(&mut Remote::new(server)), Ok(()));
    }
}

#[test]
fn servers_defer_what_the_reference_defers() {
    for server in [Server::valkey(), Server::redis7()] {
        assert_eq!(large_values_are_deferred(&mut Remote::new(server)), Ok(()));
    }
}
