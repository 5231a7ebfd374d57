//! \[INV-REGISTRY-1\] One process holds an instance id at a time. It keeps it with its own
//! heartbeats, until it gives it up, an operator marks it as dead, another process takes over, or
//! its time is over; and a process that has learnt that it lost its id starts nothing more.

use ff_core::error::Rejection;
use ff_core::registry::{Worker, WorkerState};
use ff_core::time::TimestampMs;

use crate::model::Model;
use crate::model::registry::RegistryCall;
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure};

const TAG: &str = "INV-REGISTRY-1";

/// A commit of the record of a worker.
#[derive(Debug)]
pub struct RegistryCommit<'c> {
    /// The operation that made it; `None` if a program made it that uses the SDK.
    pub call: Option<RegistryCall>,
    /// The record as it was.
    pub before: Option<&'c Worker>,
    /// The record as it was written; `None` if it was removed.
    pub after: Option<&'c Worker>,
    /// The store's clock.
    pub now: TimestampMs,
}

impl RegistryCommit<'_> {
    /// The commit does what its operation is for, and nothing else.
    pub fn check(&self) -> Result<(), Broken> {
        let Self { call, before, after, now } = *self;
        let allowed = match (call, before, after) {
            (Some(RegistryCall::Register { nonce, take_over }), before, Some(after)) => {
                let free = before.is_none_or(|before| match before.state {
                    WorkerState::Dead => before.nonce != nonce,
                    _ => take_over || before.nonce == nonce || before.expires_at <= now,
                });
                let own = before.filter(|before| before.nonce == nonce);
                let state = own.map_or(WorkerState::Live, |own| own.state);
                free && after.nonce == nonce && after.state == state
            }
            (Some(RegistryCall::Heartbeat(nonce)), Some(before), Some(after)) => {
                let Worker { info, registered_at, .. } = before;
                before.nonce == nonce
                    && before.state != WorkerState::Dead
                    && now < before.expires_at
                    && (nonce, info, *registered_at)
                        == (after.nonce, &after.info, after.registered_at)
                    && (after.state == before.state || after.state == WorkerState::Draining)
            }
            (Some(RegistryCall::Deregister(nonce)), Some(before), None) => before.nonce == nonce,
            (Some(RegistryCall::Drain), Some(before), Some(after)) => {
                let drained = Worker { state: WorkerState::Draining, ..before.clone() };
                before.state == WorkerState::Live && now < before.expires_at && *after == drained
            }
            (Some(RegistryCall::MarkDead), Some(before), Some(after)) => {
                let (state, expires_at) = (WorkerState::Dead, after.expires_at);
                *after == Worker { state, expires_at, ..before.clone() }
            }
            (Some(RegistryCall::Sweep), Some(before), None) => before.expires_at <= now,
            // Whether it takes over is not known.
            (None, Some(before), Some(after)) if before.nonce == after.nonce => {
                before.state != WorkerState::Dead || after.state == WorkerState::Dead
            }
            (None, ..) => true,
            _ => false,
        };
        ensure!(allowed, TAG, "at {now} {call:?} made {after:?} of {before:?}");
        Ok(())
    }
}

/// A process has a registration in force when it starts work, as far as it knows.
pub fn check_starts(
    model: &Model,
    is_registered: bool,
    lost: Option<&Rejection>,
) -> Result<(), Broken> {
    let watched = model.watched.contains(Invariant::Registry);
    ensure!(
        !watched || is_registered,
        TAG,
        "a process starts work, but it is not registered: {lost:?}"
    );
    Ok(())
}

/// A registration that is answered as done was committed once, and one that is refused never was.
/// `done`: whether it is answered so; `None` if that is not known.
pub fn check_answer(model: &Model, number: u64, done: Option<bool>) -> Result<(), Broken> {
    let changes = model.resource_changes.get(&number).copied().unwrap_or(0);
    let right = done.is_none_or(|done| changes == u64::from(done));
    ensure!(right, TAG, "it was committed {changes} times, and is answered: done {done:?}");
    Ok(())
}
