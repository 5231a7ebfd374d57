//! Wake-ups: one connection for all subscribers of this process.
//!
//! A wake-up is a hint; nothing depends on its arrival. After a subscription, and after a broken
//! connection, subscribers get a wake-up without a partition: wake-ups may have been missed, so
//! the subscribers must look into every partition.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ff_core::backend::{BoxFuture, WakeUps};
use ff_core::store::{Topic, Wake};
use futures_util::StreamExt;
use redis::aio::{PubSub, PubSubSink};
use redis::{Msg, RedisResult, Value};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::topology::Topology;
use crate::wire;

/// Wake-ups queued for one subscriber; further ones are reported as missed.
const MAX_QUEUED: usize = 1_024;
/// The interval of pings on an idle connection, and the time limit of each call on it.
const PING: Duration = Duration::from_secs(5);
/// The wait before connecting again.
const PAUSE: Duration = Duration::from_millis(100);

/// The topic and the subscribers of each channel.
type Subscribers = BTreeMap<Vec<u8>, (Topic, Vec<Subscriber>)>;

/// The channels with subscribers.
#[derive(Default)]
struct Channels(Mutex<Subscribers>);

#[derive(Clone)]
struct Subscriber {
    /// `None` means that wake-ups may have been missed.
    sender: mpsc::Sender<Option<Wake>>,
    missed: Arc<AtomicBool>,
}

impl Subscriber {
    /// Queues a wake-up; returns `false` when the subscriber was dropped.
    fn send(&self, wake: Option<Wake>) -> bool {
        match self.sender.try_send(wake) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.missed.store(true, Ordering::Release),
            Err(TrySendError::Closed(_)) => return false,
        }
        true
    }
}

/// The subscriptions of this process. A task receives the wake-ups. It ends when the hub and all
/// subscriptions are dropped.
pub(super) struct Hub {
    channels: Arc<Channels>,
    changes: mpsc::UnboundedSender<Change>,
}

enum Change {
    /// Channels to subscribe to, and the subscriber, which must then look into every partition.
    Listen(Vec<Vec<u8>>, Subscriber),
    /// Channels that may have no subscribers any more.
    Leave(Vec<Vec<u8>>),
}

impl Hub {
    /// Starts the task that receives wake-ups, on the current tokio runtime.
    pub(super) fn start(topology: Arc<Topology>) -> Self {
        let channels = Arc::new(Channels::default());
        let (changes, received) = mpsc::unbounded_channel();
        tokio::spawn(listen(topology, channels.clone(), received));
        Self { channels, changes }
    }

    /// Subscribes to topics. The first wake-up has no partition, since others may have been missed
    /// before the subscription.
    pub(super) fn subscribe(&self, topics: Vec<Topic>) -> Box<dyn WakeUps> {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED);
        let missed = Arc::new(AtomicBool::new(false));
        let subscriber = Subscriber { sender, missed: missed.clone() };
        let names: Vec<Vec<u8>> = topics.iter().map(Topic::channel).collect();
        for (name, topic) in names.iter().zip(topics) {
            let mut channels = self.channels.lock();
            channels.entry(name.clone()).or_insert((topic, Vec::new())).1.push(subscriber.clone());
        }
        // This fails only if the task has ended together with its tokio runtime. Then no wake-ups
        // arrive, and the subscriber finds work by polling.
        let _ = self.changes.send(Change::Listen(names.clone(), subscriber));
        Box::new(Subscription { receiver, missed, names, changes: self.changes.clone() })
    }
}

impl Channels {
    fn lock(&self) -> MutexGuard<'_, Subscribers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a wake-up without a partition to all subscribers.
    fn wake_all(&self) {
        for (_, subscribers) in self.lock().values_mut() {
            subscribers.retain(|subscriber| subscriber.send(None));
        }
    }

