//! FlowFabric's simulator: the real operations and agents of `ff-core` in a seeded world of faults.
//!
//! A number, the seed, decides a run. The same seed gives the same steps on every machine, so that
//! a failure can be reproduced.
//!
//! ```
//! let report = ff_sim::run(7).unwrap_or_else(|violation| panic!("{violation}"));
//! assert!(report.store_calls > 0);
//! ```
//!
//! The simulator owns virtual time, the network, the store (core's reference store, or the function
//! library of Valkey and Redis), worker processes, timekeepers, a client, a reader, an operator and
//! a signaller. Processes are loops around core's agents, as in `ff-sdk`; the seed decides
//! handlers, submissions, signals, operators' calls and faults.
//!
//! The folders are layers: a file imports from its own folder and from folders earlier in this
//! list, never from a later one.
//!
//! 1. `determinism`: seeded randomness, virtual time, the event queue, a fixed hash;
//! 2. `plan`: the input of a run: [`Plan`], the settings, and every fault with its weights;
//! 3. `report`: the result of a run: [`Report`], [`Violation`], [`coverage`], and the invariants;
//! 4. `fault`: how each fault happens, and the journey of a call through the network;
//! 5. `model`: the simulator's own copy of everything that the store should hold;
//! 6. `invariant`: one file for each invariant (`docs/architecture.md`, Invariants);
//! 7. `store`: the simulated store, which checks every request that it serves;
//! 8. `process`: the simulated processes;
//! 9. `world`: the event loop of a seeded run, and runs of seeds and plans; `exhaustive`:
//!    [`crash_points`], [`explore`] and [`scripted`]; `simulation`: users' handlers
//!    ([`Simulation`]). These three do not import from each other;
//! 10. [`bugs`]: the search for planted bugs.
//!
//! The check of an invariant compares the state before a step with the state after it, without
//! calling a rule of core: a check that shares code with the rule that it checks finds nothing.

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
pub use plan::{ActionId, ActionKind, FaultId, FaultKind, Overrides, Parts, Plan};
pub use report::coverage::{self, Coverage};
pub use report::invariants::{Invariant, InvariantSet, UnknownName};
pub use report::{Options, Report, StoreKind, Violation};
pub use simulation::{
    CallFailed, FailureKind, Faults, Host, NAMESPACE, Seeds, Service, Sim, Simulation,
    SimulationFailure, SimulationOutcome, Summary, TestResult,
};
pub use world::{Shrunk, World, check_determinism, run, run_plan, shrink};
