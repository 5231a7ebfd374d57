//! A capped stream. The store's time numbers the entries, and the oldest are dropped first.

use std::collections::VecDeque;

use crate::store::contract::{Bytes, Cursor, StreamCaps, StreamEntry, StreamId, Streamed};
use crate::time::{DurationMs, TimestampMs};

/// One stream of a partition.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamData {
    entries: VecDeque<StreamEntry>,
    bytes: usize,
    last: StreamId,
    /// The latest entry that was dropped.
    dropped: Option<StreamId>,
}

impl StreamData {
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends an entry, and drops the oldest entries until the stream is within its caps.
    pub(super) fn append(&mut self, entry: Bytes, caps: StreamCaps, now: TimestampMs) {
        self.last = if now > self.last.at {
            StreamId { at: now, sequence: 0 }
        } else {
            StreamId { at: self.last.at, sequence: self.last.sequence + 1 }
        };
        self.bytes += entry.len();
        self.entries.push_back(StreamEntry { id: self.last, entry });
        let oldest_kept = now.minus(DurationMs::new(caps.age_ms));
        while let Some(first) = self.entries.front() {
            let fits = self.bytes <= caps.bytes && self.entries.len() <= caps.entries;
            if fits && first.id.at >= oldest_kept {
                break;
            }
            self.bytes -= first.entry.len();
            self.dropped = Some(first.id);
            self.entries.pop_front();
        }
    }

    /// Returns a page after a cursor.
    pub(super) fn page(&self, from: Cursor, limit: usize, history: u64) -> Streamed {
        let (after, gap) = match from {
            Cursor::Start => (None, false),
            Cursor::End => (Some(self.last), false),
            Cursor::After { history: read_in, id } => {
                let other = read_in != history;
                let lost = other || self.dropped.is_some_and(|dropped| id < dropped);
                // After a gap the page begins with the first entry that is kept.
                if lost { (None, true) } else { (Some(id), false) }
            }
        };
        let start = after.map_or(0, |id| self.entries.partition_point(|entry| entry.id <= id));
        let entries: Vec<StreamEntry> =
            self.entries.iter().skip(start).take(limit).cloned().collect();
        let before_all = self.dropped.unwrap_or_default();
        let id = entries.last().map(|entry| entry.id).or(after).unwrap_or(before_all);
        Streamed { entries, next: Cursor::After { history, id }, gap }
    }
}
