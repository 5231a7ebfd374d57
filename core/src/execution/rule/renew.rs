//! `renew`: extend a lease (`docs/spec.md`, 4).

use serde::{Deserialize, Serialize};

use crate::execution::record::{Decision, Execution, Phase, Ruling};
use crate::id::ExecutionId;
use crate::time::{DurationMs, TimestampMs, Window};

use super::guard::{FenceParts, MAX_LEASE_TTL, check_ttl, current_holder};
use super::lease::lease_end;

/// Extends a lease for a ttl from now. Identity: none is needed, a repeat renews again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The fence of the caller's lease.
    #[serde(flatten)]
    pub fence: FenceParts,
    /// How long from now, 1 ms to 24 h.
    #[serde(rename = "lease_ttl_ms")]
    pub lease_ttl: DurationMs,
}

/// A lease that was renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// When it ends now.
    pub expires_at: TimestampMs,
}

/// Renews a lease: same id and epoch, new expiry.
///
/// # Errors
///
/// Those of a call under a lease, and `InvalidInput` for the ttl.
pub fn renew(current: &Execution, command: &Renew, now: TimestampMs) -> Ruling<Renewed> {
    let (active, _) = current_holder(current, &command.fence, now)?;
    check_ttl("lease_ttl_ms", command.lease_ttl, MAX_LEASE_TTL)?;
    let expires_at = lease_end(current, active.lease.acquired_at, command.lease_ttl, now);
    let holds = Window::until(active.expires_at(now));
    let mut next = current.clone();
    if let Phase::Active(active) = &mut next.phase {
        active.lease.expires_at = expires_at;
        active.lease.ttl_ms = command.lease_ttl;
    }
    Ok(Decision::put(next, now, Renewed { expires_at })
        .within(holds)
        .storing_ttl(command.lease_ttl)
        .into())
}
