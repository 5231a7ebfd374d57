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
//! What is simulated: virtual time, a network, the store (core's reference store as it is), worker
//! processes, timekeepers, a client, a reader, an operator and whoever signals. Processes are loops
//! around core's agents, as the shells of `ff-sdk` are; handlers, submissions, signals and
//! operators' calls are drawn from the seed.
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
//! - `waits`: what it remembers of suspensions, signals, tokens and output;
//! - `invariant`: one file for each thing that always holds (`docs/architecture.md`, Invariants);
//! - [`marks`]: what a run has met, and what a run of seeds has to meet;
//! - `heal`: once the faults are over, everything comes to an end.
//!
//! To add an invariant, write its check as a comparison of what was before with what is after,
//! without calling a rule of core: a check that shares code with what it checks finds nothing.

pub mod bugs;
mod carrier;
mod change;
mod clock;
pub mod crash_points;
pub mod explore;
mod fault;
mod hash;
mod heal;
mod host;
mod identity;
mod invariant;
pub mod marks;
mod model;
mod network;
mod own_leases;
mod places;
mod plan;
mod process;
mod queue;
mod report;
mod runs;
mod settings;
mod shrink;
mod simulation;
mod store;
mod streams;
mod task;
mod waits;
mod watch;
mod words;
mod world;

pub use ff_sim_macros::test;

pub use fault::{FaultId, FaultKind};
pub use marks::Marks;
pub use plan::{Overrides, Plan, WishId, WishKind};
pub use report::{Options, Report, Violation};
pub use runs::{check_determinism, run, run_plan};
pub use shrink::{Shrunk, shrink};
pub use simulation::{
    CallFailed, Failure, FailureKind, Fault, Faults, Host, NAMESPACE, Outcome, Seeds, Service, Sim,
    Simulation, Summary, Verdict,
};
pub use store::StoreKind;
pub use watch::{Invariant, InvariantSet, UnknownInvariant};
pub use world::World;
