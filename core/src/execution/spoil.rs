//! The hook for bugs that are planted in finished rulings (`docs/decisions.md`, 18).
//!
//! Only a build with the feature `planted-bugs` has it. The simulator names the bugs, and installs
//! one at a time: a function that gets what a rule was asked and how it ruled, and returns another
//! ruling.

use std::any::Any;
use std::sync::{PoisonError, RwLock};

use crate::time::TimestampMs;

use super::any_command::{AnyCommand, AnyOutcome};
use super::command::Decide;
use super::facts::Facts;
use super::record::Ruling;

/// The arguments of a call of a rule.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The command.
    pub command: &'a AnyCommand,
    /// The facts.
    pub facts: Facts<'a>,
    /// The time that the rule decided for.
    pub now: TimestampMs,
}

/// A bug in rulings.
pub type RulingBug = fn(Asked<'_>, Ruling<AnyOutcome>) -> Ruling<AnyOutcome>;

static INSTALLED: RwLock<Option<RulingBug>> = RwLock::new(None);

/// Installs a bug for the whole process, or none.
pub fn install_ruling_bug(bug: Option<RulingBug>) {
    *INSTALLED.write().unwrap_or_else(PoisonError::into_inner) = bug;
}

/// The ruling as the installed bug leaves it.
pub(crate) fn spoil<C: Decide>(
    command: &C,
    facts: &Facts<'_>,
    now: TimestampMs,
    ruling: Ruling<C::Outcome>,
) -> Ruling<C::Outcome> {
    let installed = *INSTALLED.read().unwrap_or_else(PoisonError::into_inner);
    let (Some(bug), Some((command, namespace))) = (installed, AnyCommand::of(command)) else {
        return ruling;
    };
    let facts = namespace.map_or(*facts, |namespace| facts.in_namespace(&namespace));
    let widened = |outcome| AnyOutcome::of(&command, Box::new(outcome));
    let ruling = ruling.map(|verdict| verdict.map(widened));
    let spoiled = bug(Asked { command: &command, facts, now }, ruling);
    spoiled.map(|verdict| verdict.map(narrowed))
}

/// The outcome as the command's own type, which may be [`AnyOutcome`] itself.
fn narrowed<T: Any>(outcome: AnyOutcome) -> T {
    let outcome: Box<dyn Any> = Box::new(outcome);
    let narrow =
        outcome.downcast::<T>().or_else(|outcome| match outcome.downcast::<AnyOutcome>() {
            Ok(outcome) => outcome.into_value().downcast::<T>(),
            Err(outcome) => Err(outcome),
        });
    *narrow.expect("a bug keeps the type of an outcome")
}
