//! Quotas: how many executions may start in a time and how many may run at a time, also for each
//! key (`docs/spec.md`, 7).
//!
//! A quota is a record with limits. For each of its keys, a _use_ record holds the latest
//! admissions and the slots that are taken. Both are in the same partition, so that each admission
//! is decided on the present limits.

mod admissions;
mod look;
mod record;
mod reserve;
mod set;
#[cfg(test)]
mod tests;
mod update_use;
mod usage;

pub use crate::quota_ref::QuotaRef;
pub use look::{LookAtUse, QuotaUsage};
pub use record::{MAX_CONCURRENT, MAX_PER_WINDOW, Quota, QuotaLimits, Rate};
pub use reserve::{RefusedBy, Reserve, Reserved};
pub use set::{DeleteQuota, LookAtQuota, QuotaChange, SetQuota};
pub use update_use::{UpdateUse, UseUpdated};
pub use usage::{Holder, QuotaUse};
