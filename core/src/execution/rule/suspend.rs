//! `suspend`: give the lease back until signals, an operator or a timeout resume the attempt
//! (`docs/spec.md`, 5).

use serde::{Deserialize, Serialize};

use crate::condition::{
    Condition, MAX_WAITPOINTS, ResumePolicy, SuspensionReason, SuspensionTimeout, TimeoutAt,
};
use crate::error::{Missing, Rejection};
use crate::execution::facts::Facts;
use crate::execution::record::{
    Active, Decision, Event, Execution, LatestSuspension, Phase, ResumedBy, Resumes, Resumption,
    Ruling, Suspended, SuspendedHow, Suspension, Tallies, Timeout, Verdict, Waiting,
    WaitpointState,
};
use crate::id::{ExecutionId, SignalId, SuspensionId, WaitpointId, WaitpointKey};
use crate::null::or_default;
use crate::state::LifecyclePhase;
use crate::time::{TimestampMs, Window};

use super::guard::{FenceParts, current_holder, is_of_an_attempt};
use super::resume::leave_waitpoints;
use super::tally;
use super::waitpoint::{
    IssuedWaitpoint, LEAST_CLIP, check_room, issued, new_waitpoint, past_expiries,
};

/// Suspends an execution. Identity: the suspension id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspend {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The fence of the caller's lease.
    #[serde(flatten)]
    pub fence: FenceParts,
    /// Chosen by the caller.
    pub suspension_id: SuspensionId,
    /// Why; shown as the blocking reason.
    #[serde(default, deserialize_with = "or_default")]
    pub reason: SuspensionReason,
    /// The waitpoints that the condition refers to.
    #[serde(default, deserialize_with = "or_default")]
    pub waitpoints: Vec<BindWaitpoint>,
    /// The condition that resumes it.
    pub condition: Condition,
    /// When it times out, and what happens then.
    #[serde(default)]
    pub timeout: Option<SuspensionTimeout>,
    /// How it goes on.
    #[serde(default, deserialize_with = "or_default")]
    pub policy: ResumePolicy,
}

/// A waitpoint that a suspension uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BindWaitpoint {
    /// The one of that name that is open, with the signals that it has buffered; if there is none,
    /// a new one.
    New {
        /// Chosen by the caller, for a new one.
        id: WaitpointId,
        /// Its name.
        key: WaitpointKey,
    },
    /// One that is open, with the signals that it has buffered.
    Open {
        /// Its id.
        id: WaitpointId,
    },
}

/// The outcome of `suspend`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SuspendOutcome {
    /// The lease was given back.
    Suspended {
        /// The suspension.
        suspension_id: SuspensionId,
        /// Its waitpoints with their tokens.
        waitpoints: Vec<IssuedWaitpoint>,
        /// When it times out.
        timeout_at: Option<TimestampMs>,
    },
    /// Buffered signals have satisfied the condition: the lease is kept.
    AlreadySatisfied {
        /// The suspension that was not needed.
        suspension_id: SuspensionId,
        /// The signals.
        signals: Vec<SignalId>,
    },
}

/// Suspends an execution, unless buffered signals satisfy the condition. \[INV-SUSPEND-1\]
///
/// # Errors
///
/// Those of a call under a lease; `AlreadySuspended`; `InvalidInput` for a condition, its
/// waitpoints or a timeout that is not in the future; `WaitpointClosed` for a waitpoint that is not
/// open; `Unread` if the operation has to read secrets or signals first.
pub fn suspend(facts: &Facts<'_>, command: &Suspend, now: TimestampMs) -> Ruling<SuspendOutcome> {
    let current = facts.execution()?;
    if let Some(outcome) = repeated(current, facts, command, now)? {
        return Ok(Verdict::Repeat(outcome));
    }
    let (active, _) = current_holder(current, &command.fence, now).map_err(already_suspended)?;
    let holds = Window::until(active.expires_at(now));
    let mut tallies = tally::begin(&command.condition)?;
    let timeout = timeout(command, now)?;
    let names: Vec<&WaitpointKey> = command.waitpoints.iter().filter_map(new_name).collect();
    let (mut next, expired) = past_expiries(current, &names, now);
    let waiting = next.waiting_mut();
    let (bound, bound_until) = bind(waiting, facts, command, now)?;
    check_bound(waiting, command, &bound)?;
    let holds = holds.and(bound_until).and(expired.window);
    let resumes = match command.condition {
        Condition::OperatorOnly => Resumes::OperatorOnly,
        Condition::TimeoutOnly => Resumes::TimeoutOnly,
        _ => {
            if let Some(by) = hear(&mut tallies, waiting, &bound, facts)? {
                let decision = satisfied(next, command, bound, &tallies, by, now);
                return Ok(decision.after(expired.events).within(holds).into());
            }
            Resumes::Signals(tallies)
        }
    };
    let suspension = Suspension {
        id: command.suspension_id,
        reason: command.reason,
        since: now,
        resumes,
        timeout,
        escalated_at: None,
        policy: command.policy,
    };
    let decision = suspended(next, facts, command, active, bound, suspension, now)?;
    Ok(decision.after(expired.events).within(holds).into())
}

