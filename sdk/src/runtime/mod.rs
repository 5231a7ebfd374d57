//! The runtime: runs `async` handlers by kind, under leases.

mod extract;
mod handler;
mod outcome;
mod run;
mod unwind;

pub use extract::{FromTask, Payload, RawPayload, Signals, State, TaskContext};
pub use handler::Handler;
pub use outcome::{HandlerError, IntoTaskOutcome, Json, TaskOutcome};
pub use run::{RuntimeReport, RuntimeReports, WorkerRuntime};
