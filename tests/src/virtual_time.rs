//! A real server, or a cluster of three, whose clock is the test's paused one.
//!
//! Scenarios assert milliseconds, so no real clock may tick in them. The function library is loaded
//! with one thing changed: it reads the time from a value of the partition, where it stands before
//! each call, and asks no clock. All else is as it is in production: the adapter, the connections,
//! the wire form, the rest of the library, the server.
//!
//! A call keeps the test's thread until its reply is there, and with it the wake-ups that it rang:
//! tokio's paused clock jumps as soon as everybody waits, and would not wait for a server.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak, mpsc};
use std::time::{Duration, SystemTime};

use ff_io_valkey::wire::Library;
use ff_io_valkey::{Target, ValkeyBackend};
use ff_sdk::core::backend::{BackendReport, BoxFuture, EngineBackend, Finding, WakeUps};
use ff_sdk::core::execution::Purpose;
use ff_sdk::core::partition::{Partition, PartitionFamily};
use ff_sdk::core::store::{
    Bytes, Commit, Failure, Reply, ReplyBody, Request, Topic, Unit, UnitReply, ValueKey,
    ValueWrite, Wake,
};
use ff_sdk::core::time::TimestampMs;
use tokio::runtime::Runtime;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::server::{Cluster, Server};

/// The library as it is, and the two places that are changed: where it asks for the time, and where
/// a call comes in, whose first key says in which partition the time stands.
const TEXT: &str = include_str!("../../lua/flowfabric.lua");
const CHANGES: [(&str, &str); 2] = [
    (
        "local function now()\n  call = redis.call\n  local time = call('TIME')\n  \
         return time[1] * 1000 + (time[2] - time[2] % 1000) / 1000\n",
        "local clock\nlocal function now()\n  call = redis.call\n  \
         return (call('GET', clock) or 0) + 0\n",
    ),
    (
        "callback = callback,",
        "callback = function(keys, args)\n    \
         clock = keys[1]:match('^{[^}]*}') .. 'p' .. ('\\255'):rep(16)\n    \
         return callback(keys, args)\n  end,",
    ),
];

/// How long anything on loopback may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// More calls than any scenario makes: with time that stands still, agents that get nowhere would
/// try for ever.
const MAX_CALLS: usize = 100_000;

/// What the servers run on.
enum Host {
    One(Server),
    Three(Cluster),
}

impl Host {
    /// Makes it empty; what is loaded stays.
    fn clear(&self) {
        let nodes = match self {
            Self::One(server) => std::slice::from_ref(server),
            Self::Three(cluster) => cluster.nodes(),
        };
        for node in nodes {
            node.expect(&["FLUSHALL"]);
        }
    }

    fn url(&self) -> String {
        match self {
            Self::One(server) => server.url(),
            Self::Three(cluster) => cluster.url(),
        }
    }
}

/// A host that the tests of a program share, one after the other. It ends with the last who holds
/// it or waits for it.
struct Shared {
    host: Mutex<Weak<Host>>,
    turn: OnceLock<Arc<tokio::sync::Mutex<()>>>,
}

/// A host for oneself.
struct Turn {
    _turn: OwnedMutexGuard<()>,
    host: Arc<Host>,
}

impl Shared {
    const fn new() -> Self {
        Self { host: Mutex::new(Weak::new()), turn: OnceLock::new() }
    }

    /// Waits for one's turn; the host is empty then.
    fn take(&self, start: impl FnOnce() -> Host) -> Turn {
        let host = {
            let mut known = self.host.lock().unwrap_or_else(PoisonError::into_inner);
            known.upgrade().unwrap_or_else(|| {
                let host = Arc::new(start());
                *known = Arc::downgrade(&host);
                host
            })
        };
        let turn = self.turn.get_or_init(Arc::default).clone();
        let turn = Turn { _turn: wait(turn.lock_owned()), host };
        turn.host.clear();
        turn
    }
}

/// A server, or a cluster, with an empty store, whose clock is tokio's in the test.
///
/// Its clock is the wall clock of its creation plus tokio's time since, as that of the embedded
/// backend. There is one of each kind at a time in a program: another waits until this is dropped.
pub struct Paced {
    backend: ValkeyBackend,
    origin: Instant,
    origin_ms: u64,
    /// What the clocks of the partitions show.
    clocks: Mutex<BTreeMap<Partition, TimestampMs>>,
    calls: AtomicUsize,
    listeners: Arc<AtomicUsize>,
    /// Wake-ups of [`marker`]: what was rung before it has arrived when it has.
    marks: Arc<tokio::sync::Mutex<Box<dyn WakeUps>>>,
    _turn: Turn,
}

impl Paced {
    /// On a server.
    pub fn valkey() -> Self {
        static SHARED: Shared = Shared::new();
        Self::on(SHARED.take(|| Host::One(Server::valkey())))
    }

    /// On a cluster of three primaries.
    pub fn cluster() -> Self {
        static SHARED: Shared = Shared::new();
        Self::on(SHARED.take(|| Host::Three(Cluster::three())))
    }

