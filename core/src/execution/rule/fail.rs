//! `fail`: report a failed attempt, which is retried or ends the life (`docs/spec.md`, 4).

use crate::bounded::truncated;
use crate::execution::record::{
    Attempt, AttemptEnd, Decision, DelayReason, Event, Execution, FailOutcome, NextAttempt,
    NotBefore, Outcome, ReleaseOutcome, Ruling, Verdict, WorkFailure,
};
use crate::id::{ExecutionId, FailureCategory};
use crate::time::{DurationMs, TimestampMs, Window};

use super::guard::{FenceParts, current_holder, released};
use super::lease::{end_attempt, end_life, remember_release, wait_for};

/// Reports a failed attempt. Identity: the fence and the command's kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Fail {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The fence of the caller's lease.
    pub fence: FenceParts,
    /// A text for people, truncated to 4,096 bytes.
    pub reason: String,
    /// The category that the retry policy decides by.
    pub category: FailureCategory,
    /// Whether and when a retry can help.
    pub retry: RetryAdvice,
}

/// The advice of a worker about the retry of a failed attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryAdvice {
    /// Nothing: the policy decides.
    #[default]
    ByPolicy,
    /// A retry can help after this time. If the policy allows a retry, it starts then, without
    /// jitter, instead of after the policy's backoff.
    After(DurationMs),
    /// A retry cannot help: the failure is permanent.
    Never,
}

/// Fails an attempt. A retry is scheduled if retries remain, the category is retryable and the
/// failure is not permanent.
///
/// # Errors
///
/// Those of a call under a lease.
pub fn fail(current: &Execution, command: &Fail, now: TimestampMs) -> Ruling<FailOutcome> {
    let failed = |outcome: &ReleaseOutcome| match outcome {
        ReleaseOutcome::Failed(outcome) => Some(*outcome),
        _ => None,
    };
    if let Some(outcome) = released(current, &command.fence, failed) {
        return Ok(Verdict::Repeat(outcome));
    }
    let (active, fence) = current_holder(current, &command.fence, now)?;
    let holds = Window::until(active.expires_at(now));
    let failure = WorkFailure {
        category: command.category.clone(),
        reason: truncated(&command.reason, WorkFailure::REASON_MAX_BYTES).to_owned(),
    };
    let attempt = active.attempt;
    let mut next = current.clone();
    let (outcome, event) = fail_attempt(&mut next, attempt, failure, command.retry, now);
    remember_release(&mut next, fence, ReleaseOutcome::Failed(outcome));
    Ok(Decision::put(next, now, outcome).within(holds).event(event).into())
}

/// Ends an attempt as failed, by its holder or by its timeout, and schedules a retry by policy.
/// \[INV-RETRY-1\]
pub(super) fn fail_attempt(
    next: &mut Execution,
    attempt: Attempt,
    failure: WorkFailure,
    advice: RetryAdvice,
    now: TimestampMs,
) -> (FailOutcome, Event) {
    let retry = &next.policy.retry;
    let retries = next.counts.retries;
    let again = advice != RetryAdvice::Never
        && retries < retry.max_retries
        && retry.retries_category(&failure.category);
    let end = AttemptEnd::Failed(failure.shortened());
    if !again {
        let event = end_life(next, Outcome::Failed(failure), end, now);
        return (FailOutcome::TerminalFailed, event);
    }
    let wait = match advice {
        RetryAdvice::After(wait) => wait,
        _ => retry.backoff.delay(retries, &next.id, attempt.index),
    };
    let until = now.plus(wait);
    next.counts.retries = retries.saturating_add(1);
    end_attempt(next, attempt, end, now);
    let delay = NotBefore { until, reason: DelayReason::RetryBackoff };
    wait_for(next, NextAttempt::Retry, (until > now).then_some(delay));
    let event = Event::RetryScheduled { failure: failure.shortened(), delay_until: until };
    (FailOutcome::RetryScheduled { delay_until: until }, event)
}
