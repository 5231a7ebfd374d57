//! Reading the journals of all partitions: completions as a stream, with a cursor from which a
//! later subscriber goes on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ff_core::backend::{
    BoxFuture, CompletionBackend, CompletionCursor, CompletionFilter, CompletionItem,
    CompletionPlace, Completions, CursorError, EngineBackend, WakeUps,
};
use ff_core::entropy::Entropy;
use ff_core::execution::Event;
use ff_core::id::ExecutionId;
use ff_core::op::{Patience, Query, ReadMeta, Terms};
use ff_core::partition::Partition;
use ff_core::store::bounds::MAX_PAGE;
use ff_core::store::codec::Codec;
use ff_core::store::{Cursor, JournalEntry, StreamEntry, StreamId, StreamName, StreamPage, Topic};
use ff_core::time::{DurationMs, TimestampMs};
use tokio::time::Instant;

use crate::drive::drive;
use crate::host::{HostClock, system_entropy};

/// Completions read from the journals of a store, over any backend. It wakes with the backend, and
/// looks by itself every second. A store that does not answer is asked again for as long as it
/// takes.
pub struct JournalCompletions {
    backend: Arc<dyn EngineBackend>,
    clock: HostClock,
    entropy: Entropy,
    codec: Codec,
    filter: CompletionFilter,
    from: CompletionCursor,
    /// The place in each partition, behind what was yielded; none until their number is known.
    places: Vec<CompletionPlace>,
    /// In how many partitions the place was looked at: an end has to be fixed first.
    fixed: usize,
    /// When to look even if nobody wakes it.
    look_at: Option<Instant>,
    wakes: Option<Box<dyn WakeUps>>,
    unread: VecDeque<u16>,
    /// What is left of the page that was read last.
    steps: VecDeque<Step>,
}

/// One step through a page.
struct Step {
    partition: u16,
    /// Where it leads.
    place: CompletionPlace,
    /// What is yielded on the way; the last step of a page passes what the filter leaves out.
    item: Option<CompletionItem>,
}

/// A page of a partition's journal.
struct Page {
    partition: u16,
    /// The history of the store in which it was read.
    history: u64,
    entries: Vec<StreamEntry>,
    /// The place behind it.
    end: StreamId,
    gap: bool,
}

/// The completions of any store, from its journals: what to hand to
/// [`FlowFabricWorker::connect_with`](crate::FlowFabricWorker::connect_with) beside a backend that
/// is no [`CompletionBackend`] itself.
///
/// ```
/// use std::sync::Arc;
/// use ff_sdk::{FlowFabricWorker, JournalBackend, WorkerConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = ff_sdk::open("memory:").await?;
/// let completions = Arc::new(JournalBackend::new(store.clone()));
/// let config = WorkerConfig::new("worker", "worker-1", "demo")?;
/// let worker = FlowFabricWorker::connect_with(config, store, Some(completions)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct JournalBackend(Arc<dyn EngineBackend>);

impl JournalBackend {
    /// The completions of this store.
    pub fn new(store: Arc<dyn EngineBackend>) -> Self {
        Self(store)
    }
}

impl CompletionBackend for JournalBackend {
    fn completions(
        &self,
        from: CompletionCursor,
        filter: CompletionFilter,
    ) -> Box<dyn Completions> {
        Box::new(JournalCompletions::new(self.0.clone(), from, filter))
    }
}

impl std::fmt::Debug for JournalBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalBackend").field("store", &self.0.name()).finish()
    }
}

/// How long to wait for a wake-up before looking anyway.
const BACKSTOP: Duration = Duration::from_secs(1);

impl JournalCompletions {
    /// Completions from a place on: the start of what is kept, the end, or where another
    /// subscriber was.
    pub fn new(
        backend: Arc<dyn EngineBackend>,
        from: CompletionCursor,
        filter: CompletionFilter,
    ) -> Self {
        Self {
            backend,
            clock: HostClock::new(),
            entropy: system_entropy(),
            codec: Codec::default(),
            filter,
            from,
            places: Vec::new(),
            fixed: 0,
            look_at: None,
            wakes: None,
            unread: VecDeque::new(),
            steps: VecDeque::new(),
        }
    }

    /// Learns how many partitions there are, subscribes, and fixes the place in each. The end of a
    /// journal has to be fixed before anything is waited for.
    async fn begin(&mut self) -> Result<(), CursorError> {
        if self.places.is_empty() {
            let Some(count) = self.count_partitions().await else {
                // Nobody has set the store up yet, or it does not answer.
                tokio::time::sleep(BACKSTOP).await;
                return Ok(());
            };
            let places = self.from.places(count)?;
            let topics = (0..count).map(|index| Topic::Journal(Partition::flow(index))).collect();
            self.wakes = self.backend.subscribe(topics);
            self.places = places;
        }
        // One after the other, so that a caller who is dropped midway goes on where it was.
        while let Some(place) = self.places.get(self.fixed).copied() {
            if place == CompletionPlace::End {
                let Some(page) = self.page(self.fixed as u16, place).await else {
                    // The store does not answer: it is asked again after the backstop.
                    tokio::time::sleep(BACKSTOP).await;
                    return Ok(());
                };
                self.places[self.fixed] = page.behind();
            }
            self.fixed += 1;
        }
        self.unread = (0..self.places.len() as u16).collect();
        Ok(())
    }

    /// Whether the place in each partition is fixed.
    const fn is_ready(&self) -> bool {
        !self.places.is_empty() && self.fixed == self.places.len()
    }

    async fn count_partitions(&mut self) -> Option<u16> {
        let read = ReadMeta::new(self.patience());
        let meta = drive(&*self.backend, &self.clock, read).await.ok()??;
        Some(meta.partitions.num_flow_partitions)
    }

