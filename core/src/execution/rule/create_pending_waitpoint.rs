//! `create_pending_waitpoint`: open a waitpoint for signals while the worker still runs
//! (`docs/spec.md`, 5).

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
use crate::execution::facts::Facts;
use crate::execution::record::{Decision, Event, Ruling, Verdict, WaitpointState};
use crate::id::{ExecutionId, WaitpointId, WaitpointKey};
use crate::time::{DurationMs, TimestampMs, Window};

use super::guard::{FenceParts, current_holder, is_of_an_attempt};
use super::waitpoint::{
    IssuedWaitpoint, LEAST_CLIP, check_room, issued, new_waitpoint, past_expiries,
};

/// Opens a waitpoint before its suspension. Identity: the waitpoint id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatePendingWaitpoint {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The fence of the caller's lease.
    #[serde(flatten)]
    pub fence: FenceParts,
    /// Chosen by the caller.
    pub waitpoint_id: WaitpointId,
    /// Its name, unique among the open waitpoints of the execution.
    pub key: WaitpointKey,
    /// The time after which it closes unless a suspension uses it, at least 1 ms; the sum saturates
    /// at the latest instant. `None` leaves it open as long as its attempt.
    #[serde(rename = "expires_in_ms", default)]
    pub expires_in: Option<DurationMs>,
}

/// Opens a waitpoint: signals to it are buffered until a suspension uses it. If one of that name is
/// open, it is returned as it is: a handler that runs again in the same attempt finds the
/// waitpoints that it had opened.
///
/// # Errors
///
/// Those of a call under a lease; `InvalidInput` for more than 16 open waitpoints and for a time of
/// zero; `Unread` if the operation has to read the secrets first.
pub fn create_pending_waitpoint(
    facts: &Facts<'_>,
    command: &CreatePendingWaitpoint,
    now: TimestampMs,
) -> Ruling<IssuedWaitpoint> {
    let current = facts.execution()?;
    let known = current.waiting.as_ref().and_then(|all| all.waitpoint(command.waitpoint_id));
    if let Some((waitpoint, _)) = known.filter(|_| is_of_an_attempt(current, &command.fence)) {
        return Ok(Verdict::Repeat(issued(waitpoint, facts, now)?));
    }
    let (active, _) = current_holder(current, &command.fence, now)?;
    let holds = Window::until(active.expires_at(now));
    if command.expires_in == Some(DurationMs::ZERO) {
        let problem = "must be at least 1 ms".to_owned();
        return Err(Rejection::InvalidInput { field: "expires_in", problem });
    }
    let (mut next, expired) = past_expiries(current, &[&command.key], now);
    let waiting = next.waiting_mut();
    let (id, key) = (command.waitpoint_id, &command.key);
    if let Some(open) = waiting.open_by_key(key) {
        return Ok(Verdict::Repeat(issued(open, facts, now)?));
    }
    check_room(waiting, id)?;
    let expires_at = command.expires_in.map(|time| now.plus(time));
    let state = WaitpointState::Pending { expires_at };
    let (waitpoint, token) = new_waitpoint(waiting, id, key, state, facts, now)?;
    let issued = IssuedWaitpoint { id, key: key.clone(), created_at: now, token };
    waiting.open.push(waitpoint);
    let event = Event::WaitpointCreated { waitpoint_id: id, key: key.clone() };
    let holds = holds.and(expired.window).and(facts.keyring_window());
    let mut decision =
        Decision::put(next, now, issued).within(holds).after(expired.events).event(event);
    if let Some(time) = command.expires_in {
        decision = decision.storing_ttl(time.max(LEAST_CLIP));
    }
    Ok(decision.into())
}
