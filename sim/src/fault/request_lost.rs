//! Request lost before it reaches the store.

use crate::determinism::random::{Source, happens};

/// Where a request is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It never left, and the caller knows.
    NotSent,
    /// It never arrived, and the caller waits in vain.
    OnTheWay,
}

/// Whether a request is lost, and where.
pub fn draw(source: &mut impl Source, per_mille: u64) -> Option<Loss> {
    let lost = happens(source, per_mille);
    let unsent = happens(source, 400);
    lost.then_some(if unsent { Loss::NotSent } else { Loss::OnTheWay })
}
