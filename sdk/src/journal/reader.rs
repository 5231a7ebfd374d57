//! Completions as a stream, read from the journals of all partitions, with a cursor from which a
//! later subscriber can continue.

use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ff_core::backend::{
    BoxFuture, CompletionCursor, CompletionFilter, CompletionItem, CompletionPosition, Completions,
    CursorError, EngineBackend, WakeUps,
};
use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::execution::Event;
use ff_core::id::ExecutionId;
use ff_core::op::{FoundMeta, OperationContext, Patience, Query, ReadMeta};
use ff_core::partition::Partition;
use ff_core::store::bounds::MAX_PAGE;
use ff_core::store::codec::Codec;
use ff_core::store::{
    Cursor, JournalEntry, StreamEntry, StreamId, StreamName, StreamPage, Topic, Wake,
};
use ff_core::store_id::StoreId;
use ff_core::time::{DurationMs, TimestampMs};
use futures_util::FutureExt;
use tokio::time::Instant;

use crate::drive::drive_within;
use crate::host::{HostClock, system_entropy};
use crate::metrics::StoreMeter;

/// A stream of completions, read from the journals of a store over any backend (`docs/spec.md`,
/// 11). It reads when the backend wakes it, and every second. It keeps asking a partition that does
/// not answer, without delaying the others; see [`JournalCompletions::unanswered`].
///
/// ```
/// use std::sync::Arc;
/// use ff_sdk::{
///     Client, CompletionCursor, CompletionFilter, CompletionItem, Completions,
///     JournalCompletions, MemoryBackend, Submission,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let backend = Arc::new(MemoryBackend::new());
/// let client = Client::connect_with(backend.clone(), "demo").await?;
/// let id = client.submit(Submission::new("greet")).await?.id();
/// client.cancel(&id, "not needed any more").await?;
///
/// let filter = CompletionFilter::default();
/// let mut stream = JournalCompletions::new(backend, CompletionCursor::start(), filter);
/// match stream.next().await? {
///     Some(CompletionItem::Completed { execution_id, .. }) => assert_eq!(execution_id, id),
///     other => panic!("not a completion: {other:?}"),
/// }
/// let _later = stream.cursor().to_string(); // Parse it to continue here.
/// # Ok(())
/// # }
/// ```
pub struct JournalCompletions {
    backend: Arc<dyn EngineBackend>,
    clock: Arc<HostClock>,
    meter: Arc<StoreMeter>,
    entropy: Entropy,
    codec: Codec,
    filter: CompletionFilter,
    from: CompletionCursor,
    /// The read of the store's configuration, while it is in progress.
    checking: Option<BoxFuture<'static, Result<Option<FoundMeta>, EngineError>>>,
    /// The identity of the store that was read last; zero while it has none. It is part of the
    /// history in each position.
    store: u64,
    /// The position in each partition, after the items that were yielded; empty until the number of
    /// partitions is known. A position at the end is fixed by a read.
    positions: Vec<CompletionPosition>,
    /// The time of the next read without a wake-up.
    look_at: Option<Instant>,
    wakes: Option<Box<dyn WakeUps>>,
    /// The partitions that may have unread entries; those with a wake-up first.
    unread: VecDeque<u16>,
    /// The reads in progress, at most one for each partition.
    reading: Vec<Reading>,
    /// The partitions that were not read since [`Self::sweep`].
    unswept: BTreeSet<u16>,
    /// The partitions whose latest read failed.
    away: BTreeSet<Partition>,
    /// The rest of the pages read so far.
    steps: VecDeque<Step>,
}

/// A read in progress.
struct Reading {
    partition: u16,
    begun: Instant,
    /// Whether it began after the sweep did.
    sweeps: bool,
    /// `None` when the store does not answer.
    page: BoxFuture<'static, Option<Page>>,
}

