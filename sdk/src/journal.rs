//! Reading the journals of all partitions: completions as a stream, with a cursor from which a
//! later subscriber goes on.

use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ff_core::backend::{
    BoxFuture, CompletionBackend, CompletionCursor, CompletionFilter, CompletionItem,
    CompletionPlace, Completions, CursorError, EngineBackend, WakeUps,
};
use ff_core::entropy::Entropy;
use ff_core::execution::Event;
use ff_core::id::ExecutionId;
use ff_core::op::{OperationContext, Patience, Query, ReadMeta};
use ff_core::partition::Partition;
use ff_core::store::bounds::MAX_PAGE;
use ff_core::store::codec::Codec;
use ff_core::store::{
    Cursor, JournalEntry, StreamEntry, StreamId, StreamName, StreamPage, Topic, Wake,
};
use ff_core::time::{DurationMs, TimestampMs};
use futures_util::FutureExt;
use tokio::time::Instant;

use crate::drive::drive;
use crate::host::{HostClock, system_entropy};

/// Completions read from the journals of a store, over any backend. It wakes with the backend, and
/// looks by itself every second. A partition that does not answer is asked again for as long as it
/// takes, and holds up no other one; see [`JournalCompletions::unanswered`].
pub struct JournalCompletions {
    backend: Arc<dyn EngineBackend>,
    clock: Arc<HostClock>,
    entropy: Entropy,
    codec: Codec,
    filter: CompletionFilter,
    from: CompletionCursor,
    /// The question how many partitions there are, while it is asked.
    counting: Option<BoxFuture<'static, Option<u16>>>,
    /// The place in each partition, behind what was yielded; none until their number is known. An
    /// end has to be fixed by a read.
    places: Vec<CompletionPlace>,
    /// When to look even if nobody wakes it.
    look_at: Option<Instant>,
    wakes: Option<Box<dyn WakeUps>>,
    /// The partitions that may have something unread; those that were rung go first.
    unread: VecDeque<u16>,
    /// The reads that are under way, at most one in each partition.
    reading: Vec<Reading>,
    /// The partitions whose latest read has failed.
    away: BTreeSet<Partition>,
    /// What is left of the page that was read last.
    steps: VecDeque<Step>,
}