/// The first outcome of this suspension, if it was applied before. \[INV-IDENTITY-1\]
fn repeated(
    current: &Execution,
    facts: &Facts<'_>,
    command: &Suspend,
    now: TimestampMs,
) -> Result<Option<SuspendOutcome>, Rejection> {
    let Some(waiting) = &current.waiting else { return Ok(None) };
    let Some(latest) = &waiting.latest else { return Ok(None) };
    if latest.id != command.suspension_id || !is_of_an_attempt(current, &command.fence) {
        return Ok(None);
    }
    let suspension_id = latest.id;
    Ok(Some(match &latest.outcome {
        SuspendedHow::Suspended(timeout_at) => {
            let timeout_at = *timeout_at;
            let waitpoints = issue_all(waiting, &latest.waitpoints, facts, now)?;
            SuspendOutcome::Suspended { suspension_id, waitpoints, timeout_at }
        }
        SuspendedHow::AlreadySatisfied(signals) => {
            SuspendOutcome::AlreadySatisfied { suspension_id, signals: signals.clone() }
        }
    }))
}

fn already_suspended(rejection: Rejection) -> Rejection {
    match rejection {
        Rejection::ExecutionNotActive { lifecycle_phase: LifecyclePhase::Suspended, .. } => {
            Rejection::AlreadySuspended
        }
        other => other,
    }
}

fn timeout(command: &Suspend, now: TimestampMs) -> Result<Option<Timeout>, Rejection> {
    let wrong = |problem: &str| {
        Err(Rejection::InvalidInput { field: "timeout", problem: problem.to_owned() })
    };
    let Some(timeout) = command.timeout else {
        return match command.condition {
            Condition::TimeoutOnly => wrong("is needed where nothing else resumes"),
            _ => Ok(None),
        };
    };
    let at = match timeout.when {
        TimeoutAt::At(at) => at,
        TimeoutAt::After(after) => now.plus(after),
    };
    if at <= now {
        return wrong("is not in the future");
    }
    Ok(Some(Timeout { at, behaviour: timeout.behaviour }))
}

/// The name of a waitpoint that is created unless one of that name is open.
const fn new_name(waitpoint: &BindWaitpoint) -> Option<&WaitpointKey> {
    match waitpoint {
        BindWaitpoint::New { key, .. } => Some(key),
        BindWaitpoint::Open { .. } => None,
    }
}

/// Binds the open waitpoints and creates the others. Returns all of them, and until when the open
/// ones stay open.
fn bind(
    waiting: &mut Waiting,
    facts: &Facts<'_>,
    command: &Suspend,
    now: TimestampMs,
) -> Result<(Vec<WaitpointId>, Window), Rejection> {
    let mut bound = Vec::with_capacity(command.waitpoints.len());
    let mut open_until = Window::ALWAYS;
    for waitpoint in &command.waitpoints {
        let id = match waitpoint {
            BindWaitpoint::New { id, key } => match waiting.open_by_key(key) {
                Some(open) => open.id,
                None => {
                    check_room(waiting, *id)?;
                    let state = WaitpointState::Pending { expires_at: None };
                    let (made, _) = new_waitpoint(waiting, *id, key, state, facts, now)?;
                    waiting.open.push(made);
                    *id
                }
            },
            BindWaitpoint::Open { id } => *id,
        };
        let open = waiting.open.iter_mut().find(|open| open.id == id);
        let open = open.filter(|open| !open.is_expired(now));
        let open = open.ok_or(Rejection::WaitpointClosed)?;
        if let Some(at) = open.expires_at() {
            open_until = open_until.and(Window::until(at));
        }
        open.state = WaitpointState::Active;
        if bound.contains(&id) {
            return Err(wrong_waitpoints("name one waitpoint twice"));
        }
        bound.push(id);
    }
    Ok((bound, open_until))
}

/// Refuses waitpoints that the condition does not refer to, and references to others.
fn check_bound(
    waiting: &Waiting,
    command: &Suspend,
    bound: &[WaitpointId],
) -> Result<(), Rejection> {
    let parts = command.condition.parts()?;
    let mut referenced: Vec<&WaitpointKey> =
        parts.iter().flat_map(|part| &part.waitpoints).collect();
    referenced.sort_unstable();
    referenced.dedup();
    let is_bound = |key: &WaitpointKey| {
        waiting.open_by_key(key).is_some_and(|waitpoint| bound.contains(&waitpoint.id))
    };
    if let Some(key) = referenced.iter().find(|key| !is_bound(key)) {
        return Err(wrong_waitpoints(&format!("lack {key}, which the condition refers to")));
    }
    if referenced.len() != bound.len() || bound.len() > MAX_WAITPOINTS {
        return Err(wrong_waitpoints("include one that the condition does not refer to"));
    }
    Ok(())
}

