//! Calls that read the output of attempts: page by page, or as it is written.

use std::collections::VecDeque;
use std::time::Duration;

use ff_core::backend::WakeUps;
use ff_core::error::EngineError;
use ff_core::execution::CloseReason;
use ff_core::id::{AttemptIndex, ExecutionId, FrameType};
use ff_core::op::{FramePage, ReadFrames, StoredFrame};
use ff_core::store::{Cursor, Topic};
use futures_util::Stream;
use tokio::time::Instant;

use super::Client;
use crate::error::SdkError;
use crate::output::RING_EVERY;
use crate::wake_ups::{drain, wait_for};

/// The longest wait of one call for output.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// The longest wait for a wake-up before the next read.
const BACKSTOP: Duration = Duration::from_secs(1);
/// How long a reader polls after new frames or a wake-up, since a writer wakes readers at most once
/// in [`RING_EVERY`].
const POLLS_FOR: Duration = Duration::from_millis(3 * RING_EVERY.as_millis() as u64);
/// Frames on one page of a tail.
const PAGE: u32 = 50;

/// An item of a [`Tail`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TailItem {
    /// A frame.
    Frame(StoredFrame),
    /// Some frames were dropped, or the store's history changed (after a failover). The tail
    /// continues with the first frame that the store has. In a changed history, frames that were
    /// yielded before can come again, and a sequence can stand for another frame than before.
    Gap,
    /// The output is closed; this is the last item.
    Closed(CloseReason),
}

/// The output of one attempt, yielded as it is written (`docs/spec.md`, 6). A tail never delays
/// the writer.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::Arc;
/// use ff_sdk::{
///     Client, Cursor, FlowFabricWorker, MemoryBackend, Submission, TailItem, WorkerConfig,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let backend = Arc::new(MemoryBackend::new());
/// # let client = Client::connect_with(backend.clone(), "demo").await?;
/// # let config = WorkerConfig::new("worker", "worker-1", "demo")?;
/// # let worker = FlowFabricWorker::connect_with(config, backend, None).await?;
/// let id = client.submit(Submission::new("count")).await?.id();
/// let task = worker.claim_next().await?.expect("there is work");
/// task.append_frame("log", "1, 2, 3", BTreeMap::new()).await?;
/// task.complete(None).await?;
///
/// let mut tail = client.tail(&id, None, Cursor::Start, None).await?;
/// while let Some(item) = tail.next().await {
///     match item? {
///         TailItem::Frame(frame) => println!("{} bytes", frame.frame.payload.len()),
///         TailItem::Closed(reason) => println!("closed: {reason:?}"),
///         _ => println!("some output was dropped"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Tail {
    client: Client,
    id: ExecutionId,
    attempt: AttemptIndex,
    only: Option<FrameType>,
    next: Cursor,
    /// The cursor after the item that was yielded last.
    yielded: Cursor,
    items: VecDeque<(TailItem, Cursor)>,
    wake_ups: Option<Box<dyn WakeUps>>,
    /// The time of the latest new frames or wake-up.
    last_news: Instant,
    /// Whether the latest page had all frames that there were, so that the next one would have
    /// few.
    caught_up: bool,
    ended: bool,
}

impl Client {
    /// Reads a page of an attempt's output from a cursor on: at most `limit` frames (1 to 10,000;
    /// at most 1,024 are returned). `only` filters by type. A page is empty only when no matching
    /// frame follows yet.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `NotFound`, and with `InvalidInput` for the limit.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn read_stream(
        &self,
        id: &ExecutionId,
        attempt: AttemptIndex,
        from: Cursor,
        limit: u32,
        only: Option<FrameType>,
    ) -> Result<FramePage, SdkError> {
        self.check_namespace(id).await?;
        self.page(id, attempt, from, limit, only).await
    }

    /// Reads a page like [`Client::read_stream`]. When no frame follows yet and the output is not
    /// closed, it waits for one, up to `wait` and at most 30 s.
    ///
    /// # Errors
    ///
    /// As for [`Client::read_stream`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn tail_stream(
        &self,
        id: &ExecutionId,
        attempt: AttemptIndex,
        from: Cursor,
        limit: u32,
        wait: Duration,
    ) -> Result<FramePage, SdkError> {
        let until = Instant::now() + wait.min(MAX_WAIT);
        let page = self.read_stream(id, attempt, from, limit, None).await?;
        if !page.frames.is_empty() || page.gap || page.closed.is_some() {
            return Ok(page);
        }
        let mut wake_ups = self.frame_wake_ups(id, attempt);
        // Another reader may have been woken just now; then the next frames wake no reader.
        let mut polls_until = Instant::now() + POLLS_FOR;
        loop {
            // Frames appended before the subscription are found by this read.
            let page = self.page(id, attempt, page.next, limit, None).await?;
            let nothing = page.frames.is_empty() && !page.gap && page.closed.is_none();
            let now = Instant::now();
            if !nothing || now >= until {
                return Ok(page);
            }
            let longest = if now < polls_until { RING_EVERY } else { BACKSTOP };
            if wait_for(&mut wake_ups, until.min(now + longest)).await {
                polls_until = Instant::now() + POLLS_FOR;
            }
        }
    }

    /// Follows the output of an attempt from a cursor on. `None` means the latest attempt, or the
    /// first one when none has started yet. `only` filters by type.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `NotFound`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn tail(
        &self,
        id: &ExecutionId,
        attempt: Option<AttemptIndex>,
        from: Cursor,
        only: Option<FrameType>,
    ) -> Result<Tail, SdkError> {
        let snapshot = self.describe(id).await?;
        let snapshot = snapshot.ok_or(EngineError::NotFound { entity: "execution" })?;
        let attempt = attempt.or_else(|| snapshot.latest_attempt()).unwrap_or_default();
        Ok(Tail {
            client: self.clone(),
            id: *id,
            attempt,
            only,
            next: from,
            yielded: from,
            items: VecDeque::new(),
            wake_ups: self.frame_wake_ups(id, attempt),
            last_news: Instant::now(),
            caught_up: false,
            ended: false,
        })
    }

    async fn page(
        &self,
        id: &ExecutionId,
        attempt: AttemptIndex,
        from: Cursor,
        limit: u32,
        only: Option<FrameType>,
    ) -> Result<FramePage, SdkError> {
        let connection = &self.0.connection;
        let read = ReadFrames::new(*id, attempt, from, limit, connection.patience());
        Ok(connection.drive(read.map_err(EngineError::from)?.only(only)).await?)
    }

    /// Refuses an execution of another namespace.
    async fn check_namespace(&self, id: &ExecutionId) -> Result<(), SdkError> {
        let (found, _) = self.read(id, &[]).await?;
        Ok(found.map(|_| ()).ok_or(EngineError::NotFound { entity: "execution" })?)
    }

    fn frame_wake_ups(&self, id: &ExecutionId, attempt: AttemptIndex) -> Option<Box<dyn WakeUps>> {
        let topic = Topic::Frames { execution: id.uuid(), attempt };
        self.0.connection.backend.subscribe(vec![topic])
    }
}

