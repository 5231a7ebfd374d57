//! `create_pending_waitpoint`: a place for signals while the worker still runs
//! (`docs/spec.md`, 5).

use crate::condition::MAX_WAITPOINTS;
use crate::error::Rejection;
use crate::id::{ExecutionId, WaitpointId, WaitpointKey};
use crate::time::{DurationMs, TimestampMs, Window};
use crate::token::{KnownKeyring, Subject, WaitpointToken};

use super::decision::{Decision, Ruling, Verdict};
use super::event::Event;
use super::guard::{FenceParts, current_holder, is_of_an_attempt};
use super::record::Execution;
use super::suspend::IssuedWaitpoint;
use super::waiting::{Waiting, Waitpoint, WaitpointState};

/// Opens a waitpoint before its suspension. Identity: the waitpoint id.
#[derive(Clone, Debug)]
pub struct CreatePendingWaitpoint {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The holder's proof.
    pub fence: FenceParts,
    /// Chosen by the caller.
    pub waitpoint_id: WaitpointId,
    /// Its name, which no other open waitpoint of the execution has.
    pub key: WaitpointKey,
    /// After which time it closes unless a suspension uses it, at least 1 ms; it saturates at the
    /// latest instant there is. `None` leaves it open as long as its attempt.
    pub expires_in: Option<DurationMs>,
    /// The secrets that sign tokens, as the operation has read them.
    pub keyring: KnownKeyring,
}

/// A time from now that is shorter than this does not make a decision hold for less than a third of
/// it, 1 s: such a time may be over when the commit arrives, and a commit that never arrives in time
/// would be worse.
pub(super) const LEAST_CLIP: DurationMs = DurationMs::from_secs(3);

/// Opens a waitpoint: signals to it are buffered until a suspension uses it.
///
/// # Errors
///
/// Those of a holder's call; `InvalidInput` for a name that is taken, for more than 16 open
/// waitpoints, and for a time of zero; `Unread` when the operation has to read the secrets first.
pub fn create_pending_waitpoint(
    current: &Execution,
    command: &CreatePendingWaitpoint,
    now: TimestampMs,
) -> Ruling<IssuedWaitpoint> {
    let known = current.waiting.as_ref().and_then(|all| all.waitpoint(command.waitpoint_id));
    if let Some((waitpoint, _)) = known.filter(|_| is_of_an_attempt(current, &command.fence)) {
        return Ok(Verdict::Repeat(issued(waitpoint, &command.keyring, now)?));
    }
    let (active, _) = current_holder(current, &command.fence, now)?;
    let holds = Window::until(active.expires_at(now));
    if command.expires_in == Some(DurationMs::ZERO) {
        let problem = "must be at least 1 ms".to_owned();
        return Err(Rejection::InvalidInput { field: "expires_in", problem });
    }
    let mut next = current.clone();
    let waiting = next.waiting_mut();
    let (id, key) = (command.waitpoint_id, &command.key);
    check_room(waiting, id, key)?;
    let expires_at = command.expires_in.map(|time| now.plus(time));
    let state = WaitpointState::Pending { expires_at };
    let (waitpoint, token) = new_waitpoint(waiting, id, key, state, &command.keyring, now)?;
    let issued = IssuedWaitpoint { id, key: key.clone(), created_at: now, token };
    waiting.open.push(waitpoint);
    let event = Event::WaitpointCreated { waitpoint_id: id, key: key.clone() };
    let mut decision = Decision::put(next, now, issued).within(holds).event(event);
    if let Some(time) = command.expires_in {
        decision = decision.storing_ttl(time.max(LEAST_CLIP));
    }
    Ok(decision.into())
}

/// Refuses a waitpoint too many, and one whose id or name is taken.
pub(super) fn check_room(
    waiting: &Waiting,
    id: WaitpointId,
    key: &WaitpointKey,
) -> Result<(), Rejection> {
    let wrong = |problem: String| Err(Rejection::InvalidInput { field: "waitpoints", problem });
    if waiting.open.len() >= MAX_WAITPOINTS {
        return wrong(format!("are too many: {MAX_WAITPOINTS} are open already"));
    }
    if waiting.open_by_key(key).is_some() {
        return wrong(format!("have a name that is taken: {key} is open already"));
    }
    if waiting.waitpoint(id).is_some() {
        return wrong(format!("have an id that is taken: {id}"));
    }
    Ok(())
}

/// A waitpoint that is created now, and its token.
pub(super) fn new_waitpoint(
    waiting: &Waiting,
    id: WaitpointId,
    key: &WaitpointKey,
    state: WaitpointState,
    keyring: &KnownKeyring,
    now: TimestampMs,
) -> Result<(Waitpoint, WaitpointToken), Rejection> {
    let (kid, token) = keyring.ring(now)?.sign(Subject { id, key, created_at: now })?;
    let waitpoint = Waitpoint {
        id,
        key: key.clone(),
        created_at: now,
        kid,
        fingerprint: token.fingerprint(),
        state,
        counts_from: waiting.signals,
        signals: 0,
    };
    Ok((waitpoint, token))
}

/// A waitpoint with a token of it, signed with the current secret.
pub(super) fn issued(
    waitpoint: &Waitpoint,
    keyring: &KnownKeyring,
    now: TimestampMs,
) -> Result<IssuedWaitpoint, Rejection> {
    let (_, token) = keyring.ring(now)?.sign(waitpoint.subject())?;
    let (id, key, created_at) = (waitpoint.id, waitpoint.key.clone(), waitpoint.created_at);
    Ok(IssuedWaitpoint { id, key, created_at, token })
}
