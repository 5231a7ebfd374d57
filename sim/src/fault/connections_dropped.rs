//! Every connection is dropped at once.
//!
//! Who waits for a reply learns at once that it will not come. Of the requests that were on their
//! way some had reached the store's machine already and are carried out all the same.

use crate::determinism::random::{Source, happens};

/// Whether a request that was on its way is carried out all the same.
pub fn survives(source: &mut impl Source) -> bool {
    happens(source, 500)
}
