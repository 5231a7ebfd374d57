//! Other processes: one that interferes with the operation of a case, and the agents that finish
//! all work.

use ff_core::agent::{DrawnWork, Timekeeper, WorkerAgent};
use ff_core::error::{EngineError, ErrorClass};
use ff_core::execution::{AnyCommand, BlockKind, Claimed, RevokeLease, Unblock};
use ff_core::id::ExecutionId;

use crate::determinism::clock::store_time;
use crate::exhaustive::carrier::{AnyOutput, Work};
use crate::exhaustive::inputs::call;
use crate::invariant::health;
use crate::model::settled::{is_pending, pending};
use crate::report::{Broken, ensure};

use super::commands::{PARTITIONS, cancel, complete, profile};
use super::fixture::Fixture;

/// The interference of another process at the worst time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rival {
    /// Time passes until a timer is due, and a timekeeper applies it.
    Time,
    /// Time passes until another worker claims an execution, which it keeps.
    TakeOver,
    /// The same, and the other worker completes it.
    Finish,
    /// An operator cancels.
    Cancel,
    /// An operator revokes the lease.
    Revoke,
}

impl Rival {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Time, Self::TakeOver, Self::Finish, Self::Cancel, Self::Revoke];

    /// Interferes with every execution; a refusal is fine.
    pub fn act(self, fixture: &mut Fixture, ids: &[ExecutionId]) -> Result<(), Broken> {
        fixture.note(|| format!("another process interferes: {self:?}"));
        match self {
            Self::Time => {
                fixture.now = fixture.next_due().unwrap_or(fixture.now + 1_000);
                Crew::new(fixture, 7).tick(fixture)
            }
            Self::TakeOver => Crew::new(fixture, 8).take_over(fixture).map(drop),
            Self::Finish => {
                let mut crew = Crew::new(fixture, 9);
                let work = crew.take_over(fixture)?;
                work.iter().try_for_each(|claimed| crew.complete(claimed, fixture))
            }
            Self::Cancel => ids.iter().try_for_each(|id| {
                let work = fixture.transact(cancel(*id, 700));
                fixture.carry_out(7, work).map(drop)
            }),
            Self::Revoke => ids.iter().try_for_each(|id| {
                let command = RevokeLease { execution_id: *id, call: call(701) };
                let work = fixture.transact(command.into());
                fixture.carry_out(7, work).map(drop)
            }),
        }
    }
}

/// A process that runs a timekeeper and a worker.
struct Crew {
    process: usize,
    timekeeper: Timekeeper,
    worker: WorkerAgent,
}

impl Crew {
    fn new(fixture: &Fixture, process: usize) -> Self {
        let mut entropy = fixture.entropy(process as u64);
        let timekeeper = Timekeeper::new(PARTITIONS, Fixture::context(), entropy.fork());
        let worker = WorkerAgent::new(profile(process as u64), entropy);
        Self { process, timekeeper, worker }
    }

    fn tick(&mut self, fixture: &mut Fixture) -> Result<(), Broken> {
        match fixture
            .carry_out(self.process, Work::Tick(self.timekeeper.apply_due(fixture.time())))?
        {
            AnyOutput::Tick(Ok(_)) => Ok(()),
            output => {
                Err(Broken { tag: "LIVENESS", detail: format!("a round returned {output:?}") })
            }
        }
    }

    /// Claims work.
    fn claim(&mut self, fixture: &mut Fixture) -> Result<Vec<Claimed>, Broken> {
        let claim = Work::Claim(self.worker.claim(4));
        let AnyOutput::Claim(result) = fixture.carry_out(self.process, claim)? else {
            unreachable!("a claim returns a claim");
        };
        let Ok(DrawnWork { mut work, queues, .. }) = result else { return Ok(Vec::new()) };
        self.worker.claimed(&mut work, queues);
        let (model, leases) = (&fixture.server.model, &self.worker.leases);
        health::check(model, leases, fixture.time(), fixture.store())?;
        Ok(work.into_iter().map(|work| work.claimed).collect())
    }

    /// Lets time pass until this worker claims something; it may never.
    fn take_over(&mut self, fixture: &mut Fixture) -> Result<Vec<Claimed>, Broken> {
        for _ in 0..8 {
            self.tick(fixture)?;
            let work = self.claim(fixture)?;
            if !work.is_empty() {
                return Ok(work);
            }
            fixture.now =
                fixture.next_due().map_or(fixture.now + 1_000, |due| due.min(fixture.now + 6_000));
        }
        Ok(Vec::new())
    }

    fn complete(&mut self, claimed: &Claimed, fixture: &mut Fixture) -> Result<(), Broken> {
        let command = complete(claimed.execution_id, claimed.fence().into());
        let work = fixture.transact(command.into());
        let output = fixture.carry_out(self.process, work)?;
        self.worker.leases.release(claimed.lease_id);
        let lost = |error: &EngineError| error.class() == ErrorClass::Cooperative;
        let fine = match &output {
            AnyOutput::Command(Ok(_)) => true,
            AnyOutput::Command(Err(error)) => lost(error),
            _ => false,
        };
        ensure!(fine, "LIVENESS", "a completion without a fault returned {output:?}");
        Ok(())
    }
}

/// The number of rounds after which the work counts as endless.
const MAX_ROUNDS: usize = 60;

/// Finishes all work: operators lift blocks, time passes, agents work.
pub fn heal(fixture: &mut Fixture) -> Result<(), Broken> {
    fixture.note(|| "the agents finish all work".to_owned());
    let blocked: Vec<ExecutionId> = fixture.records().into_keys().collect();
    for execution_id in blocked {
        for kind in [BlockKind::Operator, BlockKind::Lane] {
            let unblock: AnyCommand = Unblock { execution_id, kind }.into();
            let work = fixture.transact(unblock);
            fixture.carry_out(6, work)?;
        }
    }
    let mut crew = Crew::new(fixture, 6);
    // An entry that a crashed process took comes back after its hold.
    let held_until = fixture.now + 6_000;
    for _ in 0..MAX_ROUNDS {
        crew.tick(fixture)?;
        for claimed in crew.claim(fixture)? {
            crew.complete(&claimed, fixture)?;
        }
        let left = is_pending(&fixture.server.model, &[profile(6)], store_time(fixture.now));
        if !left && fixture.now >= held_until {
            return fixture.server.check_all(fixture.store());
        }
        fixture.now =
            fixture.next_due().map_or(fixture.now + 1_000, |due| due.min(fixture.now + 1_000));
    }
    let left = pending(&fixture.server.model, &[profile(6)], store_time(fixture.now));
    Err(Broken { tag: "LIVENESS", detail: format!("still pending: {}", left.join("; ")) })
}
