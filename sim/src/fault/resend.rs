//! Silent resend: the client's library loses its connection in the middle of a call and sends the
//! request again by itself, so that the store gets it twice.

use crate::determinism::random::{Source, between, happens};

/// The second sending of a request.
#[derive(Clone, Copy, Debug)]
pub struct Resend {
    /// How long after the first it arrives, in milliseconds.
    pub later_ms: u64,
    /// Whether it is the first whose reply the caller gets.
    pub first_answers: bool,
}

/// Whether a request is sent again, and when.
pub fn draw(source: &mut impl Source, per_mille: u64, timeout_ms: u64) -> Option<Resend> {
    if !happens(source, per_mille) {
        return None;
    }
    let longest = if happens(source, 500) { 5 } else { timeout_ms };
    let later_ms = between(source, 0, longest);
    // A request that waits on the way is carried out after the one that replaced it.
    Some(Resend { later_ms, first_answers: happens(source, 300) })
}
