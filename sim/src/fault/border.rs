//! Calls that are held until about the instant at which something about their execution ends.

use ff_core::execution::{Execution, Phase};
use ff_core::time::{DurationMs, TimestampMs};

use crate::determinism::random::{Source, between, happens, one_of};

/// How long a call is held, and on which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// How long, in milliseconds.
    pub ms: u64,
    /// Whether its reply is held, and not its request.
    pub reply: bool,
}

/// The difference between the border and the arrival, in milliseconds. What ends at an instant has
/// ended at that instant.
const OFFSETS_MS: [i64; 6] = [-1, 0, 0, 1, 3, 30];

/// Whether a call is held that is about this execution and reaches the store at this time by the
/// store's clock; at most for `reach`, after which no window is open any more.
pub fn hold(
    draws: &mut impl Source,
    per_mille: u64,
    record: Option<&Execution>,
    now: TimestampMs,
    reach: DurationMs,
) -> Option<Hold> {
    if !happens(draws, per_mille) {
        return None;
    }
    let ahead = |at: &TimestampMs| *at > now && at.since(now) < reach;
    let borders: Vec<_> = borders(record?).into_iter().filter(ahead).collect();
    if borders.is_empty() {
        return None;
    }
    let until = one_of(draws, &borders).shifted(one_of(draws, &OFFSETS_MS));
    let reply = happens(draws, 300);
    Some(Hold { ms: until.since(now).get(), reply })
}

/// Whether a change of the use of a quota is held: for a part of the window of a rate.
pub fn hold_use(draws: &mut impl Source, per_mille: u64, reach: DurationMs) -> Option<Hold> {
    let ms = between(draws, 20, 400).min(reach.get());
    happens(draws, per_mille).then_some(Hold { ms, reply: false })
}

/// The instants at which something ends that an execution has, if they are ahead.
fn borders(record: &Execution) -> Vec<TimestampMs> {
    let mut borders = Vec::new();
    match &record.phase {
        Phase::Terminal(_) => return borders,
        Phase::Active(active) => {
            let (lease, timeout) = (&active.lease, record.policy.timeout.attempt_timeout_ms);
            borders.push(lease.expires_at);
            borders.extend(timeout.map(|timeout| lease.acquired_at.plus(timeout)));
        }
        Phase::Runnable(runnable) => {
            borders.extend(runnable.not_before.map(|delay| delay.until));
            borders.extend(runnable.blocks.iter().filter_map(|block| block.recheck_at));
        }
        Phase::Suspended(suspended) => {
            borders.extend(suspended.suspension.timeout.map(|timeout| timeout.at));
        }
    }
    borders.extend(record.grant().map(|grant| grant.expires_at));
    // Few executions have a deadline.
    borders.extend(record.deadline.into_iter().cycle().take(4));
    let open = record.waiting.iter().flat_map(|waiting| &waiting.open);
    borders.extend(open.filter_map(|waitpoint| waitpoint.expires_at()));
    borders
}
