//! The result of a run: a report of its counts and coverage, or the rule that it broke.

mod broken;
pub mod coverage;
pub mod describe;
pub mod invariants;
mod run;
mod store_kind;

pub use broken::{Broken, write_broken};
pub(crate) use broken::{ensure, when_watched};
pub use run::{Options, Report, Violation};
pub use store_kind::StoreKind;
