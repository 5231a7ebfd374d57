//! What was taken from an index: a command for each record, and quarantine for what cannot be read.

use crate::entropy::Entropy;
use crate::error::{Bug, EngineError};
use crate::execution::Decide;
use crate::partition::Partition;
use crate::store::{Commit, Failure, IndexName, Reply, Request, ScanEntry, Unit};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::batch::Batch;
use super::operation::{Operation, Step};
use super::retry::Patience;
use super::transact::{Committed, Known, Transact};
use super::unit::{Loaded, load, quarantine};

/// Carries a command to each execution of a page of entries. A record that does not decode goes
/// into quarantine first; one of a newer format is left alone.
#[derive(Debug)]
pub(super) struct Handed<C: Decide> {
    partition: Partition,
    quarantine: Vec<Unit>,
    batch: Batch<C>,
    /// Entries whose record could not be read.
    pub(super) unreadable: Vec<EngineError>,
}

impl<C: Decide> Handed<C> {
    /// Carries what `ask` wishes for each record, if anything, to the entries of an index that a
    /// reply of the time `at` has brought.
    pub(super) fn new(
        (partition, index): (Partition, &IndexName),
        entries: &[ScanEntry],
        at: TimestampMs,
        (allowed, entropy): (DurationMs, &mut Entropy),
        mut ask: impl FnMut(&Loaded) -> Option<C>,
    ) -> Self {
        let mut operations = Vec::with_capacity(entries.len());
        let (mut corrupt, mut unreadable) = (Vec::new(), Vec::new());
        for entry in entries {
            let Some(stored) = &entry.record else { continue };
            match load(stored) {
                Ok(loaded) => {
                    let Some(command) = ask(&loaded) else { continue };
                    let patience = Patience::new(allowed, entropy.fork());
                    let known = Known::Fresh(loaded, at);
                    operations.push(Transact::knowing(command, known, patience));
                }
                Err(error) => {
                    if let EngineError::Bug(Bug::CorruptRecord { .. }) = &error {
                        let member = entry.position.member;
                        corrupt.push(quarantine(member, stored.version, Some(index), at));
                    }
                    unreadable.push(error);
                }
            }
        }
        let batch = Batch::new(partition, operations);
        Self { partition, quarantine: corrupt, batch, unreadable }
    }
}

impl<C: Decide> Operation for Handed<C> {
    /// One for each command, in the order of the entries.
    type Output = Vec<Result<Committed<C::Outcome>, EngineError>>;

    fn start(&mut self, now: HostTime) -> Step<Self::Output> {
        if self.quarantine.is_empty() {
            return self.batch.start(now);
        }
        let (partition, units) = (self.partition, self.quarantine.clone());
        Step::Send(Request::Commit(Commit { partition, units }))
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Self::Output> {
        if self.quarantine.is_empty() {
            return self.batch.on_reply(reply, now);
        }
        self.quarantine.clear();
        self.batch.start(now)
    }

    fn on_failure(&mut self, failure: &Failure, now: HostTime) -> Step<Self::Output> {
        if self.quarantine.is_empty() {
            return self.batch.on_failure(failure, now);
        }
        // What is not in quarantine yet is found again when its hold is over.
        self.quarantine.clear();
        self.batch.start(now)
    }

    fn on_wake(&mut self, now: HostTime) -> Step<Self::Output> {
        self.batch.on_wake(now)
    }
}
