//! Wake-ups: one connection for all subscribers of this process.
//!
//! A wake-up is a hint; nothing depends on its arrival. What may have been missed, because nothing
//! was subscribed yet or the connection was broken, is told as "look everywhere".

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ff_core::backend::{BoxFuture, WakeUps};
use ff_core::partition::PartitionKey;
use ff_core::store::{Topic, Wake};
use futures_util::StreamExt;
use redis::aio::{PubSub, PubSubSink};
use redis::{Msg, RedisResult, Value};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::topology::Topology;

/// Wake-ups that wait for one subscriber; beyond it they are counted as missed.
const MAX_WAITING: usize = 1_024;
/// How often an idle connection is asked whether it still lives, and how long it may take.
const PING: Duration = Duration::from_secs(5);
/// The wait before connecting again.
const PAUSE: Duration = Duration::from_millis(100);

/// For each channel its topic, and who is subscribed to it.
type Subscribers = BTreeMap<Vec<u8>, (Topic, Vec<Subscriber>)>;

/// Who is subscribed to what.
#[derive(Default)]
struct Channels(Mutex<Subscribers>);

#[derive(Clone)]
struct Subscriber {
    /// `None` says that some were missed.
    sender: mpsc::Sender<Option<Wake>>,
    missed: Arc<AtomicBool>,
}

impl Subscriber {
    /// Hands a wake-up over; false when nobody listens any more.
    fn tell(&self, wake: Option<Wake>) -> bool {
        match self.sender.try_send(wake) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.missed.store(true, Ordering::Release),
            Err(TrySendError::Closed(_)) => return false,
        }
        true
    }
}

/// The process's subscriptions. Its task ends with the last handle.
pub(super) struct Hub {
    channels: Arc<Channels>,
    changes: mpsc::UnboundedSender<Change>,
}

enum Change {
    /// Channels to listen to, and who is to look everywhere once that is so.
    Listen(Vec<Vec<u8>>, Subscriber),
    /// Channels that nobody may listen to any more.
    Leave(Vec<Vec<u8>>),
}

impl Hub {
    /// Starts the task that listens; it needs a tokio runtime.
    pub(super) fn start(topology: Arc<Topology>) -> Self {
        let channels = Arc::new(Channels::default());
        let (changes, received) = mpsc::unbounded_channel();
        tokio::spawn(listen(topology, channels.clone(), received));
        Self { channels, changes }
    }

    /// Wake-ups for these topics. The first one says to look everywhere: what happened before the
    /// subscription was there is seen by looking once more.
    pub(super) fn subscribe(&self, topics: Vec<Topic>) -> Box<dyn WakeUps> {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let missed = Arc::new(AtomicBool::new(false));
        let subscriber = Subscriber { sender, missed: missed.clone() };
        let names: Vec<Vec<u8>> = topics.iter().map(Topic::channel).collect();
        for (name, topic) in names.iter().zip(topics) {
            let mut channels = self.channels.lock();
            channels.entry(name.clone()).or_insert((topic, Vec::new())).1.push(subscriber.clone());
        }
        // Without the task there are no wake-ups, which the receiver sees as its end.
        let _ = self.changes.send(Change::Listen(names.clone(), subscriber));
        Box::new(Subscription { receiver, missed, names, changes: self.changes.clone() })
    }
}

impl Channels {
    fn lock(&self) -> MutexGuard<'_, Subscribers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody is to look everywhere.
    fn tell_all(&self) {
        for (_, subscribers) in self.lock().values_mut() {
            subscribers.retain(|subscriber| subscriber.tell(None));
        }
    }

    fn tell(&self, message: &Msg) {
        let mut channels = self.lock();
        let name = message.get_channel_name().as_bytes();
        let Some((topic, subscribers)) = channels.get_mut(name) else { return };
        let text = String::from_utf8_lossy(message.get_payload_bytes()).into_owned();
        let Ok(partition) = PartitionKey::new(text).parse() else { return };
        let wake = Wake { topic: topic.clone(), partition };
        subscribers.retain(|subscriber| subscriber.tell(Some(wake.clone())));
    }

    /// Forgets those who have left; the channels that nobody listens to any more.
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

/// Listens for as long as a handle is there.
async fn listen(
    topology: Arc<Topology>,
    channels: Arc<Channels>,
    mut changes: mpsc::UnboundedReceiver<Change>,
) {
    // The first to subscribe opens the connection.
    let Some(first) = changes.recv().await else { return };
    if let Change::Listen(_, subscriber) = &first {
        subscriber.tell(None);
    }
    let mut turn = 0;
    loop {
        // Wake-ups reach every node of a cluster: any will do.
        let nodes = topology.primaries();
        let node = &nodes[turn % nodes.len()];
        turn += 1;
        match node.subscriptions().await {
            Ok(connection) => match serve(connection, &channels, &mut changes).await {
                Ok(()) => return,
                Err(problem) => tracing::debug!(node = node.name, problem, "wake-ups interrupted"),
            },
            Err(problem) => tracing::debug!(node = node.name, problem, "no wake-ups"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Listens on one connection until it breaks, or nobody is left.
async fn serve(
    connection: PubSub,
    channels: &Channels,
    changes: &mut mpsc::UnboundedReceiver<Change>,
) -> Result<(), String> {
    let (mut sink, mut messages) = connection.split();
    let names: Vec<Vec<u8>> = channels.lock().keys().cloned().collect();
    within(sink_listen(&mut sink, &names)).await?;
    channels.tell_all();
    loop {
        tokio::select! {
            biased;
            change = changes.recv() => match change {
                None => return Ok(()),
                Some(Change::Listen(names, subscriber)) => {
                    let listening = within(sink_listen(&mut sink, &names)).await;
                    subscriber.tell(None);
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
                Some(message) => channels.tell(&message),
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
