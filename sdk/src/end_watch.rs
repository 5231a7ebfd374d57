//! Waiting for the ends of executions. The waiters of one partition share one task, which receives
//! the wake-ups of the partition and reads its journal. So an end costs the store one page of the
//! journal and one read by the waiter, however many wait.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ff_core::backend::WakeUps;
use ff_core::error::EngineError;
use ff_core::execution::Event;
use ff_core::id::ExecutionId;
use ff_core::op::Query;
use ff_core::partition::Partition;
use ff_core::store::bounds::MAX_PAGE;
use ff_core::store::codec::Codec;
use ff_core::store::{Cursor, JournalEntry, StreamName, StreamPage, Streamed, Topic};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};

use crate::shared::{Connection, lock};
use crate::wake_ups::{drain, wait_for};

/// The longest time between two looks of a task.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A waiter reads its record after so many seconds although the journal names no end. Such a read
/// finds a record that cannot be read any more.
const CHECK_AFTER: usize = 30;
/// Up to so many waiters read their records after each wake-up. For more, the journal says whose
/// execution has ended.
const FEW: usize = 2;
/// The most waiters of a partition that read their records at the same time.
const MAX_READS: usize = 16;
/// A waiter that is not woken for so long starts another task: the tokio runtime of the task exists
/// and is not run.
const STALLED: Duration = Duration::from_secs(90);

/// The waiters of a client.
pub(crate) struct EndWatches {
    connection: Arc<Connection>,
    table: Mutex<Table>,
}

/// The waiters by partition.
#[derive(Default)]
struct Table {
    partitions: BTreeMap<Partition, Waiters>,
    next_number: u64,
}

/// A waiter: its execution and its number.
type Key = (ExecutionId, u64);

/// The waiters of one partition, which has a task.
struct Waiters {
    /// Each gets `Ok` when it must read its record, and an error when the store does not answer.
    senders: BTreeMap<Key, mpsc::Sender<Result<(), EngineError>>>,
    /// The waiters that must read once more, since their executions may have ended before they
    /// began to wait.
    new: Vec<Key>,
    /// The waiter that was woken last for a check.
    checked: Option<Key>,
    shared: Arc<Shared>,
}

/// The part that the waiters and the task share.
struct Shared {
    /// Notifies the task of a waiter that begins or ends.
    changed: Notify,
    reads: Arc<Semaphore>,
}

/// One waiter. Dropping it ends its wait.
pub(crate) struct EndWatch<'a> {
    watches: &'a Arc<EndWatches>,
    key: Key,
    woken: mpsc::Receiver<Result<(), EngineError>>,
    shared: Arc<Shared>,
}

impl EndWatches {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, table: Mutex::default() }
    }

    /// Begins to wait for the end of an execution, on the current tokio runtime.
    pub(crate) fn watch(self: &Arc<Self>, id: &ExecutionId) -> EndWatch<'_> {
        let (sender, woken) = mpsc::channel(1);
        let (key, shared, begins) = lock(&self.table).add(id, sender);
        if begins {
            let task = WatchTask {
                watches: self.clone(),
                partition: id.partition(),
                shared: shared.clone(),
                wake_ups: None,
                cursor: None,
                look_at: Instant::now(),
                checked_at: Instant::now(),
            };
            tokio::spawn(task.run());
        }
        shared.changed.notify_one();
        EndWatch { watches: self, key, woken, shared }
    }
}

impl Table {
    /// Adds a waiter. Returns whether its partition needs a task.
    fn add(
        &mut self,
        id: &ExecutionId,
        sender: mpsc::Sender<Result<(), EngineError>>,
    ) -> (Key, Arc<Shared>, bool) {
        let key = (*id, self.next_number);
        self.next_number += 1;
        let mut begins = false;
        let waiters = self.partitions.entry(id.partition()).or_insert_with(|| {
            begins = true;
            let (changed, reads) = (Notify::new(), Arc::new(Semaphore::new(MAX_READS)));
            let shared = Arc::new(Shared { changed, reads });
            Waiters { senders: BTreeMap::new(), new: Vec::new(), checked: None, shared }
        });
        waiters.senders.insert(key, sender);
        waiters.new.push(key);
        (key, waiters.shared.clone(), begins)
    }

    /// The waiters of a task, unless another task has its partition.
    fn of(&mut self, partition: Partition, shared: &Arc<Shared>) -> Option<&mut Waiters> {
        let waiters = self.partitions.get_mut(&partition);
        waiters.filter(|waiters| Arc::ptr_eq(&waiters.shared, shared))
    }

    /// Ends a task. If it has waiters, they start another one.
    fn end(&mut self, partition: Partition, shared: &Arc<Shared>) {
        if self.of(partition, shared).is_some() {
            self.partitions.remove(&partition);
            shared.changed.notify_one();
        }
    }
}

impl Waiters {
    fn wake_all(&mut self, woken: &Result<(), EngineError>) {
        self.new.clear();
        // A waiter that is already woken is about to read.
        self.senders.values().for_each(|sender| drop(sender.try_send(woken.clone())));
    }

    fn wake_new(&mut self) {
        let new = std::mem::take(&mut self.new);
        let there = new.iter().filter_map(|key| self.senders.get(key));
        there.for_each(|sender| drop(sender.try_send(Ok(()))));
    }

