//! Every store answers as the reference store does: random sequences of requests, which are shrunk
//! when they show a difference. FF_CONFORMANCE_CASES sets their number; the default is 2,000, and
//! 200 for SQLite, which waits for the disk.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use ff_core::backend::EngineBackend;
use ff_core::store::{Failure, Reply, Request, Wake};
use ff_core::time::{DurationMs, TimestampMs};
use ff_io_valkey::ValkeyBackend;
use ff_io_valkey::wire::Library;
use ff_tests::conformance::{
    Census, Model, Subject, conform, frames_are_capped_by_bytes, frames_are_capped_by_count,
    journals_are_capped_by_bytes, large_values_are_deferred, long_pages_end_at_the_same_entry,
    sequences,
};
use ff_tests::server::Server;
use ff_tests::sqlite_subject::Sqlite;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tokio::runtime::{Builder, Runtime};

const TEXT: &str = include_str!("../../io-valkey/lua/flowfabric.lua");

/// The most steps of a sequence.
const STEPS: usize = 30;

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

    /// A server has its own clock.
    fn pass(&mut self, _by_ms: i64) {}

    fn call(&mut self, request: Request) -> Result<Reply, Failure> {
        self.runtime.block_on(self.backend.call(request))
    }

    fn take_wakes(&mut self) -> Option<Vec<Wake>> {
        None
    }
}

/// The number of sequences for a census without gaps.
const CASES: u32 = 2_000;

fn cases(default: u32) -> u32 {
    let cases = std::env::var("FF_CONFORMANCE_CASES");
    cases.map_or(default, |cases| cases.parse().expect("FF_CONFORMANCE_CASES is a number"))
}

/// Runs random sequences on a subject, and checks that the census has no gaps, if there are enough.
fn run_sequences(subject: impl Subject, default: u32) {
    let cases = cases(default);
    let (subject, census) = (RefCell::new(subject), RefCell::new(Census::default()));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&sequences(STEPS), |sequence| {
        conform(&mut *subject.borrow_mut(), &sequence, &mut census.borrow_mut())
            .map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, sequence)) => panic!("{reason}\nin {sequence:?}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
    if cases >= CASES {
        assert_eq!(census.borrow().gaps(), Vec::<String>::new(), "unseen, or new");
    }
}

#[test]
fn the_function_library_in_process_answers_as_the_reference() {
    run_sequences(Model::default(), CASES);
}

/// Checks every cap of every kind of stream.
fn streams_are_capped(subject: &mut impl Subject) -> Result<(), String> {
    journals_are_capped_by_bytes(subject)?;
    frames_are_capped_by_bytes(subject)?;
    frames_are_capped_by_count(subject)
}

#[test]
fn the_function_library_in_process_caps_streams_as_the_reference() {
    assert_eq!(streams_are_capped(&mut Model::default()), Ok(()));
}

#[test]
fn the_function_library_in_process_defers_the_same_values_as_the_reference() {
    assert_eq!(large_values_are_deferred(&mut Model::default()), Ok(()));
    assert_eq!(long_pages_end_at_the_same_entry(&mut Model::default()), Ok(()));
}

#[test]
fn sqlite_answers_and_rings_as_the_reference() {
    run_sequences(Sqlite::default(), 200);
}

#[test]
fn sqlite_caps_streams_and_defers_values_as_the_reference() {
    let mut subject = Sqlite::default();
    assert_eq!(streams_are_capped(&mut subject), Ok(()));
    assert_eq!(large_values_are_deferred(&mut subject), Ok(()));
    assert_eq!(long_pages_end_at_the_same_entry(&mut subject), Ok(()));
}

#[test]
fn valkey_answers_as_the_reference() {
    run_sequences(Remote::new(Server::valkey()), CASES);
}

#[test]
fn redis_7_answers_as_the_reference() {
    run_sequences(Remote::new(Server::redis7()), CASES);
}

#[test]
fn servers_cap_streams_as_the_reference() {
    for server in [Server::valkey(), Server::redis7()] {
        assert_eq!(streams_are_capped(&mut Remote::new(server)), Ok(()));
    }
}

#[test]
fn servers_defer_the_same_values_as_the_reference() {
    for server in [Server::valkey(), Server::redis7()] {
        let mut remote = Remote::new(server);
        assert_eq!(large_values_are_deferred(&mut remote), Ok(()));
        assert_eq!(long_pages_end_at_the_same_entry(&mut remote), Ok(()));
    }
}

