//! The runtime: runs `async` handlers by kind, under leases.

mod extract;
mod failure;
mod finish;
mod handler;
mod layer;
mod outcome;
mod report;
mod run;
mod signal;
mod source;
mod testing;
mod unwind;

pub use extract::{FromTask, Payload, RawPayload, SharedState, Signals, State, TaskContext};
pub use failure::{BoxError, HandlerError};
pub(crate) use handler::AnyHandler;
pub use handler::{Handler, HandlerOptions};
pub use layer::HandlerService;
pub use outcome::{IntoTaskOutcome, Json, TaskOutcome};
pub use report::{RuntimeReport, RuntimeReports};
pub use run::WorkerRuntime;
pub use signal::{ShutdownSignal, shutdown_signal};
