//! `complete`: end an execution with success (`docs/spec.md`, 4).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
use crate::execution::record::{
    AttemptEnd, Decision, Execution, Outcome, ReleaseOutcome, Ruling, ValueEffect, ValueKind,
    Verdict,
};
use crate::id::ExecutionId;
use crate::time::{TimestampMs, Window};

use super::create::DEFAULT_PAYLOAD_LIMIT;
use super::guard::{FenceParts, current_holder, released};
use super::lease::{end_life, remember_release};

/// Finishes an execution with success. Identity: the fence and the command's kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complete {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The fence of the caller's lease.
    #[serde(flatten)]
    pub fence: FenceParts,
    /// The result, stored byte for byte, at most 1 MiB. No result and an empty one are different.
    #[serde(default)]
    pub result: Option<Arc<[u8]>>,
}

/// Completes an execution. \[INV-TERMINAL-1\]
///
/// # Errors
///
/// Those of a call under a lease (`docs/spec.md`, 4, guards 3 to 7), and `PayloadTooLarge`.
pub fn complete(current: &Execution, command: &Complete, now: TimestampMs) -> Ruling<()> {
    let completed =
        |outcome: &ReleaseOutcome| (*outcome == ReleaseOutcome::Completed).then_some(());
    if released(current, &command.fence, completed).is_some() {
        return Ok(Verdict::Repeat(()));
    }
    let (active, fence) = current_holder(current, &command.fence, now)?;
    let bytes = command.result.as_ref().map_or(0, |result| result.len());
    if bytes > DEFAULT_PAYLOAD_LIMIT {
        return Err(Rejection::PayloadTooLarge { bytes, limit: DEFAULT_PAYLOAD_LIMIT });
    }
    let holds = Window::until(active.expires_at(now));
    let mut next = current.clone();
    remember_release(&mut next, fence, ReleaseOutcome::Completed);
    let ended = end_life(&mut next, Outcome::Success, AttemptEnd::Succeeded, now);
    let mut decision = Decision::put(next, now, ()).within(holds).event(ended);
    if let Some(result) = &command.result {
        decision = decision.value(ValueEffect::Put(ValueKind::Result, result.clone()));
    }
    Ok(decision.into())
}
