//! What goes wrong on purpose, one file for each fault. A seed switches each on or off with a
//! weight of its own (`docs/architecture.md`, Simulation).

pub mod clock_offset;
pub mod crash;
pub mod late_execution;
pub mod reply_lost;

/// What can go wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
}

impl FaultKind {
    /// Everything that can go wrong.
    pub const ALL: &[Self] =
        &[Self::RequestLost, Self::ReplyLost, Self::Crash, Self::ClockOffset, Self::LateExecution];
}
