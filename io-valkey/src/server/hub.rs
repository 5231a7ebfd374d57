//! Wake-ups: one connection for all subscribers of this process.
//!
//! A wake-up is a hint; nothing depends on its arrival. After a subscription, and after a broken
//! connection, subscribers get a wake-up without a partition: wake-ups may have been missed, so
//! the subscribers must look into every partition.
//!
//! Subscribers enter and leave a table under a lock, also while there is no connection. A task
//! makes the connection subscribe to the channels of the table.

mod table;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ff_core::backend::{BoxFuture, WakeUps};
use ff_core::store::{Topic, Wake};
use futures_util::StreamExt;
use redis::aio::{PubSub, PubSubSink};
use redis::{RedisResult, Value};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::node::Node;
use super::topology::Topology;
use super::trouble::Backoff;
use table::{Changes, Inbox, Table};

/// The interval of pings on an idle connection, and the time limit of each call on it.
const PING: Duration = Duration::from_secs(5);
/// A connection that served for this long was a good one: when it breaks, an outage begins.
const SERVED: Duration = Duration::from_secs(1);

/// The subscriptions of this process. A task receives the wake-ups. It ends when the hub and all
/// subscriptions are dropped.
pub(super) struct Hub(Arc<Owner>);

/// The part that the hub and its subscriptions own together.
struct Owner(Arc<Shared>);

/// The part that the task shares.
struct Shared {
    topology: Arc<Topology>,
    table: Mutex<Table>,
    /// Notifies the task of a change of the table, and of the end of the owner.
    changed: Notify,
    is_over: AtomicBool,
    has_task: AtomicBool,
}

impl Hub {
    pub(super) fn new(topology: Arc<Topology>) -> Self {
        let (table, changed) = (Mutex::default(), Notify::new());
        let (is_over, has_task) = (false.into(), false.into());
        Self(Arc::new(Owner(Arc::new(Shared { topology, table, changed, is_over, has_task }))))
    }

    /// Subscribes to topics. The first wake-up has no partition, since others may have been missed
    /// before the subscription.
    pub(super) fn subscribe(&self, topics: Vec<Topic>) -> Box<dyn WakeUps> {
        let owner = self.0.clone();
        let inbox = owner.0.table().join(topics);
        owner.0.changed.notify_one();
        owner.0.start();
        Box::new(Subscription { owner, inbox })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
        self.0.changed.notify_one();
    }
}

struct Subscription {
    owner: Arc<Owner>,
    inbox: Inbox,
}

