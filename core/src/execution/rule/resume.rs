//! `resume`: end a suspension by an operator's call; and the steps that end any suspension
//! (`docs/spec.md`, 5).

use crate::condition::{ResumePolicy, TimeoutBehaviour};
use crate::error::Rejection;
use crate::execution::facts::Facts;
use crate::execution::record::{
    AttemptEnd, Decision, DelayReason, Event, Execution, Interruption, NextAttempt, NotBefore,
    OperatorOutcome, Outcome, Phase, ResumedBy, Resumes, Resumption, Ruling, Suspended, Suspension,
    Verdict, Waiting, WaitpointState, WorkFailure,
};
use crate::id::{ExecutionId, FailureCategory, SuspensionId};
use crate::time::{DurationMs, TimestampMs, Window};

use super::guard::deadline_passed;
use super::lease::{end_life, wait_for};
use super::operator_call::{OperatorCall, check_life};
use super::tally;

/// Resumes a suspended execution, whatever it waits for. Identity: the request id.
#[derive(Clone, Debug, PartialEq)]
pub struct Resume {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The operator's call.
    pub call: OperatorCall,
    /// The suspension that it is meant for; `None` for the one that its operation sees first.
    pub suspension: Option<SuspensionId>,
}

/// A suspension that an operator has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The suspension.
    pub suspension_id: SuspensionId,
}

/// Resumes an execution without its signals.
///
/// # Errors
///
/// `Superseded`; `ExecutionNotSuspended` if it is not suspended, its deadline has passed, or it was
/// suspended again since the call saw it first.
pub fn resume(facts: &Facts<'_>, command: &Resume, now: TimestampMs) -> Ruling<Resumed> {
    let current = facts.execution()?;
    let resumed = |outcome: &OperatorOutcome| match outcome {
        OperatorOutcome::Resumed(suspension_id) => Some(Resumed { suspension_id: *suspension_id }),
        _ => None,
    };
    if let Some(outcome) = command.call.repeated(current, resumed) {
        return Ok(Verdict::Repeat(outcome));
    }
    check_life(current, facts.first_seen)?;
    let (mut next, timed_out, over) = past_timeout(current, now);
    let meant = command.suspension.or(facts.first_seen.and_then(|seen| seen.suspension));
    let is_meant = |suspension: &&Suspension| meant.is_none_or(|id| id == suspension.id);
    let suspension = next.suspension().filter(is_meant);
    let (Some(suspension), false) = (suspension, deadline_passed(current, now)) else {
        let lifecycle_phase = current.phase.word();
        return Err(Rejection::ExecutionNotSuspended { lifecycle_phase });
    };
    let window = over.and(waits_until(&next, suspension));
    let outcome = Resumed { suspension_id: suspension.id };
    let event = resume_now(&mut next, ResumedBy::Operator, now);
    command.call.remember(&mut next, OperatorOutcome::Resumed(outcome.suspension_id));
    let before = timed_out.into_iter().collect();
    Ok(Decision::put(next, now, outcome).within(window).event(event).after(before).into())
}

/// The execution with its suspension's timeout applied, if that has passed and is not marked yet.
/// Also returns the event of it and the time from which it has passed.
pub(super) fn past_timeout(
    current: &Execution,
    now: TimestampMs,
) -> (Execution, Option<Event>, Window) {
    let mut next = current.clone();
    let timeout = current.suspension().and_then(|suspension| suspension.timeout);
    let Some(timeout) = timeout.filter(|timeout| timeout.at <= now) else {
        return (next, None, Window::ALWAYS);
    };
    let event = time_out(&mut next, now);
    (next, Some(event), Window::from(timeout.at))
}

/// How long a suspension lasts unless a command ends it: to its timeout and the deadline.
pub(super) fn waits_until(current: &Execution, suspension: &Suspension) -> Window {
    let timeout = suspension.timeout.map(|timeout| timeout.at);
    let ends = timeout.into_iter().chain(current.deadline);
    ends.map(Window::until).fold(Window::ALWAYS, Window::and)
}

/// Ends a suspension: the attempt goes on with the next claim, after the resume delay if there is
/// one. \[INV-SUSPEND-1\]
pub(super) fn resume_now(next: &mut Execution, by: ResumedBy, now: TimestampMs) -> Event {
    let Phase::Suspended(suspended) = &next.phase else {
        unreachable!("only what is suspended is resumed");
    };
    let Suspended { attempt, suspension } = *suspended.clone();
    let signals = match (&by, &suspension.resumes) {
        (ResumedBy::Signals, Resumes::Signals(tallies)) => tally::counted(tallies),
        _ => Vec::new(),
    };
    let (policy, suspension_id) = (suspension.policy, suspension.id);
    let waiting = next.waiting_mut();
    leave_waitpoints(waiting, policy, waiting.signals);
    waiting.resumption = Some(Resumption { suspension_id, by, signals });
    let delay = policy.resume_delay_ms;
    let waits = delay > DurationMs::ZERO;
    let not_before = NotBefore { until: now.plus(delay), reason: DelayReason::ResumeDelay };
    let goes_on = NextAttempt::Resume { attempt, interruption: Interruption::Suspension };
    wait_for(next, goes_on, waits.then_some(not_before));
    Event::Resumed { suspension_id, by }
}

/// Closes the waitpoints that a suspension used, or leaves them open for a later one, as its policy
/// says. If the policy consumes signals, the later one does not count those below `counts_from`.
pub(super) fn leave_waitpoints(waiting: &mut Waiting, policy: ResumePolicy, counts_from: u32) {
    if policy.close_waitpoints {
        waiting.close(|waitpoint| waitpoint.state == WaitpointState::Active);
        return;
    }
    for waitpoint in &mut waiting.open {
        if waitpoint.state == WaitpointState::Active {
            waitpoint.state = WaitpointState::Pending { expires_at: None };
            if policy.consume_signals {
                waitpoint.counts_from = counts_from;
            }
        }
    }
}

/// The category of an execution whose suspension timed out.
pub(super) const SUSPENSION_TIMEOUT: &str = "suspension_timeout";

/// Applies the timeout of a suspension.
pub(super) fn time_out(next: &mut Execution, now: TimestampMs) -> Event {
    let Phase::Suspended(suspended) = &mut next.phase else {
        unreachable!("only what is suspended has such a timeout");
    };
    let suspension = &mut suspended.suspension;
    let timeout = suspension.timeout.expect("it is due");
    let reason = "the suspension took too long".to_owned();
    let outcome = match timeout.behaviour {
        TimeoutBehaviour::AutoResume | TimeoutBehaviour::AutoResumeWithTimeoutSignal => {
            let signal = timeout.behaviour == TimeoutBehaviour::AutoResumeWithTimeoutSignal;
            return resume_now(next, ResumedBy::Timeout { signal, at: timeout.at }, now);
        }
        TimeoutBehaviour::Escalate => {
            suspension.timeout = None;
            suspension.escalated_at = Some(timeout.at);
            return Event::Escalated { suspension_id: suspension.id };
        }
        TimeoutBehaviour::Fail => {
            let category = FailureCategory::try_new(SUSPENSION_TIMEOUT);
            Outcome::Failed(WorkFailure { category: category.expect("a valid category"), reason })
        }
        TimeoutBehaviour::Cancel => Outcome::Cancelled { reason },
        TimeoutBehaviour::Expire => Outcome::Expired,
    };
    end_life(next, outcome, AttemptEnd::SuspensionTimedOut, now)
}
