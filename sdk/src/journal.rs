//! Reading the journals of all partitions: completions as a stream, and one execution's history.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ff_core::backend::{
    BoxFuture, CompletionBackend, CompletionFilter, CompletionItem, Completions, EngineBackend,
    WakeUps,
};
use ff_core::entropy::Entropy;
use ff_core::execution::Event;
use ff_core::op::{Patience, Query, ReadMeta, Terms};
use ff_core::partition::Partition;
use ff_core::store::bounds::MAX_PAGE;
use ff_core::store::codec::{Codec, DecodeError};
use ff_core::store::{Cursor, JournalEntry, StreamEntry, StreamName, StreamPage, Streamed, Topic};
use ff_core::time::DurationMs;
use tokio::time::Instant;

use crate::drive::drive;
use crate::host::{HostClock, system_entropy};

/// Completions read from the journals of a store, over any backend. It wakes with the backend, and
/// looks by itself every second.
pub struct JournalCompletions {
    backend: Arc<dyn EngineBackend>,
    clock: HostClock,
    entropy: Entropy,
    codec: Codec,
    filter: CompletionFilter,
    from: Cursor,
    /// How many partitions there are, once that is known.
    count: Option<u16>,
    /// The place in each partition; those that are missing were not fixed yet.
    places: Vec<Cursor>,
    /// When to look even if nobody wakes it.
    look_at: Option<Instant>,
    wakes: Option<Box<dyn WakeUps>>,
    unread: VecDeque<u16>,
    items: VecDeque<CompletionItem>,
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
    fn completions(&self, from: Cursor, filter: CompletionFilter) -> Box<dyn Completions> {
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
    /// Completions from a place on: the start of what is kept, the end, or behind an entry.
    pub fn new(backend: Arc<dyn EngineBackend>, from: Cursor, filter: CompletionFilter) -> Self {
        Self {
            backend,
            clock: HostClock::new(),
            entropy: system_entropy(),
            codec: Codec::default(),
            filter,
            from,
            count: None,
            places: Vec::new(),
            look_at: None,
            wakes: None,
            unread: VecDeque::new(),
            items: VecDeque::new(),
        }
    }

    /// Learns how many partitions there are, subscribes, and fixes the place in each. The end of a
    /// journal has to be fixed before anything is waited for.
    async fn begin(&mut self) {
        let known = match self.count {
            Some(count) => Some(count),
            None => self.count_partitions().await,
        };
        let Some(count) = known else {
            // Nobody has set the store up yet, or it does not answer.
            tokio::time::sleep(BACKSTOP).await;
            return;
        };
        if self.count.is_none() {
            let topics = (0..count).map(|index| Topic::Journal(Partition::flow(index))).collect();
            self.wakes = self.backend.subscribe(topics);
            self.count = Some(count);
        }
        // One after the other, so that a caller who is dropped midway goes on where it was.
        while let Some(index) = u16::try_from(self.places.len()).ok().filter(|at| *at < count) {
            let place = match self.from {
                Cursor::End => match self.page(index, Cursor::End).await {
                    Some(page) => page.next,
                    None => return,
                },
                from => from,
            };
            self.places.push(place);
        }
        self.unread = (0..count).collect();
    }

    async fn count_partitions(&mut self) -> Option<u16> {
        let read = ReadMeta::new(self.patience());
        let meta = drive(&*self.backend, &self.clock, read).await.ok()??;
        Some(meta.partitions.num_flow_partitions)
    }

    async fn page(&mut self, index: u16, from: Cursor) -> Option<Streamed> {
        let page = StreamPage {
            partition: Partition::flow(index),
            stream: StreamName::Journal,
            from,
            limit: MAX_PAGE as u32,
        };
        let query = Query::stream(page, self.patience());
        drive(&*self.backend, &self.clock, query).await.ok().map(|(page, _)| page)
    }

    fn patience(&mut self) -> Patience {
        let terms = Terms::new(DurationMs::from_secs(5), self.codec.clone());
        Patience::new(terms, self.entropy.fork())
    }

    /// Reads one page of the first partition that may have more.
    async fn read(&mut self, index: u16) {
        let Some(page) = self.page(index, self.places[usize::from(index)]).await else {
            // The store does not answer: it is asked again after the backstop.
            tokio::time::sleep(BACKSTOP).await;
            return;
        };
        self.places[usize::from(index)] = page.next;
        if page.entries.len() < MAX_PAGE {
            self.unread.retain(|unread| *unread != index);
        }
        if page.gap {
            self.items.push_back(CompletionItem::Gap);
        }
        for entry in page.entries {
            match completion(&entry, &self.codec, &self.filter) {
                Ok(completions) => self.items.extend(completions),
                // What it tells is in the records, if this program is not too old for them too.
                Err(_) if self.items.back() == Some(&CompletionItem::Gap) => {}
                Err(_) => self.items.push_back(CompletionItem::Gap),
            }
        }
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
    fn next(&mut self) -> BoxFuture<'_, Option<CompletionItem>> {
        Box::pin(async {
            loop {
                if let Some(item) = self.items.pop_front() {
                    return Some(item);
                }
                if self.count.is_none_or(|count| self.places.len() < usize::from(count)) {
                    self.begin().await;
                } else if let Some(index) = self.unread.front().copied() {
                    self.read(index).await;
                } else {
                    self.wait().await;
                }
            }
        })
    }
}

fn completion(
    entry: &StreamEntry,
    codec: &Codec,
    filter: &CompletionFilter,
) -> Result<Vec<CompletionItem>, DecodeError> {
    let journal = codec.decode::<JournalEntry>(&entry.entry)?;
    let execution_id = journal.execution;
    let ended = journal.events.into_iter().filter_map(|event| match event {
        Event::Ended { namespace, lane, outcome, failure } => {
            let wanted = filter.namespace.as_ref().is_none_or(|wanted| *wanted == namespace)
                && filter.lane.as_ref().is_none_or(|wanted| *wanted == lane);
            let at = entry.id.at;
            wanted.then_some(CompletionItem::Completed { execution_id, outcome, failure, at })
        }
        _ => None,
    });
    Ok(ended.collect())
}
