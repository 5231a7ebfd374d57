//! The views derived from the record of an execution: index entries, due times, the state vector
//! and the snapshot that users see.

mod counted;
mod due;
mod index;
mod interrupted;
mod limit_state;
mod output;
mod situation;
mod slot;
mod snapshot;
mod state_vector;
mod why;

pub use counted::counted_state;
pub use due::{DueKind, due_times, next_due};
pub use index::{IndexEntries, awaited_use, index_entries, waits_for_capabilities};
pub use interrupted::Interrupted;
pub use limit_state::LimitState;
pub use output::{CloseReason, output_closed};
pub use situation::{Situation, situation};
pub use slot::{grant_in_use, slot_of};
pub use snapshot::{
    ExecutionSnapshot, GrantSnapshot, LeaseSnapshot, SuspensionSnapshot, WaitpointSnapshot,
    snapshot,
};
pub use state_vector::state_vector;
pub use why::{Delay, Judgement, Reason, WaitsFor, judge, not_served};

pub(super) use state_vector::eligibility;
