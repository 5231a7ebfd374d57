//! \[INV-LEASE-1\] There is at most one live lease for an execution, by store time.

use ff_core::execution::{LeaseFate, Phase};

use crate::model::change::Change;
use crate::report::{Broken, ensure};

const TAG: &str = "INV-LEASE-1";

/// A new lease begins only where no other one is live, and no lease exceeds its ttl.
pub fn check(change: &Change<'_>) -> Result<(), Broken> {
    check_end(change)?;
    let Some(new) = change.new_lease() else { return Ok(()) };
    if let Some(old) = change.active_before() {
        let lives = old.fate == LeaseFate::Held && change.now < old.lease.expires_at;
        ensure!(
            !lives,
            TAG,
            "{} got lease {} at {} while lease {} lives until {}",
            change.id,
            new.lease.id,
            change.now,
            old.lease.id,
            old.lease.expires_at
        );
    }
    let over = change.before.as_ref().is_some_and(|b| matches!(b.phase, Phase::Terminal(_)));
    ensure!(!over, TAG, "{} got lease {} though it is over", change.id, new.lease.id);
    // The claimer's clock may be ahead by the time that a window begins before its decision.
    let longest = change.now.plus(new.lease.ttl_ms).plus(ff_core::time::Window::MAX_AHEAD_MS);
    ensure!(
        new.lease.expires_at <= longest,
        TAG,
        "{} got lease {} at {} until {}, longer than its ttl of {}",
        change.id,
        new.lease.id,
        change.now,
        new.lease.expires_at,
        new.lease.ttl_ms
    );
    Ok(())
}

/// A lease that is given or renewed ends with the attempt's time and the deadline at the latest.
fn check_end(change: &Change<'_>) -> Result<(), Broken> {
    let (Some(after), Some(active)) = (&change.after, change.active_after()) else { return Ok(()) };
    let (lease, before) = (&active.lease, change.active_before().map(|before| &before.lease));
    if before.is_some_and(|before| before.expires_at >= lease.expires_at) {
        return Ok(());
    }
    let timeout = after.policy.timeout.attempt_timeout_ms;
    let latest = [after.deadline, timeout.map(|after| lease.acquired_at.plus(after))];
    let latest = latest.into_iter().flatten().min();
    ensure!(
        latest.is_none_or(|latest| lease.expires_at <= latest),
        TAG,
        "lease {} of {} lasts until {}, longer than {latest:?}",
        lease.id,
        change.id,
        lease.expires_at
    );
    Ok(())
}
