//! The table of a hub: which subscriber listens to which channel, and the changes that the
//! connection needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ff_core::store::{Topic, Wake};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::wire;

/// Wake-ups queued for one subscriber; further ones are reported as missed.
const MAX_QUEUED: usize = 1_024;

/// The name of a channel.
pub(super) type Name = Vec<u8>;

/// The subscribers of this process, and the state of the connection.
#[derive(Default)]
pub(super) struct Table {
    subscribers: BTreeMap<u64, Subscriber>,
    /// The channels that have subscribers.
    channels: BTreeMap<Name, Channel>,
    /// The channels that the connection subscribes to, as far as its commands were sent.
    subscribed: BTreeSet<Name>,
    /// Includes each channel that is in only one of `channels` and `subscribed`.
    changed: BTreeSet<Name>,
    /// The subscribers that get their first wake-up when their channels are subscribed.
    new: BTreeSet<u64>,
    next_id: u64,
}

struct Subscriber {
    /// `None` means that wake-ups may have been missed.
    sender: mpsc::Sender<Option<Wake>>,
    missed: Arc<AtomicBool>,
    channels: Vec<Name>,
}

struct Channel {
    topic: Topic,
    subscribers: BTreeSet<u64>,
}

/// The receiving end of a subscriber.
pub(super) struct Inbox {
    pub(super) id: u64,
    receiver: mpsc::Receiver<Option<Wake>>,
    missed: Arc<AtomicBool>,
}

/// Changes of the connection, and the subscribers that get their first wake-up after them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) subscribe: Vec<Name>,
    pub(super) unsubscribe: Vec<Name>,
    pub(super) new: BTreeSet<u64>,
}

impl Inbox {
    /// Waits for the next wake-up; `None` if wake-ups may have been missed. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Wake> {
        if self.missed.swap(false, Ordering::Acquire) {
            return None;
        }
        // The table keeps the sender until the subscriber leaves.
        self.receiver.recv().await.flatten()
    }
}

impl Subscriber {
    fn send(&self, wake: Option<Wake>) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(wake) {
            self.missed.store(true, Ordering::Release);
        }
    }
}

