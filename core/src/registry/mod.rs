//! The registry of workers: which processes run, what they serve, and until when each of them is
//! believed to be alive (`docs/spec.md`, 7).

mod change;
mod end;
mod heartbeat;
mod record;
mod register;
mod served;

#[cfg(test)]
mod tests;

pub use change::WorkerChange;
pub use end::{Deregister, MarkDead};
pub use heartbeat::{DrainWorker, Heartbeat};
pub use record::{
    DEAD_FOR, HEARTBEATS_PER_TTL, LEAST_TTL, MAX_SERVED, MAX_VERSION_BYTES, UnknownWorkerState,
    Worker, WorkerInfo, WorkerState, registration_ttl,
};
pub use register::Register;
pub use served::{Lacks, Nearest, nearest};