/// One step through a page.
pub(super) struct Step {
    pub(super) partition: u16,
    /// The position after the step.
    pub(super) position: CompletionPosition,
    /// The item that the step yields; the last step of a page yields none.
    pub(super) item: Option<CompletionItem>,
}

/// A page of a partition's journal.
struct Page {
    partition: u16,
    /// The history of the store in which it was read, with the identity of the store.
    history: u64,
    entries: Vec<StreamEntry>,
    /// The id of its last entry.
    end: StreamId,
    gap: bool,
}

/// The longest wait for a wake-up before the next read.
const BACKSTOP: Duration = Duration::from_secs(1);
/// The time limit of one read; a failed read is repeated after the others.
const PATIENCE: DurationMs = DurationMs::new(250);
/// The number of reads in progress at the same time, without the long ones.
const MAX_READS: usize = 4;
/// The age from which a read is a long one: a node that hangs answers none of its partitions.
const LONG: Duration = Duration::from_millis(100);
/// The number of wake-ups consumed between two reads.
const MAX_WAKES: usize = 256;

impl JournalCompletions {
    /// Creates a stream from a cursor on: the oldest entries that the store has
    /// ([`CompletionCursor::start`]), the end of each journal ([`CompletionCursor::end`]), or the
    /// cursor of an earlier subscriber. It reads nothing until it is polled.
    pub fn new(
        backend: Arc<dyn EngineBackend>,
        from: CompletionCursor,
        filter: CompletionFilter,
    ) -> Self {
        Self {
            backend,
            clock: Arc::new(HostClock::new()),
            meter: Arc::new(StoreMeter::new()),
            entropy: system_entropy(),
            codec: Codec::default(),
            filter,
            from,
            checking: None,
            store: 0,
            positions: Vec::new(),
            look_at: None,
            wakes: None,
            unread: VecDeque::new(),
            reading: Vec::new(),
            unswept: BTreeSet::new(),
            away: BTreeSet::new(),
            steps: VecDeque::new(),
        }
    }

