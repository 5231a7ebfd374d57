//! Partitions: a process and the store hear nothing of each other for a while, or only one of them
//! hears the other.

use crate::determinism::random::{Source, between, one_of};
use crate::plan::settings::Settings;

/// How long a partition lasts, in milliseconds: often longer than a lease.
pub fn lasts_ms(settings: &Settings, source: &mut impl Source) -> u64 {
    let ttl = settings.lease_ttl.get().min(4_000);
    let longest = one_of(source, &[settings.timeout_ms, ttl, 3 * ttl]);
    between(source, 1, longest.max(1))
}
