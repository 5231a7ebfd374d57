//! Taking the signals of executions away whose retention is over, page by page
//! (`docs/spec.md`, 4).

use std::collections::VecDeque;

use crate::entropy::Entropy;
use crate::execution::{FORGOTTEN_AT_ONCE, ForgetSignals};
use crate::id::{ExecutionId, SignalId};
use crate::store::{IndexName, Scan, ScanEntry, Scanned};
use crate::time::{HostTime, TimestampMs};

use super::operation::{Event, Operation, Step};
use super::query::Query;
use super::retry::Patience;
use super::terms::Terms;
use super::transact::Transact;

/// Takes the signals of some executions away.
#[derive(Clone, Debug)]
pub(super) struct ClearSignals {
    terms: Terms,
    entropy: Entropy,
    waiting: VecDeque<ExecutionId>,
    doing: Doing,
}

#[derive(Clone, Debug)]
enum Doing {
    Nothing,
    Scanning(Query<(Scanned, TimestampMs)>),
    Forgetting(Transact<ForgetSignals>),
}

impl ClearSignals {
    pub(super) fn new(waiting: VecDeque<ExecutionId>, terms: Terms, entropy: Entropy) -> Self {
        Self { terms, entropy, waiting, doing: Doing::Nothing }
    }

    fn next(&mut self, now: HostTime) -> Step<()> {
        let Some(id) = self.waiting.front() else { return Step::Done(()) };
        let scan = Scan {
            partition: id.partition(),
            index: IndexName::Signals { execution: id.uuid() },
            after: None,
            limit: FORGOTTEN_AT_ONCE,
        };
        let query = Query::scan(scan, Patience::new(self.terms.clone(), self.entropy.fork()));
        self.doing = Doing::Scanning(query);
        self.resume(Event::Start, now)
    }

    fn scanned(&mut self, page: Scanned, now: HostTime) -> Step<()> {
        let Some(execution_id) = self.waiting.front().copied() else { return Step::Done(()) };
        let last = page.next.is_none();
        // An error inside a function can leave an entry that has no record.
        let with_nonce = |entry: &ScanEntry| {
            let nonce = entry.record.as_ref().map(|stored| stored.version.nonce);
            (SignalId::from_uuid(entry.position.member), nonce)
        };
        let signals = page.entries.iter().map(with_nonce).collect();
        let command = ForgetSignals { execution_id, signals, last };
        let patience = Patience::new(self.terms.clone(), self.entropy.fork());
        self.doing = Doing::Forgetting(Transact::new(command, patience));
        self.resume(Event::Start, now)
    }

    /// Goes on to the next execution. One that could not be cleared is due still.
    fn leave(&mut self, now: HostTime) -> Step<()> {
        self.waiting.pop_front();
        self.next(now)
    }
}

impl Operation for ClearSignals {
    type Output = ();

    fn resume(&mut self, event: Event, now: HostTime) -> Step<()> {
        match &mut self.doing {
            Doing::Nothing => self.next(now),
            Doing::Scanning(query) => query.resume(event, now).then(|read| match read {
                Ok((page, _)) => self.scanned(page, now),
                Err(_) => self.leave(now),
            }),
            Doing::Forgetting(transact) => transact.resume(event, now).then(|done| match done {
                Ok(done) if done.outcome.more => self.next(now),
                _ => self.leave(now),
            }),
        }
    }
}