    /// The partitions that do not answer: their latest read failed, or has taken more than a
    /// second. Their completions are yielded when they answer again. Before the store's
    /// configuration was read, [`Partition::META`] stands for all.
    ///
    /// The list changes while [`Completions::ready`] or [`Completions::next`] is polled.
    pub fn unanswered(&self) -> Vec<Partition> {
        let slow = self.reading.iter().filter(|reading| reading.begun.elapsed() > BACKSTOP);
        let slow = slow.map(|reading| Partition::flow(reading.partition));
        self.away.iter().copied().chain(slow).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The identity of the store whose journals it reads. It changes when the store lost its data,
    /// and each partition then has a gap. `None` before the store's configuration was read, and
    /// while the store has none.
    pub fn store_id(&self) -> Option<StoreId> {
        (self.store != 0).then(|| StoreId::new(self.store))
    }

    /// Returns whether the position in each partition is fixed, so that [`Completions::ready`]
    /// returns immediately.
    pub fn is_ready(&self) -> bool {
        !self.positions.is_empty()
            && self.positions.iter().all(|position| *position != CompletionPosition::End)
    }

    /// The position in each partition after the steps taken so far; empty until the number of
    /// partitions is known.
    pub(super) fn positions(&self) -> &[CompletionPosition] {
        &self.positions
    }

    /// Begins a sweep: reads each partition up to its end as of now.
    pub(super) fn sweep(&mut self) {
        self.look_everywhere();
        self.unswept = (0..self.positions.len() as u16).collect();
    }

    /// Whether the latest sweep is over.
    pub(super) fn is_swept(&self) -> bool {
        self.unswept.is_empty()
    }

    /// Takes the next step through the pages read so far.
    pub(super) fn step(&mut self) -> Option<Step> {
        let step = self.steps.pop_front()?;
        self.positions[usize::from(step.partition)] = step.position;
        Some(step)
    }

    /// Reads, or waits for something to read, at most until the backstop. Cancel safe.
    pub(super) async fn look(&mut self) -> Result<(), CursorError> {
        match self.positions.is_empty() {
            true => self.begin().await,
            false => self.advance(false).await,
        }
    }

    /// Reads the number of partitions, and subscribes to their wake-ups.
    async fn begin(&mut self) -> Result<(), CursorError> {
        if let Some(look_at) = self.look_at {
            tokio::time::sleep_until(look_at).await;
        }
        self.check();
        let Ok(Some(found)) = checked(&mut self.checking).await else {
            // The store is not set up yet, or does not answer.
            self.away.insert(Partition::META);
            self.look_at = Some(Instant::now() + BACKSTOP);
            return Ok(());
        };
        let count = found.meta.partitions.num_flow_partitions;
        let positions = self.from.positions(count)?;
        self.store = found.id.get();
        let topics = (0..count).map(|index| Topic::Journal(Partition::flow(index))).collect();
        self.wakes = self.backend.subscribe(topics);
        self.positions = positions;
        self.look_at = None;
        self.away.clear();
        self.unread = (0..count).collect();
        Ok(())
    }

    /// Starts to read the store's configuration.
    fn check(&mut self) {
        if self.checking.is_none() {
            let read = ReadMeta::new(self.patience(PATIENCE));
            let (backend, clock) = (self.backend.clone(), self.clock.clone());
            let meter = self.meter.clone();
            self.checking = Some(Box::pin(async move {
                drive_within(&*backend, &clock, read, None, Some(&meter)).await
            }));
        }
    }

    /// Compares the store with the known one. Another identity makes the positions those of another
    /// history, so that each partition has a gap.
    fn on_check(
        &mut self,
        found: Result<Option<FoundMeta>, EngineError>,
    ) -> Result<(), CursorError> {
        let Ok(found) = found else { return Ok(()) };
        let store = found.as_ref().map_or(0, |found| found.id.get());
        if let Some(FoundMeta { meta, .. }) = found {
            let cursor = CompletionCursor::of(self.positions.clone());
            if let Err(refused) = cursor.positions(meta.partitions.num_flow_partitions) {
                // The next call reads the configuration again, and returns the same error.
                self.look_at = None;
                return Err(refused);
            }
        }
        if store != self.store {
            self.store = store;
            self.look_everywhere();
        }
        Ok(())
    }

    /// Reads a page from a position on; `None` when the store does not answer.
    fn page(
        &mut self,
        partition: u16,
        from: CompletionPosition,
    ) -> BoxFuture<'static, Option<Page>> {
        let page = StreamPage {
            partition: Partition::flow(partition),
            stream: StreamName::Journal,
            from: with_store(from.cursor(), self.store),
            limit: MAX_PAGE as u32,
        };
        // A partition that did not answer last time is tried once, without repeats.
        let is_away = self.away.contains(&page.partition);
        let patience = if is_away { DurationMs::new(1) } else { PATIENCE };
        let query = Query::stream(page, self.patience(patience));
        let (backend, clock, store) = (self.backend.clone(), self.clock.clone(), self.store);
        let meter = self.meter.clone();
        Box::pin(async move {
            let read = drive_within(&*backend, &clock, query, None, Some(&meter)).await;
            let (page, _) = read.ok()?;
            match with_store(page.next, store) {
                Cursor::After { history, id: end } => {
                    Some(Page { partition, history, entries: page.entries, end, gap: page.gap })
                }
                // A page without an end is not a valid answer.
                Cursor::Start | Cursor::End => None,
            }
        })
    }

    fn patience(&mut self, allowed: DurationMs) -> Patience {
        Patience::new(OperationContext::new(allowed, self.codec.clone()), self.entropy.fork())
    }

