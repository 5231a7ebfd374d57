//! \[INV-HEALTH-1\] A worker that believes its lease healthy holds it, unless it was revoked or
//! cancelled, or the store's history or clock jumped, since its last renewal.

use ff_core::agent::Leases;
use ff_core::execution::{LeaseFate, Phase};
use ff_core::time::{HostTime, TimestampMs};

use crate::model::Model;
use crate::report::{Broken, ensure, when_watched};

const TAG: &str = "INV-HEALTH-1";

/// Each lease that a worker trusts is live by the store's clock.
pub fn check(
    model: &Model,
    leases: &Leases,
    host: HostTime,
    now: TimestampMs,
) -> Result<(), Broken> {
    when_watched!(model, Health);
    for (id, fence) in leases.believed(host) {
        // The worker's own release may be applied before the worker receives the reply.
        if model.withdrawn.contains(&fence.lease_id) || model.given_back.contains(&fence.lease_id) {
            continue;
        }
        if model.doubtful.contains(&fence.lease_id) {
            continue;
        }
        let record = model.records.get(&id);
        let holds = record.is_some_and(|record| match &record.phase {
            Phase::Active(active) => {
                record.last_fence == Some(fence)
                    && active.fate == LeaseFate::Held
                    && now < active.lease.expires_at
            }
            _ => false,
        });
        ensure!(
            holds,
            TAG,
            "a worker trusts {fence:?} of {id} at {now}, but the execution is {:?}",
            record.map(|record| &record.phase)
        );
    }
    Ok(())
}
