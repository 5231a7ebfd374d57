//! What goes wrong on purpose, one file for each fault. A seed switches each on or off with a
//! weight of its own (`docs/architecture.md`, Simulation).

pub mod busy;
pub mod chances;
pub mod clock_offset;
pub mod crash;
pub mod episode;
pub mod error_inside;
pub mod failover;
pub mod late_execution;
pub mod library_missing;
pub mod loading;
pub mod out_of_memory;
pub mod read_only;
pub mod reply_lost;
pub mod request_lost;
pub mod slow_store;
pub mod store_clock;

use serde::{Deserialize, Serialize};

/// What can go wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaultKind {
    /// A call never reached the store.
    RequestLost,
    /// A call was carried out and its reply never came.
    ReplyLost,
    /// A process ended without a word, to be started again later.
    Crash,
    /// A process took a wrong clock for the store's.
    ClockOffset,
    /// A call was carried out after its caller had given it up.
    LateExecution,
    /// The store's clock stepped.
    StoreClockStep,
    /// A replica took over that had not heard of the last commits.
    Failover,
    /// A server took over that had not the function library.
    LibraryMissing,
    /// The store only read.
    ReadOnly,
    /// The store's memory was full.
    OutOfMemory,
    /// The store was busy with something else.
    Busy,
    /// The store was reading its data after a restart.
    Loading,
    /// An error was raised in the middle of a function.
    ErrorInside,
    /// The store was slow.
    SlowStore,
}

impl FaultKind {
    /// All kinds, in order.
    pub const ALL: &[Self] = &[
        Self::RequestLost,
        Self::ReplyLost,
        Self::Crash,
        Self::ClockOffset,
        Self::LateExecution,
        Self::StoreClockStep,
        Self::Failover,
        Self::LibraryMissing,
        Self::ReadOnly,
        Self::OutOfMemory,
        Self::Busy,
        Self::Loading,
        Self::ErrorInside,
        Self::SlowStore,
    ];
}

/// One fault of a run: what goes wrong, and at which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FaultId {
    /// What goes wrong.
    pub kind: FaultKind,
    /// The step: a call by [`call_key`](crate::streams::call_key), or a number among those that
    /// the seed has planned.
    pub key: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is counted by kind has room for each, and nothing is left out of the list.
    #[test]
    fn kinds_are_listed_in_order() {
        for (number, kind) in FaultKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, number);
        }
    }
}
