//! Bugs in grants, claims and blocks.

use ff_core::error::Rejection;
use ff_core::execution::{
    AnyCommand, AnyOutcome, Asked, BlockOutcome, Blocks, Claim, ClaimKind, Event, Execution, Grant,
    LeaseFate, Phase,
};
use ff_core::id::{LeaseEpoch, LeaseId};
use ff_core::time::{DurationMs, TimestampMs, Window};

use super::{Ruled, claimed, decision, instead, is_repeat, next, on};

/// The claim of a command that claims under a grant.
const fn claim(command: &mut AnyCommand) -> Option<&mut Claim> {
    match command {
        AnyCommand::Claim(command) => Some(&mut command.0),
        AnyCommand::ClaimResumed(command) => Some(&mut command.0),
        AnyCommand::Reclaim(command) => Some(&mut command.0),
        _ => None,
    }
}

/// The record that is written, if a lease has begun with it.
fn new_lease<'r>(asked: Asked<'_>, ruled: &'r mut Ruled) -> Option<&'r mut Execution> {
    let before = asked.facts.record.map(|record| record.last_fence);
    let next = next(ruled)?;
    (Some(next.last_fence) != before && matches!(next.phase, Phase::Active(_))).then_some(next)
}

/// The capabilities of a worker are not compared.
pub fn capability_ignored(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let Some(record) = asked.facts.record else { return ruled };
    let mut command = asked.command.clone();
    let offered = match &mut command {
        AnyCommand::IssueClaimGrant(request) => &mut request.capabilities,
        AnyCommand::IssueReclaimGrant(request) => &mut request.0.capabilities,
        AnyCommand::Admit(admit) => &mut admit.0.capabilities,
        AnyCommand::Offer(offer) => &mut offer.capabilities,
        _ => return ruled,
    };
    *offered = record.requires.clone();
    instead(asked, &command)
}

/// The worker of a grant is not compared.
pub fn grant_for_anybody(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let mut command = asked.command.clone();
    let grant = asked.facts.record.and_then(Execution::grant);
    let (Some(claim), Some(grant), Err(Rejection::InvalidClaimGrant)) =
        (claim(&mut command), grant, &ruled)
    else {
        return ruled;
    };
    let worker = std::mem::replace(&mut claim.worker, grant.worker.clone());
    let mut ruled = instead(asked, &command);
    if let Some(next) = next(&mut ruled)
        && let Phase::Active(active) = &mut next.phase
    {
        active.lease.worker = worker;
    }
    ruled
}

/// Giving a grant back ends also the grant of another worker.
pub fn grant_released_by_anybody(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let grant = asked.facts.record.and_then(Execution::grant);
    match (asked.command, grant) {
        (AnyCommand::ReleaseGrant(release), Some(grant)) if is_repeat(&ruled) => {
            let mut release = release.clone();
            (release.grant_id, release.worker) = (grant.id, grant.worker.clone());
            instead(asked, &release.into())
        }
        _ => ruled,
    }
}

/// The lane that a claim names is not compared.
pub fn lane_ignored(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let mut command = asked.command.clone();
    match claim(&mut command) {
        Some(claim) if claim.lane.is_some() => {
            claim.lane = None;
            instead(asked, &command)
        }
        _ => ruled,
    }
}

/// A repeated claim is not recognised.
pub fn claim_repeat_unknown(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let claims = matches!(asked.command, AnyCommand::Offer(_))
        || claim(&mut asked.command.clone()).is_some();
    let (Some(record), true) = (asked.facts.record, claims && is_repeat(&ruled)) else {
        return ruled;
    };
    let mut other = record.clone();
    let Phase::Active(active) = &mut other.phase else { return ruled };
    active.lease.id = LeaseId::from_uuid(record.id.uuid());
    let mut ruled = on(asked, &other);
    if let (Some(next), Phase::Active(held)) = (next(&mut ruled), &record.phase)
        && let Phase::Active(active) = &mut next.phase
        && active.lease.epoch == held.lease.epoch
    {
        active.lease.id = held.lease.id;
    }
    ruled
}

/// A reclaim gives its lease under the epoch of the lost one.
pub fn epoch_not_raised(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    let Some(next) = new_lease(asked, &mut ruled) else { return ruled };
    let Phase::Active(active) = &next.phase else { return ruled };
    if active.lease.how != ClaimKind::Reclaimed {
        return ruled;
    }
    let epoch = LeaseEpoch(next.epoch.0 - 1);
    with_epoch(asked, ruled, epoch)
}

/// The epochs of each new execution begin at 1.
pub fn epoch_restarted(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let epoch = asked.facts.record.map_or(LeaseEpoch(1), |record| record.epoch.next());
    with_epoch(asked, ruled, epoch)
}

/// Gives the lease, if one has begun, under this epoch.
fn with_epoch(asked: Asked<'_>, mut ruled: Ruled, epoch: LeaseEpoch) -> Ruled {
    let Some(next) = new_lease(asked, &mut ruled) else { return ruled };
    let Phase::Active(active) = &mut next.phase else { return ruled };
    next.epoch = epoch;
    active.lease.epoch = epoch;
    next.last_fence = Some(active.fence());
    if let Some(decision) = decision(&mut ruled) {
        for event in &mut decision.events {
            if let Event::Claimed { epoch: told, .. } = event {
                *told = epoch;
            }
        }
        if let Some(claimed) = claimed(&mut decision.outcome) {
            claimed.lease_epoch = epoch;
        }
    }
    ruled
}

