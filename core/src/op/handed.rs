//! What an index has handed out: a command for each record, and a place for what cannot be read.

use crate::entropy::Entropy;
use crate::error::{Bug, EngineError};
use crate::execution::Decide;
use crate::partition::Partition;
use crate::store::{Commit, IndexName, Request, ScanEntry, Unit};
use crate::time::{HostTime, TimestampMs};

use super::batch::Batch;
use super::operation::{Event, Operation, Step};
use super::retry::Patience;
use super::terms::Terms;
use super::transact::{Committed, Known, Transact};
use super::unit::{Loaded, load, put_back, quarantine};

/// Entries of an index with their records, as a reply has brought them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page<'a> {
    /// Where.
    pub(super) partition: Partition,
    /// Of which index.
    pub(super) index: &'a IndexName,
    /// The entries.
    pub(super) entries: &'a [ScanEntry],
    /// The store's clock in the reply.
    pub(super) at: TimestampMs,
    /// Whether they were taken out of their places, rather than looked at.
    pub(super) taken: bool,
}

/// Carries a command to each execution of a page of entries. A record that does not decode goes
/// into quarantine first; one of a newer format is put back as it is.
#[derive(Clone, Debug)]
pub(super) struct Handed<C: Decide> {
    partition: Partition,
    /// What is done with the entries that cannot be read.
    aside: Vec<Unit>,
    batch: Batch<C>,
    /// How many entries have a record that could not be read.
    pub(super) unreadable: usize,
}

impl<C: Decide> Handed<C> {
    /// Carries what `ask` wishes for each record, if anything, to the entries of a page.
    pub(super) fn new(
        page: Page<'_>,
        (terms, entropy): (&Terms, &mut Entropy),
        mut ask: impl FnMut(&Loaded) -> Option<C>,
    ) -> Self {
        let Page { partition, index, entries, at, taken } = page;
        let mut operations = Vec::with_capacity(entries.len());
        let (mut aside, mut unreadable) = (Vec::new(), 0);
        for entry in entries {
            let Some(stored) = &entry.record else { continue };
            let version = stored.version;
            match load(stored, terms.codec()) {
                Ok(loaded) => {
                    let Some(command) = ask(&loaded) else { continue };
                    let patience = Patience::new(terms.clone(), entropy.fork());
                    let known = Known::Fresh(loaded, at);
                    operations.push(Transact::knowing(command, known, patience));
                }
                Err(error) => {
                    unreadable += 1;
                    match error {
                        EngineError::Bug(Bug::NewerFormat { .. }) if taken => {
                            aside.push(put_back(entry, version, index));
                        }
                        EngineError::Bug(Bug::NewerFormat { .. }) => {}
                        _ => {
                            let member = entry.position.member;
                            aside.push(quarantine(member, version, Some(index), at));
                        }
                    }
                }
            }
        }
        Self { partition, aside, batch: Batch::new(partition, operations), unreadable }
    }
}

impl<C: Decide> Operation for Handed<C> {
    /// One for each command, in the order of the entries.
    type Output = Vec<Result<Committed<C::Outcome>, EngineError>>;

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        if self.aside.is_empty() {
            return self.batch.resume(event, now);
        }
        if let Event::Start = event {
            let (partition, units) = (self.partition, self.aside.clone());
            return Step::Send(Request::Commit(Commit { partition, units }));
        }
        // After a failure, entries that were not put back are found again when their hold is over.
        self.aside.clear();
        self.batch.resume(Event::Start, now)
    }
}
