//! `update_progress`: report the progress of an attempt (`docs/spec.md`, 4).

use serde::{Deserialize, Serialize};

use crate::bounded::truncated;
use crate::error::Rejection;
use crate::execution::record::{Decision, Execution, Progress, Ruling};
use crate::id::ExecutionId;
use crate::time::{TimestampMs, Window};

use super::guard::{FenceParts, current_holder};

/// Reports progress; the last report wins. Identity: none is needed, a repeat writes the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateProgress {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The fence of the caller's lease.
    #[serde(flatten)]
    pub fence: FenceParts,
    /// 0 to 100.
    pub percent: u8,
    /// A text for people, truncated to 1,024 bytes.
    #[serde(default)]
    pub message: Option<String>,
}

/// Stores the report. Changes no index and has no event.
///
/// # Errors
///
/// Those of a call under a lease, and `InvalidInput` for the percent.
pub fn update_progress(
    current: &Execution,
    command: &UpdateProgress,
    now: TimestampMs,
) -> Ruling<()> {
    let (active, _) = current_holder(current, &command.fence, now)?;
    if command.percent > 100 {
        let problem = format!("is {}, and must be 0 to 100", command.percent);
        return Err(Rejection::InvalidInput { field: "percent", problem });
    }
    let holds = Window::until(active.expires_at(now));
    let cut = |message: &String| truncated(message, Progress::MESSAGE_MAX_BYTES).to_owned();
    let message = command.message.as_ref().map(cut);
    let mut next = current.clone();
    next.progress = Some(Progress { percent: command.percent, message });
    Ok(Decision::put(next, now, ()).within(holds).into())
}
