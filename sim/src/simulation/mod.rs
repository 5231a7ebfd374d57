//! Users' own handlers in a world of faults: the real sdk, on paused clocks, over a simulated
//! store and network (`docs/simulation.md`).
//!
//! Where to look:
//!
//! - `simulation`, `seeds`: one run of a test, and many;
//! - `sim`, `host`, `service`: what a test and its processes hold;
//! - `scene`: the loop; `network`: what becomes of calls, wake-ups and processes;
//! - `process`: a process with a runtime and a clock of its own;
//! - `faults`: what goes wrong, and how often.

mod backend;
mod call;
mod faults;
mod host;
mod network;
mod outbox;
mod outcome;
mod process;
mod scene;
mod seeds;
mod service;
mod sim;
#[allow(clippy::module_inception)] // It is named after the type.
mod simulation;
mod trace;

pub use faults::Faults;
pub use host::{Host, NAMESPACE};
pub use outcome::{Failure, FailureKind, Outcome, Verdict};
pub use seeds::{Seeds, Summary};
pub use service::{CallFailed, Service};
pub use sim::Sim;
pub use simulation::Simulation;
