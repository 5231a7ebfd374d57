//! The runtime: runs `async` handlers by kind, under leases.

mod extract;
mod failure;
mod finish;
mod handler;
mod outcome;
mod report;
mod run;
mod unwind;

pub use extract::{FromTask, Payload, RawPayload, Signals, State, TaskContext};
pub use failure::{BoxError, HandlerError};
pub use handler::Handler;
pub use outcome::{IntoTaskOutcome, Json, TaskOutcome};
pub use report::{RuntimeReport, RuntimeReports};
pub use run::WorkerRuntime;
