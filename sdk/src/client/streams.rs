//! Reading the output of attempts: page by page, or as it comes.

use std::collections::VecDeque;
use std::time::Duration;

use ff_core::backend::WakeUps;
use ff_core::error::EngineError;
use ff_core::execution::CloseReason;
use ff_core::id::{AttemptIndex, ExecutionId, FrameType};
use ff_core::op::{FramePage, ReadFrames, StoredFrame};
use ff_core::store::{Cursor, Topic};
use futures_util::{FutureExt, Stream};
use tokio::time::Instant;

use super::Client;
use crate::error::SdkError;
use crate::output::RING_EVERY;

/// The longest that one call waits for output.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// How long to wait for a wake-up before looking anyway.
const BACKSTOP: Duration = Duration::from_secs(1);
/// How long a reader looks by itself after something came: a writer wakes readers only so often.
const READS_ON: Duration = Duration::from_millis(3 * RING_EVERY.as_millis() as u64);
/// Frames on one page of a tail.
const PAGE: u32 = 50;

/// What a tail yields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TailItem {
    /// A frame.
    Frame(StoredFrame),
    /// Some frames were not kept, or the store's history changed. It goes on with the first frame
    /// that is kept: in another history frames that were yielded before come again, and one that
    /// was lost with the history before may be another one under its sequence.
    Gap,
    /// No more will come; it is the last item.
    Closed(CloseReason),
}

/// The output of one attempt, as it comes. It reads and never holds up a writer.
pub struct Tail {
    client: Client,
    id: ExecutionId,
    attempt: AttemptIndex,
    only: Option<FrameType>,
    next: Cursor,
    /// Behind the item that was yielded last.
    yielded: Cursor,
    items: VecDeque<(TailItem, Cursor)>,
    wakes: Option<Box<dyn WakeUps>>,
    last_came: Instant,
    /// Whether the latest page had all that there was, so that the next one would have little.
    caught_up: bool,
    ended: bool,
}

impl Client {
    /// A page of an attempt's output from a cursor on: at most `limit` frames, 1 to 10,000, and at
    /// most 1,024 at a time. A page is empty only where no wanted frame follows now.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `NotFound`, and `InvalidInput` for the limit. Cancel safe.
    pub async fn read_stream(
        &self,
        id: &ExecutionId,
        attempt: AttemptIndex,
        from: Cursor,
        limit: u32,
        only: Option<FrameType>,
    ) -> Result<FramePage, SdkError> {
        self.check_is_ours(id).await?;
        self.page(id, attempt, from, limit, only).await
    }

    /// The same, but waits up to `wait`, at most 30 s, where no wanted frame follows yet. It ends
    /// early when the output is closed.
    ///
    /// # Errors
    ///
    /// As for [`Client::read_stream`]. Cancel safe.
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
        let mut wakes = self.readers_wakes(id, attempt);
        // Somebody else may have been woken just now: whatever follows soon rings nobody.
        let mut reads_on = Instant::now() + READS_ON;
        loop {
            // Subscribed now; what came before that is seen by reading once more.
            let page = self.page(id, attempt, page.next, limit, None).await?;
            let nothing = page.frames.is_empty() && !page.gap && page.closed.is_none();
            let now = Instant::now();
            if !nothing || now >= until {
                return Ok(page);
            }
            let longest = if now < reads_on { RING_EVERY } else { BACKSTOP };
            if wait_for(&mut wakes, until.min(now + longest)).await {
                reads_on = Instant::now() + READS_ON;
            }
        }
    }

    /// The output of an attempt as it comes, from a cursor on; of the latest attempt that there is
    /// unless one is named, of the first where there was none yet.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `NotFound`. Cancel safe.
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
            wakes: self.readers_wakes(id, attempt),
            last_came: Instant::now(),
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

    /// Another tenant's output is none of ours.
    async fn check_is_ours(&self, id: &ExecutionId) -> Result<(), SdkError> {
        let (found, _) = self.read(id, &[]).await?;
        Ok(found.map(|_| ()).ok_or(EngineError::NotFound { entity: "execution" })?)
    }

    fn readers_wakes(&self, id: &ExecutionId, attempt: AttemptIndex) -> Option<Box<dyn WakeUps>> {
        let topic = Topic::Frames { execution: id.uuid(), attempt };
        self.0.connection.backend.subscribe(vec![topic])
    }
}

