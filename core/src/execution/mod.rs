//! Executions: the record, what is derived from it, and one pure rule for each command.
//!
//! A rule looks at a record, a command and a time, and answers with a [`Ruling`]: a rejection, a
//! recognised repeat, or a [`Decision`] to commit. Nothing else decides. The rule for a command is
//! the function of its name in the file of its name (`docs/spec.md`, 4).

mod admit;
mod any_command;
mod append_frame;
mod block;
mod blocks;
mod cancel;
mod change_priority;
mod claim;
mod claim_resumed;
mod command;
mod complete;
mod create;
mod create_pending_waitpoint;
mod decision;
mod delay_execution;
mod deliver_signal;
mod due;
mod event;
mod fail;
mod forget_signals;
mod guard;
mod identity;
mod index;
mod issue_claim_grant;
mod issue_reclaim_grant;
mod lease;
mod move_to_waiting_children;
mod offer;
mod on_due;
mod outcome;
mod output;
mod reclaim;
mod record;
mod renew;
mod replay;
mod resume;
mod revoke_lease;
mod signal;
mod situation;
mod snapshot;
mod state_vector;
mod suspend;
mod tally;
mod update_progress;
mod waiting;
mod waitpoint;
mod wire;

pub use admit::{Admit, Admitted, admit};
pub use any_command::{AnyCommand, AnyOutcome};
pub use append_frame::{AppendFrame, Appended, append_frame};
pub use block::{Block, BlockOutcome, Unblock, block, unblock};
pub use blocks::{BlockEntry, BlockKind, Blocks};
pub use cancel::{Cancel, CancelledBy, cancel};
pub use change_priority::{ChangePriority, change_priority};
pub use claim::claim;
pub use claim_resumed::claim_resumed;
pub use command::{Decide, InNamespace, TakeNew, TakeOver, TakeResumed};
pub use complete::{Complete, complete};
pub use create::{Create, CreateOutcome, DEFAULT_PAYLOAD_LIMIT, Start, content_digest, create};
pub use create_pending_waitpoint::{CreatePendingWaitpoint, create_pending_waitpoint};
pub use decision::{Beside, Decision, Next, Purpose, Ruling, ValueEffect, ValueKind, Verdict};
pub use delay_execution::{DelayExecution, delay_execution};
pub use deliver_signal::{
    DeliverSignal, FoundSignal, MAX_SIGNAL_PAYLOAD, MAX_SIGNALS, deliver_signal,
};
pub use due::{DueKind, due_times, next_due};
pub use event::{Event, EventKind};
pub use fail::{Fail, fail};
pub use forget_signals::{FORGOTTEN_AT_ONCE, ForgetSignals, Forgotten, forget_signals};
pub use guard::FenceParts;
pub use identity::{Identity, IdentityKind, Mark, OperatorCall};
pub use index::{IndexEntries, index_entries};
pub use issue_claim_grant::{Granted, IssueClaimGrant, issue_claim_grant};
pub use issue_reclaim_grant::{IssueReclaimGrant, ReclaimGranted, issue_reclaim_grant};
pub use lease::{Claim, Claimed};
pub use move_to_waiting_children::{MoveToWaitingChildren, move_to_waiting_children};
pub use offer::{Offer, Offered, offer};
pub use on_due::{DueOutcome, OnDue, on_due};
pub use outcome::{Failure, Outcome};
pub use output::{CloseReason, Frame, MAX_FRAME_METADATA, MAX_FRAME_PAYLOAD, output_closed};
pub use reclaim::reclaim;
pub use record::{
    Active, Attempt, AttemptEnd, AttemptKind, AttemptSummary, ClaimKind, ConsumedGrant,
    ContentDigest, Continuation, Counts, DelayReason, Execution, FailOutcome, Fence, Grant,
    GrantAudit, Interruption, Lease, LeaseFate, NextAttempt, NotBefore, OperatorOutcome, Phase,
    Progress, Release, ReleaseOutcome, Runnable, Suspended, Terminal,
};
pub use renew::{Renew, Renewed, renew};
pub use replay::{Replay, Replayed, replay};
pub use resume::{Resume, Resumed, SeenSuspension, resume};
pub use revoke_lease::{RevokeLease, Revoked, revoke_lease};
pub use signal::{SignalEffect, SignalOutcome, SignalRecord};
pub use situation::{Situation, situation};
pub use snapshot::{
    ExecutionSnapshot, LeaseSnapshot, SuspensionSnapshot, WaitpointSnapshot, snapshot,
};
pub use state_vector::state_vector;
pub use suspend::{BindWaitpoint, Heard, Suspend, SuspendOutcome, suspend};
pub use update_progress::{UpdateProgress, update_progress};
pub use waiting::{
    Counted, LatestSuspension, ResumedBy, Resumes, Resumption, SuspendedHow, Suspension, Tally,
    Timeout, Waiting, Waitpoint, WaitpointState,
};
pub use waitpoint::IssuedWaitpoint;
pub use wire::{Command, WireClaim, WireCreate, WireFence, WireGrantRequest, parse_grant_key};
