//! Taking the signals of executions away whose retention is over, page by page
//! (`docs/spec.md`, 4).

use std::collections::VecDeque;

use crate::entropy::Entropy;
use crate::error::EngineError;
use crate::execution::{FORGOTTEN_AT_ONCE, ForgetSignals};
use crate::id::{ExecutionId, SignalId};
use crate::store::{Failure, IndexName, Reply, Scan, ScanEntry, Scanned};
use crate::time::{HostTime, TimestampMs};

use super::operation::{Operation, Step};
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
#[allow(clippy::large_enum_variant)] // One for each operation.
enum Doing {
    Nothing,
    Scanning(Query<Scanned>),
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
        let mut query = Query::scan(scan, Patience::new(self.terms.clone(), self.entropy.fork()));
        let step = query.start(now);
        self.doing = Doing::Scanning(query);
        self.scanned(step, now)
    }

    fn scanned(
        &mut self,
        step: Step<Result<(Scanned, TimestampMs), EngineError>>,
        now: HostTime,
    ) -> Step<()> {
        match (step, self.waiting.front().copied()) {
            (Step::Send(request), _) => Step::Send(request),
            (Step::Wait(wait), _) => Step::Wait(wait),
            (Step::Done(Ok((page, _))), Some(execution_id)) => {
                let last = page.next.is_none();
                // An error inside a function can leave an entry that has no record.
                let with_nonce = |entry: &ScanEntry| {
                    let nonce = entry.record.as_ref().map(|stored| stored.version.nonce);
                    (SignalId::from_uuid(entry.position.member), nonce)
                };
                let signals = page.entries.iter().map(with_nonce).collect();
                let command = ForgetSignals { execution_id, signals, last };
                let patience = Patience::new(self.terms.clone(), self.entropy.fork());
                let mut transact = Transact::new(command, patience);
                let step = transact.start(now);
                self.doing = Doing::Forgetting(transact);
                self.forgotten(step, now)
            }
            (Step::Done(_), _) => self.leave(now),
        }
    }

    fn forgotten(
        &mut self,
        step: Step<<Transact<ForgetSignals> as Operation>::Output>,
        now: HostTime,
    ) -> Step<()> {
        match step {
            Step::Send(request) => Step::Send(request),
            Step::Wait(wait) => Step::Wait(wait),
            Step::Done(Ok(done)) if done.outcome.more => self.next(now),
            Step::Done(_) => self.leave(now),
        }
    }

    /// Goes on to the next execution. One that could not be cleared is due still.
    fn leave(&mut self, now: HostTime) -> Step<()> {
        self.waiting.pop_front();
        self.next(now)
    }
}

/// Asks whichever operation is under way for its next step.
macro_rules! advance {
    ($self:ident, $now:ident, $operation:ident => $step:expr) => {
        match &mut $self.doing {
            Doing::Nothing => $self.next($now),
            Doing::Scanning($operation) => {
                let step = $step;
                $self.scanned(step, $now)
            }
            Doing::Forgetting($operation) => {
                let step = $step;
                $self.forgotten(step, $now)
            }
        }
    };
}

impl Operation for ClearSignals {
    type Output = ();

    fn start(&mut self, now: HostTime) -> Step<()> {
        self.next(now)
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<()> {
        advance!(self, now, operation => operation.on_reply(reply, now))
    }

    fn on_failure(&mut self, failure: &Failure, now: HostTime) -> Step<()> {
        advance!(self, now, operation => operation.on_failure(failure, now))
    }

    fn on_wake(&mut self, now: HostTime) -> Step<()> {
        advance!(self, now, operation => operation.on_wake(now))
    }
}
