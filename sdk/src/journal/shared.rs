//! The reader of all journals that the subscribers of a process share.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ff_core::backend::{
    CompletionCursor, CompletionFilter, CompletionPosition, Completions, CursorError, EngineBackend,
};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;

use super::reader::{JournalCompletions, Step};
use crate::shared::lock;

/// Steps that are passed on together.
pub(super) type Steps = Arc<[Step]>;

/// A reader of the journals of a store, which begins with the first subscription and ends with the
/// last one.
pub(super) struct SharedReader {
    store: Arc<dyn EngineBackend>,
    latest: Mutex<Option<Running>>,
    /// Wakes the reader when a sweep is wanted.
    wanted: Notify,
}

/// A reader at work.
struct Running {
    /// It ends when the reader ends, also with the tokio runtime in which it was started.
    steps: broadcast::WeakSender<Steps>,
    /// The position in each partition after the steps that were passed on; empty until the first
    /// ones were.
    positions: Vec<CompletionPosition>,
    /// The number of the latest sweep that has begun, and of the latest one that is wanted.
    begun: u64,
    wanted: u64,
    /// The number of the latest sweep that is over.
    swept: watch::Receiver<u64>,
}

/// A subscription to the steps of the reader.
pub(super) struct Subscription {
    /// All steps from `positions` on. They end when the reader ends.
    pub(super) steps: broadcast::Receiver<Steps>,
    /// The position of the reader in each partition; empty if it has none yet: then the first steps
    /// lead to it.
    pub(super) positions: Vec<CompletionPosition>,
}

/// The ends that the task of a reader sends on.
struct Task {
    steps: broadcast::Sender<Steps>,
    swept: watch::Sender<u64>,
}

/// The most steps that are passed on together.
const MAX_STEPS: usize = 64;
/// How often steps were passed on, at most, since those that a subscriber has taken.
const MAX_BEHIND: usize = 1_024;
/// The longest time for which a position without a completion is not passed on.
const TELL_EVERY: Duration = Duration::from_secs(1);

impl SharedReader {
    pub(super) fn new(store: Arc<dyn EngineBackend>) -> Self {
        Self { store, latest: Mutex::new(None), wanted: Notify::new() }
    }

    pub(super) fn store(&self) -> &Arc<dyn EngineBackend> {
        &self.store
    }

    /// Subscribes to the steps of the reader, and starts one if none runs.
    pub(super) fn subscribe(self: &Arc<Self>) -> Subscription {
        self.with_reader(|_, subscription| subscription)
    }

    /// Subscribes to the steps from the end of each partition on: of what exists now, the reader
    /// passes on nothing afterwards. `None` if the reader has ended.
    ///
    /// Cancel safe.
    pub(super) async fn subscribe_to_end(self: &Arc<Self>) -> Option<Subscription> {
        // The reader runs as long as there is a subscription.
        let (number, mut swept, _subscription) = self.with_reader(|running, subscription| {
            running.wanted = running.begun + 1;
            (running.wanted, running.swept.clone(), subscription)
        });
        self.wanted.notify_one();
        swept.wait_for(|swept| *swept >= number).await.ok()?;
        Some(self.subscribe()).filter(|subscription| !subscription.positions.is_empty())
    }

    fn with_reader<T>(self: &Arc<Self>, use_it: impl FnOnce(&mut Running, Subscription) -> T) -> T {
        let mut latest = lock(&self.latest);
        if let Some(running) = &mut *latest
            && let Some(steps) = running.steps.upgrade()
        {
            let (steps, positions) = (steps.subscribe(), running.positions.clone());
            return use_it(running, Subscription { steps, positions });
        }
        let (sender, steps) = broadcast::channel(MAX_BEHIND);
        let (swept, sweeps) = watch::channel(0);
        let running = latest.insert(Running {
            steps: sender.downgrade(),
            positions: Vec::new(),
            begun: 0,
            wanted: 0,
            swept: sweeps,
        });
        tokio::spawn(self.clone().run(Task { steps: sender, swept }));
        use_it(running, Subscription { steps, positions: Vec::new() })
    }

    /// Reads, and passes on the steps, until there are no subscriptions.
    async fn run(self: Arc<Self>, task: Task) {
        let (end, all) = (CompletionCursor::end(), CompletionFilter::default());
        let mut reader = JournalCompletions::new(self.store.clone(), end, all);
        loop {
            tokio::select! {
                Err(_) = self.pass_on(&mut reader, &task) => {
                    // Each subscriber reads by itself, and gets the error.
                    return;
                }
                () = task.steps.closed() => {
                    let _latest = lock(&self.latest);
                    if task.steps.receiver_count() == 0 {
                        drop(task);
                        return;
                    }
                }
            }
        }
    }

    /// Reads, and passes on the steps, until the reader fails. Cancel safe: all steps that the
    /// reader has taken before an await were passed on, or their positions will be.
    async fn pass_on(
        &self,
        reader: &mut JournalCompletions,
        task: &Task,
    ) -> Result<Infallible, CursorError> {
        reader.ready().await?;
        let place = |(partition, position): (usize, &CompletionPosition)| Step {
            partition: partition as u16,
            position: *position,
            item: None,
        };
        self.tell(reader.positions().iter().enumerate().map(place).collect(), task);
        // The positions after the latest steps, where those yielded no completion.
        let mut quiet = BTreeMap::new();
        let mut told_at = Instant::now();
        let mut sweep = None;
        loop {
            if sweep.is_none() {
                sweep = self.next_sweep(task);
                if sweep.is_some() {
                    reader.sweep();
                }
            }
            tokio::select! {
                looked = reader.look() => looked?,
                () = self.wanted.notified(), if sweep.is_none() => {}
            }
            let mut read = Vec::new();
            while let Some(step) = reader.step() {
                if step.item.is_some() {
                    quiet.remove(&step.partition);
                    read.push(step);
                } else {
                    quiet.insert(step.partition, step.position);
                }
            }
            let over = sweep.take_if(|_| reader.is_swept());
            let is_late = !quiet.is_empty() && told_at.elapsed() >= TELL_EVERY;
            if !read.is_empty() || over.is_some() || is_late {
                let place = |(partition, position)| Step { partition, position, item: None };
                read.extend(std::mem::take(&mut quiet).into_iter().map(place));
                self.tell(read, task);
                told_at = Instant::now();
            }
            if let Some(number) = over {
                task.swept.send_replace(number);
            }
        }
    }

    /// Begins the sweep that is wanted, if one is. Returns its number.
    fn next_sweep(&self, task: &Task) -> Option<u64> {
        let mut latest = lock(&self.latest);
        let running = latest.as_mut().filter(|running| running.wanted > *task.swept.borrow())?;
        running.begun = running.wanted;
        Some(running.begun)
    }

    /// Passes on steps.
    fn tell(&self, mut read: Vec<Step>, task: &Task) {
        let mut latest = lock(&self.latest);
        let Some(running) = &mut *latest else { return };
        for step in &read {
            take_place(&mut running.positions, step);
        }
        while !read.is_empty() {
            let rest = read.split_off(read.len().min(MAX_STEPS));
            // Without subscribers they are not needed.
            let _ = task.steps.send(std::mem::replace(&mut read, rest).into());
        }
    }
}

/// Notes the position after a step.
pub(super) fn take_place(positions: &mut Vec<CompletionPosition>, step: &Step) {
    let at = usize::from(step.partition);
    if positions.len() <= at {
        positions.resize(at + 1, CompletionPosition::Start);
    }
    positions[at] = step.position;
}
