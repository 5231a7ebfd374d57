//! How long and how often an operation tries.

use crate::entropy::Entropy;
use crate::error::{Applied, EngineError};
use crate::store::Failure;
use crate::store::codec::Codec;
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::terms::Terms;

/// An operation's patience: a deadline on the host's clock, a bound on conflicts, and jitter.
#[derive(Clone, Debug)]
pub struct Patience {
    entropy: Entropy,
    terms: Terms,
    started: Option<TimestampMs>,
    conflicts: u32,
    failures: u32,
}

/// Conflicts and refusals for time in a row after which an operation gives up.
const MAX_CONFLICTS: u32 = 16;
/// Conflicts that are answered at once, without a wait.
const EAGER_CONFLICTS: u32 = 2;

impl Patience {
    /// Patience on those terms, from the first step on.
    pub const fn new(terms: Terms, entropy: Entropy) -> Self {
        Self { entropy, terms, started: None, conflicts: 0, failures: 0 }
    }

    /// Notes the first step.
    pub fn begin(&mut self, now: HostTime) {
        self.started.get_or_insert(now.local);
    }

    /// What is left until the deadline.
    pub fn left(&self, now: HostTime) -> DurationMs {
        DurationMs::new(self.terms.allowed().get().saturating_sub(self.elapsed(now).get()))
    }

    /// The time since the first step.
    pub fn elapsed(&self, now: HostTime) -> DurationMs {
        self.started.map_or(DurationMs::ZERO, |started| now.local.since(started))
    }

    /// What the program knows of the record formats.
    pub const fn codec(&self) -> &Codec {
        self.terms.codec()
    }

    /// A stream of its own.
    pub(super) fn entropy(&mut self) -> Entropy {
        self.entropy.fork()
    }

    /// A random nonce.
    pub fn nonce(&mut self) -> u64 {
        self.entropy.next_u64()
    }

    /// The wait after a conflict; nothing for the first ones.
    ///
    /// # Errors
    ///
    /// `Contention` after 16 in a row.
    pub fn after_conflict(&mut self, op: &'static str) -> Result<Option<DurationMs>, EngineError> {
        self.conflicts += 1;
        if self.conflicts >= MAX_CONFLICTS {
            return Err(EngineError::Contention { op, tries: self.conflicts });
        }
        if self.conflicts <= EAGER_CONFLICTS {
            return Ok(None);
        }
        Ok(Some(self.jittered(1 << self.conflicts.min(6))))
    }

    /// The wait after a refusal for time.
    ///
    /// # Errors
    ///
    /// `Contention` after 16 conflicts and refusals in a row.
    pub fn after_refusal(&mut self, op: &'static str) -> Result<DurationMs, EngineError> {
        self.conflicts += 1;
        if self.conflicts >= MAX_CONFLICTS {
            return Err(EngineError::Contention { op, tries: self.conflicts });
        }
        Ok(self.jittered(2 << self.conflicts.min(7)))
    }

    /// The wait after a call that got no reply: 10 ms doubling to 1 s, with jitter.
    ///
    /// # Errors
    ///
    /// Past the deadline `Timeout` when the command may be applied; otherwise `Transport` when the
    /// store refused the last call, and `Unavailable` when it did not answer.
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
            (Applied::Unknown, _) => {
                EngineError::Timeout { op, elapsed: self.elapsed(now), applied }
            }
            (Applied::No, Failure::Refused(message)) => {
                EngineError::Transport { op, message: message.clone() }
            }
            (Applied::No, failure) => EngineError::Unavailable { op, message: failure.to_string() },
        })
    }

    /// Between half of `milliseconds` and all of it, at least one.
    fn jittered(&mut self, milliseconds: u64) -> DurationMs {
        let half = milliseconds / 2;
        DurationMs::new((half + self.entropy.below(half + 1)).max(1))
    }
}
