//! How waitpoints are made and handed out: the steps that several rules have in common
//! (`docs/spec.md`, 5).

use crate::condition::MAX_WAITPOINTS;
use crate::error::Rejection;
use crate::id::{WaitpointId, WaitpointKey};
use crate::time::{DurationMs, TimestampMs};
use crate::token::{KnownKeyring, Subject, WaitpointToken};

use super::waiting::{Waiting, Waitpoint, WaitpointState};

/// A time from now that is shorter than this does not make a decision hold for less than a third
/// of it, 1 s: such a time may be over when the commit arrives, and a commit that never arrives in
/// time would be worse.
pub(super) const LEAST_CLIP: DurationMs = DurationMs::from_secs(3);

/// A waitpoint with its token, which is handed to whoever may signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedWaitpoint {
    /// The waitpoint.
    pub id: WaitpointId,
    /// Its name.
    pub key: WaitpointKey,
    /// When it was created.
    pub created_at: TimestampMs,
    /// The token.
    pub token: WaitpointToken,
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
