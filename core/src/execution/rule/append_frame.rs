//! `append_frame`: append to the output of an attempt (`docs/spec.md`, 6).

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
use crate::execution::record::{
    Decision, Execution, Frame, MAX_FRAME_METADATA, MAX_FRAME_PAYLOAD, Phase, Ruling, SideEffects,
    Verdict,
};
use crate::id::ExecutionId;
use crate::time::{TimestampMs, Window};

use super::guard::{FenceParts, current_holder};

/// Appends a frame to the output of the attempt that runs. Identity: the attempt and the frame's
/// sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendFrame {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The fence of the caller's lease.
    #[serde(flatten)]
    pub fence: FenceParts,
    /// The frame. Its sequence is one more than that of the frame before, from 1.
    #[serde(flatten)]
    pub frame: Frame,
    /// Whether to wake waiting readers. A writer need not do so with every frame: a reader that was
    /// woken goes on reading for a while.
    #[serde(skip, default = "rings")]
    pub rings: bool,
}

const fn rings() -> bool {
    true
}

/// A frame that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its sequence.
    pub sequence: u64,
}

/// Appends a frame. \[INV-FRAME-1\]
///
/// # Errors
///
/// `FenceRequired`, `PartialFenceTriple`; `StaleOwnerCannotAppend` if the lease was taken over,
/// revoked or expired; `StreamClosed` if the attempt is over or interrupted; `PayloadTooLarge`,
/// `InvalidInput` for the metadata; `SequenceGap`.
pub fn append_frame(
    current: &Execution,
    command: &AppendFrame,
    now: TimestampMs,
) -> Ruling<Appended> {
    let sequence = command.frame.sequence;
    let appended = Appended { sequence };
    if is_repeat(current, command) {
        return Ok(Verdict::Repeat(appended));
    }
    let (active, _) = current_holder(current, &command.fence, now).map_err(stale_or_closed)?;
    check_size(&command.frame)?;
    let expected = active.attempt.frames.saturating_add(1);
    if sequence != expected {
        return Err(Rejection::SequenceGap { expected, given: sequence });
    }
    let attempt = active.attempt.index;
    let holds = Window::until(active.expires_at(now));
    let mut next = current.clone();
    if let Phase::Active(active) = &mut next.phase {
        active.attempt.frames = sequence;
    }
    next.framed = next.framed.max(attempt.0.saturating_add(1));
    let frame = (attempt, command.frame.clone());
    let effects =
        SideEffects { frame: Some(frame), rings_readers: command.rings, ..SideEffects::default() };
    Ok(Decision::put(next, now, appended).within(holds).side_effects(effects).into())
}

/// Whether the frame of this sequence was appended before, under the same lease.
/// \[INV-IDENTITY-1\]
fn is_repeat(current: &Execution, command: &AppendFrame) -> bool {
    let Some(fence) = command.fence.complete() else { return false };
    let attempt = current.attempt();
    current.last_fence == Some(fence)
        && attempt.is_some_and(|attempt| {
            attempt.id == fence.attempt_id && command.frame.sequence <= attempt.frames
        })
        && command.frame.sequence > 0
}

/// The rejection of a stream's call, for a refused call of the holder.
fn stale_or_closed(rejection: Rejection) -> Rejection {
    match rejection {
        Rejection::StaleLease { .. } | Rejection::LeaseRevoked | Rejection::LeaseExpired { .. } => {
            Rejection::StaleOwnerCannotAppend
        }
        Rejection::ExecutionNotActive { .. } => Rejection::StreamClosed,
        other => other,
    }
}

fn check_size(frame: &Frame) -> Result<(), Rejection> {
    let bytes = frame.payload.len();
    if bytes > MAX_FRAME_PAYLOAD {
        return Err(Rejection::PayloadTooLarge { bytes, limit: MAX_FRAME_PAYLOAD });
    }
    let metadata: usize = frame.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if metadata > MAX_FRAME_METADATA {
        let problem = format!("has {metadata} bytes, and may have {MAX_FRAME_METADATA}");
        return Err(Rejection::InvalidInput { field: "metadata", problem });
    }
    Ok(())
}