    /// Wakes the next waiters for a check. Each has its turn in [`CHECK_AFTER`] calls.
    fn wake_some(&mut self) {
        let count = self.senders.len().div_ceil(CHECK_AFTER);
        let rest = (self.checked.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        self.checked = None;
        for (key, sender) in self.senders.range(rest).take(count) {
            drop(sender.try_send(Ok(())));
            self.checked = Some(*key);
        }
    }

    /// Wakes the waiters whose executions have ended in a page.
    fn wake_ended(&mut self, page: Streamed, codec: &Codec) {
        for entry in page.entries {
            match codec.decode::<JournalEntry>(&entry.entry) {
                Ok(journal) if journal.events.iter().any(is_end) => {
                    let of = (journal.execution, 0)..=(journal.execution, u64::MAX);
                    self.senders.range(of).for_each(|(_, sender)| drop(sender.try_send(Ok(()))));
                }
                Ok(_) => {}
                // It may be an end. This program cannot read it.
                Err(_) => self.wake_all(&Ok(())),
            }
        }
    }
}

impl EndWatch<'_> {
    /// Waits until the execution may have ended. The caller reads its record while it holds the
    /// permit.
    ///
    /// Cancel safe.
    pub(crate) async fn may_have_ended(&mut self) -> Result<OwnedSemaphorePermit, EngineError> {
        loop {
            match timeout(STALLED, self.woken.recv()).await {
                Ok(Some(woken)) => break woken?,
                // The task has ended with its tokio runtime.
                Ok(None) => *self = self.watches.watch(&self.key.0),
                Err(_) => lock(&self.watches.table).end(self.key.0.partition(), &self.shared),
            }
        }
        Ok(self.shared.reads.clone().acquire_owned().await.expect("it is never closed"))
    }
}

impl Drop for EndWatch<'_> {
    fn drop(&mut self) {
        let (mut table, partition) = (lock(&self.watches.table), self.key.0.partition());
        let Some(waiters) = table.of(partition, &self.shared) else { return };
        waiters.senders.remove(&self.key);
        self.shared.changed.notify_one();
        if waiters.senders.is_empty() {
            table.end(partition, &self.shared);
        }
    }
}

/// The task of a partition. It ends with the last waiter.
struct WatchTask {
    watches: Arc<EndWatches>,
    partition: Partition,
    shared: Arc<Shared>,
    wake_ups: Option<Box<dyn WakeUps>>,
    /// The position in the journal. Executions that ended before were read by their waiters.
    cursor: Option<Cursor>,
    /// The time of the next look without a wake-up.
    look_at: Instant,
    /// The time of the last checks.
    checked_at: Instant,
}

impl Drop for WatchTask {
    /// If the task ends with its tokio runtime, the waiters start another one.
    fn drop(&mut self) {
        lock(&self.watches.table).end(self.partition, &self.shared);
    }
}

impl WatchTask {
    async fn run(mut self) {
        let backend = &self.watches.connection.backend;
        self.wake_ups = backend.subscribe(vec![Topic::Journal(self.partition)]);
        let mut is_woken = true;
        while let Some(count) = self.count() {
            // The reads that follow find the ends of all wake-ups so far.
            is_woken |= drain(&mut self.wake_ups);
            let mut has_more = false;
            if count <= FEW {
                self.cursor = None;
                if is_woken {
                    self.with(|waiters| waiters.wake_all(&Ok(())));
                }
            } else if is_woken || self.cursor.is_none() {
                has_more = self.look().await;
            }
            self.with(Waiters::wake_new);
            if self.checked_at.elapsed() >= LOOK_EVERY {
                self.checked_at = Instant::now();
                self.with(Waiters::wake_some);
            }
            if is_woken {
                self.look_at = Instant::now() + LOOK_EVERY;
            }
            is_woken = has_more || self.is_woken().await;
        }
    }

    /// The number of waiters. `None` ends the task.
    fn count(&self) -> Option<usize> {
        let mut table = lock(&self.watches.table);
        table.of(self.partition, &self.shared).map(|waiters| waiters.senders.len())
    }

    fn with(&self, change: impl FnOnce(&mut Waiters)) {
        if let Some(waiters) = lock(&self.watches.table).of(self.partition, &self.shared) {
            change(waiters);
        }
    }

    /// Reads the next page of the journal, and wakes the waiters whose executions have ended.
    /// Returns whether the journal has more.
    async fn look(&mut self) -> bool {
        let connection = &self.watches.connection;
        let (partition, stream) = (self.partition, StreamName::Journal);
        let from = self.cursor.unwrap_or(Cursor::End);
        let page = StreamPage { partition, stream, from, limit: MAX_PAGE as u32 };
        match connection.drive(Query::stream(page, connection.patience())).await {
            Ok((page, _)) => {
                let has_more = page.entries.len() == MAX_PAGE;
                let begins = self.cursor.is_none() || page.gap;
                // A page without a position is not a valid answer.
                self.cursor = Some(page.next).filter(|next| matches!(next, Cursor::After { .. }));
                self.with(|waiters| match begins {
                    true => waiters.wake_all(&Ok(())),
                    false => waiters.wake_ended(page, connection.context().codec()),
                });
                has_more
            }
            Err(error) => {
                self.with(|waiters| waiters.wake_all(&Err(error)));
                false
            }
        }
    }

    /// Waits for a wake-up or the time of the next look; returns `false` if the waiters change.
    async fn is_woken(&mut self) -> bool {
        tokio::select! {
            biased;
            _ = wait_for(&mut self.wake_ups, self.look_at) => true,
            () = self.shared.changed.notified() => false,
        }
    }
}

const fn is_end(event: &Event) -> bool {
    matches!(event, Event::Ended { .. })
}
