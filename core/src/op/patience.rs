//! How long and how often an operation tries.

use crate::entropy::Entropy;
use crate::error::{Applied, EngineError};
use crate::store::Failure;
use crate::store::codec::Codec;
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::context::{KeyringCache, LanesCache, OperationContext};
use super::operation::Step;

/// How long a program holds the entries that it took before others are offered them: 5 s.
pub const HOLD: DurationMs = DurationMs::from_secs(5);

/// The time limit of a take: 2 s. The entries of a take that is not answered return after their
/// hold, and a node that does not answer must not keep a program from the other nodes for longer.
pub(super) const TAKE_WITHIN: DurationMs = DurationMs::from_secs(2);

/// The patience of one operation: a deadline on the host's clock, a bound on conflicts, and backoff
/// with jitter.
#[derive(Clone, Debug)]
pub struct Patience {
    entropy: Entropy,
    context: OperationContext,
    started: Option<TimestampMs>,
    conflicts: u32,
    failures: u32,
    /// Why the last call got no reply.
    last: Option<Failure>,
    /// Whether its retries draw from the program's budget.
    budgeted: bool,
}

/// Conflicts and refusals for time in a row after which an operation gives up.
const MAX_CONFLICTS: u32 = 16;
/// Conflicts after which the operation tries again without a wait.
const EAGER_CONFLICTS: u32 = 2;

impl Patience {
    /// The patience of an operation in this context, counted from its first step.
    pub const fn new(context: OperationContext, entropy: Entropy) -> Self {
        let (started, conflicts, failures, last) = (None, 0, 0, None);
        Self { entropy, context, started, conflicts, failures, last, budgeted: false }
    }

    /// The same, with retries that draw from the [`RetryBudget`](super::RetryBudget) of the
    /// program. Calls of a program's users draw from it, since nothing else bounds their number.
    #[must_use]
    pub fn budgeted(self) -> Self {
        Self { budgeted: true, ..self }
    }

    /// Exempts the operation from the budget, since it finishes or keeps up work: a lost lease
    /// would cost more calls than its retries.
    pub(super) const fn exempt(&mut self) {
        self.budgeted = false;
    }

    /// Notes the first step.
    pub fn begin(&mut self, now: HostTime) {
        if self.started.is_none() && self.budgeted {
            self.context.retries().note_call();
        }
        self.started.get_or_insert(now.local);
    }

    /// The time that is left until the deadline.
    pub fn left(&self, now: HostTime) -> DurationMs {
        DurationMs::new(self.context.allowed().get().saturating_sub(self.elapsed(now).get()))
    }

    /// The time since the first step.
    pub fn elapsed(&self, now: HostTime) -> DurationMs {
        self.started.map_or(DurationMs::ZERO, |started| now.local.since(started))
    }

    /// The context of the operation.
    pub(super) const fn context(&self) -> &OperationContext {
        &self.context
    }

    /// The program's codec.
    pub const fn codec(&self) -> &Codec {
        self.context.codec()
    }

    /// The secrets of tokens that the program read last.
    pub(super) const fn keyrings(&self) -> &KeyringCache {
        self.context.keyrings()
    }

    /// The lanes that the program has read.
    pub(super) const fn lanes(&self) -> &LanesCache {
        self.context.lanes()
    }

    /// Separate patience for another part of the operation.
    pub(super) fn fork(&mut self) -> Self {
        let forked = Self::new(self.context.clone(), self.entropy.fork());
        Self { budgeted: self.budgeted, ..forked }
    }

    /// A separate stream of randomness.
    pub(super) fn entropy(&mut self) -> Entropy {
        self.entropy.fork()
    }

    /// A random nonce.
    pub fn nonce(&mut self) -> u64 {
        self.entropy.next_u64()
    }

    /// The wait after a conflict; none after the first ones.
    ///
    /// # Errors
    ///
    /// `Timeout` if the deadline passes before the next try. After 16 conflicts and refusals in a
    /// row, and if the budget of retries allows no further one before the deadline, `Contention`,
    /// or `Timeout` if the command may be applied.
    pub fn after_conflict(
        &mut self,
        op: &'static str,
        applied: Applied,
        now: HostTime,
    ) -> Result<Option<DurationMs>, EngineError> {
        self.count_conflict(op, applied, now)?;
        let wait = match self.conflicts <= EAGER_CONFLICTS {
            true => DurationMs::ZERO,
            false => self.jittered(1 << self.conflicts.min(6)),
        };
        let wait = self.before_deadline(wait, op, applied, now)?;
        Ok(Some(wait).filter(|wait| *wait > DurationMs::ZERO))
    }

