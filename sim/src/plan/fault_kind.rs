//! The faults of a run, by name.

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
    /// A call or its reply took long.
    Delay,
    /// A call overtook others of its process, or was overtaken, on another connection.
    Reordering,
    /// A client sent a request again by itself, and the store got it twice.
    Resend,
    /// A process and the store heard nothing of each other for a while.
    Partition,
    /// Nothing that a process sent reached the store for a while.
    PartitionRequests,
    /// A process heard nothing of the store for a while.
    PartitionReplies,
    /// Every connection to the store was dropped at once.
    ConnectionsDropped,
    /// A wake-up never came.
    WakeUpLost,
    /// A process ended right after it had sent a request.
    CrashAfterSend,
    /// A process ended right before it would have handled a reply.
    CrashBeforeReply,
    /// A process ended between two things that it was about to do.
    CrashBetweenSteps,
    /// A process came back under the instance id that it had before.
    SameInstance,
    /// A process stood still for a while and went on with what it knew.
    Pause,
    /// A process stood still right before it handled a reply.
    PauseBeforeReply,
    /// A process's own clock ran too fast or too slow.
    ClockDrift,
    /// A process's idea of the store's time jumped.
    ClockStep,
    /// A process's idea of the store's time stood still for a while.
    ClockFreeze,
    /// A process never came back after the last fault.
    StaysDown,
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
        Self::Delay,
        Self::Reordering,
        Self::Resend,
        Self::Partition,
        Self::PartitionRequests,
        Self::PartitionReplies,
        Self::ConnectionsDropped,
        Self::WakeUpLost,
        Self::CrashAfterSend,
        Self::CrashBeforeReply,
        Self::CrashBetweenSteps,
        Self::SameInstance,
        Self::Pause,
        Self::PauseBeforeReply,
        Self::ClockDrift,
        Self::ClockStep,
        Self::ClockFreeze,
        Self::StaysDown,
    ];
}

/// One fault of a run: what goes wrong, and at which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FaultId {
    /// What goes wrong.
    pub kind: FaultKind,
    /// The step: a call by `call_key`, or a number among those that
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
