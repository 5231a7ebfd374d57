//! Sans-I/O agents: they say what to do and when, and own the state that lives across operations.
//!
//! An agent returns operations and takes their results; `next_wakeup` says when to ask it again, on
//! the host's monotonic clock. Shells are loops around agents, and so is the simulator
//! (`docs/architecture.md`, Operations and agents).

mod claim_work;
mod claimer;
mod completions;
mod expiry;
mod frames;
mod leases;
mod registration;
mod scheduler;
mod timekeeper;
mod worker;

pub use claim_work::{ClaimWork, Claimant, ClaimedWork, DrawnWork, OfferTo};
pub use claimer::{Claimer, Served};
pub use completions::Completions;
pub use expiry::{ExpirySweep, ExpiryVisit};
pub use frames::FrameWriter;
pub use leases::{LeaseHealth, LeaseLost, Leases, LostReason, Renewal};
pub use registration::{KeepRegistered, Registration, Standing};
pub use scheduler::{AdmitTo, Scheduler, WorkerGrant, WorkerRequest};
pub use timekeeper::Timekeeper;
pub use worker::{WorkerAgent, WorkerProfile};
