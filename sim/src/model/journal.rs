//! The journal of a partition as it should be.

use ff_core::store::bounds::MAX_JOURNAL_AGE_MS;
use ff_core::store::{Bytes, StreamEntry, StreamId};
use ff_core::time::{DurationMs, TimestampMs};

/// All entries of a journal, with the ids that the store gave them. The oldest have been dropped.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// All entries, also those that were dropped.
    pub entries: Vec<StreamEntry>,
    /// How many were dropped.
    pub dropped: usize,
    /// The size of those that were not.
    bytes: usize,
}

impl Journal {
    /// Takes over a new entry, and drops entries that are over a day old, or beyond `most` bytes.
    pub fn append(&mut self, entry: Bytes, most: usize, now: TimestampMs) {
        let last = self.entries.last().map(|entry| entry.id).unwrap_or_default();
        let id = if now > last.at {
            StreamId { at: now, sequence: 0 }
        } else {
            StreamId { sequence: last.sequence + 1, ..last }
        };
        self.bytes += entry.len();
        self.entries.push(StreamEntry { id, entry });
        let oldest = now.minus(DurationMs::new(MAX_JOURNAL_AGE_MS));
        while let Some(first) = self.entries.get(self.dropped)
            && (self.bytes > most || first.id.at < oldest)
        {
            self.bytes -= first.entry.len();
            self.dropped += 1;
        }
    }

    /// The entries that are kept.
    pub fn kept(&self) -> &[StreamEntry] {
        &self.entries[self.dropped..]
    }
}
