//! Simulations of users' handlers: the real SDK on paused clocks, over a simulated store and
//! network (`docs/simulation.md`).
//!
//! Modules:
//!
//! - `simulation`, `seeds`: one run of a test, and many;
//! - `sim`, `host`, `service`: the interface of a test and its processes;
//! - `scene`: the event loop; `network`: events of calls, wake-ups and processes;
//! - `process`: a process with its own runtime and clock;
//! - `faults`: the faults, and their weights;
//! - `quiet`, `held`: times in which nothing happens, and the requests that are held back in them;
//! - `upkeep`, `checks`: the workers' upkeep, and how long faults and tests last.

mod backend;
mod call;
mod checks;
mod faults;
mod held;
mod host;
mod network;
mod outbox;
mod outcome;
mod process;
mod quiet;
mod scene;
mod seeds;
mod service;
mod sim;
#[allow(clippy::module_inception)] // It is named after the type.
mod simulation;
mod trace;
mod upkeep;

pub use faults::Faults;
pub use host::{Host, NAMESPACE};
pub use outcome::{FailureKind, SimulationFailure, SimulationOutcome, TestResult};
pub use seeds::{Seeds, Summary};
pub use service::{CallFailed, Service};
pub use sim::Sim;
pub use simulation::Simulation;
