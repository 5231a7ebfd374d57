//! An error raised in the middle of a function: it does not roll back, and the caller is told that
//! the call may be applied.
//!
//! Units are all or nothing, and run one after the other: those before the error are carried out.
//! Of the one in which it is raised, nothing is written, or its index entries alone, which go
//! first: they follow from the records, so that the next commit of the record, or the timekeeper,
//! puts them right.

use ff_core::store::Failure;

use crate::determinism::random::{Source, happens};

/// Where an error is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// How many units are carried out before.
    pub units: usize,
    /// Whether the index entries of the next one are written.
    pub indexes: bool,
}

/// Where an error is raised in a call of that many units, if it is.
pub fn draw(source: &mut impl Source, per_mille: u64, units: usize) -> Option<Raised> {
    let raised = happens(source, per_mille);
    let indexes = happens(source, 500);
    let units = source.below(units as u64 + 1) as usize;
    raised.then_some(Raised { units, indexes })
}

/// What the caller is told.
pub fn failure() -> Failure {
    let says =
        "WRONGTYPE Operation against a key holding the wrong kind of value script: ff_commit";
    Failure::MaybeApplied(says.to_owned())
}