fn wrong_waitpoints(problem: &str) -> Rejection {
    Rejection::InvalidInput { field: "waitpoints", problem: problem.to_owned() }
}

/// Counts the buffered signals of the bound waitpoints, in order. Returns the number of the one
/// that satisfies the condition.
fn hear(
    tallies: &mut Tallies,
    waiting: &Waiting,
    bound: &[WaitpointId],
    facts: &Facts<'_>,
) -> Result<Option<u32>, Rejection> {
    let taken = |id: WaitpointId| waiting.open.iter().find(|waitpoint| waitpoint.id == id);
    let (through, signals) = facts
        .buffered
        .map_or((0, [].as_slice()), |buffered| (buffered.through, buffered.signals.as_slice()));
    for signal in signals {
        // A store that has lost its last commits may have lost a signal that was read before.
        let counts = signal.number < waiting.signals
            && bound.contains(&signal.waitpoint_id)
            && taken(signal.waitpoint_id).is_some_and(|at| signal.number >= at.counts_from);
        if counts {
            tally::count(tallies, signal);
        }
        if tally::is_satisfied(tallies) {
            return Ok(Some(signal.number));
        }
    }
    let may_have = |id: &WaitpointId| {
        taken(*id).is_some_and(|at| at.signals > 0 && at.counts_from < waiting.signals)
    };
    if through < waiting.signals && bound.iter().any(may_have) {
        return Err(Rejection::Unread { what: Missing::BufferedSignals });
    }
    Ok(None)
}

/// Keeps the lease: the condition was satisfied before the call, `by` the signal of that number.
/// Later signals are for a later suspension.
fn satisfied(
    mut next: Execution,
    command: &Suspend,
    bound: Vec<WaitpointId>,
    tallies: &Tallies,
    by: u32,
    now: TimestampMs,
) -> Decision<SuspendOutcome> {
    let signals = tally::counted(tallies);
    let suspension_id = command.suspension_id;
    let waiting = next.waiting_mut();
    leave_waitpoints(waiting, command.policy, by + 1);
    waiting.latest = Some(LatestSuspension {
        id: suspension_id,
        waitpoints: bound,
        outcome: SuspendedHow::AlreadySatisfied(signals.clone()),
    });
    waiting.resumption =
        Some(Resumption { suspension_id, by: ResumedBy::Signals, signals: signals.clone() });
    let outcome = SuspendOutcome::AlreadySatisfied { suspension_id, signals };
    Decision::put(next, now, outcome).event(Event::AlreadySatisfied { suspension_id })
}

/// Gives the lease back.
fn suspended(
    mut next: Execution,
    facts: &Facts<'_>,
    command: &Suspend,
    active: &Active,
    bound: Vec<WaitpointId>,
    suspension: Suspension,
    now: TimestampMs,
) -> Result<Decision<SuspendOutcome>, Rejection> {
    let id = command.suspension_id;
    let timeout_at = suspension.timeout.map(|timeout| timeout.at);
    let waiting = next.waiting_mut();
    let waitpoints = issue_all(waiting, &bound, facts, now)?;
    let outcome = SuspendedHow::Suspended(timeout_at);
    waiting.latest = Some(LatestSuspension { id, waitpoints: bound, outcome });
    waiting.resumption = None;
    next.phase = Phase::Suspended(Box::new(Suspended { attempt: active.attempt, suspension }));
    let event = Event::Suspended { suspension_id: id, reason: command.reason, timeout_at };
    let outcome = SuspendOutcome::Suspended { suspension_id: id, waitpoints, timeout_at };
    let mut decision = Decision::put(next, now, outcome).event(event);
    if !command.waitpoints.is_empty() {
        // The outcome has tokens, which the keyring signs only for so long.
        decision = decision.within(facts.keyring_window());
    }
    if let Some(SuspensionTimeout { when: TimeoutAt::After(after), .. }) = command.timeout {
        decision = decision.storing_ttl(after.max(LEAST_CLIP));
    }
    Ok(decision)
}

fn issue_all(
    waiting: &Waiting,
    ids: &[WaitpointId],
    facts: &Facts<'_>,
    now: TimestampMs,
) -> Result<Vec<IssuedWaitpoint>, Rejection> {
    let found = ids.iter().filter_map(|id| waiting.waitpoint(*id));
    found.map(|(waitpoint, _)| issued(waitpoint, facts, now)).collect()
}