    /// Starts reads of unread partitions, up to the limit; with `only_ends` only of those whose
    /// position is not fixed yet.
    fn begin_reads(&mut self, only_ends: bool) {
        let mut at = 0;
        while let Some(partition) = self.unread.get(at).copied() {
            let position = self.positions[usize::from(partition)];
            let is_read = self.reading.iter().any(|reading| reading.partition == partition);
            if is_read || (only_ends && position != CompletionPosition::End) {
                at += 1;
                continue;
            }
            if self.short_reads().count() >= MAX_READS {
                return;
            }
            self.unread.remove(at);
            let page = self.page(partition, position);
            let (begun, sweeps) = (Instant::now(), self.unswept.contains(&partition));
            self.reading.push(Reading { partition, begun, sweeps, page });
        }
    }

    /// The times at which the reads that are not long yet become long.
    fn short_reads(&self) -> impl Iterator<Item = Instant> {
        let now = Instant::now();
        self.reading.iter().map(|reading| reading.begun + LONG).filter(move |long| *long > now)
    }

    /// Starts reads, and waits for a page, a wake-up or the backstop.
    async fn advance(&mut self, only_ends: bool) -> Result<(), CursorError> {
        self.take_wakes();
        if self.look_at.is_some_and(|at| at <= Instant::now()) {
            self.look_everywhere();
        }
        if self.look_at.is_none() {
            self.check();
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
            (reading, page) = finished(&mut self.reading) => self.on_page(&reading, page),
            found = checked(&mut self.checking) => return self.on_check(found),
            wake = wake => self.on_wake(wake),
            () = tokio::time::sleep_until(until) => {}
        }
        Ok(())
    }

    fn on_page(&mut self, reading: &Reading, page: Option<Page>) {
        let partition = reading.partition;
        let Some(page) = page else {
            // It is read again after the backstop.
            self.away.insert(Partition::flow(partition));
            return;
        };
        self.away.remove(&Partition::flow(partition));
        let is_whole = page.entries.len() < MAX_PAGE;
        if !is_whole && !self.unread.contains(&partition) {
            self.unread.push_back(partition);
        }
        if reading.sweeps && is_whole {
            self.unswept.remove(&partition);
        }
        match self.positions[usize::from(partition)] {
            CompletionPosition::End => self.positions[usize::from(partition)] = page.after_page(),
            position => page.steps(position, &self.codec, &self.filter, &mut self.steps),
        }
    }

    /// Consumes the wake-ups received so far.
    fn take_wakes(&mut self) {
        for _ in 0..MAX_WAKES {
            let Some(wakes) = &mut self.wakes else { return };
            let Some(wake) = wakes.next().now_or_never() else { return };
            self.on_wake(wake);
        }
    }

    /// Moves the partition of a wake-up to the front. A wake-up is not trusted: any client of the
    /// store can send one, and it may name a partition that does not exist.
    fn on_wake(&mut self, wake: Option<Option<Wake>>) {
        match wake {
            Some(Some(Wake { partition, .. })) => {
                let index = partition.index;
                if partition == Partition::flow(index) && usize::from(index) < self.positions.len()
                {
                    self.unread.retain(|unread| *unread != index);
                    self.unread.push_front(index);
                }
            }
            Some(None) => self.look_everywhere(),
            None => self.wakes = None,
        }
    }

    /// Marks each partition as unread, and starts a new backstop.
    fn look_everywhere(&mut self) {
        let known: BTreeSet<u16> = self.unread.iter().copied().collect();
        let all = 0..self.positions.len() as u16;
        self.unread.extend(all.filter(|index| !known.contains(index)));
        self.look_at = None;
    }
}

/// Waits for the first of these reads that ends; forever when there are none.
async fn finished(reading: &mut Vec<Reading>) -> (Reading, Option<Page>) {
    poll_fn(|context| {
        for at in 0..reading.len() {
            if let Poll::Ready(page) = reading[at].page.as_mut().poll(context) {
                return Poll::Ready((reading.remove(at), page));
            }
        }
        Poll::Pending
    })
    .await
}

