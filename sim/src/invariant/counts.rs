//! \[COUNTS\] Retries, reclaims and lives are counted once each, and never beyond their limits; an
//! attempt that is over is among the past ones and does not continue.

use ff_core::execution::{ClaimKind, Counts, Event, Execution, NextAttempt, Phase};

use crate::model::change::{Change, is_terminal};
use crate::report::{Broken, ensure};

const TAG: &str = "COUNTS";

/// The counters of a record follow from its changes.
pub fn check(change: &Change<'_>) -> Result<(), Broken> {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return Ok(()) };
    let expected = expected(change, before, after);
    ensure!(
        after.counts == Counts { rechecks: after.counts.rechecks, ..expected },
        TAG,
        "{} counts {:?} instead of {expected:?}, after {:?}",
        change.id,
        after.counts,
        before.counts
    );
    let (counts, policy) = (after.counts, &after.policy);
    let within = |count, before, limit| count <= limit || count == before;
    let limited = within(counts.retries, before.counts.retries, policy.retry.max_retries)
        && within(counts.reclaims, before.counts.reclaims, policy.max_reclaim_count)
        && within(counts.replays, before.counts.replays, policy.max_replay_count);
    ensure!(
        limited,
        TAG,
        "{} counts {counts:?}, beyond the limits of its policy {policy:?}",
        change.id
    );
    check_past(change, before, after)
}

fn expected(change: &Change<'_>, before: &Execution, after: &Execution) -> Counts {
    let replayed = is_terminal(Some(before)) && !is_terminal(Some(after));
    if replayed {
        return Counts { replays: before.counts.replays + 1, ..Counts::default() };
    }
    // A retry whose execution has expired meanwhile ends in the same commit.
    let told = change.events.iter().any(|event| matches!(event, Event::RetryScheduled { .. }));
    let retried = matches!(before.phase, Phase::Active(_))
        && (waits_for_retry(after) || (told && change.ends_life()));
    let reclaimed = change.new_lease().is_some_and(|new| new.lease.how == ClaimKind::Reclaimed);
    Counts {
        retries: before.counts.retries + u32::from(retried),
        reclaims: before.counts.reclaims + u32::from(reclaimed),
        ..before.counts
    }
}

fn waits_for_retry(record: &Execution) -> bool {
    match &record.phase {
        Phase::Runnable(runnable) => matches!(runnable.next, NextAttempt::Retry),
        _ => false,
    }
}

/// The attempt that was running either still is, or is the latest of the past ones.
fn check_past(change: &Change<'_>, before: &Execution, after: &Execution) -> Result<(), Broken> {
    let (old, new) = (under_way(before), under_way(after));
    if old.map(|old| old.id) != new.map(|new| new.id)
        && let Some(old) = old
    {
        let last = before.past_attempts.last();
        let ended = after.past_attempts.last();
        ensure!(
            ended != last && ended.is_some_and(|past| past.attempt == old),
            TAG,
            "attempt {old:?} of {} is over, but the latest past attempt is {ended:?}",
            change.id
        );
    }
    let over = new.filter(|new| after.past_attempts.iter().any(|past| past.attempt.id == new.id));
    ensure!(over.is_none(), TAG, "{} continues attempt {over:?}, which is over", change.id);
    Ok(())
}

fn under_way(record: &Execution) -> Option<ff_core::execution::Attempt> {
    match &record.phase {
        Phase::Terminal(_) => None,
        _ => record.attempt().copied(),
    }
}
