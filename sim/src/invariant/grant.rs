//! \[INV-GRANT-1\] A grant is consumed at most once, before its expiry, by its worker. Only its
//! worker gives it back.

use ff_core::execution::{AnyCommand, Claim};

use crate::model::Model;
use crate::model::change::Change;
use crate::report::{Broken, ensure};

const TAG: &str = "INV-GRANT-1";

/// Each lease consumes a fresh grant that was issued for its worker, and leaves none.
pub fn check(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    if let Some(out) = change.grant_after() {
        let consumed = model.consumed.get(&out);
        ensure!(
            consumed.is_none(),
            TAG,
            "grant {out} of {} is outstanding again after lease {consumed:?} consumed it",
            change.id
        );
    }
    check_worker(model, change)?;
    check_release(change)?;
    let Some(new) = change.new_lease() else { return Ok(()) };
    let grant = new.lease.grant;
    let consumed = model.consumed.get(&grant.id);
    ensure!(
        consumed.is_none(),
        TAG,
        "grant {} of {} was consumed by lease {consumed:?} and again by lease {}",
        grant.id,
        change.id,
        new.lease.id
    );
    ensure!(
        change.now < grant.expires_at,
        TAG,
        "grant {} of {} was consumed at {}, after its end at {}",
        grant.id,
        change.id,
        change.now,
        grant.expires_at
    );
    ensure!(
        change.grant_after().is_none(),
        TAG,
        "a grant of {} is outstanding together with the new lease {}",
        change.id,
        new.lease.id
    );
    let Some(command) = &change.caller.command else { return Ok(()) };
    let (AnyCommand::Claim(_) | AnyCommand::ClaimResumed(_) | AnyCommand::Reclaim(_)) = command
    else {
        return Ok(());
    };
    let claim = claim_in(command);
    let issued = change.before.as_ref().and_then(|before| before.grant());
    let fits = issued.zip(claim).is_some_and(|(issued, claim)| {
        issued.id == claim.grant_id
            && issued.id == grant.id
            && issued.worker == claim.worker
            && issued.worker == new.lease.worker
    });
    ensure!(fits, TAG, "{} was taken by {claim:?} under the grant {issued:?}", change.id);
    let lane = change.after.as_ref().map(|after| &after.lane);
    let meant = claim.and_then(|claim| claim.lane.as_ref());
    ensure!(
        meant.is_none() || meant == lane,
        TAG,
        "{} of lane {lane:?} was claimed from lane {meant:?}",
        change.id
    );
    Ok(())
}

/// A grant that is given back is the one that the call names, and the call is that of its worker.
fn check_release(change: &Change<'_>) -> Result<(), Broken> {
    let (Some(AnyCommand::ReleaseGrant(release)), Some(gone)) =
        (&change.caller.command, change.grant_gone())
    else {
        return Ok(());
    };
    let right = gone.id == release.grant_id && gone.worker == release.worker;
    ensure!(right, TAG, "{gone:?} of {} was ended by {release:?}", change.id);
    Ok(())
}

/// A new grant goes to a worker that serves the kind and has the required capabilities.
fn check_worker(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    let known = change.before.as_ref().and_then(|before| before.grant()).map(|grant| grant.id);
    let consumed = change.new_lease().map(|new| new.lease.grant.id);
    let (Some(after), Some(issued)) = (&change.after, change.grant_after().or(consumed)) else {
        return Ok(());
    };
    if known == Some(issued) {
        return Ok(());
    }
    let offered = match &change.caller.command {
        Some(AnyCommand::IssueClaimGrant(request)) => Some(&request.capabilities),
        Some(AnyCommand::IssueReclaimGrant(request)) => Some(&request.0.capabilities),
        Some(_) => None,
        None => model.capabilities.get(change.caller.process),
    };
    if let (None, Some(kinds)) = (&change.caller.command, model.kinds.get(change.caller.process)) {
        let (id, kind) = (change.id, &after.kind);
        ensure!(
            kinds.serves(kind),
            TAG,
            "{id} of kind {kind} was granted to a worker of {kinds:?}"
        );
    }
    let Some(offered) = offered else { return Ok(()) };
    let lacks = after.requires.iter().find(|token| !offered.iter().any(|has| has == *token));
    ensure!(
        lacks.is_none(),
        TAG,
        "{} was granted to a worker that lacks {lacks:?} and has {offered}",
        change.id
    );
    Ok(())
}

const fn claim_in(command: &AnyCommand) -> Option<&Claim> {
    match command {
        AnyCommand::Claim(take) => Some(&take.0),
        AnyCommand::ClaimResumed(take) => Some(&take.0),
        AnyCommand::Reclaim(take) => Some(&take.0),
        _ => None,
    }
}
