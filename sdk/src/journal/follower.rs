//! A subscriber that shares the reader of the journals with others.

use std::sync::Arc;

use ff_core::backend::{
    BoxFuture, CompletionCursor, CompletionFilter, CompletionItem, CompletionPosition, Completions,
    CursorError,
};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::reader::JournalCompletions;
use super::shared::{SharedReader, Steps, Subscription, take_place};

/// A stream of completions. It reads by itself until it is where the shared reader is, and then
/// takes that reader's steps.
pub(super) struct Follower {
    shared: Arc<SharedReader>,
    filter: CompletionFilter,
    state: State,
}

enum State {
    /// Has not begun to follow from the end.
    AtEnd,
    /// Reads by itself. It subscribes once it is ready.
    Behind(Box<JournalCompletions>, Option<Subscription>),
    Live(Live),
}

/// The part of a stream that takes the steps of the shared reader.
struct Live {
    received: Receiver<Steps>,
    /// The position in each partition, after the items that were yielded.
    positions: Vec<CompletionPosition>,
    /// The steps received last, and how many of them it has taken.
    steps: Option<(Steps, usize)>,
}

/// The outcome of one turn.
enum Turn {
    Item(CompletionItem),
    Continue,
    /// It is where the shared reader is.
    Join(Receiver<Steps>),
    /// It reads by itself: the shared reader has ended, or is too far ahead.
    Leave,
}

impl Follower {
    pub(super) fn new(
        shared: Arc<SharedReader>,
        from: CompletionCursor,
        filter: CompletionFilter,
    ) -> Self {
        let mut follower = Self { shared, filter, state: State::AtEnd };
        if from != CompletionCursor::end() {
            follower.read_from(from);
        }
        follower
    }

    /// Begins to read by itself.
    fn read_from(&mut self, from: CompletionCursor) {
        let (store, filter) = (self.shared.store().clone(), self.filter.clone());
        let reader = JournalCompletions::new(store, from, filter);
        self.state = State::Behind(Box::new(reader), None);
    }

    /// Cancel safe.
    async fn turn(&mut self) -> Result<Turn, CursorError> {
        match &mut self.state {
            // The shared reader may wait for a partition that does not answer.
            State::AtEnd => Ok(Turn::Leave),
            State::Behind(reader, subscription) => {
                while let Some(step) = reader.step() {
                    if let Some(item) = step.item {
                        return Ok(Turn::Item(item));
                    }
                }
                if !reader.is_ready() {
                    reader.look().await?;
                    return Ok(Turn::Continue);
                }
                let subscribed = match subscription.take() {
                    Some(subscribed) => subscribed,
                    None => self.shared.subscribe(),
                };
                if subscribed.is_reached_by(reader.positions()) {
                    return Ok(Turn::Join(subscribed.steps));
                }
                let Subscription { steps, positions } = subscription.insert(subscribed);
                tokio::select! {
                    looked = reader.look() => looked?,
                    received = steps.recv(), if positions.is_empty() => match received {
                        Ok(steps) => steps.iter().for_each(|step| take_place(positions, step)),
                        Err(_) => *subscription = None,
                    },
                }
                Ok(Turn::Continue)
            }
            State::Live(live) => {
                if let Some(item) = live.next_item(&self.filter) {
                    return Ok(Turn::Item(item));
                }
                match live.received.recv().await {
                    Ok(steps) => live.steps = Some((steps, 0)),
                    Err(RecvError::Closed | RecvError::Lagged(_)) => return Ok(Turn::Leave),
                }
                Ok(Turn::Continue)
            }
        }
    }
}

impl Completions for Follower {
    fn ready(&mut self) -> BoxFuture<'_, Result<(), CursorError>> {
        Box::pin(async {
            if matches!(self.state, State::AtEnd) {
                match self.shared.subscribe_to_end().await {
                    Some(Subscription { steps: received, positions }) => {
                        self.state = State::Live(Live { received, positions, steps: None });
                    }
                    None => self.read_from(CompletionCursor::end()),
                }
            }
            match &mut self.state {
                State::Behind(reader, _) => reader.ready().await,
                State::AtEnd | State::Live(_) => Ok(()),
            }
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<CompletionItem>, CursorError>> {
        Box::pin(async {
            loop {
                match self.turn().await? {
                    Turn::Item(item) => return Ok(Some(item)),
                    Turn::Continue => {}
                    Turn::Join(received) => {
                        let State::Behind(reader, _) = &self.state else { continue };
                        let positions = reader.positions().to_vec();
                        self.state = State::Live(Live { received, positions, steps: None });
                    }
                    Turn::Leave => self.read_from(self.cursor()),
                }
            }
        })
    }

    fn cursor(&self) -> CompletionCursor {
        match &self.state {
            State::AtEnd => CompletionCursor::end(),
            State::Behind(reader, _) => reader.cursor(),
            State::Live(live) => CompletionCursor::of(live.positions.clone()),
        }
    }
}

impl Live {
    /// Takes steps up to the next item that passes the filter.
    fn next_item(&mut self, filter: &CompletionFilter) -> Option<CompletionItem> {
        let (steps, taken) = self.steps.as_mut()?;
        while let Some(step) = steps.get(*taken) {
            *taken += 1;
            let position = &mut self.positions[usize::from(step.partition)];
            if !is_after(step.position, *position) {
                // It has read this step by itself.
                continue;
            }
            *position = step.position;
            if let Some(item) = step.item.as_ref().filter(|item| passes(item, filter)) {
                return Some(item.clone());
            }
        }
        self.steps = None;
        None
    }
}

impl Subscription {
    /// Whether these positions are in no partition before that of the shared reader.
    fn is_reached_by(&self, positions: &[CompletionPosition]) -> bool {
        self.positions.len() == positions.len()
            && !self.positions.iter().zip(positions).any(|(shared, own)| is_after(*shared, *own))
    }
}

/// Whether a position comes after another one in the same partition. One of another history does:
/// which of the two is the later one cannot be known, and to read again loses nothing.
fn is_after(position: CompletionPosition, other: CompletionPosition) -> bool {
    let place = |position| match position {
        CompletionPosition::Start | CompletionPosition::End => None,
        CompletionPosition::After { history, id } => Some((history, id, u32::MAX)),
        CompletionPosition::Within { history, id, events } => Some((history, id, events)),
    };
    match (place(position), place(other)) {
        (Some((one, id, events)), Some((two, other_id, other_events))) => {
            one != two || (id, events) > (other_id, other_events)
        }
        (Some(_), None) => true,
        (None, _) => false,
    }
}

fn passes(item: &CompletionItem, filter: &CompletionFilter) -> bool {
    match item {
        CompletionItem::Completed { namespace, lane, tags, .. } => {
            filter.passes(namespace, lane, tags)
        }
        _ => true,
    }
}
