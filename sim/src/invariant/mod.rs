//! What always holds, one file for each invariant (`docs/architecture.md`, Invariants).
//!
//! Each looks at what one step did, at what a caller was told, or at the whole world now and then.
//! None of them calls a rule of core: they compare what was before with what is after.

pub mod answer;
pub mod bounds;
pub mod counts;
pub mod durable;
pub mod epoch;
pub mod fence;
pub mod frame;
pub mod grant;
pub mod health;
pub mod identity;
pub mod index;
pub mod journal;
pub mod lease;
pub mod lists;
pub mod liveness;
pub mod readers;
pub mod reading;
pub mod refusal;
pub mod signal;
pub mod suspend;
pub mod terminal;
pub mod time;
pub mod token;

use crate::model::Model;
use crate::model::change::Change;
use crate::report::Broken;
use crate::report::invariants::Invariant;

/// What an invariant says of a step.
type Check = fn(&Model, &Change<'_>) -> Result<(), Broken>;

/// Checks what one step did to one execution, before the model takes it over.
///
/// # Errors
///
/// The first invariant that it breaks, of those that the run is watched for.
pub fn check_change(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    let on = |invariant| model.watched.contains(invariant);
    let checks: [(Invariant, Check); 15] = [
        (Invariant::Fence, |_, change| fence::check(change)),
        (Invariant::Epoch, |_, change| epoch::check(change)),
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
        (Invariant::Counts, |_, change| counts::check(change)),
        (Invariant::Journal, |_, change| journal::check(change)),
        (Invariant::Bounds, |_, change| bounds::check(change)),
    ];
    checks.iter().filter(|(invariant, _)| on(*invariant)).try_for_each(|(_, c)| c(model, change))
}
