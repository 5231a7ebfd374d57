//! Guards that several rules share, so that their order is written once (`docs/spec.md`, 4).

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
use crate::execution::record::{Active, Execution, Fence, LeaseFate, Phase, ReleaseOutcome};
use crate::id::{AttemptId, LaneId, LeaseEpoch, LeaseId};
use crate::time::{DurationMs, TimestampMs};

/// The longest lease: 24 hours.
pub(super) const MAX_LEASE_TTL: DurationMs = DurationMs::from_secs(24 * 60 * 60);
/// The longest grant: one minute.
pub(super) const MAX_GRANT_TTL: DurationMs = DurationMs::from_secs(60);

/// The parts of a fence as a caller gave them. Whether they are complete is a guard with its place
/// among the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceParts {
    /// The lease.
    pub lease_id: Option<LeaseId>,
    /// Its fencing epoch.
    pub lease_epoch: Option<LeaseEpoch>,
    /// The attempt.
    pub attempt_id: Option<AttemptId>,
}

impl FenceParts {
    /// No part of a fence.
    pub const MISSING: Self = Self { lease_id: None, lease_epoch: None, attempt_id: None };

    /// The parts of a whole fence.
    pub const fn of(fence: Fence) -> Self {
        let Fence { lease_id, lease_epoch, attempt_id } = fence;
        Self {
            lease_id: Some(lease_id),
            lease_epoch: Some(lease_epoch),
            attempt_id: Some(attempt_id),
        }
    }

    /// The fence, if all its parts are there.
    pub const fn complete(&self) -> Option<Fence> {
        match *self {
            Self {
                lease_id: Some(lease_id),
                lease_epoch: Some(lease_epoch),
                attempt_id: Some(attempt_id),
            } => Some(Fence { lease_id, lease_epoch, attempt_id }),
            _ => None,
        }
    }
}

impl From<Fence> for FenceParts {
    fn from(fence: Fence) -> Self {
        Self::of(fence)
    }
}

/// Refuses an execution of another lane than the caller expects, if it expects one.
pub(super) fn check_lane(current: &Execution, expected: Option<&LaneId>) -> Result<(), Rejection> {
    match expected {
        Some(lane) if *lane != current.lane => {
            let problem = format!("is {lane}, but the execution is in lane {}", current.lane);
            Err(Rejection::InvalidInput { field: "lane", problem })
        }
        _ => Ok(()),
    }
}

/// The holder of the latest lease, if the fence matches it and the lease is still held.
/// \[INV-FENCE-1\]
///
/// Guards in order: fence complete, fence of the latest lease ever given, phase active, not
/// revoked, not expired.
pub(super) fn current_holder<'e>(
    execution: &'e Execution,
    fence: &FenceParts,
    now: TimestampMs,
) -> Result<(&'e Active, Fence), Rejection> {
    if *fence == FenceParts::MISSING {
        return Err(Rejection::FenceRequired);
    }
    let fence = fence.complete().ok_or(Rejection::PartialFenceTriple)?;
    if execution.last_fence != Some(fence) {
        return Err(Rejection::StaleLease { lease_epoch: execution.epoch });
    }
    let Phase::Active(active) = &execution.phase else {
        return Err(not_active(execution));
    };
    if active.fate == LeaseFate::Revoked {
        return Err(Rejection::LeaseRevoked);
    }
    if active.is_expired(now) {
        return Err(Rejection::LeaseExpired { expired_at: active.lease.expires_at });
    }
    Ok((active, fence))
}

/// Whether a call comes from an attempt of this execution. A repeat of a call that returns tokens
/// has to prove that.
pub(super) fn is_of_an_attempt(execution: &Execution, fence: &FenceParts) -> bool {
    let Some(fence) = fence.complete() else { return false };
    let past = execution.past_attempts.iter().map(|past| &past.attempt);
    past.chain(execution.attempt()).any(|attempt| attempt.id == fence.attempt_id)
}

/// The outcome of the call that gave back the lease of this fence, if `of_kind` recognises the kind
/// of that call. \[INV-IDENTITY-1\]
pub(super) fn released<T>(
    execution: &Execution,
    fence: &FenceParts,
    of_kind: impl FnOnce(&ReleaseOutcome) -> Option<T>,
) -> Option<T> {
    let release = execution.last_release.as_ref()?;
    (fence.complete() == Some(release.fence)).then(|| of_kind(&release.outcome)).flatten()
}

/// The rejection of a call that needs an active execution.
pub(super) fn not_active(execution: &Execution) -> Rejection {
    Rejection::ExecutionNotActive {
        terminal_outcome: execution.terminal_outcome(),
        lease_epoch: execution.epoch,
        lifecycle_phase: execution.phase.word(),
        attempt_id: execution.attempt().map(|attempt| attempt.id),
    }
}

/// Refuses a ttl outside of `1..=max` milliseconds.
pub(super) fn check_ttl(
    field: &'static str,
    ttl: DurationMs,
    max: DurationMs,
) -> Result<(), Rejection> {
    if ttl == DurationMs::ZERO || ttl > max {
        let problem = format!("is {ttl}, and must be 1 to {max}");
        return Err(Rejection::InvalidInput { field, problem });
    }
    Ok(())
}

/// Whether the execution's deadline has passed, marked or not.
pub(super) fn deadline_passed(execution: &Execution, now: TimestampMs) -> bool {
    execution.deadline.is_some_and(|deadline| deadline <= now)
}