    fn on(turn: Turn) -> Self {
        let url = format!("{}?response_timeout_ms={}", turn.host.url(), PATIENCE.as_millis());
        let target = Target::parse(&url).expect("a server has an address");
        let target = target.with_library(Library::of(&text()));
        let (backend, marks) = wait(async {
            let backend = ValkeyBackend::open(target).await.expect("the server can be used");
            let mut marks = backend.subscribe(vec![marker()]).expect("there are wake-ups");
            // The first who listens is told to look everywhere once more, when it is heard.
            for _ in 0..2 {
                arrived(&mut *marks).await;
            }
            (backend, marks)
        });
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            backend,
            origin: Instant::now(),
            origin_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            clocks: Mutex::default(),
            calls: AtomicUsize::new(0),
            listeners: Arc::default(),
            marks: Arc::new(tokio::sync::Mutex::new(marks)),
            _turn: turn,
        }
    }

    fn now(&self) -> TimestampMs {
        let elapsed = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        TimestampMs::new(self.origin_ms.saturating_add(elapsed))
    }

    fn handle(&self, request: Request) -> Result<Reply, Failure> {
        let calls = self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(calls < MAX_CALLS, "the scenario gets nowhere");
        let (now, partition) = (self.now(), partition_of(&request));
        // What is over a bound is answered with the time of another partition.
        for partition in [partition, Partition::META] {
            self.set_clock(partition, now)?;
        }
        let (polls, rings) = (matches!(request, Request::Poll(_)), may_ring(&request));
        let mut reply = self.send(request)?;
        if polls {
            reply.at = now;
        }
        assert_eq!(reply.at, now, "the library tells the time of the test");
        if rings && self.listeners.load(Ordering::SeqCst) > 0 {
            self.send(commit(partition, |unit| unit.ring = vec![marker()]))?;
            let marks = self.marks.clone();
            wait(async move { arrived(&mut **marks.lock().await).await });
        }
        Ok(reply)
    }

    /// Sets the clock of a partition, which is a value that no execution has.
    fn set_clock(&self, partition: Partition, now: TimestampMs) -> Result<(), Failure> {
        let mut clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        if clocks.get(&partition) == Some(&now) {
            return Ok(());
        }
        let (key, text) = (ValueKey::Payload(uuid::Uuid::max()), now.get().to_string());
        let value = Some(Bytes::from(text.into_bytes()));
        let set = commit(partition, |unit| unit.values = vec![ValueWrite { key, value }]);
        let reply = self.send(set)?;
        let is_set = |units: &[UnitReply]| matches!(units, [UnitReply::Committed { .. }]);
        assert!(matches!(&reply.body, ReplyBody::Commit(units) if is_set(units)), "{reply:?}");
        clocks.insert(partition, now);
        Ok(())
    }

    fn send(&self, request: Request) -> Result<Reply, Failure> {
        let backend = self.backend.clone();
        wait(async move { backend.call(request).await })
    }
}

impl EngineBackend for Paced {
    fn name(&self) -> &'static str {
        self.backend.name()
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(async { self.handle(request) })
    }

    fn subscribe(&self, topics: Vec<Topic>) -> Option<Box<dyn WakeUps>> {
        let backend = self.backend.clone();
        let wake_ups = wait(async move {
            let mut wake_ups = backend.subscribe(topics)?;
            // From here on it hears everything.
            arrived(&mut *wake_ups).await;
            Some(wake_ups)
        })?;
        self.listeners.fetch_add(1, Ordering::SeqCst);
        Some(Box::new(Listener { wake_ups, listeners: self.listeners.clone() }))
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

/// Wake-ups for one who counts as a listener meanwhile.
struct Listener {
    wake_ups: Box<dyn WakeUps>,
    listeners: Arc<AtomicUsize>,
}

impl WakeUps for Listener {
    fn next(&mut self) -> BoxFuture<'_, Option<Option<Wake>>> {
        self.wake_ups.next()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listeners.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The library with its clock changed.
fn text() -> String {
    let mut text = TEXT.to_owned();
    for (from, to) in CHANGES {
        assert_eq!(text.matches(from).count(), 1, "the library has this once: {from}");
        text = text.replacen(from, to, 1);
    }
    assert!(!text.contains("'TIME'"), "the library asks for the time elsewhere too");
    text
}

/// Runs something where time is real, and keeps the test's thread meanwhile.
fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().expect("threads can be started")
    });
    let (sender, receiver) = mpsc::channel();
    runtime.spawn(async move {
        let _ = sender.send(work.await);
    });
    receiver.recv().expect("what is waited for does not panic")
}

/// Waits for a wake-up that must come.
async fn arrived(wake_ups: &mut dyn WakeUps) {
    let wake = tokio::time::timeout(PATIENCE, wake_ups.next()).await;
    assert!(matches!(wake, Ok(Some(_))), "no wake-up arrives: {wake:?}");
}

/// What no scenario listens to.
const fn marker() -> Topic {
    Topic::Journal(Partition { family: PartitionFamily::Worker, index: u16::MAX })
}

/// Whether a request may ring anybody.
fn may_ring(request: &Request) -> bool {
    match request {
        Request::Commit(commit) => commit.units.iter().any(|unit| !unit.ring.is_empty()),
        Request::Take(take) => take.ring_rest,
        _ => false,
    }
}

/// A unit that always succeeds.
fn commit(partition: Partition, fill: impl FnOnce(&mut Unit)) -> Request {
    let mut unit = Unit::new(Purpose::Finish, 0);
    fill(&mut unit);
    Request::Commit(Commit { partition, units: vec![unit] })
}

const fn partition_of(request: &Request) -> Partition {
    match request {
        Request::Commit(commit) => commit.partition,
        Request::Take(take) => take.partition,
        Request::Read(read) => read.partition,
        Request::Scan(scan) => scan.partition,
        Request::Stream(page) => page.partition,
        Request::Poll(_) => Partition::META,
    }
}
