//! `append_frame`: a worker tells what it is doing, frame by frame (`docs/spec.md`, 6).

use crate::error::Rejection;
use crate::execution::record::{
    Beside, Decision, Execution, Frame, MAX_FRAME_METADATA, MAX_FRAME_PAYLOAD, Phase, Ruling,
    Verdict,
};
use crate::id::ExecutionId;
use crate::planted::planted;
use crate::time::{TimestampMs, Window};

use super::guard::{FenceParts, current_holder};

/// Appends a frame to the output of the attempt that runs. Identity: the attempt and the frame's
/// sequence.
#[derive(Clone, Debug)]
pub struct AppendFrame {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The holder's proof.
    pub fence: FenceParts,
    /// What is appended. Its sequence is one more than that of the frame before, from 1.
    pub frame: Frame,
    /// Whether readers that wait are woken. A writer need not wake them with every frame: whoever
    /// was woken reads on for a while.
    pub rings: bool,
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
/// `FenceRequired`, `PartialFenceTriple`; `StaleOwnerCannotAppend` when the lease is lost in
/// whatever way; `StreamClosed` when the attempt is over or interrupted; `PayloadTooLarge`,
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
    let holder = current_holder(current, &command.fence, now);
    let (active, _) = match holder {
        Err(Rejection::StaleLease { .. }) if planted!(StaleOwnerAppends) => {
            let Phase::Active(active) = &current.phase else {
                return Err(Rejection::StreamClosed);
            };
            (active, active.fence())
        }
        other => other.map_err(stale_or_closed)?,
    };
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
    let beside = Beside { frame: Some(frame), rings_readers: command.rings, ..Beside::default() };
    Ok(Decision::put(next, now, appended).within(holds).beside(beside).into())
}

/// Whether the frame of this sequence was appended before, by the owner who asks.
/// \[INV-IDENTITY-1\]
fn is_repeat(current: &Execution, command: &AppendFrame) -> bool {
    let FenceParts::Complete(fence) = command.fence else { return false };
    let attempt = current.attempt();
    current.last_fence == Some(fence)
        && attempt.is_some_and(|attempt| {
            attempt.id == fence.attempt_id && command.frame.sequence <= attempt.frames
        })
        && command.frame.sequence > 0
        && !planted!(FrameRepeatUnknown)
}

/// What a refused owner's call means for a stream.
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
