//! A pause longer than the lease: a process stands still and then goes on with what it knew.
//!
//! A stop signal, a suspended machine, a long collection of garbage. Its local clock has counted
//! the pause (CLOCK_BOOTTIME), so that it knows of its leases what there is to know; what it had
//! sent before has arrived meanwhile, what came in waits for it, in order.

use crate::determinism::random::{Source, between, happens};
use crate::plan::settings::Settings;

/// How long a process stands still, in milliseconds.
pub fn lasts_ms(settings: &Settings, source: &mut impl Source) -> u64 {
    let ttl = settings.lease_ttl.get().min(4_000);
    between(source, ttl / 4, 3 * ttl)
}

/// For how long a process stands still before it handles a reply, if it does.
pub fn before_reply(settings: &Settings, source: &mut impl Source, per_mille: u64) -> Option<u64> {
    happens(source, per_mille).then(|| lasts_ms(settings, source))
}
