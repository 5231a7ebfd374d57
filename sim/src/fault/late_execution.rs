//! A call that times out at the client and executes later.
//!
//! Its request waits somewhere on the way. The caller has given up long ago, has asked again,
//! perhaps has been told no: then the request arrives. Its time window and its expected versions
//! have to stop what is not wanted any more.

use crate::determinism::random::{Source, between, happens};

/// How long after its timeout a call is carried out, in milliseconds, if it is late.
pub fn draw(source: &mut impl Source, per_mille: u64) -> Option<u64> {
    if !happens(source, per_mille) {
        return None;
    }
    let longest = if happens(source, 300) { 8_000 } else { 600 };
    Some(between(source, 0, longest))
}
