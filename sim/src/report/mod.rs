//! What a run reports: what it met, and the rule that it saw broken.

mod broken;
pub mod coverage;
pub mod describe;
pub mod invariants;
mod run;
mod store_kind;

pub use broken::Broken;
pub(crate) use broken::ensure;
pub use run::{Options, Report, Violation};
pub use store_kind::StoreKind;
