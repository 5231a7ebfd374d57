//! Wake-ups: the subscribers of this process.
//!
//! A wake-up is a hint; nothing depends on its arrival. The writer rings the subscribers of its own
//! process when a transaction is committed, before it answers the calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ff_core::backend::{BoxFuture, WakeUps};
use ff_core::store::{Topic, Wake};
use tokio::sync::mpsc::{self, error::TrySendError};

/// Wake-ups queued for one subscriber; further ones are reported as missed.
const MAX_QUEUED: usize = 1_024;

/// The subscriptions of this process.
#[derive(Default)]
pub(crate) struct Hub {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    subscribers: BTreeMap<u64, Subscriber>,
    topics: BTreeMap<Topic, BTreeSet<u64>>,
    next_id: u64,
}

struct Subscriber {
    /// `None` means that wake-ups may have been missed.
    sender: mpsc::Sender<Option<Wake>>,
    missed: Arc<AtomicBool>,
    topics: Vec<Topic>,
}

impl Subscriber {
    fn send(&self, wake: Option<Wake>) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(wake) {
            self.missed.store(true, Ordering::Release);
        }
    }
}

impl Hub {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes to topics.
    pub(crate) fn subscribe(self: &Arc<Self>, topics: Vec<Topic>) -> Box<dyn WakeUps> {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED);
        let missed = Arc::new(AtomicBool::new(false));
        let mut table = self.table();
        let id = table.next_id;
        table.next_id += 1;
        for topic in &topics {
            table.topics.entry(topic.clone()).or_default().insert(id);
        }
        table.subscribers.insert(id, Subscriber { sender, missed: missed.clone(), topics });
        Box::new(Subscription { hub: self.clone(), id, receiver, missed })
    }

    /// Returns how many subscribers of this process listen to a topic.
    pub(crate) fn listeners(&self, topic: &Topic) -> u64 {
        self.table().topics.get(topic).map_or(0, |ids| ids.len() as u64)
    }

    /// Passes wake-ups to their subscribers.
    pub(crate) fn ring(&self, wakes: &[Wake]) {
        let table = self.table();
        for wake in wakes {
            let ids = table.topics.get(&wake.topic).into_iter().flatten();
            let there = ids.filter_map(|id| table.subscribers.get(id));
            there.for_each(|subscriber| subscriber.send(Some(wake.clone())));
        }
    }

    /// Ends all subscriptions.
    pub(crate) fn close(&self) {
        let mut table = self.table();
        table.subscribers.clear();
        table.topics.clear();
    }
}

struct Subscription {
    hub: Arc<Hub>,
    id: u64,
    receiver: mpsc::Receiver<Option<Wake>>,
    missed: Arc<AtomicBool>,
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
        let mut table = self.hub.table();
        let Some(left) = table.subscribers.remove(&self.id) else { return };
        for topic in left.topics {
            if let Some(ids) = table.topics.get_mut(&topic) {
                ids.remove(&self.id);
                if ids.is_empty() {
                    table.topics.remove(&topic);
                }
            }
        }
    }
}
