//! Wake-ups: the subscribers of this process, and those of others.
//!
//! A wake-up is a hint; nothing depends on its arrival. The writer rings the subscribers in its
//! process when a transaction is committed, before it answers the calls, and writes the wake-ups
//! into the table `ff_wake`, for other processes. While this process has subscribers, a thread asks
//! SQLite whether another connection has changed the file, and then reads the table. If rows that
//! it has not read are gone, the subscribers must look into every partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ff_core::backend::{BoxFuture, WakeUps};
use ff_core::partition::Partition;
use ff_core::score::Score;
use ff_core::store::{FirstOf, IndexName, Topic, Wake};
use rusqlite::{Connection, Result, params};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::location::{Location, OpenError};
use crate::{failure, schema};

/// Wake-ups queued for one subscriber; further ones are reported as missed.
const MAX_QUEUED: usize = 1_024;
/// The wake-ups that the table keeps.
const KEPT: i64 = 1_024;
/// The time between two questions to SQLite within [`BUSY`] of the last change, and at most.
const SHORTEST: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(20);
const BUSY: Duration = Duration::from_secs(1);

/// A wake-up with the channel of its topic.
pub(crate) struct Rung {
    channel: Vec<u8>,
    wake: Wake,
}

impl From<Wake> for Rung {
    fn from(wake: Wake) -> Self {
        Self { channel: wake.topic.channel(), wake }
    }
}

/// Writes wake-ups into the table, inside a transaction. `teller` is the number of this backend.
pub(crate) fn tell(db: &Connection, teller: i64, rung: &[Rung]) -> Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO ff_wake (teller, topic, p, score, queue) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for Rung { channel, wake } in rung {
        let first = wake.first.as_ref();
        let score = first.map(|first| first.score.get());
        let queue = first.map(|first| &first.index).filter(|index| index.listed_in().is_some());
        let queue = queue.map(IndexName::listed_name);
        insert.execute(params![teller, channel, wake.partition.column(), score, queue])?;
    }
    if !rung.is_empty() {
        let mut delete = db.prepare_cached("DELETE FROM ff_wake WHERE id <= ?1")?;
        delete.execute([db.last_insert_rowid() - KEPT])?;
    }
    Ok(())
}

/// The subscriptions of this process.
#[derive(Default)]
pub(crate) struct Hub {
    table: Mutex<Table>,
    changed: Condvar,
}

#[derive(Default)]
struct Table {
    subscribers: BTreeMap<u64, Subscriber>,
    channels: BTreeMap<Vec<u8>, Channel>,
    next_id: u64,
    is_over: bool,
}

struct Subscriber {
    /// `None` means that wake-ups may have been missed.
    sender: mpsc::Sender<Option<Wake>>,
    missed: Arc<AtomicBool>,
    channels: Vec<Vec<u8>>,
}

struct Channel {
    topic: Topic,
    subscribers: BTreeSet<u64>,
}

impl Subscriber {
    fn send(&self, wake: Option<Wake>) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(wake) {
            self.missed.store(true, Ordering::Release);
        }
    }
}

impl Table {
    fn ring(&self, channel: &[u8], wake: &Wake) {
        let ids = self.channels.get(channel).into_iter().flat_map(|channel| &channel.subscribers);
        let there = ids.filter_map(|id| self.subscribers.get(id));
        there.for_each(|subscriber| subscriber.send(Some(wake.clone())));
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
        let mut channels = Vec::with_capacity(topics.len());
        for topic in topics {
            let channel = topic.channel();
            let new = || Channel { topic, subscribers: BTreeSet::new() };
            let entry = table.channels.entry(channel.clone());
            entry.or_insert_with(new).subscribers.insert(id);
            channels.push(channel);
        }
        table.subscribers.insert(id, Subscriber { sender, missed: missed.clone(), channels });
        self.changed.notify_all();
        Box::new(Subscription { hub: self.clone(), id, receiver, missed })
    }