    /// Passes a message to the subscribers of its channel.
    fn wake(&self, message: &Msg) {
        let mut channels = self.lock();
        let name = message.get_channel_name().as_bytes();
        let Some((topic, subscribers)) = channels.get_mut(name) else { return };
        let Some(wake) = wire::wake(topic, message.get_payload_bytes()) else { return };
        subscribers.retain(|subscriber| subscriber.send(Some(wake.clone())));
    }

    /// Removes dropped subscribers. Returns the channels that have no subscribers any more.
    fn leave(&self, mut names: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut channels = self.lock();
        names.retain(|name| {
            let Some((_, subscribers)) = channels.get_mut(name) else { return false };
            subscribers.retain(|subscriber| !subscriber.sender.is_closed());
            subscribers.is_empty() && channels.remove(name).is_some()
        });
        names
    }
}

/// Receives wake-ups until the last handle is dropped.
async fn listen(
    topology: Arc<Topology>,
    channels: Arc<Channels>,
    mut changes: mpsc::UnboundedReceiver<Change>,
) {
    // The connection is opened with the first subscription.
    let Some(first) = changes.recv().await else { return };
    if let Change::Listen(_, subscriber) = &first {
        subscriber.send(None);
    }
    let mut turn = 0;
    loop {
        // Every node of a cluster publishes all wake-ups.
        let nodes = topology.primaries();
        let node = &nodes[turn % nodes.len()];
        turn += 1;
        match node.subscriptions().await {
            Ok(connection) => match serve(connection, &channels, &mut changes).await {
                Ok(()) => return,
                Err(problem) => tracing::debug!(node = node.name, problem, "wake-ups interrupted"),
            },
            Err(problem) => tracing::debug!(node = node.name, problem, "cannot receive wake-ups"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Receives wake-ups on one connection, until it breaks or the last handle is dropped.
async fn serve(
    connection: PubSub,
    channels: &Channels,
    changes: &mut mpsc::UnboundedReceiver<Change>,
) -> Result<(), String> {
    let (mut sink, mut messages) = connection.split();
    let names: Vec<Vec<u8>> = channels.lock().keys().cloned().collect();
    within(sink_listen(&mut sink, &names)).await?;
    channels.wake_all();
    loop {
        tokio::select! {
            biased;
            change = changes.recv() => match change {
                None => return Ok(()),
                Some(Change::Listen(names, subscriber)) => {
                    let listening = within(sink_listen(&mut sink, &names)).await;
                    subscriber.send(None);
                    listening?;
                }
                Some(Change::Leave(names)) => {
                    let names = channels.leave(names);
                    if !names.is_empty() {
                        within(sink.unsubscribe(&names)).await?;
                    }
                }
            },
            message = messages.next() => match message {
                Some(message) => channels.wake(&message),
                None => return Err("the connection was closed".to_owned()),
            },
            () = tokio::time::sleep(PING) => drop(within(sink.ping::<Value>()).await?),
        }
    }
}

async fn sink_listen(sink: &mut PubSubSink, names: &[Vec<u8>]) -> RedisResult<()> {
    if names.is_empty() { Ok(()) } else { sink.subscribe(names).await }
}

async fn within<T>(call: impl Future<Output = RedisResult<T>>) -> Result<T, String> {
    match tokio::time::timeout(PING, call).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("the server does not answer".to_owned()),
    }
}

struct Subscription {
    receiver: mpsc::Receiver<Option<Wake>>,
    missed: Arc<AtomicBool>,
    names: Vec<Vec<u8>>,
    changes: mpsc::UnboundedSender<Change>,
}

impl WakeUps for Subscription {
    fn next(&mut self) -> BoxFuture<'_, Option<Option<Wake>>> {
        Box::pin(async {
            if self.missed.swap(false, Ordering::Acquire) {
                return Some(None);
            }
            self.receiver.recv().await
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.receiver.close();
        let _ = self.changes.send(Change::Leave(std::mem::take(&mut self.names)));
    }
}
