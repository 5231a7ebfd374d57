//! The reader of all journals that the subscribers of a process share.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ff_core::backend::{
    CompletionCursor, CompletionFilter, CompletionPosition, Completions, CursorError, EngineBackend,
};
use tokio::sync::broadcast;
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
}

/// A reader at work.
struct Running {
    /// It ends when the reader ends, also with the tokio runtime in which it was started.
    steps: broadcast::WeakSender<Steps>,
    /// The position in each partition after the steps that were passed on; empty until the first
    /// ones were.
    positions: Vec<CompletionPosition>,
}

/// A subscription to the steps of the reader.
pub(super) struct Subscription {
    /// All steps from `positions` on. They end when the reader ends.
    pub(super) steps: broadcast::Receiver<Steps>,
    /// The position of the reader in each partition; empty if it has none yet: then the first steps
    /// lead to it.
    pub(super) positions: Vec<CompletionPosition>,
}

/// The most steps that are passed on together.
const MAX_STEPS: usize = 64;
/// How often steps were passed on, at most, since those that a subscriber has taken.
const MAX_BEHIND: usize = 1_024;
/// The longest time for which a position without a completion is not passed on.
const TELL_EVERY: Duration = Duration::from_secs(1);

impl SharedReader {
    pub(super) fn new(store: Arc<dyn EngineBackend>) -> Self {
        Self { store, latest: Mutex::new(None) }
    }

    pub(super) fn store(&self) -> &Arc<dyn EngineBackend> {
        &self.store
    }

    /// Subscribes to the steps of the reader, and starts one if none runs.
    pub(super) fn subscribe(self: &Arc<Self>) -> Subscription {
        let mut latest = lock(&self.latest);
        if let Some(running) = &*latest
            && let Some(steps) = running.steps.upgrade()
        {
            return Subscription { steps: steps.subscribe(), positions: running.positions.clone() };
        }
        let (sender, steps) = broadcast::channel(MAX_BEHIND);
        *latest = Some(Running { steps: sender.downgrade(), positions: Vec::new() });
        tokio::spawn(self.clone().run(sender));
        Subscription { steps, positions: Vec::new() }
    }

    /// Reads, and passes on the steps, until there are no subscriptions.
    async fn run(self: Arc<Self>, steps: broadcast::Sender<Steps>) {
        let (end, all) = (CompletionCursor::end(), CompletionFilter::default());
        let mut reader = JournalCompletions::new(self.store.clone(), end, all);
        loop {
            tokio::select! {
                Err(_) = self.pass_on(&mut reader, &steps) => {
                    // Each subscriber reads by itself, and gets the error.
                    return;
                }
                () = steps.closed() => {
                    let _latest = lock(&self.latest);
                    if steps.receiver_count() == 0 {
                        drop(steps);
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
        steps: &broadcast::Sender<Steps>,
    ) -> Result<Infallible, CursorError> {
        reader.ready().await?;
        let place = |(partition, position): (usize, &CompletionPosition)| Step {
            partition: partition as u16,
            position: *position,
            item: None,
        };
        self.tell(reader.positions().iter().enumerate().map(place).collect(), steps);
        // The positions after the latest steps, where those yielded no completion.
        let mut quiet = BTreeMap::new();
        let mut told_at = Instant::now();
        loop {
            reader.look().await?;
            let mut read = Vec::new();
            while let Some(step) = reader.step() {
                if step.item.is_some() {
                    quiet.remove(&step.partition);
                    read.push(step);
                } else {
                    quiet.insert(step.partition, step.position);
                }
            }
            if !read.is_empty() || (!quiet.is_empty() && told_at.elapsed() >= TELL_EVERY) {
                let place = |(partition, position)| Step { partition, position, item: None };
                read.extend(std::mem::take(&mut quiet).into_iter().map(place));
                self.tell(read, steps);
                told_at = Instant::now();
            }
        }
    }

    /// Passes on steps.
    fn tell(&self, mut read: Vec<Step>, steps: &broadcast::Sender<Steps>) {
        let mut latest = lock(&self.latest);
        let Some(running) = &mut *latest else { return };
        for step in &read {
            take_place(&mut running.positions, step);
        }
        while !read.is_empty() {
            let rest = read.split_off(read.len().min(MAX_STEPS));
            // Without subscribers they are not needed.
            let _ = steps.send(std::mem::replace(&mut read, rest).into());
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