/// Mistakes that are easily made in the library: a piece of its text, and its wrong replacement.
const MISTAKES: &[(&str, &str)] = &[
    // A descending scan that ascends, or begins one entry early or late.
    ("{ 'REV', 'WITHSCORES' }", "{ 'WITHSCORES' }"),
    ("- from + (there and 1 or 0)", "- from"),
    ("- from + (there and 1 or 0)", "- from + 1"),
    // A take that reads too few entries, forgets the rest, or returns the end of another range.
    ("'LIMIT', 0, count,", "'LIMIT', 0, count - 1,"),
    ("skip, skip, 'WITHSCORES')[2] or false", "skip, skip, 'WITHSCORES')[9] or false"),
    ("format(from_due and #held / 2 or 0)", "format(0)"),
    ("format(from_due and #held / 2 or 0)", "format(#held / 2)"),
    ("if not records[i] or not from_due then", "if not from_due then"),
    ("a[5] < b[5] or a[5] == b[5] and a[4] < b[4]", "a[5] < b[5] or a[5] == b[5] and a[4] > b[4]"),
    ("a[5] < b[5] or", "a[5] > b[5] or"),
    ("for i = 1, math.min(count, #all) do", "for i = 1, #all do"),
    (
        "reply[place + 1], reply[place + 2] = queue - 1, member",
        "reply[place + 1], reply[place + 2] = 0, member",
    ),
    (
        "if rest then call('ZADD', list, rest, name)",
        "if rest then call('ZADD', list, 'LT', rest, name)",
    ),
    ("else call('ZREM', list, name) end", "end"),
    ("rest + 0 < best[1] + 0", "rest + 0 > best[1] + 0"),
    ("call('ZADD', due, 'LT', unpack(held))", "call('ZADD', due, unpack(held))"),
    ("if best and channel ~= '' then", "if best then"),
    ("if best and channel ~= '' then", "if false then"),
    ("math.min(at + args[6], 2 ^ 52)", "at + args[6]"),
    // Replies that end at the wrong number of bytes.
    ("local fits = n == 1 or total <= bytes", "local fits = total <= bytes"),
    ("local fits = n == 1 or total <= bytes", "local fits = true"),
    ("total + #(read[i] or '')", "total"),
    (
        "records_of(keys[2], args[2], found, #found / 2, args[4] + 0)",
        "records_of(keys[2], args[2], found, #found / 2, 99)",
    ),
    // A commit that checks the window first, or one end of it wrongly, or a part of a version.
    ("if same then reply[#reply + 1]", "if at >= not_after then reply[#reply + 1]"),
    ("at >= not_after", "at > not_after"),
    ("at < not_before", "at <= not_before"),
    ("'0', '15') == args[a + 2 * i]", "'0', '7') == args[a + 2 * i]:sub(1, 8)"),
    ("call('GET', keys[k + i - 1])", "call('GET', keys[k + n - i])"),
    ("fits and n or 0 do", "fits and math.min(n, 2) or 0 do"),
    ("for i = 0, n - 1 do\n      same", "for i = n - 1, n - 1 do\n      same"),
    ("for i = 0, n - 1 do\n      same", "for i = 0, math.min(n, 1) - 1 do\n      same"),
    ("elseif record ~= '' then", "elseif record ~= '' and #texts == 0 then"),
    ("if record == '-' then", "if record == '' then"),
    // Values that are written in another order than the units, or fetched as they were before.
    ("values[key] = args[a] == '+' and", "values[key] = values[key] or args[a] == '+' and"),
    ("local value, length = written[keys[i]], 0", "local value, length = nil, 0"),
    ("if value then texts[#texts + 1], texts[#texts + 2] = key, value else", "if not value then"),
    ("else gone[#gone + 1] = key end\n  end", "end\n  end"),
    // Wake-ups that are rung too often or for the wrong reason.
    (
        "call('ZADD', list, 'LT', 'CH', score, name) == 1",
        "call('ZADD', list, 'LT', score, name) == 1",
    ),
    (
        "call('ZADD', list, 'LT', 'CH', score, name) == 1",
        "call('ZADD', list, 'CH', score, name) == 1",
    ),
    ("if lower and batch.channel ~= '' then", "if batch.channel ~= '' then"),
    ("list and call('EXISTS', index) == 0", "list"),
    ("list and call('EXISTS', index) == 0", "false"),
    ("table.concat({ partition, score, name }, ' ')", "partition"),
    ("if from_due then best = #held > 0 and (best or {}) end", ""),
    ("best = #held > 0 and (best or {})", "best = best or {}"),
    ("<= DUE_SOON_MS", "< DUE_SOON_MS"),
    ("math.abs(score - at) <=", "score - at <="),
    ("math.abs(score - at) <=", "math.abs(score - at) - 1 <="),
    ("if first and soon[first] then", "if first then"),
    ("ring_first(soon.channel, partition, first)", "ring_first(soon.channel, partition, -1)"),
    ("rings[args[a]] = true", "rings = { [args[a]] = true }"),
    ("rings[args[a]] = true", "call('PUBLISH', args[a], partition)"),
    // Pages that begin or end at the wrong position.
    ("call('ZRANK', index, member) + 1", "call('ZRANK', index, member)"),
    ("score and i < 16 and", "score and i < 15 and"),
    ("entry[1]:byte(i) <= member:byte(i)", "entry[1]:byte(i) > member:byte(i)"),
    ("'-inf', '(' .. score", "'-inf', score"),
    ("#found / 2 > count and 1 or 0", "#found / 2 >= count and 1 or 0"),
    ("this_sequence + 0 <= sequence", "this_sequence + 0 < sequence"),
    ("args[5] + 0 < sequence + 0", "args[5] + 0 <= sequence + 0"),
    ("or args[3] ~= history", ""),
    // Streams that are numbered or trimmed wrongly.
    ("if at > last then", "if at >= last then"),
    ("if gap == 0 then", "if gap == 1 then"),
    ("args[a + 1] + 0, args[a + 2] + 0, args[a + 3] + 0", "2 ^ 52, 2 ^ 52, 2 ^ 52"),
    // A call whose own entries exceed a cap.
    ("or new[i - call('LLEN', key) + 1]", ""),
    ("or new[i - call('LLEN', key) + 1]", "or new[i - call('LLEN', key)]"),
    // A removed stream whose state is still cached.
    ("if not values[key] then streams[key] = { false, 0, 0, 0, 0, 0 } end", ""),
    // Index entries that are collected and not written in the order of the units.
    ("batch.adds ~= adds or", "false or"),
    ("score + 0 < batch.lowest then", "not batch.lower then"),
    ("for _, batch in ipairs(batches) do write_batch", "for _, batch in pairs({}) do write_batch"),
    (
        "for _, batch in ipairs(batches) do",
        "for i = #batches, 1, -1 do\n    local batch = batches[i]",
    ),
    // Counts that are changed by other numbers than the sum of their changes, or stay at 0.
    ("or { list, name, 0 }", "or { list, name, 1 }"),
    ("counts[list .. name], count[3] = count, count[3] + args[a + 1]", "counts[name] = count"),
    ("count[3] + args[a + 1]", "args[a + 1] + 0"),
    ("counts[list .. name] or {", "counts[name] or {"),
    ("(call('ZSCORE', count[1], count[2]) or 0) + count[3]", "count[3]"),
    ("if count[3] ~= 0 then count[4]", "if count[3] > 0 then count[4]"),
    ("if count[4] == 0 then call('ZREM', count[1], count[2])\n    elseif", "if"),
    ("k = k + n + v + x + 2 * q + c + s", "k = k + n + v + x + 2 * q + s"),
    ("a = a + 2 * (n + v + c) + 3 * x", "a = a + 2 * (n + v) + 3 * x"),
    // A reply without the tag of its call.
    ("reply[#reply + 1] = tag", ""),
];

