//! The invariants, one file for each (`docs/architecture.md`, Invariants).
//!
//! Each checks the effect of a step, the answer to a caller, or the whole store from time to time.
//! None of them calls a rule of core: they compare the state before with the state after. The
//! summary of a check states its rule; the check returns a [`Broken`] when the rule does not hold.

pub mod answer;
pub mod bounds;
pub mod budget;
pub mod count;
pub mod counts;
pub mod durable;
pub mod epoch;
pub mod exhausted;
pub mod fence;
pub mod frame;
pub mod grant;
pub mod health;
pub mod identity;
pub mod index;
pub mod journal;
pub mod lane;
pub mod lease;
pub mod lists;
pub mod liveness;
pub mod quota;
pub mod readers;
pub mod reading;
pub mod refusal;
pub mod registry;
pub mod retries;
pub mod retry;
pub mod signal;
pub mod suspend;
pub mod terminal;
pub mod time;
pub mod token;
pub mod why;

use crate::model::Model;
use crate::model::change::Change;
use crate::report::Broken;
use crate::report::invariants::Invariant;

/// The check of a step.
type Check = fn(&Model, &Change<'_>) -> Result<(), Broken>;

/// Checks the effect of one step on one execution, before the model takes it over.
pub fn check_change(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    let on = |invariant| model.watched.contains(invariant);
    let checks: [(Invariant, Check); 19] = [
        (Invariant::Fence, |_, change| fence::check(change)),
        (Invariant::Epoch, epoch::check),
        (Invariant::Lease, |_, change| lease::check(change)),
        (Invariant::Grant, grant::check),
        (Invariant::Time, |_, change| time::check(change)),
        (Invariant::Identity, identity::check_change),
        (Invariant::Terminal, terminal::check),
        (Invariant::Durable, |_, change| durable::check_change(change)),
        (Invariant::Suspend, suspend::check),
        (Invariant::Signal, signal::check),
        (Invariant::Token, token::check),
        (Invariant::Frame, frame::check),
        (Invariant::Retry, |_, change| retry::check(change)),
        (Invariant::BudgetGate, exhausted::check),
        (Invariant::QuotaSlots, quota::check),
        (Invariant::Why, why::check),
        (Invariant::Counts, |_, change| counts::check(change)),
        (Invariant::Journal, |_, change| journal::check(change)),
        (Invariant::Bounds, |_, change| bounds::check(change)),
    ];
    checks.iter().filter(|(invariant, _)| on(*invariant)).try_for_each(|(_, c)| c(model, change))
}
