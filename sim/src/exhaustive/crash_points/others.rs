//! Who acts beside the operation of a case: somebody who gets in its way, and the agents that bring
//! everything to an end.

use ff_core::agent::{Timekeeper, WorkerAgent};
use ff_core::error::{EngineError, ErrorClass};
use ff_core::execution::{AnyCommand, BlockKind, Claimed, RevokeLease, Unblock};
use ff_core::id::ExecutionId;

use crate::determinism::clock::store_time;
use crate::exhaustive::carrier::{Came, Work};
use crate::invariant::health;
use crate::model::settled::{is_pending, pending};
use crate::report::{Broken, ensure};

use super::commands::{PARTITIONS, call, cancel, complete, profile};
use super::fixture::Bench;

/// What somebody else does at the worst moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rival {
    /// Time passes until something is due, and a timekeeper applies it.
    Time,
    /// Time passes until another worker gets an execution, which it holds on to.
    TakeOver,
    /// The same, and the other worker completes it.
    Finish,
    /// An operator cancels.
    Cancel,
    /// An operator takes the lease away.
    Revoke,
}

impl Rival {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Time, Self::TakeOver, Self::Finish, Self::Cancel, Self::Revoke];

    /// Its name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::TakeOver => "take-over",
            Self::Finish => "finish",
            Self::Cancel => "cancel",
            Self::Revoke => "revoke",
        }
    }

    /// Does it to everything that there is; being refused is as good.
    pub fn act(self, bench: &mut Bench, ids: &[ExecutionId]) -> Result<(), Broken> {
        bench.tell(|| format!("somebody else acts: {}", self.word()));
        match self {
            Self::Time => {
                bench.now = bench.next_due().unwrap_or(bench.now + 1_000);
                Crew::new(bench, 7).tick(bench)
            }
            Self::TakeOver => Crew::new(bench, 8).take_over(bench).map(drop),
            Self::Finish => {
                let mut crew = Crew::new(bench, 9);
                let work = crew.take_over(bench)?;
                work.iter().try_for_each(|claimed| crew.complete(claimed, bench))
            }
            Self::Cancel => ids.iter().try_for_each(|id| {
                let work = bench.transact(cancel(*id, 700));
                bench.carry_out(7, work).map(drop)
            }),
            Self::Revoke => ids.iter().try_for_each(|id| {
                let command = RevokeLease { execution_id: *id, call: call(701) };
                let work = bench.transact(command.into());
                bench.carry_out(7, work).map(drop)
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
    fn new(bench: &Bench, process: usize) -> Self {
        let mut entropy = bench.entropy(process as u64);
        let timekeeper = Timekeeper::new(PARTITIONS, Bench::terms(), entropy.fork());
        let worker = WorkerAgent::new(profile(process as u64), entropy);
        Self { process, timekeeper, worker }
    }

    fn tick(&mut self, bench: &mut Bench) -> Result<(), Broken> {
        match bench.carry_out(self.process, Work::Tick(self.timekeeper.apply_due()))? {
            Came::Tick(Ok(_)) => Ok(()),
            came => Err(Broken { tag: "LIVENESS", detail: format!("a round came to {came:?}") }),
        }
    }

    /// Looks for work that no worker fitted, and draws work.
    fn claim(&mut self, bench: &mut Bench) -> Result<Vec<Claimed>, Broken> {
        if let Some(sweep) = self.worker.unblock_routes(bench.time()) {
            bench.carry_out(self.process, Work::Sweep(sweep))?;
            self.worker.unblocked();
        }
        let claim = Work::Claim(self.worker.claim(4));
        let Came::Claim(result) = bench.carry_out(self.process, claim)? else {
            unreachable!("a claim comes to a claim");
        };
        let Ok((mut work, rotation)) = result else { return Ok(Vec::new()) };
        self.worker.claimed(&mut work, rotation);
        let (model, leases) = (&bench.server.model, &self.worker.leases);
        health::check(model, leases, bench.time(), bench.store())?;
        Ok(work.into_iter().map(|work| work.claimed).collect())
    }

    /// Lets time pass until this worker gets something; it may never.
    fn take_over(&mut self, bench: &mut Bench) -> Result<Vec<Claimed>, Broken> {
        for _ in 0..8 {
            self.tick(bench)?;
            let work = self.claim(bench)?;
            if !work.is_empty() {
                return Ok(work);
            }
            bench.now =
                bench.next_due().map_or(bench.now + 1_000, |due| due.min(bench.now + 6_000));
        }
        Ok(Vec::new())
    }

    fn complete(&mut self, claimed: &Claimed, bench: &mut Bench) -> Result<(), Broken> {
        let command = complete(claimed.execution_id, claimed.fence().into());
        let work = bench.transact(command.into());
        let came = bench.carry_out(self.process, work)?;
        self.worker.leases.release(claimed.lease_id);
        let lost = |error: &EngineError| error.class() == ErrorClass::Cooperative;
        let fine = match &came {
            Came::Command(Ok(_)) => true,
            Came::Command(Err(error)) => lost(error),
            _ => false,
        };
        ensure!(fine, "LIVENESS", "a completion without any fault came to {came:?}");
        Ok(())
    }
}

/// Rounds after which nothing will ever end.
const MAX_ROUNDS: usize = 60;

/// Brings everything to an end: operators let go, time passes, agents do their work.
pub fn heal(bench: &mut Bench) -> Result<(), Broken> {
    bench.tell(|| "everything heals".to_owned());
    let blocked: Vec<ExecutionId> = bench.records().into_keys().collect();
    for execution_id in blocked {
        for kind in [BlockKind::Operator, BlockKind::Lane] {
            let unblock: AnyCommand = Unblock { execution_id, kind, offered: None }.into();
            let work = bench.transact(unblock);
            bench.carry_out(6, work)?;
        }
    }
    let mut crew = Crew::new(bench, 6);
    // What a taker took before it died comes back after its hold.
    let held_until = bench.now + 6_000;
    for _ in 0..MAX_ROUNDS {
        crew.tick(bench)?;
        for claimed in crew.claim(bench)? {
            crew.complete(&claimed, bench)?;
        }
        let left = is_pending(&bench.server.model, &[profile(6)], store_time(bench.now));
        if !left && bench.now >= held_until {
            return bench.server.check_all(bench.store());
        }
        bench.now = bench.next_due().map_or(bench.now + 1_000, |due| due.min(bench.now + 1_000));
    }
    let left = pending(&bench.server.model, &[profile(6)], store_time(bench.now));
    Err(Broken { tag: "LIVENESS", detail: format!("still pending: {}", left.join("; ")) })
}
