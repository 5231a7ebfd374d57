//! \[INV-EPOCH-1\] Within a store history epochs never repeat or go back; attempt indexes are
//! contiguous.

use ff_core::execution::ClaimKind;

use crate::model::change::Change;
use crate::report::{Broken, ensure};

const TAG: &str = "INV-EPOCH-1";

/// Each lease raises the epoch by one, each new attempt takes the next index, and no other change
/// affects either.
pub fn check(change: &Change<'_>) -> Result<(), Broken> {
    let Some(after) = &change.after else { return Ok(()) };
    let (epoch, attempts) =
        change.before.as_ref().map_or((0, 0), |before| (before.epoch.0, before.attempts_total));
    let new = change.new_lease();
    let next = epoch + u64::from(new.is_some());
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
