//! The check of the workers' upkeep: a handler whose lease is lost is stopped in time, and the
//! lease of a handler that runs is renewed in time.

use std::collections::BTreeMap;

use ff_core::execution::{Execution, LeaseFate, Phase};
use ff_core::id::WorkerInstanceId;
use ff_core::store::Member;
use ff_core::time::TimestampMs;
use ff_sdk::{RuntimeReport, RuntimeReports};

use crate::report::{Broken, ensure};

/// The tag of a handler that runs on after its lease was lost.
const LOST: &str = "LEASE-LOST";

/// The tag of a lease that its worker does not renew.
pub const RENEWAL: &str = "LEASE-RENEWAL";

/// The time that a worker needs to react, in milliseconds.
const REACTION_MS: u64 = 1_000;

/// A worker whose upkeep is checked.
#[derive(Clone, Debug)]
pub struct Watched {
    reports: RuntimeReports,
    instance: WorkerInstanceId,
    upkeep: Upkeep,
}

/// The upkeep of a worker.
#[derive(Clone, Copy, Debug)]
struct Upkeep {
    ttl_ms: u64,
    /// Since when it runs more handlers than it holds leases, in milliseconds, and its report since
    /// then: a handler that ends begins a new time.
    excess: Option<(u64, RuntimeReport)>,
}

impl Watched {
    /// A worker that was started just now.
    pub const fn new(reports: RuntimeReports, instance: WorkerInstanceId, ttl_ms: u64) -> Self {
        Self { reports, instance, upkeep: Upkeep { ttl_ms, excess: None } }
    }

    /// Its report.
    pub fn report(&self) -> RuntimeReport {
        self.reports.report()
    }

    /// Whether it has this instance id.
    pub fn is(&self, instance: &WorkerInstanceId) -> bool {
        self.instance == *instance
    }

    /// Whether it holds the lease of an execution.
    pub fn holds(&self, record: &Execution, now: TimestampMs) -> bool {
        match &record.phase {
            Phase::Active(active) => {
                active.fate == LeaseFate::Held
                    && active.lease.instance == self.instance
                    && now < active.lease.expires_at
            }
            _ => false,
        }
    }

    /// Checks its upkeep.
    pub fn check(&mut self, look: &Look<'_>) -> Result<(), Broken> {
        self.upkeep.check(look)
    }
}

/// The latest request of a process about each execution.
pub type Touched = BTreeMap<Member, Touch>;

/// The latest request of a process about an execution: a commit or a read.
#[derive(Clone, Copy, Debug)]
pub struct Touch {
    /// When it was sent, in milliseconds.
    pub sent_at: u64,
    /// Whether such a request was answered, so that the process knows of its lease.
    pub answered: bool,
}

/// The state of a worker at a check.
pub struct Look<'l> {
    /// The time, in milliseconds.
    pub now: u64,
    /// Its report, with the number of handlers that run.
    pub report: RuntimeReport,
    /// The executions whose leases it holds.
    pub held: &'l [&'l Execution],
    /// Its latest requests.
    pub touched: &'l Touched,
    /// When its latest pause ended.
    pub continued_at: u64,
    /// How long it waits for a reply.
    pub timeout_ms: u64,
}

impl Upkeep {
    fn check(&mut self, look: &Look<'_>) -> Result<(), Broken> {
        let leases = look.held.len() as u64;
        let running = look.report.running;
        if running > leases {
            let same = self.excess.filter(|(_, report)| *report == look.report);
            let (since, _) = *self.excess.insert(same.unwrap_or((look.now, look.report)));
            // It learns of the loss when its lease runs out by its own clock, or before.
            let most = self.ttl_ms + self.ttl_ms / 20 + REACTION_MS;
            let runs_for = look.now - since.max(look.continued_at).min(look.now);
            ensure!(
                runs_for <= most,
                LOST,
                "{running} handlers run although it has held {leases} leases for {runs_for} ms: \
                 a handler did not learn that its lease is lost"
            );
            return Ok(());
        }
        self.excess = None;
        if running < leases {
            return Ok(()); // A lease that it does not know, or is giving back.
        }
        look.held.iter().try_for_each(|record| check_renewal(record, look))
    }
}

/// A worker renews its leases at a third of their ttl, whatever becomes of its requests.
fn check_renewal(record: &Execution, look: &Look<'_>) -> Result<(), Broken> {
    let Phase::Active(active) = &record.phase else { return Ok(()) };
    let Some(touch) = look.touched.get(&record.id.uuid()) else { return Ok(()) };
    let ends_earlier =
        record.deadline.is_some() || record.attempt_times_out_at(&active.lease).is_some();
    if !touch.answered || ends_earlier {
        return Ok(());
    }
    let silent_for = look.now.saturating_sub(touch.sent_at.max(look.continued_at));
    let most = active.lease.ttl_ms.get() / 2 + look.timeout_ms + REACTION_MS;
    ensure!(
        silent_for <= most,
        RENEWAL,
        "the lease of {} was not renewed for {silent_for} ms, although its handler runs",
        record.id
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(now: u64, running: u64, touched: &Touched) -> Look<'_> {
        let mut report = RuntimeReport::default();
        report.running = running;
        Look { now, report, held: &[], touched, continued_at: 0, timeout_ms: 500 }
    }

    /// A handler may run on without a lease until its worker must have learned of the loss.
    #[test]
    fn a_handler_that_runs_on_without_a_lease_is_found() {
        let (touched, ttl_ms) = (Touched::new(), 30_000);
        let mut upkeep = Upkeep { ttl_ms, excess: None };
        for now in [1_000, 30_000, 33_500] {
            assert!(upkeep.check(&look(now, 1, &touched)).is_ok(), "{now}");
        }
        let broken = upkeep.check(&look(33_501, 1, &touched)).unwrap_err();
        assert_eq!(broken.tag, LOST);
        // A pause gives it more time.
        let continued = Look { continued_at: 20_000, ..look(33_501, 1, &touched) };
        assert!(upkeep.check(&continued).is_ok());
        // A handler that has ended is forgotten.
        assert!(upkeep.check(&look(34_000, 0, &touched)).is_ok());
        assert!(upkeep.check(&look(60_000, 1, &touched)).is_ok());
    }
}
