//! Bugs in retries: whether there is one, and when it starts.

use ff_core::execution::{
    AnyCommand, AnyOutcome, Asked, DelayReason, Event, Execution, FailOutcome, NextAttempt,
    NotBefore, Phase, ReleaseOutcome, RetryAdvice,
};
use ff_core::time::DurationMs;

use super::{Ruled, decision, instead, next};

/// A retry does not wait for its backoff.
pub fn backoff_forgotten(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    with_backoff(asked, ruled, |_, _| DurationMs::ZERO)
}

/// A retry waits for half of its backoff.
pub fn backoff_halved(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    with_backoff(asked, ruled, |_, delay| DurationMs::new(delay.get() / 2))
}

/// A retry waits for the backoff of the retry after it.
pub fn backoff_ahead(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    with_backoff(asked, ruled, |record, delay| {
        let attempt = record.attempt().map(|attempt| attempt.index).unwrap_or_default();
        let retry = record.counts.retries + 1;
        delay.max(record.policy.retry.backoff.delay(retry, &record.id, attempt))
    })
}

/// A permanent failure is retried.
pub fn permanence_ignored(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    match asked.command {
        AnyCommand::Fail(fail) if fail.retry == RetryAdvice::Never => {
            let mut fail = fail.clone();
            fail.retry = RetryAdvice::ByPolicy;
            instead(asked, &fail.into())
        }
        _ => ruled,
    }
}

/// The time that a worker gives for a retry is ignored.
pub fn retry_after_ignored(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    match asked.command {
        AnyCommand::Fail(fail) if matches!(fail.retry, RetryAdvice::After(_)) => {
            let mut fail = fail.clone();
            fail.retry = RetryAdvice::ByPolicy;
            instead(asked, &fail.into())
        }
        _ => ruled,
    }
}

/// The ruling with another delay before the retry that it schedules.
fn with_backoff(
    asked: Asked<'_>,
    mut ruled: Ruled,
    change: fn(&Execution, DurationMs) -> DurationMs,
) -> Ruled {
    let (Some(record), Some(made)) = (asked.facts.record, decision(&mut ruled)) else {
        return ruled;
    };
    let told = made.events.iter_mut().find_map(|event| match event {
        Event::RetryScheduled { delay_until, .. } => Some(delay_until),
        _ => None,
    });
    let Some(told) = told else { return ruled };
    let until = asked.now.plus(change(record, told.since(asked.now)));
    *told = until;
    let outcome = FailOutcome::RetryScheduled { delay_until: until };
    if let AnyOutcome::Fail(returned) = &mut made.outcome {
        *returned = outcome;
    }
    let by_holder = matches!(made.outcome, AnyOutcome::Fail(_));
    let Some(next) = next(&mut ruled) else { return ruled };
    if let (Some(release), true) = (&mut next.last_release, by_holder) {
        release.outcome = ReleaseOutcome::Failed(outcome);
    }
    if let Phase::Runnable(runnable) = &mut next.phase
        && runnable.next == NextAttempt::Retry
    {
        let delay = NotBefore { until, reason: DelayReason::RetryBackoff };
        runnable.not_before = (until > asked.now).then_some(delay);
    }
    ruled
}