/// Mistakes in the caps of a stream, which a single byte or millisecond reveals.
const MISTAKES_AT_THE_CAP: &[(&str, &str)] = &[
    ("oldest < at - age", "oldest <= at - age"),
    ("dropped > bytes", "dropped >= bytes"),
    ("call('LTRIM', key, gone, -1)", "call('LTRIM', key, gone + 1, -1)"),
    ("+ 0, element(key, new, gone + 1)", "+ 0, element(key, new, gone)"),
    ("total - dropped >", "total >"),
    ("call('LLEN', key) + #new - gone > entries", "call('LLEN', key) + #new - gone >= entries"),
    ("call('LLEN', key) + #new - gone > entries", "call('LLEN', key) - gone > entries"),
    ("call('LLEN', key) + #new - gone > entries", "call('LLEN', key) + #new > entries"),
    ("call('LLEN', key) + #new - gone > entries", "#new - gone > entries"),
    ("args[a], args[a + 1] + 0,", "args[a], 1048576,"),
    ("args[a + 3] + 0\n    if at", "86400000\n    if at"),
];

/// A mistake in the record of a page's 33rd entry, which is read in a second step.
const MISTAKE_ON_A_LONG_PAGE: (&str, &str) = ("records[seen], total =", "records[i - 1], total =");

/// A store with one mistake in the library.
fn mistaken(right: &str, wrong: &str) -> Model {
    assert_eq!(TEXT.matches(right).count(), 1, "{right} is in the library once");
    Model::new(Library::of(&TEXT.replace(right, wrong)))
}

#[test]
fn every_mistake_in_the_library_is_found() {
    let found = |mistake: &&(&str, &str)| {
        let model = RefCell::new(mistaken(mistake.0, mistake.1));
        let config = Config {
            cases: 4_000,
            max_shrink_iters: 0,
            failure_persistence: None,
            ..Config::default()
        };
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let outcome = TestRunner::new_with_rng(config, rng).run(&sequences(STEPS), |sequence| {
            conform(&mut *model.borrow_mut(), &sequence, &mut Census::default())
                .map_err(TestCaseError::fail)
        });
        outcome.is_err()
    };
    let missed: Vec<_> = MISTAKES.iter().filter(|mistake| !found(mistake)).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn every_mistake_at_a_cap_is_found() {
    for mistake in MISTAKES_AT_THE_CAP {
        let found = streams_are_capped(&mut mistaken(mistake.0, mistake.1));
        assert!(found.is_err(), "{mistake:?}");
    }
    let (right, wrong) = MISTAKE_ON_A_LONG_PAGE;
    assert!(long_pages_end_at_the_same_entry(&mut mistaken(right, wrong)).is_err());
}
