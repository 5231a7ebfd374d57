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
//! The folders are layers: a file imports from its own folder and from folders above it in this list,
//! never from one below.
//!
//! - `determinism`: seeded randomness, virtual time, the event queue, a fixed hash;
//! - `plan`: what a seed decides: [`Plan`], the settings, and the names of all faults;
//! - `report`: what a run returns: [`Report`], [`Violation`], [`coverage`], the set of invariants;
//! - `fault`: one file for each fault, and the journey of a call through the network;
//! - `model`: what the simulator remembers by itself, to compare the store with;
//! - `invariant`: one file for each invariant (`docs/architecture.md`, Invariants);
//! - `store`: the simulated store, which checks every request that it serves;
//! - `process`: the simulated processes: workers, timekeepers, a client, a reader, an operator and a
//!   signaller;
//! - `world`: the loop of a seeded run, and the runs of seeds and plans; `exhaustive`:
//!   [`crash_points`], [`explore`] and [`scripted`]; `simulation`: users' handlers ([`Simulation`]). These three
//!   do not import from each other;
//! - [`bugs`]: the search for planted bugs.
//!
//! To add an invariant, write its check as a comparison of what was before with what is after,
//! without calling a rule of core: a check that shares code with what it checks finds nothing.

pub mod bugs;
mod determinism;
mod exhaustive;
mod fault;
mod invariant;
mod model;
mod plan;
mod process;
mod report;
mod simulation;
mod store;
mod world;

pub use ff_sim_macros::test;

pub use exhaustive::{crash_points, explore, scripted};
pub use plan::{FaultId, FaultKind, Overrides, Plan, WishId, WishKind};
pub use report::coverage::{self, Marks};
pub use report::invariants::{Invariant, InvariantSet, UnknownInvariant};
pub use report::{Options, Report, StoreKind, Violation};
pub use simulation::{
    CallFailed, Failure, FailureKind, Faults, Host, NAMESPACE, Outcome, Seeds, Service, Sim,
    Simulation, Summary, Verdict,
};
pub use world::{Shrunk, World, check_determinism, run, run_plan, shrink};
