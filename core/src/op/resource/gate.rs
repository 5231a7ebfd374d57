//! Asking the budgets and quotas of an execution whether it may start.

use crate::budget::{Budget, Exhausted, LookAtBudget};
use crate::error::{EngineError, Rejection};
use crate::execution::{Admission, BlockKind, Execution, Held, RateTurn};
use crate::id::{BudgetId, ExecutionId, GrantId, Namespace, SlotId};
use crate::limits::Limits;
use crate::op::context::{UseTask, UseWork};
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::planted::planted;
use crate::quota::{RefusedBy, Reserve, Reserved};
use crate::quota_ref::QuotaRef;
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::change::{ChangeResource, ResourceChanged};
use super::change_use::ChangeUse;

/// Asks all limits of an execution whether it may start under a grant. Each quota with room takes a
/// slot for the grant. If one has none, or a budget is at its hard limit, the slots that were taken
/// are given back.
///
/// A limit that cannot be read fails the operation: nothing starts. \[INV-BUDGET-2\]
#[derive(Clone, Debug)]
pub(in crate::op) struct Gate {
    namespace: Namespace,
    execution: ExecutionId,
    limits: Limits,
    grant: GrantId,
    slot: SlotId,
    /// The slot that the operation took for an earlier version of the record.
    replaces: Option<Replaced>,
    /// The turn that a quota gave the execution.
    turn: Option<RateTurn>,
    patience: Patience,
    asking: Asking,
    /// How many budgets and quotas have allowed it.
    budgets: usize,
    quotas: usize,
    /// The places of the quotas that have given a slot.
    given: Vec<usize>,
    asked_at: TimestampMs,
}

/// A slot that an operation no longer needs.
#[derive(Clone, Copy, Debug)]
pub(in crate::op) struct Replaced {
    /// The slot.
    pub(in crate::op) slot: SlotId,
    /// Whether nothing has started under it for sure.
    pub(in crate::op) unused: bool,
}

#[derive(Clone, Debug)]
enum Asking {
    Nothing,
    Budget(Box<ChangeResource<LookAtBudget>>),
    Quota(Box<ChangeUse<Reserve>>),
}

impl Gate {
    /// The limits of this execution, if it has any.
    pub(in crate::op) fn of(
        execution: &Execution,
        grant: GrantId,
        replaces: Option<Replaced>,
        mut patience: Patience,
    ) -> Option<Self> {
        let limited = execution.limits.as_ref()?;
        Some(Self {
            namespace: execution.namespace.clone(),
            execution: execution.id,
            limits: limited.limits.clone(),
            grant,
            slot: SlotId::from_uuid(patience.entropy().uuid()),
            replaces,
            turn: limited.turn,
            patience,
            asking: Asking::Nothing,
            budgets: 0,
            quotas: 0,
            given: Vec::new(),
            asked_at: TimestampMs::ZERO,
        })
    }

    /// The quotas in which the grant may have a slot.
    fn reserved(&self) -> impl Iterator<Item = &QuotaRef> {
        let asked = matches!(self.asking, Asking::Quota(_)).then_some(self.quotas);
        self.given.iter().copied().chain(asked).map(|place| &self.limits.quotas[place])
    }

    /// The slot that it takes.
    pub(in crate::op) const fn slot(&self) -> SlotId {
        self.slot
    }

    /// Asks the next limit.
    fn next(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        while let Some(budget) = self.limits.budgets.get(self.budgets) {
            let cached = self.patience.context().budgets().fresh(&self.namespace, budget, now);
            match cached {
                Some(exhausted) => match exhausted {
                    Some(exhausted) => return self.held(held_by(budget, exhausted, now.store)),
                    None => self.budgets += 1,
                },
                None => {
                    self.asked_at = now.local;
                    let look = LookAtBudget {
                        namespace: self.namespace.clone(),
                        id: budget.clone(),
                        partitions: *self.patience.context().partitions(),
                    };
                    let look = ChangeResource::new(look, self.patience.fork());
                    self.asking = Asking::Budget(Box::new(look));
                    return self.resume(Event::Start, now);
                }
            }
        }
        let Some(of) = self.limits.quotas.get(self.quotas) else {
            let (grant, held) = (self.grant, None);
            let slot = (!self.given.is_empty()).then_some(self.slot);
            return Step::Done(Ok(Admission { grant, slot, held }));
        };
        let reserve = Reserve {
            namespace: self.namespace.clone(),
            of: of.clone(),
            execution: self.execution,
            slot: self.slot,
            replaces: self.replaces.map(|replaced| replaced.slot),
            turn: self
                .turn
                .filter(|turn| usize::from(turn.quota) == self.quotas)
                .map(|turn| turn.at),
            partitions: *self.patience.context().partitions(),
        };
        let reserve = ChangeUse::new(reserve, self.patience.fork());
        self.asking = Asking::Quota(Box::new(reserve));
        self.resume(Event::Start, now)
    }