    /// Returns how many subscribers of this process listen to a topic.
    pub(crate) fn listeners(&self, topic: &Topic) -> u64 {
        let table = self.table();
        table.channels.get(&topic.channel()).map_or(0, |it| it.subscribers.len() as u64)
    }

    /// Passes wake-ups to their subscribers.
    pub(crate) fn ring(&self, rung: &[Rung]) {
        let table = self.table();
        rung.iter().for_each(|rung| table.ring(&rung.channel, &rung.wake));
    }

    /// Ends all subscriptions.
    fn close(&self) {
        let mut table = self.table();
        table.is_over = true;
        table.subscribers.clear();
        table.channels.clear();
        self.changed.notify_all();
    }

    /// Waits until there are subscribers. Returns `false` when there will be none.
    fn has_subscribers(&self) -> bool {
        let waits = |table: &mut Table| table.subscribers.is_empty() && !table.is_over;
        let waited = self.changed.wait_while(self.table(), waits);
        !waited.unwrap_or_else(PoisonError::into_inner).is_over
    }

    /// Waits for this time, or for the end.
    fn pause(&self, time: Duration) {
        let waits = |table: &mut Table| !table.is_over;
        drop(self.changed.wait_timeout_while(self.table(), time, waits));
    }

    /// Passes the wake-ups of other processes to their subscribers; `None` if some were missed.
    fn ring_of_others(&self, told: Option<Vec<Told>>) {
        let table = self.table();
        let Some(told) = told else {
            return table.subscribers.values().for_each(|subscriber| subscriber.send(None));
        };
        for told in told {
            let Some(channel) = table.channels.get(&told.channel) else { continue };
            if let Some(wake) = told.wake(&channel.topic) {
                table.ring(&told.channel, &wake);
            }
        }
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
        for name in left.channels {
            if let Some(channel) = table.channels.get_mut(&name) {
                channel.subscribers.remove(&self.id);
                if channel.subscribers.is_empty() {
                    table.channels.remove(&name);
                }
            }
        }
    }
}

/// A row of the table of another process.
struct Told {
    channel: Vec<u8>,
    p: i64,
    score: Option<i64>,
    queue: Option<Vec<u8>>,
}

impl Told {
    fn wake(&self, topic: &Topic) -> Option<Wake> {
        let index = match (topic, &self.queue) {
            (Topic::Lane { namespace, .. }, Some(queue)) => {
                IndexName::from_listed(namespace, queue)
            }
            (Topic::Due, None) => Some(IndexName::Due),
            _ => None,
        };
        let first = index.zip(self.score);
        let first = first.map(|(index, score)| FirstOf { index, score: Score::new(score) });
        Some(Wake { topic: topic.clone(), partition: Partition::from_column(self.p)?, first })
    }
}

/// The handle of the thread that hears other processes. Dropping it ends all subscriptions, and
/// waits for the thread.
pub(crate) struct Listener {
    hub: Arc<Hub>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Starts the thread of the backend with the number `teller`.
    pub(crate) fn start(
        location: &Location,
        hub: Arc<Hub>,
        teller: i64,
    ) -> std::result::Result<Self, OpenError> {
        let ear = schema::connect_reader(location).and_then(|db| Ear::new(db, teller));
        let ear = ear.map_err(|error| location.busy(failure::text(&error)))?;
        let builder = std::thread::Builder::new().name("ff-sqlite-listener".to_owned());
        let heard = hub.clone();
        let thread = builder.spawn(move || ear.listen(&heard));
        let thread = thread.map_err(|_| location.busy("cannot start a thread"))?;
        Ok(Self { hub, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.hub.close();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has reported it.
            let _ = thread.join();
        }
    }
}

/// A connection that never writes, and how far it has read the table.
struct Ear {
    db: Connection,
    teller: i64,
    /// The last row that was read.
    last: i64,
    version: i64,
}

impl Ear {
    fn new(db: Connection, teller: i64) -> Result<Self> {
        let mut ear = Self { db, teller, last: 0, version: 0 };
        ear.version = ear.data_version()?;
        ear.last = ear.newest()?;
        Ok(ear)
    }