impl Table {
    /// Adds a subscriber.
    pub(super) fn join(&mut self, topics: Vec<Topic>) -> Inbox {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED);
        let (id, missed) = (self.next_id, Arc::new(AtomicBool::new(false)));
        self.next_id += 1;
        let mut names = Vec::with_capacity(topics.len());
        for topic in topics {
            let name = topic.channel();
            if !self.subscribed.contains(&name) {
                self.changed.insert(name.clone());
            }
            let new = || Channel { topic, subscribers: BTreeSet::new() };
            self.channels.entry(name.clone()).or_insert_with(new).subscribers.insert(id);
            names.push(name);
        }
        self.new.insert(id);
        let subscriber = Subscriber { sender, missed: missed.clone(), channels: names };
        self.subscribers.insert(id, subscriber);
        Inbox { id, receiver, missed }
    }

    /// Removes a subscriber.
    pub(super) fn leave(&mut self, id: u64) {
        self.new.remove(&id);
        let Some(subscriber) = self.subscribers.remove(&id) else { return };
        for name in subscriber.channels {
            let Some(channel) = self.channels.get_mut(&name) else { continue };
            channel.subscribers.remove(&id);
            if !channel.subscribers.is_empty() {
                continue;
            }
            self.channels.remove(&name);
            if self.subscribed.contains(&name) {
                self.changed.insert(name);
            } else {
                self.changed.remove(&name);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Returns the changes that the connection needs now, and counts them as sent. `None` if it
    /// needs none.
    pub(super) fn take_changes(&mut self) -> Option<Changes> {
        if self.changed.is_empty() && self.new.is_empty() {
            return None;
        }
        let mut changes = Changes { new: std::mem::take(&mut self.new), ..Changes::default() };
        for name in std::mem::take(&mut self.changed) {
            if !self.channels.contains_key(&name) {
                if self.subscribed.remove(&name) {
                    changes.unsubscribe.push(name);
                }
            } else if self.subscribed.insert(name.clone()) {
                changes.subscribe.push(name);
            }
        }
        Some(changes)
    }

    /// Notes that there is no connection. The next one subscribes to all channels, and then all
    /// subscribers get a wake-up, since they may have missed others.
    pub(super) fn disconnect(&mut self) {
        self.subscribed.clear();
        self.changed = self.channels.keys().cloned().collect();
        self.new = self.subscribers.keys().copied().collect();
    }

    /// Sends these subscribers a wake-up without a partition.
    pub(super) fn wake_new(&self, new: &BTreeSet<u64>) {
        let there = new.iter().filter_map(|id| self.subscribers.get(id));
        there.for_each(|subscriber| subscriber.send(None));
    }

    /// Sends all subscribers a wake-up without a partition.
    pub(super) fn wake_all(&self) {
        self.subscribers.values().for_each(|subscriber| subscriber.send(None));
    }

    /// Passes a message to the subscribers of its channel.
    pub(super) fn wake(&self, name: &[u8], message: &[u8]) {
        let Some(Channel { topic, subscribers }) = self.channels.get(name) else { return };
        let Some(wake) = wire::wake(topic, message) else { return };
        let there = subscribers.iter().filter_map(|id| self.subscribers.get(id));
        there.for_each(|subscriber| subscriber.send(Some(wake.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_core::entropy::Entropy;
    use ff_core::partition::Partition;
    use futures_util::FutureExt;

    impl Table {
        /// The number of elements that it holds.
        pub(in super::super) fn size(&self) -> usize {
            let known = self.subscribers.len() + self.channels.len() + self.subscribed.len();
            known + self.changed.len() + self.new.len()
        }
    }

    fn topic(number: u16) -> Topic {
        Topic::Journal(Partition::flow(number))
    }

    fn names(numbers: &[u16]) -> Vec<Name> {
        numbers.iter().map(|number| topic(*number).channel()).collect()
    }

    /// The subscriptions of a connection change only for the first and the last subscriber of a
    /// channel.
    #[test]
    fn changes_are_what_the_connection_lacks() {
        let mut table = Table::default();
        let (first, second) = (table.join(vec![topic(0), topic(1)]), table.join(vec![topic(1)]));
        let changes = table.take_changes().unwrap();
        assert_eq!((&changes.subscribe, changes.unsubscribe.len()), (&names(&[0, 1]), 0));
        assert_eq!(changes.new, BTreeSet::from([first.id, second.id]));
        assert_eq!(table.take_changes(), None);
        table.leave(first.id);
        let unsubscribe = names(&[0]);
        assert_eq!(table.take_changes(), Some(Changes { unsubscribe, ..Changes::default() }));
        // A subscriber of a channel that is subscribed only waits for its first wake-up.
        let third = table.join(vec![topic(1)]);
        let new = BTreeSet::from([third.id]);
        assert_eq!(table.take_changes(), Some(Changes { new, ..Changes::default() }));
        table.disconnect();
        let changes = table.take_changes().unwrap();
        assert_eq!((changes.subscribe, changes.new.len()), (names(&[1]), 2));
        [second.id, third.id].into_iter().for_each(|id| table.leave(id));
        assert!(table.is_empty());
    }

    /// Whatever happens, the connection subscribes to the channels with subscribers after each
    /// change, and nothing remains of subscribers that left.
    #[test]
    fn the_connection_follows_the_subscribers() {
        let mut entropy = Entropy::from_u64(3);
        let (mut table, mut server) = (Table::default(), BTreeSet::new());
        let mut inboxes: Vec<Inbox> = Vec::new();
        for _ in 0..10_000 {
            match entropy.below(10) {
                0..5 => inboxes.push(table.join(vec![topic(entropy.below(8) as u16), topic(8)])),
                5..9 if !inboxes.is_empty() => {
                    let left = inboxes.swap_remove(entropy.below(inboxes.len() as u64) as usize);
                    table.leave(left.id);
                }
                9 if entropy.below(20) == 0 => {
                    table.disconnect();
                    server.clear();
                }
                _ => {
                    let changes = table.take_changes().unwrap_or_default();
                    assert!(changes.unsubscribe.iter().all(|name| server.remove(name)));
                    assert!(changes.subscribe.into_iter().all(|name| server.insert(name)));
                    assert!(server.iter().eq(table.channels.keys()));
                    table.wake_new(&changes.new);
                    for new in inboxes.iter_mut().filter(|inbox| changes.new.contains(&inbox.id)) {
                        assert_eq!(new.next().now_or_never(), Some(None));
                    }
                }
            }
            assert!(inboxes.iter_mut().all(|inbox| inbox.next().now_or_never().is_none()));
        }
        for inbox in inboxes {
            table.leave(inbox.id);
        }
        table.take_changes();
        assert_eq!(table.size(), 0);
    }

    /// A subscriber whose queue is full learns that it missed wake-ups.
    #[test]
    fn wake_ups_beyond_the_queue_are_reported_as_missed() {
        let mut table = Table::default();
        let mut inbox = table.join(vec![topic(0)]);
        let message = Partition::flow(0).to_string();
        (0..=MAX_QUEUED).for_each(|_| table.wake(&topic(0).channel(), message.as_bytes()));
        assert_eq!(inbox.next().now_or_never(), Some(None));
        for _ in 0..MAX_QUEUED {
            assert!(matches!(inbox.next().now_or_never(), Some(Some(_))));
        }
        assert_eq!(inbox.next().now_or_never(), None);
    }
}
