//! Reply lost after the write, and its small sister: request lost before it.
//!
//! A caller that waits in vain learns that the call may be applied. It has to find out by itself
//! whether it was.

use ff_core::entropy::Entropy;

use crate::streams::{happens, one_of};

/// What is lost of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It never left, and the caller knows.
    NotSent,
    /// It never arrived.
    Request,
    /// It was carried out, its reply never arrived.
    Reply,
}

/// What is lost of the next call, if anything.
pub fn draw(entropy: &mut Entropy, per_mille: u64) -> Option<Loss> {
    let losses = [Loss::Reply, Loss::Reply, Loss::Reply, Loss::Request, Loss::NotSent];
    happens(entropy, per_mille).then(|| one_of(entropy, &losses))
}
