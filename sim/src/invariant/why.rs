//! \[INV-WHY-1\] `judge` admits every execution that a worker claims from a lane, at the time of
//! the commit. (That a worker claims everything that it admits is a property of one record, which
//! the tests of core check.)

use ff_core::execution::{AnyCommand, Judgement, judge};

use crate::model::Model;
use crate::model::change::Change;
use crate::report::coverage::CommandKind;
use crate::report::{Broken, ensure};

const TAG: &str = "INV-WHY-1";

/// An execution that a worker claims from a lane had no reason to wait.
pub fn check(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    let (Some(before), Some(_), Some(CommandKind::Offer)) =
        (&change.before, change.new_lease(), change.caller.carries)
    else {
        return Ok(());
    };
    let capabilities = match &change.caller.command {
        Some(AnyCommand::Offer(offer)) => Some(&offer.capabilities),
        Some(_) => None,
        None => model.capabilities.get(change.caller.process),
    };
    let Some(capabilities) = capabilities else { return Ok(()) };
    let judgement = judge(before, Some(capabilities), None, change.now);
    ensure!(
        judgement == Judgement::Admit,
        TAG,
        "{} was claimed, but it had reasons to wait: {judgement:?}",
        change.id
    );
    Ok(())
}
