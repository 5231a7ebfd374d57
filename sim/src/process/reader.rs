//! A process that follows the journals of all partitions, as a subscriber of completions does.

use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::op::{Patience, Query, Terms};
use ff_core::partition::{Partition, PartitionConfig};
use ff_core::store::{Cursor, StreamName, StreamPage, Streamed};
use ff_core::time::{DurationMs, TimestampMs};

use crate::settings::Settings;
use crate::streams::{between, one_of};
use crate::task::Output;

use super::context::Context;

/// A process that reads one page after the other. What it has read outlives its crashes.
#[derive(Debug)]
pub struct ReaderProcess {
    partitions: PartitionConfig,
    terms: Terms,
    entropy: Entropy,
    /// How far it has read in each partition.
    places: Vec<Cursor>,
    /// The partitions that may have more.
    unread: Vec<Partition>,
    reading: bool,
    next: TimestampMs,
}

impl ReaderProcess {
    /// A reader of everything that is kept.
    pub fn new(settings: &Settings, entropy: Entropy) -> Self {
        let partitions = settings.partitions;
        Self {
            partitions,
            terms: settings.terms(),
            entropy,
            places: partitions.flow_partitions().map(|_| Cursor::Start).collect(),
            unread: Vec::new(),
            reading: false,
            next: TimestampMs::ZERO,
        }
    }

    /// Goes on where a reader was that has crashed, or begins again.
    pub fn goes_on_from(&mut self, crashed: Self, now: TimestampMs) {
        self.next = now;
        if self.entropy.below(4) > 0 {
            self.places = crashed.places;
        }
    }

    /// Reads on when it is time.
    pub fn wake(&mut self, cx: &mut Context<'_>) {
        if self.reading {
            return;
        }
        if self.unread.is_empty() && self.next <= cx.now.local {
            self.unread = self.partitions.flow_partitions().collect();
            let longest = if cx.healing { 300 } else { 1_500 };
            self.next = cx.now.local.plus(DurationMs::new(between(&mut self.entropy, 50, longest)));
        }
        let Some(partition) = self.unread.last().copied() else {
            cx.wake_at(self.next);
            return;
        };
        self.reading = true;
        let from = self.places[usize::from(partition.index)];
        // Pages of all sizes, so that many have an end in their middle.
        let limit = one_of(&mut self.entropy, &[1, 3, 20, 100]);
        let page = StreamPage { partition, stream: StreamName::Journal, from, limit };
        let patience = Patience::new(self.terms.clone(), self.entropy.fork());
        cx.read(Query::stream(page, patience), move |result| Output::Read {
            partition,
            from,
            limit,
            result,
        });
    }

    /// Notes what was read of a partition's journal.
    pub fn read(
        &mut self,
        (partition, limit): (Partition, u32),
        result: Result<(Streamed, TimestampMs), EngineError>,
        cx: &mut Context<'_>,
    ) {
        self.reading = false;
        match result {
            Ok((page, _)) => {
                self.places[usize::from(partition.index)] = page.next;
                if page.entries.len() < limit as usize {
                    self.unread.pop();
                }
            }
            Err(_) => self.unread.clear(),
        }
        self.wake(cx);
    }
}
