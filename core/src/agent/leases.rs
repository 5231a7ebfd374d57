//! The leases of one worker process: when to renew each, and whether it may be relied upon.

use std::collections::BTreeMap;

use crate::entropy::Entropy;
use crate::error::{EngineError, ErrorClass};
use crate::execution::{Claimed, Fence, Renew, Renewed};
use crate::id::{ExecutionId, LeaseId};
use crate::op::{CarryCommand, Committed, Known, Loaded, OperationContext, Patience};
use crate::planted::planted;
use crate::time::{DurationMs, HostTime, TimestampMs};

/// The leases that a worker process holds.
///
/// Health is judged by the host's own clock, counted from the moment at which the claim or renewal
/// that succeeded was first sent, with a margin: wall clocks are never compared.
/// \[INV-HEALTH-1\]
#[derive(Clone, Debug, Default)]
pub struct Leases {
    held: BTreeMap<LeaseId, Held>,
}

#[derive(Clone, Debug)]
struct Held {
    execution_id: ExecutionId,
    /// The record after the latest commit of this process.
    record: Option<Loaded>,
    fence: Fence,
    ttl: DurationMs,
    renew_at: TimestampMs,
    healthy_until: TimestampMs,
    expires_at: TimestampMs,
    failures: u32,
    renewing: bool,
}

impl Held {
    /// Keeps the record, unless it has a lower version than the one that is known: the replies of
    /// two commits may arrive out of order, and a failover may lose commits. Neither record is the
    /// present one for certain then, and the next command reads it.
    fn learn(&mut self, record: Option<Loaded>) {
        let count = |loaded: &Option<Loaded>| loaded.as_ref().map(|loaded| loaded.version.count);
        let is_older = count(&record) < count(&self.record);
        self.record = record.filter(|_| !is_older);
    }

    fn failed(&mut self, error: &EngineError) {
        if error.may_be_applied() {
            self.record = None;
        }
    }
}

/// Renewals that fail in a row before a lease counts as unhealthy.
const MAX_FAILURES: u32 = 3;

/// A renewal that is due.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The lease.
    pub lease_id: LeaseId,
    /// The operation.
    pub operation: CarryCommand<Renew>,
}

/// The health of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseHealth {
    /// Whether the worker may rely on owning the execution.
    pub healthy: bool,
    /// Renewals that failed in a row.
    pub consecutive_failures: u32,
}

/// A lease that was lost.
#[derive(Clone, Debug)]
pub struct LeaseLost {
    /// The lease.
    pub lease_id: LeaseId,
    /// The execution.
    pub execution_id: ExecutionId,
    /// When it ends by the store's clock, as far as its holder knows.
    pub expires_at: TimestampMs,
    /// How it was lost.
    pub reason: LostReason,
}

/// How a lease was lost.
#[derive(Clone, Debug)]
pub enum LostReason {
    /// The store refused a renewal: revoked, reclaimed, expired, or the execution is over.
    Refused(EngineError),
    /// It must have run out by the host's clock.
    RanOut,
}

impl Leases {
    /// Notes a lease that was claimed or renewed by a call that was first sent at `first_sent` of
    /// the host's clock and answered at `at` of the store's; `record` is the one after it.
    pub fn track(
        &mut self,
        claimed: &Claimed,
        record: Option<Loaded>,
        first_sent: TimestampMs,
        at: TimestampMs,
    ) {
        let ttl = claimed.lease_ttl;
        let held = Held {
            execution_id: claimed.execution_id,
            record,
            fence: claimed.fence(),
            ttl,
            renew_at: first_sent.plus(third(ttl)),
            healthy_until: healthy_until(first_sent, claimed.expires_at.since(at), ttl),
            expires_at: claimed.expires_at,
            failures: 0,
            renewing: false,
        };
        self.held.insert(claimed.lease_id, held);
    }

    /// The known record of a lease's execution: a command begins with it instead of a read, and
    /// meets a conflict if the record has changed since.
    pub fn known(&self, lease_id: LeaseId) -> Known {
        let record = self.held.get(&lease_id).and_then(|held| held.record.clone());
        record.map_or(Known::Nothing, Known::Stale)
    }

    /// Notes the record after a commit of this process.
    pub fn learn(&mut self, lease_id: LeaseId, record: Option<Loaded>) {
        if let Some(held) = self.held.get_mut(&lease_id) {
            held.learn(record);
        }
    }

    /// Notes that a call of this process has failed. If it may have been applied, the known record
    /// may be the one before it, and the next command reads the record.
    pub fn failed(&mut self, lease_id: LeaseId, error: &EngineError) {
        if let Some(held) = self.held.get_mut(&lease_id) {
            held.failed(error);
        }
    }

    /// Forgets a lease that was given back or is no longer wanted.
    pub fn release(&mut self, lease_id: LeaseId) {
        self.held.remove(&lease_id);
    }

