//! The present use of a quota under one key.

use serde::{Deserialize, Serialize};

use crate::id::{ExecutionId, Namespace, SlotId};
use crate::partition::PartitionConfig;
use crate::planted::planted;
use crate::quota_ref::QuotaRef;
use crate::resource::{Resource, ResourceId, ResourceKind};
use crate::time::{DurationMs, TimestampMs, Window};

use super::admissions::{Admissions, spacing};
use super::record::{Quota, QuotaLimits, Rate};

/// How long after an admission its slot is compared with the execution: 10 s.
pub(super) const FIRST_CHECK: DurationMs = DurationMs::from_secs(10);
/// How long after a comparison the slot is compared again: 30 s.
pub(super) const NEXT_CHECK: DurationMs = DurationMs::from_secs(30);
/// How long a freed slot is kept for the execution that it was offered to: 2 s.
pub(super) const PROMISED_FOR: DurationMs = DurationMs::from_secs(2);
/// A use that was changed this much later than now was changed before the clock stepped back.
const STEP_BACK: DurationMs = DurationMs::from_secs(10);
/// The longest time until an execution that waits for the rate is looked at again: 60 s.
pub(super) const MAX_WAIT: DurationMs = DurationMs::from_secs(60);
/// The shortest time until an execution that waits for a slot looks again by itself: 10 s.
const FIRST_LOOK: DurationMs = DurationMs::from_secs(10);
/// The time between the looks of two executions that wait for a slot: 1 s.
const LOOKS_APART: DurationMs = DurationMs::from_secs(1);
/// The longest time until an execution that waits for a slot looks again is this and up to as much
/// again: 5 min.
const LAST_LOOK: DurationMs = DurationMs::from_secs(300);
/// How long a refusal counts as a sign that executions wait: longer than any waits for its look.
const AWAITED_FOR: DurationMs = DurationMs::from_secs(660);
/// How much later a slot that no execution waits for is compared: 5 min.
const NOT_AWAITED: DurationMs = DurationMs::from_secs(300);
/// How long a use without slots is kept after its last admission has left the window.
const KEPT_FOR: DurationMs = DurationMs::from_secs(60);

/// An execution that takes a slot of a quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The execution.
    pub execution: ExecutionId,
    /// The slot, which the record of the execution names.
    pub slot: SlotId,
    /// Since when it counts, by the use record's clock: with a slow network up to 2 s ahead.
    pub since: TimestampMs,
    /// When the slot is compared with the execution's record, which frees it if the execution no
    /// longer has it.
    pub check_at: TimestampMs,
}

/// The use of a quota under one key.
///
/// Each execution that the quota lets run has a slot, which it takes before its grant is committed
/// and gives back after its attempt has ended. So there are never fewer slots than executions that
/// run. A slot whose program died in between is found by its check. \[INV-QUOTA-1\]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaUse {
    /// The namespace.
    pub namespace: Namespace,
    /// The quota and the key.
    pub of: QuotaRef,
    /// The limits when it was changed last.
    pub limits: QuotaLimits,
    /// The executions that take slots, the longest first.
    pub holders: Vec<Holder>,
    /// The latest admissions.
    pub(super) admissions: Admissions,
    /// Executions that are woken to take a slot, each until a time.
    pub(super) promised: Vec<(ExecutionId, TimestampMs)>,
    /// When the next one that waits for the rate has its turn.
    next_turn: Micros,
    /// When the last of the executions that wait for a slot looks again by itself.
    last_look: TimestampMs,
    /// Until when executions may wait for a slot.
    pub awaited_until: TimestampMs,
    /// When it was changed last.
    pub updated_at: TimestampMs,
}

impl Resource for QuotaUse {
    const KIND: ResourceKind = ResourceKind::QuotaUses;
    const HAS_SLOTS: bool = true;

    /// When it is visited: the first check of a slot, or its removal if no slot is taken.
    fn expires_at(&self) -> Option<TimestampMs> {
        let check = self.holders.iter().map(|holder| self.visit_at(holder)).min();
        let end = self.admissions.end(self.limits.rate).unwrap_or(self.updated_at);
        Some(check.unwrap_or(end.max(self.updated_at).plus(KEPT_FOR)))
    }

    fn to_visit(&self, now: TimestampMs) -> Option<(&Namespace, &QuotaRef)> {
        let furthest = DurationMs::new(NEXT_CHECK.get() + NOT_AWAITED.get());
        let is_due = |holder: &Holder| is_over(self.visit_at(holder), furthest, now);
        self.holders.iter().any(is_due).then_some((&self.namespace, &self.of))
    }
}

/// Whether the time of a check or a visit is over. One further away than any means that the clock
/// has stepped back.
fn is_over(at: TimestampMs, furthest: DurationMs, now: TimestampMs) -> bool {
    at <= now || at > now.plus(furthest)
}

/// The turn of an execution that waits for the rate.
pub(super) struct Waits {
    pub(super) turn: TimestampMs,
    /// Whether it has got the turn now.
    pub(super) is_new: bool,
    /// When it looks again: at its turn, once there is room, or within 60 s.
    pub(super) retry_after: DurationMs,
}

/// A time in microseconds: of a rate of more than 1,000 per second, several have their turns in a
/// millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Micros(u64);

impl Micros {
    const fn of(at: TimestampMs) -> Self {
        Self(at.get().saturating_mul(1_000))
    }

    const fn rounded(self) -> TimestampMs {
        TimestampMs::new(self.0 / 1_000)
    }
}

