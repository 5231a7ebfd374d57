//! The stored state of an execution, and the data that a decision writes: the record with its
//! phases, lease, grant, attempts, waitpoints and suspension, the events of the journal, and the
//! decision itself.

mod attempt;
mod blocks;
mod decision;
mod event;
mod execution;
mod frame;
mod grant;
mod lease;
mod outcome;
mod phase;
mod signal;
mod waiting;

pub use attempt::{Attempt, AttemptEnd, AttemptKind, AttemptSummary};
pub use blocks::{BlockEntry, BlockKind, Blocks};
pub use decision::{Decision, Next, Ruling, SideEffects, ValueEffect, ValueKind, Verdict};
pub use event::{Event, EventKind};
pub use execution::{
    ContentDigest, Continuation, Counts, Execution, GrantSlot, Limited, OperatorOutcome, Progress,
    RateTurn,
};
pub use frame::{Frame, MAX_FRAME_METADATA, MAX_FRAME_PAYLOAD};
pub use grant::{ConsumedGrant, Grant, GrantAudit};
pub use lease::{ClaimKind, FailOutcome, Fence, Lease, LeaseFate, Release, ReleaseOutcome};
pub use outcome::{Outcome, WorkFailure};
pub use phase::{
    Active, DelayReason, Interruption, NextAttempt, NotBefore, Phase, Runnable, Suspended, Terminal,
};
pub use signal::{SignalContext, SignalEffect, SignalOutcome, SignalRecord};
pub use waiting::{
    Counted, Join, LatestSuspension, ResumedBy, Resumes, Resumption, SuspendedHow, Suspension,
    Tallies, Tally, Timeout, Waiting, Waitpoint, WaitpointState,
};
