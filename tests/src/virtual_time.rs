//! A real server, or a cluster of three, whose clock is the paused clock of the test.
//!
//! Scenarios assert milliseconds, so they must not use a real clock. The function library is loaded
//! with one change: it reads the time from a value of the partition, which is set before each call,
//! and not from the server's clock. Everything else is as in production: the adapter, the
//! connections, the wire form, the rest of the library, the server.
//!
//! A call blocks the test's thread until its reply and the wake-ups that it rang have arrived:
//! tokio's paused clock advances as soon as all tasks wait, and would not wait for a server.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak, mpsc};
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

use crate::faulty_backend::set_time;
use crate::server::{Cluster, Server};

/// The library, and its two changes: the function that reads the time, and the entry of each call,
/// whose first key determines the partition that holds the time.
const TEXT: &str = include_str!("../../io-valkey/lua/flowfabric.lua");
const CHANGES: [(&str, &str); 2] = [
    (
        "local function now()\n  call = redis.call\n  local time = call('TIME')\n  \
         return time[1] * 1000 + (time[2] - time[2] % 1000) / 1000\n",
        "local clock\nlocal function now()\n  call = redis.call\n  \
         return (call('GET', clock) or 0) + 0\n",
    ),
    (
        "callback = tagged,",
        "callback = function(keys, args)\n    \
         clock = keys[1]:match('^{[^}]*}') .. 'p' .. ('\\255'):rep(16)\n    \
         return tagged(keys, args)\n  end,",
    ),
];

/// The time limit of each step on loopback.
const PATIENCE: Duration = Duration::from_secs(30);

/// More calls than any scenario makes. In paused time, an agent without progress would retry
/// forever.
pub(crate) const MAX_CALLS: usize = 100_000;

/// How a store loses everything.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// `FLUSHALL`, which keeps the replication ID, the functions and the connections.
    Flush,
    /// A server without persistence is killed and started again.
    Restart,
}

/// The servers of a store.
enum Host {
    One(Mutex<Server>),
    Three(Cluster),
}

impl Host {
    /// Removes all keys.
    fn clear(&self, loss: Loss) {
        let flush = |node: &Server| drop(node.expect(&["FLUSHALL"]));
        match (self, loss) {
            (Self::One(server), Loss::Flush) => flush(&lock(server)),
            (Self::One(server), Loss::Restart) => lock(server).restart(),
            (Self::Three(cluster), Loss::Flush) => cluster.nodes().iter().for_each(flush),
            (Self::Three(_), Loss::Restart) => panic!("a cluster forgets its slots"),
        }
    }