/// A read that is under way.
struct Reading {
    partition: u16,
    begun: Instant,
    /// Gives no page when the store does not answer.
    page: BoxFuture<'static, Option<Page>>,
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
/// How long one read is tried before others go first.
const PATIENCE: DurationMs = DurationMs::new(250);
/// How many reads go on at once. One that has taken long is not counted any more.
const MAX_READS: usize = 4;
/// When a read has taken long: a node that stands still answers none of its partitions.
const LONG: Duration = Duration::from_millis(100);
/// How many wake-ups are taken before reads go on.
const MAX_WAKES: usize = 256;

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
            clock: Arc::new(HostClock::new()),
            entropy: system_entropy(),
            codec: Codec::default(),
            filter,
            from,
            counting: None,
            places: Vec::new(),
            look_at: None,
            wakes: None,
            unread: VecDeque::new(),
            reading: Vec::new(),
            away: BTreeSet::new(),
            steps: VecDeque::new(),
        }
    }

    /// The partitions that do not answer: their latest read has failed, or goes on for more than a
    /// second; that of the store's configuration as long as nothing is known of it. What ends there
    /// is told later. It changes while [`Completions::ready`] or [`Completions::next`] is waited
    /// for.
    pub fn unanswered(&self) -> Vec<Partition> {
        let slow = self.reading.iter().filter(|reading| reading.begun.elapsed() > BACKSTOP);
        let slow = slow.map(|reading| Partition::flow(reading.partition));
        self.away.iter().copied().chain(slow).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether the place in each partition is fixed: [`Completions::ready`] waits for nothing.
    pub fn is_ready(&self) -> bool {
        !self.places.is_empty() && self.places.iter().all(|place| *place != CompletionPlace::End)
    }

    /// Learns how many partitions there are, and subscribes.
    async fn begin(&mut self) -> Result<(), CursorError> {
        if let Some(look_at) = self.look_at {
            tokio::time::sleep_until(look_at).await;
        }
        if self.counting.is_none() {
            let read = ReadMeta::new(self.patience(PATIENCE));
            let (backend, clock) = (self.backend.clone(), self.clock.clone());
            self.counting = Some(Box::pin(async move {
                let meta = drive(&*backend, &clock, read).await.ok()??;
                Some(meta.partitions.num_flow_partitions)
            }));
        }
        let Some(counting) = &mut self.counting else { return Ok(()) };
        let counted = counting.await;
        self.counting = None;
        let Some(count) = counted else {
            // Nobody has set the store up yet, or it does not answer.
            self.away.insert(Partition::META);
            self.look_at = Some(Instant::now() + BACKSTOP);
            return Ok(());
        };
        let places = self.from.places(count)?;
        let topics = (0..count).map(|index| Topic::Journal(Partition::flow(index))).collect();
        self.wakes = self.backend.subscribe(topics);
        self.places = places;
        self.look_at = None;
        self.away.clear();
        self.unread = (0..count).collect();
        Ok(())
    }

    /// A page behind a place; `None` when the store does not answer.
    fn page(&mut self, partition: u16, from: CompletionPlace) -> BoxFuture<'static, Option<Page>> {
        let page = StreamPage {
            partition: Partition::flow(partition),
            stream: StreamName::Journal,
            from: from.cursor(),
            limit: MAX_PAGE as u32,
        };
        // What did not answer last time is asked once, and not again and again.
        let is_away = self.away.contains(&page.partition);
        let patience = if is_away { DurationMs::new(1) } else { PATIENCE };
        let query = Query::stream(page, self.patience(patience));
        let (backend, clock) = (self.backend.clone(), self.clock.clone());
        Box::pin(async move {
            let (page, _) = drive(&*backend, &clock, query).await.ok()?;
            match page.next {
                Cursor::After { history, id: end } => {
                    Some(Page { partition, history, entries: page.entries, end, gap: page.gap })
                }
                // A store that does not say where its page ends has not answered.
                Cursor::Start | Cursor::End => None,
            }
        })
    }

    fn patience(&mut self, allowed: DurationMs) -> Patience {
        Patience::new(OperationContext::new(allowed, self.codec.clone()), self.entropy.fork())
    }

    /// Begins to read what may have something, as far as that many reads can go on; of the
    /// partitions whose place is not fixed only, if that is all that is wanted.
    fn begin_reads(&mut self, only_ends: bool) {
        let mut at = 0;
        while let Some(partition) = self.unread.get(at).copied() {
            let place = self.places[usize::from(partition)];
            let is_read = self.reading.iter().any(|reading| reading.partition == partition);
            if is_read || (only_ends && place != CompletionPlace::End) {
                at += 1;
                continue;
            }
            if self.short_reads().count() >= MAX_READS {
                return;
            }
            self.unread.remove(at);
            let page = self.page(partition, place);
            self.reading.push(Reading { partition, begun: Instant::now(), page });
        }
    }

    /// When the reads that do not take long yet will.
    fn short_reads(&self) -> impl Iterator<Item = Instant> {
        let now = Instant::now();
        self.reading.iter().map(|reading| reading.begun + LONG).filter(move |long| *long > now)
    }

    /// Reads, and waits until something has come of it, for a wake-up, or for the backstop.
    async fn advance(&mut self, only_ends: bool) {
        self.take_wakes();
        if self.look_at.is_some_and(|at| at <= Instant::now()) {
            self.look_everywhere();
        }
        self.begin_reads(only_ends);
        let mut until = *self.look_at.get_or_insert_with(|| Instant::now() + BACKSTOP);
        if !self.unread.is_empty() {
            until = self.short_reads().min().map_or(until, |long| until.min(long));
        }
        let wake = async {
            match &mut self.wakes {
                Some(wakes) => wakes.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            (partition, page) = finished(&mut self.reading) => self.on_page(partition, page),
            wake = wake => self.on_wake(wake),
            () = tokio::time::sleep_until(until) => {}
        }
    }

    fn on_page(&mut self, partition: u16, page: Option<Page>) {
        let Some(page) = page else {
            // It is asked again after the backstop; meanwhile others are.
            self.away.insert(Partition::flow(partition));
            return;
        };
        self.away.remove(&Partition::flow(partition));
        if page.entries.len() == MAX_PAGE && !self.unread.contains(&partition) {
            self.unread.push_back(partition);
        }
        match self.places[usize::from(partition)] {
            CompletionPlace::End => self.places[usize::from(partition)] = page.behind(),
            place => page.steps(place, &self.codec, &self.filter, &mut self.steps),
        }
    }

    /// Takes the wake-ups that are there.
    fn take_wakes(&mut self) {
        for _ in 0..MAX_WAKES {
            let Some(wakes) = &mut self.wakes else { return };
            let Some(wake) = wakes.next().now_or_never() else { return };
            self.on_wake(wake);
        }
    }

    /// What was rung is read first. Anybody can ring: what it names may not exist.
    fn on_wake(&mut self, wake: Option<Option<Wake>>) {
        match wake {
            Some(Some(Wake { partition, .. })) => {
                let index = partition.index;
                if partition == Partition::flow(index) && usize::from(index) < self.places.len() {
                    self.unread.retain(|unread| *unread != index);
                    self.unread.push_front(index);
                }
            }
            Some(None) => self.look_everywhere(),
            None => self.wakes = None,
        }
    }

    /// Looks into each partition, and again after the backstop.
    fn look_everywhere(&mut self) {
        let known: BTreeSet<u16> = self.unread.iter().copied().collect();
        let all = 0..self.places.len() as u16;
        self.unread.extend(all.filter(|index| !known.contains(index)));
        self.look_at = None;
    }
}

/// The first of these reads that ends; never, where there is none.
async fn finished(reading: &mut Vec<Reading>) -> (u16, Option<Page>) {
    poll_fn(|context| {
        for at in 0..reading.len() {
            if let Poll::Ready(page) = reading[at].page.as_mut().poll(context) {
                return Poll::Ready((reading.remove(at).partition, page));
            }
        }
        Poll::Pending
    })
    .await
}

impl Completions for JournalCompletions {
    fn ready(&mut self) -> BoxFuture<'_, Result<(), CursorError>> {
        Box::pin(async {
            while !self.is_ready() {
                match self.places.is_empty() {
                    true => self.begin().await?,
                    false => self.advance(true).await,
                }
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
                match self.places.is_empty() {
                    true => self.begin().await?,
                    false => self.advance(false).await,
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

impl std::fmt::Debug for JournalCompletions {
    /// Its place, without the completions that were read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalCompletions")
            .field("filter", &self.filter)
            .field("cursor", &self.cursor())
            .field("unanswered", &self.unanswered())
            .finish_non_exhaustive()
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