    /// The wait after a refusal for time.
    ///
    /// # Errors
    ///
    /// As for [`Self::after_conflict`].
    pub fn after_refusal(
        &mut self,
        op: &'static str,
        applied: Applied,
        now: HostTime,
    ) -> Result<DurationMs, EngineError> {
        self.count_conflict(op, applied, now)?;
        let wait = self.jittered(2 << self.conflicts.min(7));
        self.before_deadline(wait, op, applied, now)
    }

    fn count_conflict(
        &mut self,
        op: &'static str,
        applied: Applied,
        now: HostTime,
    ) -> Result<(), EngineError> {
        self.conflicts += 1;
        match self.conflicts < MAX_CONFLICTS {
            true => Ok(()),
            false => Err(self.contention(op, self.conflicts, applied, now)),
        }
    }

    /// The error after so many tries in vain. `Contention` says that nothing was applied.
    pub(super) fn contention(
        &self,
        op: &'static str,
        tries: u32,
        applied: Applied,
        now: HostTime,
    ) -> EngineError {
        match applied {
            Applied::No => EngineError::Contention { op, tries },
            Applied::Unknown => self.timeout(op, applied, now),
        }
    }

    /// The step, unless it sends a request and no time is left for it: a program can wake up late
    /// from the wait before its next try.
    pub(super) fn in_time<T>(
        &self,
        step: Step<Result<T, EngineError>>,
        op: &'static str,
        applied: Applied,
        now: HostTime,
    ) -> Step<Result<T, EngineError>> {
        match step {
            Step::Send(_) if self.left(now) == DurationMs::ZERO => Step::fail(match &self.last {
                Some(failure) => self.failed(op, failure, applied, now),
                None => self.timeout(op, applied, now),
            }),
            step => step,
        }
    }

    /// The wait, or a longer one if the budget demands it, unless the deadline passes in it.
    fn before_deadline(
        &self,
        wait: DurationMs,
        op: &'static str,
        applied: Applied,
        now: HostTime,
    ) -> Result<DurationMs, EngineError> {
        if self.left(now) <= wait {
            return Err(self.timeout(op, applied, now));
        }
        let in_budget = self.in_budget(wait, now);
        in_budget.ok_or_else(|| self.contention(op, self.conflicts, applied, now))
    }

    /// The wait, or a longer one if the budget demands it; `None` if that one is too long.
    fn in_budget(&self, wait: DurationMs, now: HostTime) -> Option<DurationMs> {
        if !self.budgeted {
            return Some(wait);
        }
        let longest = DurationMs::new(self.left(now).get().saturating_sub(1));
        self.context.retries().take(longest, now.local).map(|turn| wait.max(turn))
    }

    /// The error of an operation that has no time left.
    pub(super) fn timeout(&self, op: &'static str, applied: Applied, now: HostTime) -> EngineError {
        EngineError::Timeout { op, elapsed: self.elapsed(now), applied }
    }

    /// The wait after a call that got no reply: 10 ms doubling to 1 s, with jitter; longer if the
    /// budget of retries demands it.
    ///
    /// # Errors
    ///
    /// If the deadline passes before the next try, `Timeout` if the command may be applied;
    /// otherwise `Transport` if the store refused the last call, and `Unreachable` if it did not
    /// answer.
    pub fn after_failure(
        &mut self,
        op: &'static str,
        failure: &Failure,
        applied: Applied,
        now: HostTime,
    ) -> Result<DurationMs, EngineError> {
        self.failures += 1;
        self.last = Some(failure.clone());
        let wait = self.jittered((5 << self.failures.min(8)).min(1_000));
        if self.left(now) > wait
            && let Some(wait) = self.in_budget(wait, now)
        {
            return Ok(wait);
        }
        Err(self.failed(op, failure, applied, now))
    }

    /// The error of an operation whose last call got no reply.
    fn failed(
        &self,
        op: &'static str,
        failure: &Failure,
        applied: Applied,
        now: HostTime,
    ) -> EngineError {
        match (applied, failure) {
            (Applied::Unknown, _) => self.timeout(op, applied, now),
            (Applied::No, Failure::Refused(message)) => {
                EngineError::Transport { op, message: message.clone() }
            }
            (Applied::No, failure) => EngineError::Unreachable { op, message: failure.to_string() },
        }
    }