/// A reclaim skips an attempt index.
pub fn attempt_index_skipped(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    if let Some(next) = new_lease(asked, &mut ruled)
        && let Phase::Active(active) = &next.phase
        && active.lease.how == ClaimKind::Reclaimed
    {
        next.attempts_total += 1;
    }
    ruled
}

/// A claim leaves the grant that it consumed.
pub fn grant_kept(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    if let Some(next) = new_lease(asked, &mut ruled)
        && let Phase::Active(active) = &mut next.phase
    {
        let (id, expires_at) = (active.lease.grant.id, active.lease.grant.expires_at);
        let worker = active.lease.worker.clone();
        active.grant = Some(Grant { id, worker, expires_at, audit: None });
    }
    ruled
}

/// A claim is committed at any time before the deadline, or after it.
pub fn claim_window_forgotten(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    if let (Some(_), Some(decision)) = (claim(&mut asked.command.clone()), decision(&mut ruled)) {
        decision.window.not_after = TimestampMs::MAX;
    }
    ruled
}

/// A lease ends after the deadline or the attempt timeout.
pub fn lease_outlives_deadline(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    let renews = matches!(asked.command, AnyCommand::Renew(_));
    if new_lease(asked, &mut ruled).is_none() && !renews {
        return ruled;
    }
    let Some(next) = next(&mut ruled) else { return ruled };
    let Phase::Active(active) = &mut next.phase else { return ruled };
    let end = asked.now.plus(active.lease.ttl_ms);
    active.lease.expires_at = end;
    if let Some(decision) = decision(&mut ruled) {
        if let AnyOutcome::Renew(renewed) = &mut decision.outcome {
            renewed.expires_at = end;
        }
        if let Some(claimed) = claimed(&mut decision.outcome) {
            claimed.expires_at = end;
        }
    }
    ruled
}

/// A later attempt gets the signals of an earlier one.
pub fn resumption_kept(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    let before = asked.facts.record.and_then(|record| record.waiting.as_ref()?.resumption.clone());
    let Some(next) = new_lease(asked, &mut ruled) else { return ruled };
    let Some(waiting) = &mut next.waiting else { return ruled };
    waiting.resumption.clone_from(&before);
    if let Some(claimed) = decision(&mut ruled).and_then(|made| claimed(&mut made.outcome)) {
        claimed.resumption = before;
    }
    ruled
}

/// A grant is still valid at the instant at which it ends.
pub fn grant_good_at_its_end(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let (Some(record), Some(_)) = (asked.facts.record, claim(&mut asked.command.clone())) else {
        return ruled;
    };
    let mut longer = record.clone();
    let grant = match &mut longer.phase {
        Phase::Runnable(runnable) => &mut runnable.grant,
        Phase::Active(active) => &mut active.grant,
        Phase::Suspended(_) | Phase::Terminal(_) => return ruled,
    };
    let Some(grant) = grant else { return ruled };
    let end = grant.expires_at;
    grant.expires_at = end.plus(DurationMs::new(1));
    let mut ruled = on(asked, &longer);
    if let Some(next) = new_lease(asked, &mut ruled)
        && let Phase::Active(active) = &mut next.phase
    {
        active.lease.grant.expires_at = end;
    }
    ruled
}

/// A reclaim grant is committed without a time window.
pub fn reclaim_window_forgotten(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    let lost = asked.facts.record.is_some_and(
        |record| matches!(&record.phase, Phase::Active(active) if active.fate == LeaseFate::Held),
    );
    let Some(decision) = decision(&mut ruled).filter(|_| lost) else { return ruled };
    match asked.command {
        AnyCommand::IssueReclaimGrant(_) => decision.window = Window::ALWAYS,
        AnyCommand::Admit(_) | AnyCommand::Offer(_) => {
            decision.window.not_before = TimestampMs::ZERO;
        }
        _ => {}
    }
    ruled
}

/// An execution is reclaimed once more than its limit allows.
pub fn reclaim_limit_ignored(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let grants = matches!(
        asked.command,
        AnyCommand::IssueReclaimGrant(_) | AnyCommand::Admit(_) | AnyCommand::Offer(_)
    );
    let (Some(record), true) = (asked.facts.record, grants) else { return ruled };
    let mut lax = record.clone();
    lax.policy.max_reclaim_count += 1;
    let mut ruled = on(asked, &lax);
    if let Some(next) = next(&mut ruled) {
        next.policy.max_reclaim_count = record.policy.max_reclaim_count;
    }
    ruled
}

/// Removing one block removes all of them.
pub fn blocks_all_lifted(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    let (AnyCommand::Unblock(_), Some(decision)) = (asked.command, decision(&mut ruled)) else {
        return ruled;
    };
    decision.outcome = AnyOutcome::Unblock(BlockOutcome { held_by: None });
    if let Some(next) = next(&mut ruled) {
        match &mut next.phase {
            Phase::Runnable(runnable) => runnable.blocks = Blocks::default(),
            Phase::Active(active) => active.blocks = Blocks::default(),
            Phase::Suspended(_) | Phase::Terminal(_) => {}
        }
    }
    ruled
}