    fn data_version(&self) -> Result<i64> {
        self.db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
    }

    fn newest(&self) -> Result<i64> {
        let mut select = self.db.prepare_cached("SELECT coalesce(max(id), 0) FROM ff_wake")?;
        select.query_row([], |row| row.get(0))
    }

    /// Passes the wake-ups of other processes on while there are subscribers.
    fn listen(mut self, hub: &Hub) {
        let (mut changed, mut pause) = (Instant::now(), SHORTEST);
        while hub.has_subscribers() {
            match self.hear() {
                Ok(Heard::Nothing) if changed.elapsed() < BUSY => pause = SHORTEST,
                Ok(Heard::Nothing) => pause = (pause * 2).min(LONGEST),
                Ok(Heard::Told(told)) => {
                    (changed, pause) = (Instant::now(), SHORTEST);
                    hub.ring_of_others(told);
                }
                Err(error) => {
                    // The file is being closed or is damaged, which calls report.
                    tracing::debug!(%error, "cannot hear other processes");
                    pause = LONGEST;
                }
            }
            hub.pause(pause);
        }
    }

    /// Reads the wake-ups that other processes wrote since the last call.
    fn hear(&mut self) -> Result<Heard> {
        let version = self.data_version()?;
        if version == self.version {
            return Ok(Heard::Nothing);
        }
        let mut select = self.db.prepare_cached(
            "SELECT id, teller, topic, p, score, queue FROM ff_wake WHERE id > ?1 ORDER BY id",
        )?;
        let (mut told, mut last, mut is_whole) = (Vec::new(), self.last, true);
        let mut rows = select.query([self.last])?;
        while let Some(row) = rows.next()? {
            let (id, teller): (i64, i64) = (row.get(0)?, row.get(1)?);
            is_whole &= id == last + 1;
            last = id;
            if teller != self.teller {
                let (channel, p) = (row.get(2)?, row.get(3)?);
                told.push(Told { channel, p, score: row.get(4)?, queue: row.get(5)? });
            }
        }
        drop(rows);
        drop(select);
        if last == self.last {
            // The rows end before those that were read if the file lost calls with the machine.
            let newest = self.newest()?;
            is_whole = newest >= last;
            last = newest;
        }
        (self.version, self.last) = (version, last);
        Ok(Heard::Told(is_whole.then_some(told)))
    }
}

enum Heard {
    /// The file has not changed.
    Nothing,
    /// The wake-ups of other processes; `None` if some were missed.
    Told(Option<Vec<Told>>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_core::id::{ExecutionKind, LaneId, Namespace};
    use std::task::{Context, Poll, Waker};

    fn store() -> (tempfile::TempDir, Location, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::new(folder.path().join("work.db"));
        let db = schema::set_up(&location).unwrap();
        (folder, location, db)
    }

    fn ear(location: &Location, teller: i64) -> Ear {
        Ear::new(schema::connect_reader(location).unwrap(), teller).unwrap()
    }

    fn journal(number: u16) -> Wake {
        let partition = Partition::flow(number);
        Wake { topic: Topic::Journal(partition), partition, first: None }
    }

    /// Wake-ups of every form.
    fn wakes() -> Vec<Wake> {
        let namespace = Namespace::try_new("ns").unwrap();
        let lane = LaneId::try_new("1:l").unwrap();
        let kind = ExecutionKind::try_new("k").unwrap();
        let topic = Topic::Lane { namespace: namespace.clone(), lane: lane.clone() };
        let index = IndexName::Eligible { namespace, lane, kind };
        let first = Some(FirstOf { index, score: Score::new(-7) });
        let due = Some(FirstOf { index: IndexName::Due, score: Score::new(9) });
        let partition = Partition::flow(3);
        vec![
            Wake { topic: topic.clone(), partition, first },
            Wake { topic, partition, first: None },
            Wake { topic: Topic::Due, partition, first: due },
            Wake { topic: Topic::Due, partition, first: None },
            journal(3),
        ]
    }

    fn rung(wakes: Vec<Wake>) -> Vec<Rung> {
        wakes.into_iter().map(Rung::from).collect()
    }

    /// The wake-ups that a subscriber has.
    fn received(wake_ups: &mut dyn WakeUps) -> Vec<Option<Wake>> {
        let mut context = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        while let Poll::Ready(Some(wake)) = wake_ups.next().as_mut().poll(&mut context) {
            all.push(wake);
        }
        all
    }

    /// Reads what another process told, and passes it to the subscribers.
    fn pass_on(ear: &mut Ear, hub: &Hub) {
        match ear.hear().unwrap() {
            Heard::Nothing => {}
            Heard::Told(told) => hub.ring_of_others(told),
        }
    }

    #[test]
    fn another_process_hears_every_form_of_wake_up_once() {
        let (_folder, location, db) = store();
        let (mut mine, mut other) = (ear(&location, 1), ear(&location, 2));
        let hub = Arc::new(Hub::default());
        let topics = wakes().into_iter().map(|wake| wake.topic).collect();
        let mut subscription = hub.subscribe(topics);
        tell(&db, 1, &rung(wakes())).unwrap();
        pass_on(&mut mine, &hub);
        assert_eq!(received(&mut *subscription), [], "the writer has rung its own process");
        pass_on(&mut other, &hub);
        let expected: Vec<Option<Wake>> = wakes().into_iter().map(Some).collect();
        assert_eq!(received(&mut *subscription), expected);
        pass_on(&mut other, &hub);
        tell(&db, 1, &rung(vec![journal(4)])).unwrap();
        pass_on(&mut other, &hub);
        assert_eq!(received(&mut *subscription), [], "this topic has no subscribers");
    }

    #[test]
    fn a_process_that_misses_wake_ups_looks_everywhere() {
        let (_folder, location, db) = store();
        let (mut other, hub) = (ear(&location, 2), Arc::new(Hub::default()));
        let mut subscription = hub.subscribe(vec![journal(3).topic]);
        let many = |count: i64| rung((0..count).map(|_| journal(3)).collect());
        tell(&db, 1, &many(KEPT)).unwrap();
        pass_on(&mut other, &hub);
        let all = received(&mut *subscription);
        assert_eq!((all.len() as i64, all.contains(&None)), (KEPT, false));
        tell(&db, 1, &many(KEPT + 1)).unwrap();
        pass_on(&mut other, &hub);
        assert_eq!(received(&mut *subscription), [None]);
        db.execute("DELETE FROM ff_wake", []).unwrap();
        pass_on(&mut other, &hub);
        assert_eq!(received(&mut *subscription), [None], "the file lost them with the machine");
        tell(&db, 1, &many(1)).unwrap();
        pass_on(&mut other, &hub);
        assert_eq!(received(&mut *subscription), [Some(journal(3))]);
    }

    #[test]
    fn nothing_remains_of_subscribers_that_left_and_a_full_queue_is_reported() {
        let hub = Arc::new(Hub::default());
        let mut subscription = hub.subscribe(vec![journal(1).topic, journal(2).topic]);
        assert_eq!(hub.listeners(&journal(2).topic), 1);
        (0..=MAX_QUEUED).for_each(|_| hub.ring(&rung(vec![journal(1)])));
        let all = received(&mut *subscription);
        assert_eq!((all.len(), &all[0]), (MAX_QUEUED + 1, &None));
        drop(subscription);
        let table = hub.table();
        assert!(table.subscribers.is_empty() && table.channels.is_empty());
    }
}