/// Waits for a wake-up, at most until then; tells whether one came.
async fn wait_for(wakes: &mut Option<Box<dyn WakeUps>>, until: Instant) -> bool {
    let Some(stream) = wakes else {
        tokio::time::sleep_until(until).await;
        return false;
    };
    match tokio::time::timeout_at(until, stream.next()).await {
        Ok(Some(_)) => true,
        Ok(None) => {
            *wakes = None;
            false
        }
        Err(_) => false,
    }
}

/// Takes the wake-ups that are there; tells whether one was.
fn drain(wakes: &mut Option<Box<dyn WakeUps>>) -> bool {
    let mut any = false;
    while let Some(stream) = wakes {
        match stream.next().now_or_never() {
            Some(Some(_)) => any = true,
            Some(None) => *wakes = None,
            None => break,
        }
    }
    any
}

impl Tail {
    /// The attempt whose output it is.
    pub const fn attempt(&self) -> AttemptIndex {
        self.attempt
    }

    /// The place behind the item that was yielded last: another tail goes on from there, and is not
    /// told again of a gap that this one has yielded.
    pub const fn cursor(&self) -> Cursor {
        self.yielded
    }

    /// The next item; `None` after the output was closed.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer, or the execution is gone; the next call
    /// tries again. Cancel safe.
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
                // Reading with each frame that comes would cost its writer more than the frame.
                tokio::time::sleep_until(self.last_came + self.pace()).await;
                self.caught_up = false;
            }
            match self.read().await {
                Ok(true) => {}
                Ok(false) => self.wait().await,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The items as a stream. It goes on after an error that can be tried again
    /// ([`SdkError::is_retryable`]), and ends after any other, such as `NotFound` when the
    /// execution is gone: whoever passes over errors does not ask for it for ever.
    pub fn into_stream(self) -> impl Stream<Item = Result<TailItem, SdkError>> + Send {
        futures_util::stream::unfold(Some(self), async |tail| {
            let mut tail = tail?;
            let item = tail.next().await?;
            let goes_on = item.as_ref().map_or_else(SdkError::is_retryable, |_| true);
            Some((item, goes_on.then_some(tail)))
        })
    }

    /// Reads a page; tells whether there was anything.
    async fn read(&mut self) -> Result<bool, SdkError> {
        // What has rung up to now is seen by this read: kept, it would make an idle tail read on.
        if drain(&mut self.wakes) {
            self.last_came = Instant::now();
        }
        let (client, only) = (&self.client, self.only.clone());
        let page = client.page(&self.id, self.attempt, self.next, PAGE, only).await?;
        if page.gap {
            self.items.push_back((TailItem::Gap, page.begins()));
        }
        let came = page.frames.len();
        for frame in page.frames {
            let cursor = frame.cursor;
            self.items.push_back((TailItem::Frame(frame), cursor));
        }
        self.items.extend(page.closed.map(|why| (TailItem::Closed(why), page.next)));
        self.next = page.next;
        if self.items.is_empty() {
            return Ok(false);
        }
        self.last_came = Instant::now();
        self.caught_up = came < PAGE as usize;
        Ok(true)
    }

    /// How long to wait before looking again. Readers that began together do not stay together: all
    /// at once they would hold up writers.
    fn pace(&self) -> Duration {
        let spread = u64::try_from(RING_EVERY.as_micros() / 2).unwrap_or(u64::MAX);
        let less = self.client.0.connection.entropy().below(spread);
        RING_EVERY - Duration::from_micros(less)
    }

    /// Waits for more. While frames come it looks at its own pace, and not with each of them.
    async fn wait(&mut self) {
        if self.last_came.elapsed() < READS_ON {
            tokio::time::sleep(self.pace()).await;
            return;
        }
        if wait_for(&mut self.wakes, Instant::now() + BACKSTOP).await {
            self.last_came = Instant::now();
        }
    }
}

impl std::fmt::Debug for Tail {
    /// Without the frames that were read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail")
            .field("execution_id", &self.id)
            .field("attempt", &self.attempt)
            .field("cursor", &self.cursor())
            .finish_non_exhaustive()
    }
}
