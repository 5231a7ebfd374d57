//! Removing the signals of executions whose retention is over, page by page (`docs/spec.md`, 4).

use std::collections::VecDeque;

use crate::entropy::Entropy;
use crate::execution::{FORGOTTEN_AT_ONCE, ForgetSignals};
use crate::id::{ExecutionId, SignalId};
use crate::op::command::CarryCommand;
use crate::op::context::OperationContext;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::op::query::Query;
use crate::store::bounds::MAX_PAGE_BYTES;
use crate::store::{IndexName, Scan, ScanEntry, ScanOrder, Scanned};
use crate::time::{HostTime, TimestampMs};

/// Removes the signals of some executions.
#[derive(Clone, Debug)]
pub(super) struct ClearSignals {
    context: OperationContext,
    entropy: Entropy,
    /// The executions that are left, the present one first.
    waiting: VecDeque<ExecutionId>,
    /// When to leave the rest to the next round, by the host's own clock.
    until: TimestampMs,
    doing: Doing,
}

#[derive(Clone, Debug)]
enum Doing {
    Nothing,
    Scanning(Box<Query<(Scanned, TimestampMs)>>),
    Forgetting(Box<CarryCommand<ForgetSignals>>),
}

impl ClearSignals {
    /// Removes the signals of these executions.
    pub(super) fn new(
        waiting: VecDeque<ExecutionId>,
        context: OperationContext,
        entropy: Entropy,
        until: TimestampMs,
    ) -> Self {
        Self { context, entropy, waiting, until, doing: Doing::Nothing }
    }

    fn patience(&mut self) -> Patience {
        Patience::new(self.context.clone(), self.entropy.fork())
    }

    fn next(&mut self, now: HostTime) -> Step<()> {
        let Some(id) = self.waiting.front() else { return Step::Done(()) };
        let scan = Scan {
            partition: id.partition(),
            index: IndexName::Signals { execution: id.uuid() },
            order: ScanOrder::Ascending,
            after: None,
            limit: FORGOTTEN_AT_ONCE,
            bytes: MAX_PAGE_BYTES,
        };
        self.doing = Doing::Scanning(Box::new(Query::scan(scan, self.patience())));
        self.resume(Event::Start, now)
    }

    fn scanned(&mut self, page: &Scanned, now: HostTime) -> Step<()> {
        let Some(execution_id) = self.waiting.front().copied() else { return Step::Done(()) };
        let last = page.next.is_none();
        // An error inside a function can leave an entry that has no record.
        let with_nonce = |entry: &ScanEntry| {
            let nonce = entry.record.as_ref().map(|stored| stored.version.nonce);
            (SignalId::from_uuid(entry.position.member), nonce)
        };
        let signals = page.entries.iter().map(with_nonce).collect();
        let command = ForgetSignals { execution_id, signals, last };
        self.doing = Doing::Forgetting(Box::new(CarryCommand::new(command, self.patience())));
        self.resume(Event::Start, now)
    }

    /// Goes on to the next execution. One whose signals could not be removed stays due.
    fn leave(&mut self, now: HostTime) -> Step<()> {
        self.waiting.pop_front();
        if now.local >= self.until {
            self.waiting.clear();
        }
        self.next(now)
    }
}

impl Operation for ClearSignals {
    type Output = ();

    fn resume(&mut self, event: Event, now: HostTime) -> Step<()> {
        match &mut self.doing {
            Doing::Nothing => self.next(now),
            Doing::Scanning(query) => query.resume(event, now).then(|read| match read {
                Ok((page, _)) => self.scanned(&page, now),
                Err(_) => self.leave(now),
            }),
            Doing::Forgetting(transact) => transact.resume(event, now).then(|done| match done {
                Ok(done) if done.outcome.more && now.local < self.until => self.next(now),
                _ => self.leave(now),
            }),
        }
    }
}
