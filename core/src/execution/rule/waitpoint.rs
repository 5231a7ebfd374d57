//! How waitpoints are created, issued and expired: steps that several rules share
//! (`docs/spec.md`, 5).

use crate::condition::MAX_WAITPOINTS;
use crate::error::Rejection;
use crate::execution::facts::Facts;
use crate::execution::record::{Event, Execution, Waiting, Waitpoint, WaitpointState};
use crate::id::{WaitpointId, WaitpointKey};
use crate::time::{DurationMs, TimestampMs, Window};
use crate::token::{Subject, WaitpointToken};

/// A ttl below this clips the decision's window as this does, to a third of it, 1 s. Such a ttl may
/// be over when the commit arrives; a window so short that no commit arrives in time would be
/// worse.
pub(super) const LEAST_CLIP: DurationMs = DurationMs::from_secs(3);

/// A waitpoint with its token, which goes to those who may signal.
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

/// The effect of expired waitpoints on a decision.
pub(super) struct Expired {
    /// An event for each.
    pub(super) events: Vec<Event>,
    /// The time from which they have expired.
    pub(super) window: Window,
}

/// The execution without those expired waitpoints that are in the way of new ones of these names:
/// those of the same name, and all of them if there is no room.
pub(super) fn past_expiries(
    current: &Execution,
    names: &[&WaitpointKey],
    now: TimestampMs,
) -> (Execution, Expired) {
    let mut next = current.clone();
    let mut expired = Expired { events: Vec::new(), window: Window::ALWAYS };
    let open = || current.waiting.iter().flat_map(|waiting| &waiting.open);
    let is_open = |name: &&&WaitpointKey| open().any(|open| open.key == ***name);
    let new = names.len() - names.iter().filter(is_open).count();
    let crowded = open().count() + new > MAX_WAITPOINTS;
    let in_the_way = |waitpoint: &Waitpoint| crowded || names.contains(&&waitpoint.key);
    while let Some((waitpoint_id, at)) = first_expired(&next, in_the_way, now) {
        next.waiting_mut().close(|waitpoint| waitpoint.id == waitpoint_id);
        expired.events.push(Event::WaitpointExpired { waitpoint_id });
        expired.window = expired.window.and(Window::from(at));
    }
    (next, expired)
}

/// The waitpoint of this kind that expired first, and when.
fn first_expired(
    current: &Execution,
    of_kind: impl Fn(&Waitpoint) -> bool,
    now: TimestampMs,
) -> Option<(WaitpointId, TimestampMs)> {
    let open = current.waiting.iter().flat_map(|waiting| &waiting.open);
    let expired = open.filter(|waitpoint| waitpoint.is_expired(now) && of_kind(waitpoint));
    let ended = expired.filter_map(|waitpoint| Some((waitpoint.expires_at()?, waitpoint.id)));
    ended.min_by_key(|(at, _)| *at).map(|(at, id)| (id, at))
}

/// Closes the waitpoint that expired first.
pub(super) fn close_expired(next: &mut Execution, now: TimestampMs) -> Event {
    let (waitpoint_id, _) = first_expired(next, |_| true, now).expect("one is due");
    next.waiting_mut().close(|waitpoint| waitpoint.id == waitpoint_id);
    Event::WaitpointExpired { waitpoint_id }
}

/// Refuses a waitpoint if too many are open or its id is taken.
pub(super) fn check_room(waiting: &Waiting, id: WaitpointId) -> Result<(), Rejection> {
    let wrong = |problem: String| Err(Rejection::InvalidInput { field: "waitpoints", problem });
    if waiting.open.len() >= MAX_WAITPOINTS {
        return wrong(format!("are too many: {MAX_WAITPOINTS} are open already"));
    }
    if waiting.waitpoint(id).is_some() {
        return wrong(format!("have an id that is taken: {id}"));
    }
    Ok(())
}

/// Creates a waitpoint and its token.
pub(super) fn new_waitpoint(
    waiting: &Waiting,
    id: WaitpointId,
    key: &WaitpointKey,
    state: WaitpointState,
    facts: &Facts<'_>,
    now: TimestampMs,
) -> Result<(Waitpoint, WaitpointToken), Rejection> {
    let (kid, token) = facts.ring(now)?.sign(Subject { id, key, created_at: now })?;
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

/// A waitpoint with a token that is signed with the current secret.
pub(super) fn issued(
    waitpoint: &Waitpoint,
    facts: &Facts<'_>,
    now: TimestampMs,
) -> Result<IssuedWaitpoint, Rejection> {
    let (_, token) = facts.ring(now)?.sign(waitpoint.subject())?;
    let (id, key, created_at) = (waitpoint.id, waitpoint.key.clone(), waitpoint.created_at);
    Ok(IssuedWaitpoint { id, key, created_at, token })
}