    /// A random time between half of `milliseconds` and all of it, at least 1 ms.
    fn jittered(&mut self, milliseconds: u64) -> DurationMs {
        let half = milliseconds / 2;
        DurationMs::new((half + self.entropy.below(half + 1)).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{RetryBudget, RetryLimits};
    use crate::store::{Read, Request};

    const LIMITS: RetryLimits = RetryLimits { per_second: 10, calls_per_retry: 4, saved: 8 };
    const ALLOWED: DurationMs = DurationMs::from_secs(10);

    fn context() -> OperationContext {
        let context = OperationContext::new(ALLOWED, Codec::default());
        context.with_retries(RetryBudget::new(LIMITS))
    }

    fn at(milliseconds: u64) -> HostTime {
        let local = TimestampMs::new(milliseconds);
        HostTime { local, store: local }
    }

    fn refused(patience: &mut Patience, now: u64) -> Result<DurationMs, EngineError> {
        let refused = Failure::Refused("no memory".to_owned());
        patience.after_failure("submit", &refused, Applied::No, at(now))
    }

    /// The tries of 40 calls that begin at the same time, while the store refuses everything.
    fn tries(patience: impl Fn(Entropy) -> Patience) -> u64 {
        let calls = (0..40).map(|seed| Some((patience(Entropy::from_u64(seed)), 0)));
        let (mut calls, mut tries): (Vec<Option<(Patience, u64)>>, _) = (calls.collect(), 0);
        for now in 0..=ALLOWED.get() {
            for call in &mut calls {
                let Some((patience, next)) = call.as_mut().filter(|(_, next)| *next == now) else {
                    continue;
                };
                tries += 1;
                patience.begin(at(now));
                match refused(patience, now) {
                    Ok(wait) => *next = now + wait.get(),
                    Err(error) => {
                        assert!(matches!(error, EngineError::Transport { .. }), "{error}");
                        *call = None;
                    }
                }
            }
        }
        tries
    }

    /// All calls of a program together send no more than their first tries, the saved retries,
    /// those that the calls have earned, and those of the time.
    #[test]
    fn the_calls_of_a_program_share_a_budget_of_retries() {
        let shared = context();
        let within = tries(|entropy| Patience::new(shared.clone(), entropy).budgeted());
        assert!((120..=40 + 8 + 10 + 100).contains(&within), "{within} tries");
        let without = tries(|entropy| Patience::new(shared.clone(), entropy));
        assert!(without > 500, "{without} tries");
    }

    /// An operation that keeps up work does not wait for the retries of users' calls.
    #[test]
    fn the_budget_does_not_delay_operations_that_are_exempt() {
        let shared = context();
        let call = || Patience::new(shared.clone(), Entropy::from_u64(1)).budgeted();
        while refused(&mut call(), 0).is_ok() {}
        let mut exempt = call();
        exempt.exempt();
        exempt.begin(at(0));
        assert!(refused(&mut exempt, 0).unwrap() <= DurationMs::new(10));
        let conflict = exempt.after_conflict("renew", Applied::No, at(0));
        assert_eq!(conflict.unwrap(), None);
    }

    /// A call that has no retry left before its deadline ends, and says what is known.
    #[test]
    fn a_call_without_a_retry_ends_with_its_own_error() {
        let shared = context();
        let call = || Patience::new(shared.clone(), Entropy::from_u64(1)).budgeted();
        let mut ends = call();
        ends.begin(at(0));
        while refused(&mut call(), 0).is_ok() {}
        let conflict = ends.after_conflict("submit", Applied::No, at(0)).unwrap_err();
        assert!(matches!(conflict, EngineError::Contention { tries: 1, .. }), "{conflict}");
        let unknown = ends.after_conflict("submit", Applied::Unknown, at(0)).unwrap_err();
        assert!(matches!(unknown, EngineError::Timeout { applied: Applied::Unknown, .. }));
    }

    /// A program that wakes up late reports why its last call failed, not that it had no time.
    #[test]
    fn a_program_that_wakes_up_late_reports_its_last_failure() {
        let mut patience = Patience::new(context(), Entropy::from_u64(1));
        patience.begin(at(0));
        let send = || {
            let (records, values) = (Vec::new(), Vec::new());
            let partition = crate::partition::Partition::flow(0);
            Step::<Result<(), EngineError>>::Send(Request::Read(Read {
                partition,
                records,
                values,
            }))
        };
        let error =
            |patience: &Patience| match patience.in_time(send(), "read", Applied::No, at(10_000)) {
                Step::Done(Err(error)) => error,
                step => panic!("{step:?}"),
            };
        assert!(matches!(error(&patience), EngineError::Timeout { .. }));
        refused(&mut patience, 9_000).expect("it may try again");
        assert!(matches!(error(&patience), EngineError::Transport { .. }));
        assert!(matches!(patience.in_time(send(), "read", Applied::No, at(9_999)), Step::Send(_)));
    }
}