    /// A page behind a place; `None` when the store does not answer.
    async fn page(&mut self, partition: u16, from: CompletionPlace) -> Option<Page> {
        let page = StreamPage {
            partition: Partition::flow(partition),
            stream: StreamName::Journal,
            from: from.cursor(),
            limit: MAX_PAGE as u32,
        };
        let query = Query::stream(page, self.patience());
        let (page, _) = drive(&*self.backend, &self.clock, query).await.ok()?;
        match page.next {
            Cursor::After { history, id: end } => {
                Some(Page { partition, history, entries: page.entries, end, gap: page.gap })
            }
            // A store that does not say where its page ends has not answered.
            Cursor::Start | Cursor::End => None,
        }
    }

    fn patience(&mut self) -> Patience {
        let terms = Terms::new(DurationMs::from_secs(5), self.codec.clone());
        Patience::new(terms, self.entropy.fork())
    }

    /// Reads one page of the first partition that may have more.
    async fn read(&mut self, index: u16) {
        let place = self.places[usize::from(index)];
        let Some(page) = self.page(index, place).await else {
            // The store does not answer: it is asked again after the backstop.
            tokio::time::sleep(BACKSTOP).await;
            return;
        };
        if page.entries.len() < MAX_PAGE {
            self.unread.retain(|unread| *unread != index);
        }
        page.steps(place, &self.codec, &self.filter, &mut self.steps);
    }

    /// Waits for a wake-up, or for the backstop.
    async fn wait(&mut self) {
        let look_at = *self.look_at.get_or_insert_with(|| Instant::now() + BACKSTOP);
        let wake = async {
            match &mut self.wakes {
                Some(wakes) => wakes.next().await,
                None => std::future::pending().await,
            }
        };
        match tokio::time::timeout_at(look_at, wake).await {
            Ok(Some(Some(wake))) => self.unread.push_back(wake.partition.index),
            Ok(None) => self.wakes = None,
            Ok(Some(None)) | Err(_) => {
                self.unread.extend(0..self.places.len() as u16);
                self.look_at = None;
            }
        }
    }
}

impl Completions for JournalCompletions {
    fn ready(&mut self) -> BoxFuture<'_, Result<(), CursorError>> {
        Box::pin(async {
            while !self.is_ready() {
                self.begin().await?;
            }
            Ok(())
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<CompletionItem>, CursorError>> {
        Box::pin(async {
            loop {
                while let Some(step) = self.steps.pop_front() {
                    self.places[usize::from(step.partition)] = step.place;
                    if step.item.is_some() {
                        return Ok(step.item);
                    }
                }
                if !self.is_ready() {
                    self.begin().await?;
                } else if let Some(index) = self.unread.front().copied() {
                    self.read(index).await;
                } else {
                    self.wait().await;
                }
            }
        })
    }

    fn cursor(&self) -> CompletionCursor {
        match self.places.is_empty() {
            true => self.from.clone(),
            false => CompletionCursor::of(self.places.clone()),
        }
    }
}

impl Page {
    /// The place behind it.
    const fn behind(&self) -> CompletionPlace {
        CompletionPlace::After { history: self.history, id: self.end }
    }

    /// The steps through it, from the place where it was read from. Each leads to the place exactly
    /// behind its item, so that a subscriber can go on between any two.
    fn steps(
        self,
        from: CompletionPlace,
        codec: &Codec,
        filter: &CompletionFilter,
        steps: &mut VecDeque<Step>,
    ) {
        let (partition, history, behind) = (self.partition, self.history, self.behind());
        let lost = || CompletionItem::Gap { partition: Partition::flow(partition) };
        let within = |id, events| CompletionPlace::Within { history, id, events };
        if self.gap {
            // It may be that nothing is kept.
            let place = self.entries.first().map_or(behind, |first| within(first.id, 0));
            steps.push_back(Step { partition, place, item: Some(lost()) });
        }
        for entry in self.entries {
            let id = entry.id;
            let done = match from {
                CompletionPlace::Within { id: begun, events, .. } if begun == id && !self.gap => {
                    events
                }
                _ => 0,
            };
            let after = CompletionPlace::After { history, id };
            let Ok(journal) = codec.decode::<JournalEntry>(&entry.entry) else {
                // What it tells is in the records, if this program is not too old for them too.
                match steps.back_mut().filter(|last| last.item == Some(lost())) {
                    Some(last) => last.place = after,
                    None => steps.push_back(Step { partition, place: after, item: Some(lost()) }),
                }
                continue;
            };
            let last =
                journal.events.iter().rposition(|event| matches!(event, Event::Ended { .. }));
            for (number, event) in journal.events.into_iter().enumerate().skip(done as usize) {
                let Some(item) = completion(journal.execution, event, id.at, filter) else {
                    continue;
                };
                // Behind the last one nothing is left, so that the entry may go.
                let place = match last == Some(number) {
                    true => after,
                    false => within(id, number as u32 + 1),
                };
                steps.push_back(Step { partition, place, item: Some(item) });
            }
        }
        steps.push_back(Step { partition, place: behind, item: None });
    }
}

/// The item that an event is, if it is a completion and passes.
fn completion(
    execution_id: ExecutionId,
    event: Event,
    at: TimestampMs,
    filter: &CompletionFilter,
) -> Option<CompletionItem> {
    let Event::Ended { namespace, lane, tags, outcome, failure } = event else { return None };
    filter.passes(&namespace, &lane, &tags).then_some(CompletionItem::Completed {
        execution_id,
        namespace,
        lane,
        tags,
        outcome,
        failure,
        at,
    })
}