    fn url(&self) -> String {
        match self {
            Self::One(server) => lock(server).url(),
            Self::Three(cluster) => cluster.url(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A host that the tests of a program use one after the other. It is stopped when no test uses it
/// or waits for it.
struct Shared {
    host: Mutex<Weak<Host>>,
    turn: OnceLock<Arc<tokio::sync::Mutex<()>>>,
}

/// The exclusive use of a host.
struct Turn {
    _turn: OwnedMutexGuard<()>,
    host: Arc<Host>,
}

impl Shared {
    const fn new() -> Self {
        Self { host: Mutex::new(Weak::new()), turn: OnceLock::new() }
    }

    /// Waits for the exclusive use of the host, and empties it.
    fn take(&self, start: impl FnOnce() -> Host) -> Turn {
        let host = {
            let mut known = lock(&self.host);
            known.upgrade().unwrap_or_else(|| {
                let host = Arc::new(start());
                *known = Arc::downgrade(&host);
                host
            })
        };
        let turn = self.turn.get_or_init(Arc::default).clone();
        let turn = Turn { _turn: wait(turn.lock_owned()), host };
        turn.host.clear(Loss::Flush);
        turn
    }
}

/// A backend on a server or a cluster, with an empty store whose clock follows the test's tokio
/// clock.
///
/// Its clock is the wall clock at its creation plus tokio's time since then, as for the memory
/// backend. A program has one of each kind at a time: another waits until this one is dropped.
pub struct VirtualTimeBackend {
    backend: ValkeyBackend,
    origin: Instant,
    origin_ms: u64,
    /// The stored times of the partitions.
    clocks: Mutex<BTreeMap<Partition, TimestampMs>>,
    calls: AtomicUsize,
    subscribers: Arc<AtomicUsize>,
    /// The wake-ups of [`marker`]. When one arrives, all wake-ups rung before it have arrived.
    markers: Arc<tokio::sync::Mutex<Box<dyn WakeUps>>>,
    turn: Turn,
}

impl VirtualTimeBackend {
    /// A backend on a server.
    pub fn valkey() -> Self {
        static SHARED: Shared = Shared::new();
        Self::on(SHARED.take(|| Host::One(Mutex::new(Server::valkey()))))
    }

    /// A backend on a cluster of three primaries.
    pub fn cluster() -> Self {
        static SHARED: Shared = Shared::new();
        Self::on(SHARED.take(|| Host::Three(Cluster::three())))
    }

    fn on(turn: Turn) -> Self {
        // In the test's time the server is never late.
        let patience = PATIENCE.as_millis();
        let options = format!("response_timeout_ms={patience}&poll_grace_ms={patience}");
        let url = format!("{}?{options}", turn.host.url());
        let target = Target::parse(&url).expect("a server has a URL");
        let target = target.with_library(Library::of(&text()));
        let (backend, markers) = wait(async {
            let backend = ValkeyBackend::open(target).await.expect("the server can be used");
            let mut markers = backend.subscribe(vec![marker()]).expect("there are wake-ups");
            arrived(&mut *markers).await;
            (backend, markers)
        });
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            backend,
            origin: Instant::now(),
            origin_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            clocks: Mutex::default(),
            calls: AtomicUsize::new(0),
            subscribers: Arc::default(),
            markers: Arc::new(tokio::sync::Mutex::new(markers)),
            turn,
        }
    }

    /// Makes the store lose everything.
    pub fn lose_everything(&self, loss: Loss) {
        self.turn.host.clear(loss);
        lock(&self.clocks).clear();
    }

    fn now(&self) -> TimestampMs {
        let elapsed = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        TimestampMs::new(self.origin_ms.saturating_add(elapsed))
    }

    fn handle(&self, request: Request) -> Result<Reply, Failure> {
        let calls = self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(calls < MAX_CALLS, "the scenario makes no progress");
        let (now, partition) = (self.now(), partition_of(&request));
        // A request over a bound is answered with the time of another partition.
        for partition in [partition, Partition::META] {
            self.set_clock(partition, now)?;
        }
        let (polls, rings) = (matches!(request, Request::Poll(_)), may_ring(&request));
        let mut reply = self.send(request)?;
        if polls {
            set_time(&mut reply, now);
        }
        assert_eq!(reply.at, now, "the library returns the time of the test");
        if rings && self.subscribers.load(Ordering::SeqCst) > 0 {
            self.send(commit(partition, |unit| unit.ring = vec![marker()]))?;
            let markers = self.markers.clone();
            wait(async move { arrived(&mut **markers.lock().await).await });
        }
        Ok(reply)
    }

    /// Sets the clock of a partition: a value that belongs to no execution.
    fn set_clock(&self, partition: Partition, now: TimestampMs) -> Result<(), Failure> {
        let mut clocks = lock(&self.clocks);
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

impl EngineBackend for VirtualTimeBackend {
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
            // After the initial wake-up it receives all others.
            arrived(&mut *wake_ups).await;
            Some(wake_ups)
        })?;
        self.subscribers.fetch_add(1, Ordering::SeqCst);
        Some(Box::new(Subscriber { wake_ups, subscribers: self.subscribers.clone() }))
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

/// Wake-ups that count as a subscriber until they are dropped.
struct Subscriber {
    wake_ups: Box<dyn WakeUps>,
    subscribers: Arc<AtomicUsize>,
}

impl WakeUps for Subscriber {
    fn next(&mut self) -> BoxFuture<'_, Option<Option<Wake>>> {
        self.wake_ups.next()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.subscribers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The library with its two changes.
fn text() -> String {
    let mut text = TEXT.to_owned();
    for (from, to) in CHANGES {
        assert_eq!(text.matches(from).count(), 1, "the library contains this once: {from}");
        text = text.replacen(from, to, 1);
    }
    assert!(!text.contains("'TIME'"), "the library reads the time elsewhere too");
    text
}

/// Runs a future on a runtime with real time, and blocks the test's thread until it ends.
pub(crate) fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().expect("threads can be started")
    });
    let (sender, receiver) = mpsc::channel();
    runtime.spawn(async move {
        let _ = sender.send(work.await);
    });
    receiver.recv().expect("the future does not panic")
}

/// Waits for a wake-up, which must arrive.
async fn arrived(wake_ups: &mut dyn WakeUps) {
    let wake = tokio::time::timeout(PATIENCE, wake_ups.next()).await;
    assert!(matches!(wake, Ok(Some(_))), "no wake-up arrives: {wake:?}");
}

/// A topic that no scenario subscribes to.
const fn marker() -> Topic {
    Topic::Journal(Partition { family: PartitionFamily::Worker, index: u16::MAX })
}

/// Whether a request may ring a wake-up.
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
