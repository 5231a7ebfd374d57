//! Entries of an index with their records: a command for each record that can be read, and a place
//! for the others.

use crate::entropy::Entropy;
use crate::error::{Bug, EngineError};
use crate::execution::{Decide, Execution};
use crate::id::ExecutionId;
use crate::op::command::{Batch, CarryCommand, Committed, Known, put_back, quarantine};
use crate::op::context::OperationContext;
use crate::op::loaded::{Loaded, load_of};
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::partition::Partition;
use crate::score::Score;
use crate::store::{Commit, IndexName, Request, ScanEntry, Unit};
use crate::time::{DurationMs, HostTime, TimestampMs};

/// Entries of an index with their records, from one reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page<'a> {
    /// The partition.
    pub(super) partition: Partition,
    /// The entries, each with its index.
    pub(super) entries: &'a [(&'a IndexName, &'a ScanEntry)],
    /// The store's clock in the reply.
    pub(super) at: TimestampMs,
}

/// Carries a command to each execution of a page of entries. A record that does not decode or is
/// that of another execution goes into quarantine first; the entry of one of a newer format is put
/// back.
#[derive(Clone, Debug)]
pub(super) struct FetchedEntries<C: Decide> {
    partition: Partition,
    /// Units that move the entries that cannot be read.
    aside: Vec<Unit>,
    batch: Batch<C>,
    /// How many entries have a record that could not be read.
    pub(super) unreadable: usize,
}

impl<C: Decide> FetchedEntries<C> {
    /// Carries the command that `command` returns for a record and its score, if any, to each
    /// entry of a page.
    pub(super) fn new(
        page: Page<'_>,
        context: &OperationContext,
        entropy: &mut Entropy,
        mut command: impl FnMut(&Loaded, Score) -> Option<C>,
    ) -> Self {
        let Page { partition, entries, at } = page;
        let mut operations = Vec::with_capacity(entries.len());
        let (mut aside, mut unreadable) = (Vec::new(), 0);
        for (index, entry) in entries {
            let Some(stored) = &entry.record else { continue };
            let id = ExecutionId::from_parts(partition.index, entry.position.member);
            match load_of(&id, stored, context.codec()) {
                // An entry that an error inside a function has left. The end of its hold removes
                // it.
                Ok(loaded) if !is_queued(&loaded.execution, index) => {}
                Ok(loaded) => {
                    let Some(command) = command(&loaded, entry.position.score) else { continue };
                    let patience = Patience::new(context.clone(), entropy.fork());
                    let known = Known::Fresh(loaded, at);
                    operations.push(CarryCommand::knowing(command, known, patience));
                }
                Err(error) => {
                    unreadable += 1;
                    let (member, version) = (entry.position.member, stored.version);
                    aside.push(match error {
                        EngineError::Bug(Bug::NewerFormat { .. }) => {
                            put_back(entry, version, index)
                        }
                        // Also one of another execution: if only the reply was wrong, no record has
                        // this version, and the unit is refused.
                        _ => quarantine(member, version, Some(index), at),
                    });
                }
            }
        }
        Self { partition, aside, batch: Batch::new(partition, operations), unreadable }
    }
}

/// Whether a queue is that of an execution's lane and kind; true for other indexes.
fn is_queued(execution: &Execution, index: &IndexName) -> bool {
    match index {
        IndexName::Eligible { namespace, lane, kind } => {
            (namespace, lane, kind) == (&execution.namespace, &execution.lane, &execution.kind)
        }
        _ => true,
    }
}

impl<C: Decide> Operation for FetchedEntries<C> {
    /// One for each command, in the order of the entries.
    type Output = Vec<Result<Committed<C::Outcome>, EngineError>>;

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        if self.aside.is_empty() { self.batch.reply_within(now) } else { None }
    }

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
