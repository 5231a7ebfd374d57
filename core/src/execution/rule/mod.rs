//! The decisions: one file for each command and for `on_due`, with the guards and steps that they
//! share.
//!
//! A rule reads from top to bottom: guards in the order of `docs/spec.md`, then the new state, then
//! the events.

mod admit;
mod append_frame;
mod block;
mod cancel;
mod change_priority;
mod claim;
mod complete;
mod create;
mod create_pending_waitpoint;
mod delay_execution;
mod deliver_signal;
mod fail;
mod guard;
mod issue_claim_grant;
mod issue_reclaim_grant;
mod lease;
mod limits;
mod move_to_waiting_children;
mod offer;
mod on_due;
mod operator_call;
mod release_grant;
mod renew;
mod replay;
mod resume;
mod revoke_lease;
mod suspend;
mod tally;
mod update_progress;
mod waitpoint;

pub use admit::{Admit, Admitted, admit};
pub use append_frame::{AppendFrame, Appended, append_frame};
pub use block::{Block, BlockOutcome, Unblock, block, unblock};
pub use cancel::{Cancel, CancelledBy, cancel};
pub use change_priority::{ChangePriority, change_priority};
pub use claim::{Claim, Claimed, claim, claim_granted, claim_resumed, reclaim};
pub use complete::{Complete, complete};
pub use create::{Create, CreateOutcome, DEFAULT_PAYLOAD_LIMIT, Start, content_digest, create};
pub use create_pending_waitpoint::{CreatePendingWaitpoint, create_pending_waitpoint};
pub use delay_execution::{DelayExecution, delay_execution};
pub use deliver_signal::{DeliverSignal, MAX_SIGNAL_PAYLOAD, MAX_SIGNALS, deliver_signal};
pub use fail::{Fail, RetryAdvice, fail};
pub use guard::FenceParts;
pub use issue_claim_grant::{Granted, IssueClaimGrant, issue_claim_grant};
pub use issue_reclaim_grant::{IssueReclaimGrant, ReclaimGranted, issue_reclaim_grant};
pub use limits::{CheckSlot, SlotCheck, check_slot};
pub use move_to_waiting_children::{MoveToWaitingChildren, move_to_waiting_children};
pub use offer::{Offer, Offered, offer};
pub use on_due::{DueOutcome, OnDue, on_due};
pub use operator_call::OperatorCall;
pub use release_grant::{ReleaseGrant, release_grant};
pub use renew::{Renew, Renewed, renew};
pub use replay::{Replay, Replayed, replay};
pub use resume::{Resume, Resumed, resume};
pub use revoke_lease::{RevokeLease, Revoked, revoke_lease};
pub use suspend::{BindWaitpoint, Suspend, SuspendOutcome, suspend};
pub use update_progress::{UpdateProgress, update_progress};
pub use waitpoint::IssuedWaitpoint;

pub(super) use super::retention::forget_signals;
pub(super) use limits::within_limits;