impl QuotaUse {
    /// Names the record of a quota's use under a key: in the partition of the quota.
    pub fn key(namespace: &Namespace, of: &QuotaRef, config: &PartitionConfig) -> ResourceId {
        let quota = Quota::key(namespace, &of.quota, config);
        quota.beside(ResourceKind::QuotaUses, &of.names(namespace))
    }

    pub(super) fn new(namespace: Namespace, of: QuotaRef) -> Self {
        Self {
            namespace,
            of,
            limits: QuotaLimits::default(),
            holders: Vec::new(),
            admissions: Admissions::default(),
            promised: Vec::new(),
            next_turn: Micros(0),
            last_look: TimestampMs::ZERO,
            awaited_until: TimestampMs::ZERO,
            updated_at: TimestampMs::ZERO,
        }
    }

    /// Returns how many executions were admitted in the present window.
    pub fn admitted(&self, now: TimestampMs) -> u32 {
        self.limits.rate.map_or(0, |rate| self.admissions.admitted(rate, now))
    }

    /// Returns the holders whose slots are to be compared with their executions now.
    pub fn to_check(&self, now: TimestampMs) -> impl Iterator<Item = &Holder> {
        self.holders.iter().filter(move |holder| is_over(holder.check_at, NEXT_CHECK, now))
    }

    /// Returns when the next one that waits for the rate has its turn.
    pub const fn next_turn(&self) -> TimestampMs {
        self.next_turn.rounded()
    }

    /// When a timekeeper visits the use because of this holder: later if no execution waits.
    fn visit_at(&self, holder: &Holder) -> TimestampMs {
        let is_awaited = holder.check_at <= self.awaited_until;
        if is_awaited { holder.check_at } else { holder.check_at.plus(NOT_AWAITED) }
    }

    /// Returns until when slots are kept for executions that were woken to take them: at most 2 s
    /// from the change that woke them.
    pub fn promised(&self) -> impl Iterator<Item = TimestampMs> {
        self.promised.iter().map(|(_, until)| *until)
    }

    /// Returns whether executions may wait for a slot.
    pub fn is_awaited(&self, now: TimestampMs) -> bool {
        self.awaited_until > now && self.awaited_until <= now.plus(AWAITED_FOR)
    }

    /// Notes that an execution waits for a slot, and returns after which time it looks again by
    /// itself. A free slot is offered to it before that; the looks only find slots whose program
    /// died. So about one of all that wait looks in a second, however many there are.
    pub(super) fn wait(&mut self, execution: &ExecutionId, now: TimestampMs) -> DurationMs {
        self.awaited_until = now.plus(AWAITED_FOR);
        let next = self.last_look.plus(LOOKS_APART).max(now.plus(FIRST_LOOK));
        if next <= now.plus(LAST_LOOK) {
            self.last_look = next;
            return next.since(now);
        }
        // Many wait: these are spread by their ids.
        let part = execution.uuid().as_u64_pair().1 % LAST_LOOK.get();
        DurationMs::new(LAST_LOOK.get() + part)
    }

    /// Forgets what is over at this time.
    pub(super) fn roll(&mut self, now: TimestampMs) {
        let latest = now.plus(PROMISED_FOR);
        let kept = planted!(PromiseKept);
        self.promised.retain(|(_, until)| kept || (now..=latest).contains(until) && *until > now);
        if self.updated_at > now.plus(STEP_BACK) {
            // The turns move back with the clock.
            let back = self.updated_at.since(now).get() * 1_000;
            self.next_turn = Micros(self.next_turn.0.saturating_sub(back));
        }
        self.last_look = self.last_look.min(now.plus(LAST_LOOK));
        self.updated_at = now;
    }

    /// Takes over the limits. With another rate the turns begin anew.
    pub(super) fn set_limits(&mut self, limits: QuotaLimits, now: TimestampMs) {
        if self.limits.rate != limits.rate {
            self.next_turn = self.next_turn.min(Micros::of(now));
        }
        self.limits = limits;
    }

    /// Admits an execution to the rate. Otherwise it has a turn: the one that it had before, or the
    /// next one.
    pub(super) fn admit(
        &mut self,
        rate: Rate,
        turn: Option<TimestampMs>,
        now: TimestampMs,
        late: u32,
    ) -> Result<(Window, TimestampMs), Waits> {
        // A turn after the last one was given before the turns began anew.
        let turn = turn.filter(|turn| *turn <= self.next_turn());
        let mut wait = DurationMs::ZERO;
        if turn.unwrap_or_else(|| self.next_turn()) <= now {
            match self.admissions.admit(rate, now, late) {
                Ok(admitted) => return Ok(admitted),
                Err(full) => wait = full.wait,
            }
        }
        let is_new = turn.is_none();
        let turn = turn.unwrap_or_else(|| {
            let next = self.next_turn.max(Micros::of(now.plus(wait)));
            self.next_turn = Micros(next.0.saturating_add(spacing(rate)));
            next.rounded()
        });
        let retry_after = turn.since(now).max(wait).clamp(DurationMs::new(1), MAX_WAIT);
        Err(Waits { turn, is_new, retry_after })
    }

    /// Returns how many more executions may run, apart from those that a slot is promised to.
    pub(super) fn room(&self, limits: &QuotaLimits) -> u32 {
        let taken = self.holders.len() + self.promised.len();
        limits.concurrency.map_or(0, |max| max.saturating_sub(taken.try_into().unwrap_or(u32::MAX)))
    }
}