impl Tail {
    /// The attempt whose output it is.
    pub const fn attempt(&self) -> AttemptIndex {
        self.attempt
    }

    /// The cursor after the item that was yielded last. Another tail can continue from it; a gap
    /// that this one has yielded is not yielded again.
    pub const fn cursor(&self) -> Cursor {
        self.yielded
    }

    /// Waits for the next item; `None` after [`TailItem::Closed`].
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer, and with `NotFound` when the execution
    /// was removed. The next call tries again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no item is lost.
    pub async fn next(&mut self) -> Option<Result<TailItem, SdkError>> {
        loop {
            if let Some((item, cursor)) = self.items.pop_front() {
                self.ended = matches!(item, TailItem::Closed(_));
                self.yielded = cursor;
                return Some(Ok(item));
            }
            if self.ended {
                return None;
            }
            if self.caught_up {
                // A read for each frame would load the store more than the frame itself.
                tokio::time::sleep_until(self.last_news + self.pace()).await;
                self.caught_up = false;
            }
            match self.read().await {
                Ok(true) => {}
                Ok(false) => self.wait().await,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Returns the items as a stream. It continues after a retryable error
    /// ([`SdkError::is_retryable`]) and ends after any other, such as `NotFound`, so that a
    /// consumer that skips errors does not loop forever.
    pub fn into_stream(self) -> impl Stream<Item = Result<TailItem, SdkError>> + Send {
        futures_util::stream::unfold(Some(self), async |tail| {
            let mut tail = tail?;
            let item = tail.next().await?;
            let goes_on = item.as_ref().map_or_else(SdkError::is_retryable, |_| true);
            Some((item, goes_on.then_some(tail)))
        })
    }

    /// Reads a page; returns whether it had any item.
    async fn read(&mut self) -> Result<bool, SdkError> {
        // This read finds the frames of all wake-ups so far, which would make an idle tail poll on.
        if drain(&mut self.wake_ups) {
            self.last_news = Instant::now();
        }
        let (client, only) = (&self.client, self.only.clone());
        let page = client.page(&self.id, self.attempt, self.next, PAGE, only).await;
        let page = match page {
            Err(SdkError::Engine(EngineError::NotFound { .. })) => {
                return Err(client.0.connection.not_found().await.into());
            }
            page => page?,
        };
        if page.gap {
            self.items.push_back((TailItem::Gap, page.begins()));
        }
        let count = page.frames.len();
        for frame in page.frames {
            let cursor = frame.cursor;
            self.items.push_back((TailItem::Frame(frame), cursor));
        }
        self.items.extend(page.closed.map(|why| (TailItem::Closed(why), page.next)));
        self.next = page.next;
        if self.items.is_empty() {
            return Ok(false);
        }
        self.last_news = Instant::now();
        self.caught_up = count < PAGE as usize;
        Ok(true)
    }

    /// The wait before the next read, with jitter: readers that read at the same moment would delay
    /// writers.
    fn pace(&self) -> Duration {
        let spread = u64::try_from(RING_EVERY.as_micros() / 2).unwrap_or(u64::MAX);
        let less = self.client.0.connection.entropy().below(spread);
        RING_EVERY - Duration::from_micros(less)
    }

    /// Waits before the next read: shortly after news for its own pace, otherwise for a wake-up.
    async fn wait(&mut self) {
        if self.last_news.elapsed() < POLLS_FOR {
            tokio::time::sleep(self.pace()).await;
            return;
        }
        if wait_for(&mut self.wake_ups, Instant::now() + BACKSTOP).await {
            self.last_news = Instant::now();
        }
    }
}

impl std::fmt::Debug for Tail {
    /// Leaves out the frames that were read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail")
            .field("execution_id", &self.id)
            .field("attempt", &self.attempt)
            .field("cursor", &self.cursor())
            .finish_non_exhaustive()
    }
}
