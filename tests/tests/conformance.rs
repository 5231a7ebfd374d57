//! Every store answers as the reference store does: sequences of requests, drawn at random and
//! shrunk when they show a difference. FF_CONFORMANCE_CASES says how many, 2,000 unless told.

use std::cell::RefCell;

use ff_core::store::{Failure, Reply, ReplyBody, Request, Wake};
use ff_core::time::{DurationMs, TimestampMs};
use ff_io_valkey::model::ModelStore;
use ff_io_valkey::wire::{Answer, Library};
use ff_tests::server::Server;
use ff_tests::conformance::{
    Census, Subject, conform, journals_are_capped_by_bytes, large_values_are_deferred, sequences,
};
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

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

/// A real server, called as the adapter calls it.
struct Remote {
    server: Server,
    connection: redis::Connection,
    library: Library,
}

impl Remote {
    fn new(server: Server) -> Self {
        let client = redis::Client::open(format!("redis://{}", server.address())).unwrap();
        let mut connection = client.get_connection().unwrap();
        let library = Library::new();
        let mut load = redis::cmd("FUNCTION");
        let loaded: redis::RedisResult<String> =
            load.arg("LOAD").arg(library.text()).query(&mut connection);
        assert_eq!(loaded.as_deref(), Ok(library.name()));
        Self { server, connection, library }
    }
}

fn answer(value: redis::Value) -> Answer {
    match value {
        redis::Value::Nil => Answer::Nil,
        redis::Value::Int(number) => Answer::Number(number),
        redis::Value::BulkString(data) => Answer::Data(data),
        redis::Value::Array(items) => Answer::List(items.into_iter().map(answer).collect()),
        other => panic!("{other:?}"),
    }
}

impl Subject for Remote {
    fn clear(&mut self) {
        let cleared: redis::RedisResult<()> = redis::cmd("FLUSHALL").query(&mut self.connection);
        assert_eq!(cleared, Ok(()));
    }

    fn now(&self) -> TimestampMs {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        TimestampMs::new(u64::try_from(since.as_millis()).unwrap())
    }

    fn pass(&mut self, _by_ms: i64) {}

    fn call(&mut self, request: Request) -> Result<Reply, Failure> {
        if let Err(over) = request.check() {
            return Ok(Reply { at: self.now(), body: ReplyBody::OverBound(over) });
        }
        if let Request::Poll(poll) = &request {
            let first = |partition| {
                let mut command = redis::cmd("ZRANGE");
                command.arg(poll.index.text(partition)).arg(&["0", "0", "WITHSCORES"]);
                let found: Vec<Vec<u8>> = command.query(&mut self.connection).unwrap();
                Ok(found.get(1).map(|score| ff_io_valkey::wire::score(score).unwrap()))
            };
            let body = ReplyBody::Poll(poll.partitions.iter().copied().map(first).collect());
            return Ok(Reply { at: self.now(), body });
        }
        let call = ff_io_valkey::wire::encode(&request).unwrap();
        let mut command = redis::cmd("FCALL");
        command.arg(self.library.function(call.function)).arg(call.keys.len()).arg(call.keys);
        for arg in &call.args {
            command.arg(arg.as_ref());
        }
        let value = command.query::<redis::Value>(&mut self.connection);
        let value = value.map_err(|error| Failure::MaybeApplied(error.to_string()))?;
        ff_io_valkey::wire::decode(&request, answer(value))
            .map_err(|error| Failure::MaybeApplied(error.to_string()))
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
