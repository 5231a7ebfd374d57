//! FlowFabric's simulator: the real operations and agents of `ff-core` in a seeded world of faults.
//!
//! A run is decided by one number. The same number gives the same steps on every machine, so a
//! failure that was found once can be looked at again and again.
//!
//! ```
//! let report = ff_sim::run(7).unwrap_or_else(|violation| panic!("{violation}"));
//! assert!(report.store_calls > 0);
//! ```
//!
//! What is simulated: virtual time, a network, the store (core's reference store as it is), two to
//! four worker processes, a timekeeper and a client. Processes are loops around core's agents, as
//! the shells of `ff-sdk` are; handlers, submissions and operators' calls are drawn from the seed.
//! What goes wrong: replies are lost after the write, processes crash and restart, clocks are off,
//! and calls that timed out are carried out later.
//!
//! Where to look:
//!
//! - `world`: the loop that lets one thing happen after the other;
//! - `process`: workers, the timekeeper, the client, and what they wish for;
//! - `fault`: one file for each thing that goes wrong;
//! - `store`: the store's side, which has every step checked;
//! - `model`: what the world remembers by itself, to compare the store with;
//! - `invariant`: one file for each thing that always holds (`docs/architecture.md`, Invariants);
//! - [`marks`]: what a run has met, and what a run of seeds has to meet;
//! - `heal`: once the faults are over, everything comes to an end.
//!
//! To add an invariant, write its check as a comparison of what was before with what is after,
//! without calling a rule of core: a check that shares code with what it checks finds nothing.

mod carrier;
mod change;
mod clock;
pub mod crash_points;
mod fault;
mod hash;
mod heal;
mod host;
mod identity;
mod invariant;
pub mod marks;
mod model;
mod network;
mod places;
mod plan;
mod process;
mod queue;
mod report;
mod settings;
mod store;
mod streams;
mod task;
mod watch;
mod words;
mod world;

pub use fault::{FaultId, FaultKind};
pub use marks::Marks;
pub use plan::{Overrides, Plan, WishId, WishKind};
pub use report::{Options, Report, Violation};
pub use store::StoreKind;
pub use watch::{Invariant, InvariantSet, UnknownInvariant};
pub use world::World;

/// Runs the world of a seed.
///
/// # Errors
///
/// The first rule that is seen broken, with the steps that led to it.
#[allow(clippy::result_large_err)] // One for each run.
pub fn run(seed: u64) -> Result<Report, Violation> {
    run_with(seed, Options::default())
}

/// Runs the world of a seed, watched as the options say.
///
/// # Errors
///
/// The first rule that is seen broken, with the steps that led to it: a run that fails unwatched is
/// run again, watched.
#[allow(clippy::result_large_err)] // One for each run.
pub fn run_with(seed: u64, options: Options) -> Result<Report, Violation> {
    run_plan(&Plan::from(seed), options)
}

/// Runs the world of a plan, watched as the options say.
///
/// # Errors
///
/// The first rule that is seen broken, with the steps that led to it: a run that fails unwatched is
/// run again, watched.
#[allow(clippy::result_large_err)] // One for each run.
pub fn run_plan(plan: &Plan, options: Options) -> Result<Report, Violation> {
    match World::new(plan, options.clone()).run() {
        Err(violation) if !options.trace => {
            let watched = World::new(plan, Options { trace: true, ..options });
            Err(watched.run().err().unwrap_or(violation))
        }
        result => result,
    }
}

/// Runs a seed twice and compares the runs.
///
/// # Errors
///
/// A rule that is seen broken, or `DETERMINISM` when the runs differ.
#[allow(clippy::result_large_err)] // One for each run.
pub fn check_determinism(seed: u64) -> Result<Report, Violation> {
    let (first, second) = (run(seed)?, run(seed)?);
    if first == second {
        return Ok(first);
    }
    Err(Violation {
        seed,
        step: first.steps.min(second.steps),
        at: first.simulated_ms,
        tag: "DETERMINISM",
        detail: format!("two runs differ: {first:?} and {second:?}"),
        injected: Vec::new(),
        wishes: Vec::new(),
        trace: Vec::new(),
    })
}