impl WakeUps for Subscription {
    fn next(&mut self) -> BoxFuture<'_, Option<Option<Wake>>> {
        Box::pin(async {
            self.owner.0.start();
            Some(self.inbox.next().await)
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.owner.0.table().leave(self.inbox.id);
        self.owner.0.changed.notify_one();
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the task on the current tokio runtime, unless it runs.
    fn start(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if !self.has_task.swap(true, Ordering::AcqRel) {
            runtime.spawn(Task(self.clone()).run());
        }
    }

    /// Waits for the first subscriber. Returns `false` when there will be none.
    async fn has_subscribers(&self) -> bool {
        while !self.is_over.load(Ordering::Acquire) {
            if !self.table().is_empty() {
                return true;
            }
            self.changed.notified().await;
        }
        false
    }
}

/// The task that receives wake-ups. If it ends with its runtime, the subscribers get a wake-up, and
/// the first one that waits for the next wake-up starts another task on its own runtime.
struct Task(Arc<Shared>);

impl Drop for Task {
    fn drop(&mut self) {
        let mut table = self.0.table();
        table.disconnect();
        // Before the wake-ups, since a subscriber that gets one may start the next task.
        self.0.has_task.store(false, Ordering::Release);
        table.wake_all();
    }
}

impl Task {
    /// Receives wake-ups until the last handle is dropped.
    async fn run(self) {
        let shared = &*self.0;
        let (mut turn, mut backoff) = (0, Backoff::default());
        while shared.has_subscribers().await {
            // Every node of a cluster publishes all wake-ups.
            let nodes = shared.topology.primaries();
            let node = &nodes[turn % nodes.len()];
            turn += 1;
            let served = match node.subscriptions().await {
                Ok(connection) => {
                    let begun = Instant::now();
                    let served = serve(connection, node, shared).await;
                    if begun.elapsed() > SERVED {
                        backoff.succeeded();
                    }
                    served
                }
                Err(problem) => Err(problem),
            };
            let Err(problem) = served else { return };
            tracing::debug!(node = node.name, problem, "no wake-ups");
            shared.table().disconnect();
            tokio::time::sleep(backoff.failed()).await;
        }
    }
}

/// The call in flight on the connection. Its result are the subscribers that get their first
/// wake-up. There is one call at a time, so that the calls for a channel keep their order.
type Call = Option<BoxFuture<'static, Result<BTreeSet<u64>, String>>>;

/// Receives wake-ups on one connection, until it breaks or the last handle is dropped. It never
/// waits for a call before it receives the next wake-up.
async fn serve(connection: PubSub, node: &Arc<Node>, shared: &Shared) -> Result<(), String> {
    let (sink, mut messages) = connection.split();
    let mut call: Call = None;
    while !shared.is_over.load(Ordering::Acquire) {
        if call.is_none() {
            let changes = shared.table().take_changes();
            call = changes.map(|changes| Box::pin(change(sink.clone(), changes)) as _);
        }
        tokio::select! {
            biased;
            new = ended(&mut call) => shared.table().wake_new(&new?),
            message = messages.next() => match message {
                Some(message) => {
                    let name = message.get_channel_name().as_bytes();
                    shared.table().wake(name, message.get_payload_bytes());
                }
                None => return Err("the connection was closed".to_owned()),
            },
            () = shared.changed.notified() => {}
            () = tokio::time::sleep(PING), if call.is_none() => {
                call = Some(Box::pin(ping(sink.clone(), node.clone())));
                if !shared.topology.primaries().iter().any(|known| Arc::ptr_eq(known, node)) {
                    return Err("the server is not a primary of the store any more".to_owned());
                }
            }
        }
    }
    Ok(())
}

/// Waits for the end of the call; forever if there is none. Cancel safe.
async fn ended(call: &mut Call) -> Result<BTreeSet<u64>, String> {
    let Some(running) = call else { return std::future::pending().await };
    let result = running.await;
    *call = None;
    result
}

/// Subscribes and unsubscribes. Returns the subscribers that get their first wake-up.
async fn change(mut sink: PubSubSink, changes: Changes) -> Result<BTreeSet<u64>, String> {
    let Changes { subscribe, unsubscribe, new } = changes;
    within(async {
        if !subscribe.is_empty() {
            sink.subscribe(subscribe).await?;
        }
        // Without a name it would unsubscribe from all channels.
        if unsubscribe.is_empty() { Ok(()) } else { sink.unsubscribe(unsubscribe).await }
    })
    .await?;
    Ok(new)
}

/// Checks that the connection works, and that it leads to the primary.
async fn ping(mut sink: PubSubSink, node: Arc<Node>) -> Result<BTreeSet<u64>, String> {
    within(sink.ping::<Value>()).await?;
    node.check().await.map(|()| BTreeSet::new()).map_err(|failure| failure.to_string())
}

async fn within<T>(call: impl Future<Output = RedisResult<T>>) -> Result<T, String> {
    match tokio::time::timeout(PING, call).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("the server does not answer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;
    use ff_core::partition::Partition;

    /// Subscribers that come and go while no connection can be opened leave nothing. The others
    /// stay.
    #[tokio::test]
    async fn subscriptions_without_a_connection_end_immediately() {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let target = Target::parse(&format!("valkey://{unused}")).unwrap();
        let hub = Hub::new(Arc::new(Topology::new(target)));
        let topics = |number| vec![Topic::Journal(Partition::flow(number))];
        let _stays = hub.subscribe(topics(0));
        let before = hub.0.0.table().size();
        for number in 0..1_000 {
            let left = hub.subscribe(topics(number));
            tokio::task::yield_now().await;
            drop(left);
            assert_eq!(hub.0.0.table().size(), before);
        }
    }
}
