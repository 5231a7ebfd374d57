//! Reading the output of an attempt (`docs/spec.md`, 6).

use crate::error::{Applied, Bug, EngineError, Rejection};
use crate::execution::{CloseReason, Frame, output_closed};
use crate::id::{AttemptIndex, ExecutionId, FrameType};
use crate::partition::Partition;
use crate::store::bounds::MAX_PAGE;
use crate::store::{
    Cursor, Read, RecordKey, Reply, ReplyBody, Request, Stored, StreamId, StreamPage, Streamed,
};
use crate::time::{DurationMs, HostTime, TimestampMs};

use crate::op::loaded::{frames_of, load_of, other_reply, unreadable};
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;

/// A frame as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFrame {
    /// When it was appended, by the store's clock.
    pub at: TimestampMs,
    /// The position after it.
    pub cursor: Cursor,
    /// The frame.
    pub frame: Frame,
}

/// A page of an attempt's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FramePage {
    /// The frames, in order; empty only if no frame of the wanted type follows now.
    pub frames: Vec<StoredFrame>,
    /// Where the next page begins.
    pub next: Cursor,
    /// Whether frames after the cursor were dropped, or the store's history changed. Then the page
    /// begins with the first frame that the store holds; in another history some of them may have
    /// been read before. Frames that were lost with the earlier history may have been appended
    /// again, so that a sequence may stand for another frame.
    pub gap: bool,
    /// Why no more frames will come, once all were read.
    pub closed: Option<CloseReason>,
}

impl FramePage {
    /// The position before its first frame. A reader that goes on from there reads the same frames,
    /// without another gap before them.
    pub fn begins(&self) -> Cursor {
        match self.frames.first().map(|first| first.cursor) {
            Some(Cursor::After { history, id }) => Cursor::After { history, id: id.before() },
            _ => self.next,
        }
    }
}

/// Reads a page of an attempt's output. It reads on until it has a frame of the wanted type, so
/// that a page is empty only at the end; there it looks whether more can come.
#[derive(Clone, Debug)]
pub struct ReadFrames {
    id: ExecutionId,
    attempt: AttemptIndex,
    from: Cursor,
    limit: u32,
    /// Only frames of this type.
    only: Option<FrameType>,
    patience: Patience,
    gap: bool,
    /// Whether the output is closed, once the execution's record was read: no frame comes after
    /// that.
    closed: Option<Option<CloseReason>>,
}

const OP: &str = "read_stream";

impl ReadFrames {
    /// A page of at most `limit` frames, 1 to 10,000, after a cursor.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for the limit.
    pub fn new(
        id: ExecutionId,
        attempt: AttemptIndex,
        from: Cursor,
        limit: u32,
        patience: Patience,
    ) -> Result<Self, Rejection> {
        if !(1..=10_000).contains(&limit) {
            let problem = format!("is {limit}, and must be 1 to 10000");
            return Err(Rejection::InvalidInput { field: "limit", problem });
        }
        let limit = limit.min(MAX_PAGE as u32);
        Ok(Self { id, attempt, from, limit, only: None, patience, gap: false, closed: None })
    }

    /// The same, for frames of this type only.
    #[must_use]
    pub fn only(mut self, frame_type: Option<FrameType>) -> Self {
        self.only = frame_type;
        self
    }

    fn page(&self) -> Step<<Self as Operation>::Output> {
        Step::Send(Request::Stream(StreamPage {
            partition: self.id.partition(),
            stream: frames_of(&self.id, self.attempt),
            from: self.from,
            limit: self.limit,
        }))
    }

    fn streamed(&mut self, page: Streamed) -> Step<<Self as Operation>::Output> {
        self.gap |= page.gap;
        self.from = page.next;
        let full = page.entries.len() == self.limit as usize;
        let mut frames = Vec::new();
        for entry in page.entries {
            let frame = match self.patience.codec().decode::<Frame>(&entry.entry) {
                Ok(frame) => frame,
                Err(error) => return Step::fail(unreadable(error)),
            };
            if self.only.as_ref().is_none_or(|only| *only == frame.frame_type) {
                let cursor = after(page.next, entry.id);
                frames.push(StoredFrame { at: entry.id.at, cursor, frame });
            }
        }
        if frames.is_empty() && full {
            return self.page();
        }
        match (frames.is_empty(), self.closed) {
            (true, None) => {
                let (partition, records) = (self.id.partition(), vec![RecordKey::of(&self.id)]);
                Step::Send(Request::Read(Read { partition, records, values: Vec::new() }))
            }
            (is_end, closed) => {
                let closed = if is_end { closed.flatten() } else { None };
                let (next, gap) = (self.from, self.gap);
                Step::Done(Ok(FramePage { frames, next, gap, closed }))
            }
        }
    }

    /// Decides by the execution's record whether more frames can come.
    fn read(
        &mut self,
        record: Option<Stored>,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        let Some(stored) = record else { return Step::fail(Rejection::NotFound) };
        let loaded = match load_of(&self.id, &stored, self.patience.codec()) {
            Ok(loaded) => loaded,
            Err(EngineError::Bug(Bug::UnexpectedReply { .. })) => {
                return self.resume(Event::Failure(other_reply(OP)), now);
            }
            Err(error) => return Step::fail(error),
        };
        let closed = output_closed(&loaded.execution, self.attempt, at);
        self.closed = Some(closed);
        if closed.is_some() {
            // Frames may have been appended between the two reads.
            return self.page();
        }
        let (frames, next, gap) = (Vec::new(), self.from, self.gap);
        Step::Done(Ok(FramePage { frames, next, gap, closed }))
    }
}

/// The position after an entry of the page that ends at this cursor.
const fn after(page: Cursor, id: StreamId) -> Cursor {
    match page {
        Cursor::After { history, .. } => Cursor::After { history, id },
        other => other,
    }
}

impl Operation for ReadFrames {
    /// Fails with `NotFound` if the execution does not exist.
    type Output = Result<FramePage, EngineError>;

    fn partition(&self) -> Option<Partition> {
        Some(self.id.partition())
    }

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        Some(self.patience.left(now))
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        match event {
            Event::Start | Event::Wake => {
                self.patience.begin(now);
                self.page()
            }
            Event::Reply(Reply { body: ReplyBody::Stream(page), .. }) => self.streamed(page),
            Event::Reply(Reply { body: ReplyBody::Read(mut read), at }) => {
                self.read(read.records.pop().flatten(), at, now)
            }
            Event::Reply(Reply { body: ReplyBody::OverBound(over), .. }) => Step::fail(over),
            Event::Reply(_) => self.resume(Event::Failure(other_reply(OP)), now),
            Event::Failure(failure) => {
                Step::retry(self.patience.after_failure(OP, &failure, Applied::No, now))
            }
        }
    }
}