    fn found_budget(
        &mut self,
        found: Result<ResourceChanged<Budget, Budget>, EngineError>,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        self.asking = Asking::Nothing;
        let budget = self.limits.budgets[self.budgets].clone();
        match found {
            Ok(found) => {
                let exhausted = found.outcome.exhausted(found.at);
                let budgets = self.patience.context().budgets();
                budgets.put(&self.namespace, &budget, exhausted.clone(), self.asked_at);
                match exhausted {
                    Some(exhausted) => self.held(held_by(&budget, exhausted, found.at)),
                    None => {
                        self.budgets += 1;
                        self.next(now)
                    }
                }
            }
            Err(error) => match error.rejection() {
                Some(rejection @ Rejection::BudgetNotFound { .. }) => {
                    let (kind, rejection) = (BlockKind::Budget, rejection.clone());
                    self.held(Held { kind, quota: None, rejection, retry_after: None, turn: None })
                }
                _ => self.fail(error),
            },
        }
    }

    fn asked_quota(
        &mut self,
        reserved: Result<Reserved, EngineError>,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        let of = self.limits.quotas[self.quotas].clone();
        let place = u8::try_from(self.quotas).ok();
        let (quota, rejection, retry_after, turn) = match reserved {
            Ok(Reserved::Admitted { has_slot }) => {
                if has_slot {
                    self.given.push(self.quotas);
                }
                self.asking = Asking::Nothing;
                self.quotas += 1;
                return self.next(now);
            }
            Ok(Reserved::Refused(RefusedBy::Concurrency { limit, checks, retry_after })) => {
                if checks {
                    self.push(of.clone(), UseWork::Check);
                }
                let rejection = Rejection::ConcurrencyLimitExceeded { quota: of, limit };
                (place, rejection, Some(retry_after), None)
            }
            Ok(Reserved::Refused(RefusedBy::Rate { retry_after, turn })) => {
                let rejection = Rejection::RateLimitExceeded { quota: of, retry_after };
                let turn = place.map(|quota| RateTurn { quota, at: turn });
                (None, rejection, Some(retry_after), turn)
            }
            Err(error) => match error.rejection() {
                Some(rejection @ Rejection::QuotaNotFound { .. }) => {
                    (None, rejection.clone(), None, None)
                }
                _ => return self.fail(error),
            },
        };
        self.asking = Asking::Nothing;
        self.held(Held { kind: BlockKind::Quota, quota, rejection, retry_after, turn })
    }

    fn held(&mut self, held: Held) -> Step<<Self as Operation>::Output> {
        self.give_back(true);
        self.quotas = 0;
        self.given.clear();
        let (grant, held) = (self.grant, Some(held));
        Step::Done(Ok(Admission { grant, slot: None, held }))
    }

    fn fail(&mut self, error: EngineError) -> Step<<Self as Operation>::Output> {
        self.give_back(true);
        Step::Done(Err(error))
    }

    /// Gives back the slots that were taken. `unused`: nothing has started under them for sure, so
    /// that they do not count towards a rate either.
    pub(in crate::op) fn give_back(&self, unused: bool) {
        if planted!(ReservationKept) {
            return;
        }
        for of in self.reserved() {
            self.push(of.clone(), UseWork::Free { slot: self.slot, unused });
        }
        // The quotas that have not answered may still have the earlier slot.
        if let Some(Replaced { slot, unused }) = self.replaces {
            for of in &self.limits.quotas[self.quotas..] {
                self.push(of.clone(), UseWork::Free { slot, unused });
            }
        }
    }

    fn push(&self, of: QuotaRef, work: UseWork) {
        let namespace = self.namespace.clone();
        self.patience.context().uses().push(UseTask { namespace, of, work });
    }
}

fn held_by(budget: &BudgetId, exhausted: Exhausted, at: TimestampMs) -> Held {
    let Exhausted { dimension, limit, resets_at } = exhausted;
    let budget = budget.clone();
    let rejection = Rejection::BudgetExhausted { budget, dimension, limit, resets_at };
    let retry_after = resets_at.map(|reset| reset.since(at));
    Held { kind: BlockKind::Budget, quota: None, rejection, retry_after, turn: None }
}

impl Operation for Gate {
    /// The answer of the limits.
    type Output = Result<Admission, EngineError>;

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        match &self.asking {
            Asking::Budget(look) => look.reply_within(now),
            Asking::Quota(reserve) => reserve.reply_within(now),
            Asking::Nothing => None,
        }
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        match &mut self.asking {
            Asking::Nothing => self.next(now),
            Asking::Budget(look) => {
                look.resume(event, now).then(|found| self.found_budget(found, now))
            }
            Asking::Quota(reserve) => {
                let step = reserve.resume(event, now);
                step.then(|reserved| self.asked_quota(reserved, now))
            }
        }
    }
}
