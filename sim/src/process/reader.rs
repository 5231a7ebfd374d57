//! A process that follows the journals of all partitions, as a subscriber of completions does.

use std::collections::BTreeMap;

use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::id::{AttemptIndex, ExecutionId};
use ff_core::op::{FramePage, OperationContext, Patience, Query, ReadFrames};
use ff_core::partition::{Partition, PartitionConfig};
use ff_core::store::{Cursor, StreamName, StreamPage, Streamed};
use ff_core::time::{DurationMs, TimestampMs};

use crate::determinism::random::{between, one_of};
use crate::plan::settings::Settings;
use crate::process::task::Output;

use super::context::{About, Context};

/// A process that reads one page after the other. Its positions survive its crashes.
#[derive(Debug)]
pub struct ReaderProcess {
    partitions: PartitionConfig,
    context: OperationContext,
    entropy: Entropy,
    /// Its position in each partition's journal.
    cursors: Vec<Cursor>,
    /// The partitions that may have more.
    unread: Vec<Partition>,
    reading: bool,
    /// Its position in the output of each attempt, and whether it reads output at present.
    output: BTreeMap<(ExecutionId, AttemptIndex), Cursor>,
    reads_output: bool,
    next: TimestampMs,
}

impl ReaderProcess {
    /// The context of its operations.
    pub const fn context(&self) -> &OperationContext {
        &self.context
    }

    /// A reader of everything that the store keeps.
    pub fn new(settings: &Settings, entropy: Entropy) -> Self {
        let partitions = settings.partitions;
        Self {
            partitions,
            context: settings.context(),
            entropy,
            cursors: partitions.flow_partitions().map(|_| Cursor::Start).collect(),
            unread: Vec::new(),
            reading: false,
            output: BTreeMap::new(),
            reads_output: false,
            next: TimestampMs::ZERO,
        }
    }

    /// Continues at the positions of a crashed reader, or begins again.
    pub fn continue_from(&mut self, crashed: Self, now: TimestampMs) {
        self.next = now;
        if self.entropy.below(4) > 0 {
            self.cursors = crashed.cursors;
            self.output = crashed.output;
        }
    }

    /// Reads the next page when it is due.
    pub fn wake(&mut self, cx: &mut Context<'_>) {
        self.read_output(cx);
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
        let from = self.cursors[usize::from(partition.index)];
        // Pages of all sizes, so that many end in the middle.
        let limit = one_of(&mut self.entropy, &[1, 3, 20, 100]);
        let page = StreamPage { partition, stream: StreamName::Journal, from, limit };
        let patience = Patience::new(self.context.clone(), self.entropy.fork());
        cx.begin(About::Nothing, Query::stream(page, patience), move |result| Output::Read {
            partition,
            from,
            limit,
            result,
        });
    }

    /// Reads the output of an attempt whose record it has a copy of.
    fn read_output(&mut self, cx: &mut Context<'_>) {
        let framed = cx.copies.values().map(|copy| &copy.execution).filter(|copy| copy.framed > 0);
        let framed: Vec<_> = framed.map(|copy| (copy.id, copy.framed)).collect();
        if self.reads_output || framed.is_empty() || self.entropy.below(3) > 0 {
            return;
        }
        let (id, attempts) = framed[self.entropy.below(framed.len() as u64) as usize];
        let attempt = AttemptIndex(self.entropy.below(u64::from(attempts)) as u32);
        let from = self.output.get(&(id, attempt)).copied().unwrap_or(Cursor::Start);
        let limit = between(&mut self.entropy, 1, 4) as u32;
        let patience = Patience::new(self.context.clone(), self.entropy.fork());
        let read = ReadFrames::new(id, attempt, from, limit, patience).expect("a valid limit");
        self.reads_output = true;
        let of = (id, attempt);
        cx.begin(About::Present, read, move |result| Output::Frames { of, from, result });
    }

    /// Takes over a page of an attempt's output.
    pub fn has_frames(
        &mut self,
        id: ExecutionId,
        attempt: AttemptIndex,
        result: &Result<FramePage, EngineError>,
        cx: &mut Context<'_>,
    ) {
        self.reads_output = false;
        match result {
            Ok(page) => self.output.insert((id, attempt), page.next),
            Err(_) => self.output.remove(&(id, attempt)),
        };
        self.wake(cx);
    }

    /// Takes over a page of a partition's journal.
    pub fn read(
        &mut self,
        partition: Partition,
        limit: u32,
        result: Result<(Streamed, TimestampMs), EngineError>,
        cx: &mut Context<'_>,
    ) {
        self.reading = false;
        match result {
            Ok((page, _)) => {
                self.cursors[usize::from(partition.index)] = page.next;
                if page.entries.len() < limit as usize {
                    self.unread.pop();
                }
            }
            Err(_) => self.unread.clear(),
        }
        self.wake(cx);
    }
}
