//! \[INV-EPOCH-1\] Within a store history epochs never repeat or go back, also from an execution to
//! the next one with its id; attempt indexes are contiguous.

use ff_core::execution::{ClaimKind, Execution};

use crate::model::Model;
use crate::model::change::Change;
use crate::report::{Broken, ensure};

const TAG: &str = "INV-EPOCH-1";

/// Each lease after the first raises the epoch by one, each new attempt takes the next index, and
/// no other change affects either.
pub fn check(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    let Some(after) = &change.after else { return Ok(()) };
    let (epoch, attempts) =
        change.before.as_ref().map_or((0, 0), |before| (before.epoch.0, before.attempts_total));
    let new = change.new_lease();
    let next = match (new, epoch) {
        (None, _) => epoch,
        (Some(_), 0) => after.epoch.0.max(1),
        (Some(_), _) => epoch + 1,
    };
    ensure!(
        after.epoch.0 == next,
        TAG,
        "{} has epoch {} after {epoch} instead of {next}",
        change.id,
        after.epoch
    );
    let starts = new.is_some_and(|new| new.lease.how != ClaimKind::Resumed);
    ensure!(
        after.attempts_total == attempts + u32::from(starts),
        TAG,
        "{} has had {} attempts after {attempts}",
        change.id,
        after.attempts_total
    );
    let Some(new) = new else { return Ok(()) };
    check_earlier(model, change, after)?;
    ensure!(
        new.lease.epoch == after.epoch,
        TAG,
        "{} granted a lease of epoch {} at epoch {}",
        change.id,
        new.lease.epoch,
        after.epoch
    );
    if starts {
        ensure!(
            new.attempt.index.0 == attempts,
            TAG,
            "{} started attempt {} after {attempts} attempts",
            change.id,
            new.attempt.index
        );
    } else {
        let resumed = change.before.as_ref().and_then(|before| before.attempt());
        ensure!(
            resumed == Some(&new.attempt),
            TAG,
            "{} resumed attempt {:?} instead of {resumed:?}",
            change.id,
            new.attempt
        );
    }
    Ok(())
}

/// The first epoch is above those of each earlier execution with the same id, unless the store's
/// clock stepped back since the removal of that one began, and the later creation time is not above
/// them.
fn check_earlier(model: &Model, change: &Change<'_>, after: &Execution) -> Result<(), Broken> {
    for earlier in model.removed.get(&change.id).into_iter().flatten() {
        let stepped_back = model.jumps > earlier.jumps && after.created_at.get() < earlier.epoch;
        ensure!(
            after.epoch.0 > earlier.epoch || stepped_back,
            TAG,
            "{} has epoch {}, but a removed execution with this id had epoch {}",
            change.id,
            after.epoch,
            earlier.epoch
        );
    }
    Ok(())
}