/// Waits for the read of the store's configuration; forever when there is none.
async fn checked(
    checking: &mut Option<BoxFuture<'static, Result<Option<FoundMeta>, EngineError>>>,
) -> Result<Option<FoundMeta>, EngineError> {
    let Some(check) = checking else { return std::future::pending().await };
    let found = check.await;
    *checking = None;
    found
}

/// The cursor of a stream whose history includes the identity of the store, or without it again.
const fn with_store(cursor: Cursor, store: u64) -> Cursor {
    match cursor {
        Cursor::After { history, id } => Cursor::After { history: history ^ store, id },
        other => other,
    }
}

impl Completions for JournalCompletions {
    fn ready(&mut self) -> BoxFuture<'_, Result<(), CursorError>> {
        Box::pin(async {
            while !self.is_ready() {
                match self.positions.is_empty() {
                    true => self.begin().await?,
                    false => self.advance(true).await?,
                }
            }
            Ok(())
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<CompletionItem>, CursorError>> {
        Box::pin(async {
            loop {
                while let Some(step) = self.step() {
                    if step.item.is_some() {
                        return Ok(step.item);
                    }
                }
                self.look().await?;
            }
        })
    }

    fn cursor(&self) -> CompletionCursor {
        match self.positions.is_empty() {
            true => self.from.clone(),
            false => CompletionCursor::of(self.positions.clone()),
        }
    }
}

impl std::fmt::Debug for JournalCompletions {
    /// Shows its cursor, without the completions that were read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalCompletions")
            .field("filter", &self.filter)
            .field("cursor", &self.cursor())
            .field("unanswered", &self.unanswered())
            .finish_non_exhaustive()
    }
}

impl Page {
    /// The position after it.
    const fn after_page(&self) -> CompletionPosition {
        CompletionPosition::After { history: self.history, id: self.end }
    }

    /// Appends the steps through it from the position where it was read. Each step leads to the
    /// position exactly after its item, so that a subscriber can continue between any two.
    fn steps(
        self,
        from: CompletionPosition,
        codec: &Codec,
        filter: &CompletionFilter,
        steps: &mut VecDeque<Step>,
    ) {
        let (partition, history, after_page) = (self.partition, self.history, self.after_page());
        let lost = || CompletionItem::Gap { partition: Partition::flow(partition) };
        let within = |id, events| CompletionPosition::Within { history, id, events };
        if self.gap {
            // The journal may have no entries any more.
            let position = self.entries.first().map_or(after_page, |first| within(first.id, 0));
            steps.push_back(Step { partition, position, item: Some(lost()) });
        }
        for entry in self.entries {
            let id = entry.id;
            let done = match from {
                CompletionPosition::Within { id: begun, events, .. }
                    if begun == id && !self.gap =>
                {
                    events
                }
                _ => 0,
            };
            let after = CompletionPosition::After { history, id };
            let Ok(journal) = codec.decode::<JournalEntry>(&entry.entry) else {
                // This program cannot read the entry: its completions are a gap.
                match steps.back_mut().filter(|last| last.item == Some(lost())) {
                    Some(last) => last.position = after,
                    None => {
                        steps.push_back(Step { partition, position: after, item: Some(lost()) })
                    }
                }
                continue;
            };
            let last =
                journal.events.iter().rposition(|event| matches!(event, Event::Ended { .. }));
            for (number, event) in journal.events.into_iter().enumerate().skip(done as usize) {
                let Some(item) = completion(journal.execution, event, id.at, filter) else {
                    continue;
                };
                // After the last completion the position is after the entry, which the store may
                // then drop without a gap.
                let position = match last == Some(number) {
                    true => after,
                    false => within(id, number as u32 + 1),
                };
                steps.push_back(Step { partition, position, item: Some(item) });
            }
        }
        steps.push_back(Step { partition, position: after_page, item: None });
    }
}

/// The item of an event; `None` unless it is a completion that passes the filter.
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
