//! The memory backend: the reference store with a mutex and a clock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use ff_core::backend::{
    BackendReport, BoxFuture, CompletionBackend, CompletionCursor, CompletionFilter, Completions,
    EngineBackend, Finding, FindingLevel, WakeUps,
};
use ff_core::store::{Failure, MemoryStore, Reply, ReplyBody, Request, Topic, Wake};
use ff_core::time::TimestampMs;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::host::system_entropy;
use crate::journal::JournalCompletions;
use crate::shared::lock;

/// A store in this process, for tests and for work that may end with the process (`docs/spec.md`,
/// Stores). Clones are handles to the same store; it is dropped with the last one.
///
/// Its clock is the wall clock at its creation plus the time of tokio's clock since then, so that
/// tokio's paused time works.
///
/// ```
/// use std::sync::Arc;
/// use ff_sdk::{Client, MemoryBackend};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect_with(Arc::new(MemoryBackend::new()), "demo").await?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryBackend(Arc<Inner>);

struct Inner {
    store: Mutex<MemoryStore>,
    origin: Instant,
    origin_ms: u64,
    calls: AtomicU64,
    subscribers: AtomicUsize,
    topics: Mutex<BTreeMap<Topic, Vec<Subscriber>>>,
}

#[derive(Clone)]
struct Subscriber {
    sender: mpsc::Sender<Wake>,
    missed: Arc<AtomicBool>,
}

/// Wake-ups queued for one subscriber; further ones are reported as missed.
const MAX_QUEUED: usize = 1_024;

impl MemoryBackend {
    /// Creates an empty store.
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(Arc::new(Inner {
            store: Mutex::new(MemoryStore::new(system_entropy().next_u64())),
            origin: Instant::now(),
            origin_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            calls: AtomicU64::new(0),
            subscribers: AtomicUsize::new(0),
            topics: Mutex::new(BTreeMap::new()),
        }))
    }

    /// Runs a function on the store itself, under its lock: for tests and tools. Changes made this
    /// way ring no wake-ups.
    pub fn with_store<T>(&self, access: impl FnOnce(&mut MemoryStore) -> T) -> T {
        access(&mut lock(&self.0.store))
    }

    /// The time of the store's clock.
    pub fn now(&self) -> TimestampMs {
        let elapsed = u64::try_from(self.0.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        TimestampMs::new(self.0.origin_ms.saturating_add(elapsed))
    }

    fn handle(&self, request: Request) -> Result<Reply, Failure> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        let topic = match &request {
            Request::Poll(poll) => poll.listeners.clone(),
            _ => None,
        };
        let (mut reply, wakes) = {
            let mut store = lock(&self.0.store);
            // Read under the lock, so that replies are in the order of their times.
            let reply = store.handle(request, self.now());
            (reply, store.take_wakes())
        };
        if let (Some(topic), ReplyBody::Poll(polled)) = (topic, &mut reply.body) {
            polled.listeners = lock(&self.0.topics).get(&topic).map_or(0, Vec::len) as u64;
        }
        if !wakes.is_empty() && self.0.subscribers.load(Ordering::Relaxed) > 0 {
            self.ring(wakes);
        }
        Ok(reply)
    }

    fn ring(&self, wakes: Vec<Wake>) {
        let mut topics = lock(&self.0.topics);
        for wake in wakes {
            let Some(subscribers) = topics.get_mut(&wake.topic) else { continue };
            subscribers.retain(|subscriber| match subscriber.sender.try_send(wake.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    subscriber.missed.store(true, Ordering::Release);
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            });
            if subscribers.is_empty() {
                topics.remove(&wake.topic);
            }
        }
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBackend").finish_non_exhaustive()
    }
}

impl EngineBackend for MemoryBackend {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(std::future::ready(self.handle(request)))
    }

    fn subscribe(&self, topics: Vec<Topic>) -> Option<Box<dyn WakeUps>> {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED);
        let missed = Arc::new(AtomicBool::new(false));
        let mut known = lock(&self.0.topics);
        for topic in topics {
            let (sender, missed) = (sender.clone(), missed.clone());
            known.entry(topic).or_default().push(Subscriber { sender, missed });
        }
        self.0.subscribers.fetch_add(1, Ordering::Relaxed);
        Some(Box::new(Subscription { backend: self.clone(), receiver, missed }))
    }

    fn report(&self) -> BoxFuture<'_, Result<BackendReport, Failure>> {
        let account = lock(&self.0.store).account();
        let used = account.without_streams() as u64;
        let calls = self.0.calls.load(Ordering::Relaxed);
        let report = BackendReport::new("memory", used, account.streams as u64, calls);
        Box::pin(std::future::ready(Ok(report)))
    }

    fn examine(&self) -> BoxFuture<'_, Result<Vec<Finding>, Failure>> {
        let detail = "in this process; its content is lost when the process ends";
        let finding = Finding::new(FindingLevel::Good, "store", detail);
        Box::pin(std::future::ready(Ok(vec![finding])))
    }
}

impl CompletionBackend for MemoryBackend {
    fn completions(
        &self,
        from: CompletionCursor,
        filter: CompletionFilter,
    ) -> Box<dyn Completions> {
        Box::new(JournalCompletions::new(Arc::new(self.clone()), from, filter))
    }
}

struct Subscription {
    backend: MemoryBackend,
    receiver: mpsc::Receiver<Wake>,
    missed: Arc<AtomicBool>,
}

impl WakeUps for Subscription {
    fn next(&mut self) -> BoxFuture<'_, Option<Option<Wake>>> {
        Box::pin(async {
            if self.missed.swap(false, Ordering::Acquire) {
                return Some(None);
            }
            self.receiver.recv().await.map(Some)
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.receiver.close();
        self.backend.0.subscribers.fetch_sub(1, Ordering::Relaxed);
        // A subscriber is also removed by the next wake-up of its topic, but there may be none.
        let mut topics = lock(&self.backend.0.topics);
        topics.retain(|_, subscribers| {
            subscribers.retain(|subscriber| !subscriber.sender.is_closed());
            !subscribers.is_empty()
        });
    }
}
