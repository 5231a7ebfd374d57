//! \[INV-RETRY-1\] A failed attempt is retried exactly if the policy of its execution allows it,
//! and not before the backoff of that policy is over, or the time that its worker gave for the
//! retry.
//!
//! The check evaluates the policy with its own code.

use std::ops::RangeInclusive;

use ff_core::execution::{
    Active, AnyCommand, AttemptEnd, Event, Execution, Fail, NextAttempt, Outcome, Phase,
    RetryAdvice, WorkFailure,
};
use ff_core::policy::Backoff;
use ff_core::time::{DurationMs, TimestampMs, Window};

use crate::model::change::Change;
use crate::report::coverage::CommandKind;
use crate::report::{Broken, ensure};

const TAG: &str = "INV-RETRY-1";

/// The category of an attempt that timed out.
const ATTEMPT_TIMEOUT: &str = "attempt_timeout";

/// No operation waits longer for its commit.
const PATIENCE: DurationMs = DurationMs::from_secs(120);

/// A failed attempt is retried or ends its life, as the policy says.
pub fn check(change: &Change<'_>) -> Result<(), Broken> {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return Ok(()) };
    let Some(active) = change.active_before() else { return Ok(()) };
    let scheduled = change.events.iter().find_map(|event| match event {
        Event::RetryScheduled { delay_until, .. } => Some(*delay_until),
        _ => None,
    });
    let id = change.id;
    let Some(failure) = failure_of(active, after) else {
        let idle = scheduled.is_none() && !waits_for_retry(after);
        ensure!(idle, TAG, "{id} is retried although attempt {:?} did not fail", active.attempt);
        return Ok(());
    };
    let expected = is_retried(change, before, failure);
    ensure!(
        expected.is_none_or(|expected| expected == scheduled.is_some()),
        TAG,
        "after {} retries of {:?}, {failure:?} of {id} is retried: {}",
        before.counts.retries,
        before.policy.retry,
        scheduled.is_some()
    );
    match (scheduled, &after.phase) {
        (Some(until), _) => {
            let wait = wait(change, before);
            check_start(change, after, wait, until)
        }
        (None, Phase::Terminal(terminal)) => {
            let failed = matches!(terminal.outcome, Outcome::Failed(_));
            ensure!(failed, TAG, "{id} has failed and ended as {:?}", terminal.outcome);
            Ok(())
        }
        (None, phase) => {
            ensure!(false, TAG, "{id} has failed without a retry and is in {phase:?}");
            Ok(())
        }
    }
}

/// The failure with which the attempt that was running has ended, if it failed.
fn failure_of<'r>(active: &Active, after: &'r Execution) -> Option<&'r WorkFailure> {
    let past = after.past_attempts.last().filter(|past| past.attempt.id == active.attempt.id)?;
    match &past.end {
        AttemptEnd::Failed(failure) => Some(failure),
        _ => None,
    }
}

fn waits_for_retry(record: &Execution) -> bool {
    match &record.phase {
        Phase::Runnable(runnable) => matches!(runnable.next, NextAttempt::Retry),
        _ => false,
    }
}

/// Whether a failure is retried; `None` if that depends on the command of a user's program, which
/// the simulator does not know.
fn is_retried(change: &Change<'_>, before: &Execution, failure: &WorkFailure) -> Option<bool> {
    let (permanent, category) = match &change.caller.command {
        Some(AnyCommand::Fail(fail)) => {
            (Some(fail.retry == RetryAdvice::Never), fail.category.as_str())
        }
        _ if change.caller.carries == Some(CommandKind::OnDue) => (Some(false), ATTEMPT_TIMEOUT),
        _ => (None, failure.category.as_str()),
    };
    let policy = &before.policy.retry;
    let listed = policy.retryable_categories.iter().any(|listed| listed.as_str() == category);
    let allowed = before.counts.retries < policy.max_retries
        && (listed || policy.retryable_categories.is_empty());
    match permanent {
        Some(permanent) => Some(allowed && !permanent),
        None => (!allowed).then_some(false),
    }
}

/// The shortest and the longest time between a failure and its retry: the time that its worker gave
/// for it, or the backoff of the policy, less a quarter at most. Any time if that depends on the
/// command of a user's program, which the simulator does not know.
fn wait(change: &Change<'_>, before: &Execution) -> RangeInclusive<u64> {
    match &change.caller.command {
        Some(AnyCommand::Fail(Fail { retry: RetryAdvice::After(wait), .. })) => {
            return wait.get()..=wait.get();
        }
        None if change.caller.carries != Some(CommandKind::OnDue) => return 0..=u64::MAX,
        _ => {}
    }
    let backoff = backoff(&before.policy.retry.backoff, before.counts.retries);
    backoff - backoff / 4..=backoff
}

/// A retry starts after its wait, counted from the failure. The failure is when its commit was
/// decided, which the commit follows closely.
fn check_start(
    change: &Change<'_>,
    after: &Execution,
    wait: RangeInclusive<u64>,
    until: TimestampMs,
) -> Result<(), Broken> {
    let (id, now, failed) = (change.id, change.now, after.updated_at);
    ensure!(
        failed <= now.plus(Window::MAX_AHEAD_MS) && now < failed.plus(PATIENCE),
        TAG,
        "{id} failed at {failed}, which was committed at {now}"
    );
    let earliest = failed.plus(DurationMs::new(*wait.start()));
    let latest = failed.plus(DurationMs::new(*wait.end()));
    ensure!(
        earliest <= until && until <= latest,
        TAG,
        "{id} failed at {failed} and is retried at {until} instead of {earliest} to {latest}"
    );
    if let Phase::Runnable(runnable) = &after.phase {
        let held = runnable.not_before.map(|delay| delay.until);
        let right = held == (until > failed).then_some(until);
        ensure!(right, TAG, "{id} is retried at {until}, but its record is held until {held:?}");
    }
    Ok(())
}

/// The time between a failure and its retry, in milliseconds, after so many retries.
fn backoff(backoff: &Backoff, retries: u32) -> u64 {
    match *backoff {
        Backoff::Fixed { delay_ms } => delay_ms.get(),
        Backoff::Exponential { initial_ms, multiplier, max_ms } => {
            let grown = |delay: u64, _| delay.saturating_mul(u64::from(multiplier));
            // No delay grows any more after so many steps.
            (0..retries.min(64)).fold(initial_ms.get(), grown).min(max_ms.get())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The delays of a policy are as documented: doubled up to a limit.
    #[test]
    fn a_backoff_grows_to_its_limit() {
        let growing = Backoff::default();
        let delays = [0, 1, 2, 5, 6, u32::MAX].map(|retries| backoff(&growing, retries));
        assert_eq!(delays, [1_000, 2_000, 4_000, 32_000, 60_000, 60_000]);
        let fixed = Backoff::Fixed { delay_ms: DurationMs::new(7) };
        assert_eq!([0, 9].map(|retries| backoff(&fixed, retries)), [7, 7]);
    }
}
