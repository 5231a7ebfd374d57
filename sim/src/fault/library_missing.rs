//! A failover to a server that has all the data and not the function library.
//!
//! The first call is told that there is no such function. Its sender loads the library and sends
//! the call again, once; so nobody notices more than a delay, unless loading is refused too.

use ff_core::store::{Failure, Request};

use crate::determinism::random::{Draws, between};
use crate::plan::settings::Settings;

use crate::plan::FaultKind;

/// One failover of this kind.
#[derive(Clone, Copy, Debug)]
pub struct LibraryMissing {
    /// Its number.
    pub number: u64,
    /// When.
    pub at: u64,
}

/// Those of a seed by number.
pub fn plan(seed: u64, settings: &Settings) -> Vec<LibraryMissing> {
    let kind = FaultKind::LibraryMissing;
    let missing = |number| {
        let at = between(&mut Draws::new(seed, kind as u64, number), 0, settings.busy_ms);
        LibraryMissing { number, at }
    };
    (0..settings.on(kind).unwrap_or(0)).map(missing).collect()
}

/// Whether a request is answered by a function.
pub const fn needs_function(request: &Request) -> bool {
    !matches!(request, Request::Poll(_))
}

/// What a caller is told that could not load the library.
pub fn refusal() -> Failure {
    Failure::Refused("ERR Function not found".to_owned())
}
