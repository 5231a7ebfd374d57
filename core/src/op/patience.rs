//! How long and how often an operation tries.

use crate::entropy::Entropy;
use crate::error::{Applied, EngineError};
use crate::store::Failure;
use crate::store::codec::Codec;
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::context::{KeyringCache, OperationContext};
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
}

/// Conflicts and refusals for time in a row after which an operation gives up.
const MAX_CONFLICTS: u32 = 16;
/// Conflicts after which the operation tries again without a wait.
const EAGER_CONFLICTS: u32 = 2;

impl Patience {
    /// The patience of an operation in this context, counted from its first step.
    pub const fn new(context: OperationContext, entropy: Entropy) -> Self {
        Self { entropy, context, started: None, conflicts: 0, failures: 0 }
    }

    /// Notes the first step.
    pub fn begin(&mut self, now: HostTime) {
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

    /// Separate patience for another part of the operation.
    pub(super) fn fork(&mut self) -> Self {
        Self::new(self.context.clone(), self.entropy.fork())
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
    /// row `Contention`, or `Timeout` if the command may be applied.
    pub fn after_conflict(
        &mut self,
        op: &'static str,
        applied: Applied,
        now: HostTime,
    ) -> Result<Option<DurationMs>, EngineError> {
        self.count_conflict(op, applied, now)?;
        if self.conflicts <= EAGER_CONFLICTS {
            self.before_deadline(DurationMs::ZERO, op, applied, now)?;
            return Ok(None);
        }
        let wait = self.jittered(1 << self.conflicts.min(6));
        self.before_deadline(wait, op, applied, now).map(Some)
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

    /// The step, unless it sends a request and no time is left for it.
    pub(super) fn in_time<T>(
        &self,
        step: Step<Result<T, EngineError>>,
        op: &'static str,
        applied: Applied,
        now: HostTime,
    ) -> Step<Result<T, EngineError>> {
        match step {
            Step::Send(_) if self.left(now) == DurationMs::ZERO => {
                Step::fail(self.timeout(op, applied, now))
            }
            step => step,
        }
    }

    /// The wait, unless the deadline passes in it.
    fn before_deadline(
        &self,
        wait: DurationMs,
        op: &'static str,
        applied: Applied,
        now: HostTime,
    ) -> Result<DurationMs, EngineError> {
        match self.left(now) > wait {
            true => Ok(wait),
            false => Err(self.timeout(op, applied, now)),
        }
    }

    /// The error of an operation that has no time left.
    pub(super) fn timeout(&self, op: &'static str, applied: Applied, now: HostTime) -> EngineError {
        EngineError::Timeout { op, elapsed: self.elapsed(now), applied }
    }

    /// The wait after a call that got no reply: 10 ms doubling to 1 s, with jitter.
    ///
    /// # Errors
    ///
    /// After the deadline `Timeout` if the command may be applied; otherwise `Transport` if the
    /// store refused the last call, and `Unavailable` if it did not answer.
    pub fn after_failure(
        &mut self,
        op: &'static str,
        failure: &Failure,
        applied: Applied,
        now: HostTime,
    ) -> Result<DurationMs, EngineError> {
        self.failures += 1;
        let wait = self.jittered((5 << self.failures.min(8)).min(1_000));
        if self.left(now) > wait {
            return Ok(wait);
        }
        Err(match (applied, failure) {
            (Applied::Unknown, _) => self.timeout(op, applied, now),
            (Applied::No, Failure::Refused(message)) => {
                EngineError::Transport { op, message: message.clone() }
            }
            (Applied::No, failure) => EngineError::Unavailable { op, message: failure.to_string() },
        })
    }

    /// A random time between half of `milliseconds` and all of it, at least 1 ms.
    fn jittered(&mut self, milliseconds: u64) -> DurationMs {
        let half = milliseconds / 2;
        DurationMs::new((half + self.entropy.below(half + 1)).max(1))
    }
}