    /// The health of a lease; `None` if the worker does not hold it.
    pub fn health(&self, lease_id: LeaseId, now: HostTime) -> Option<LeaseHealth> {
        self.held.get(&lease_id).map(|held| LeaseHealth {
            healthy: now.local < held.healthy_until && held.failures < MAX_FAILURES,
            consecutive_failures: held.failures,
        })
    }

    /// The healthy leases, for checkers.
    pub fn believed(&self, now: HostTime) -> impl Iterator<Item = (ExecutionId, Fence)> + '_ {
        let believed =
            move |held: &&Held| now.local < held.healthy_until && held.failures < MAX_FAILURES;
        self.held.values().filter(believed).map(|held| (held.execution_id, held.fence))
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The renewals that are due, each at a third of its ttl.
    pub fn renewals(
        &mut self,
        now: HostTime,
        context: &OperationContext,
        entropy: &mut Entropy,
    ) -> Vec<Renewal> {
        let due = |held: &&mut Held| !held.renewing && held.renew_at <= now.local;
        let mut renewals = Vec::new();
        for held in self.held.values_mut().filter(due) {
            held.renewing = true;
            let command = Renew {
                execution_id: held.execution_id,
                fence: held.fence.into(),
                lease_ttl: held.ttl,
            };
            // A renewal that takes longer is given up and begun again.
            let patience = Patience::new(context.within(third(held.ttl)), entropy.fork());
            let known = held.record.clone().map_or(Known::Nothing, Known::Stale);
            let operation = CarryCommand::knowing(command, known, patience);
            renewals.push(Renewal { lease_id: held.fence.lease_id, operation });
        }
        renewals
    }

    /// Notes the result of a renewal, and returns the lease if it is lost.
    pub fn renewed(
        &mut self,
        lease_id: LeaseId,
        result: Result<Committed<Renewed>, EngineError>,
        now: HostTime,
    ) -> Option<LeaseLost> {
        let held = self.held.get_mut(&lease_id)?;
        held.renewing = false;
        match result {
            Ok(renewed) => {
                held.failures = 0;
                held.learn(renewed.record);
                held.renew_at = renewed.first_sent.plus(third(held.ttl)).max(now.local);
                let before = std::mem::replace(&mut held.expires_at, renewed.outcome.expires_at);
                let left = renewed.outcome.expires_at.since(renewed.at);
                held.healthy_until = healthy_until(renewed.first_sent, left, held.ttl);
                let kept = left.get().saturating_add(third(held.ttl).get()) > held.ttl.get();
                if held.expires_at == before && !kept {
                    // The attempt timeout or the deadline ends it: renewing gains nothing.
                    held.renew_at = held.renew_at.max(held.healthy_until);
                }
                None
            }
            Err(error) if is_final(&error) => {
                let (execution_id, expires_at) = (held.execution_id, held.expires_at);
                let reason = LostReason::Refused(error);
                self.held.remove(&lease_id);
                Some(LeaseLost { lease_id, execution_id, expires_at, reason })
            }
            Err(error) => {
                held.failed(&error);
                held.failures += 1;
                let pause = DurationMs::new((held.ttl.get() / 20).clamp(1, 1_000));
                held.renew_at = now.local.plus(pause);
                None
            }
        }
    }

    /// Forgets and returns the leases that must have run out by the host's clock.
    pub fn ran_out(&mut self, now: HostTime) -> Vec<LeaseLost> {
        let over = |held: &&Held| held.healthy_until <= now.local;
        let lost: Vec<LeaseLost> = self
            .held
            .values()
            .filter(over)
            .map(|held| LeaseLost {
                lease_id: held.fence.lease_id,
                execution_id: held.execution_id,
                expires_at: held.expires_at,
                reason: LostReason::RanOut,
            })
            .collect();
        for lost in &lost {
            self.held.remove(&lost.lease_id);
        }
        lost
    }

    /// When a renewal is due or a lease runs out next.
    pub fn next_wakeup(&self) -> Option<TimestampMs> {
        let wakeup = |held: &Held| {
            if held.renewing { held.healthy_until } else { held.renew_at.min(held.healthy_until) }
        };
        self.held.values().map(wakeup).min()
    }
}

/// Whether the store's answer means that the lease is gone.
fn is_final(error: &EngineError) -> bool {
    matches!(error.class(), ErrorClass::Cooperative | ErrorClass::Terminal)
}

const fn third(ttl: DurationMs) -> DurationMs {
    let third = ttl.get() / 3;
    DurationMs::new(if third == 0 { 1 } else { third })
}

/// Until when a lease may be relied upon, by the host's clock: the time that was left when the
/// store answered, counted from when the call was first sent, minus a tenth of it, rounded up, at
/// most 250 ms.
fn healthy_until(first_sent: TimestampMs, left: DurationMs, ttl: DurationMs) -> TimestampMs {
    if planted!(LostLeaseBelieved) {
        return first_sent.plus(ttl);
    }
    let left = left.get().min(ttl.get());
    let margin = left.div_ceil(10).min(250);
    first_sent.plus(DurationMs::new(left - margin))
}
