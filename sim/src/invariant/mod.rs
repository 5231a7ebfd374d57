//! What always holds, one file for each invariant (`docs/architecture.md`, Invariants).
//!
//! Each looks at what one step did, at what a caller was told, or at the whole world now and then.
//! None of them calls a rule of core: they compare what was before with what is after.

pub mod durable;
pub mod epoch;
pub mod fence;
pub mod grant;
pub mod health;
pub mod identity;
pub mod index;
pub mod lease;
pub mod terminal;
pub mod time;

use crate::change::Change;
use crate::model::Model;
use crate::report::Broken;

/// Checks what one step did to one execution, before the model takes it over.
///
/// # Errors
///
/// The first invariant that it breaks.
pub fn check_change(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    fence::check(change)?;
    epoch::check(change)?;
    lease::check(change)?;
    grant::check(model, change)?;
    time::check(change)?;
    identity::check_change(model, change)?;
    terminal::check(model, change)?;
    durable::check_change(change)
}
