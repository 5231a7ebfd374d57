//! The reasons why an execution does not run, in words, and what ends each of them.

use ff_sdk::core::execution::{AttemptEnd, ExecutionSnapshot, Outcome, Resumes, WorkFailure};
use ff_sdk::{
    Delay, DurationMs, Interrupted, Reason, SignalMatcher, TimestampMs, Turn, WaitsFor, Why,
    Worker, WorkerState,
};
use ff_server::view;

use crate::advice::{self, quoted};
use crate::limits::is_limited;
use crate::report::{Item, between, counted, lasting, printable, shortened, time, wire_name};

/// The most characters of a failure's reason.
const MAX_FAILURE_CHARS: usize = 400;

/// The most workers that are named.
const NAMED: usize = 10;

/// The number of heartbeats in the time for which a registration is good.
const HEARTBEATS: u64 = ff_sdk::core::registry::HEARTBEATS_PER_TTL;

/// How long a heartbeat may take until it counts as late.
const HEARTBEAT_TAKES_MS: u64 = 1_000;

/// The reasons that hold an execution back, but for those that its limits tell.
pub fn reason_items(why: &Why) -> Vec<Item> {
    let is_told = |reason: &Reason| match reason {
        Reason::BlockedByBudget { .. } | Reason::BlockedByQuota { .. } => !why.limits.is_empty(),
        // The lack of a worker names the capabilities too.
        Reason::NoCapableWorker { .. } => {
            why.reasons.iter().any(|reason| matches!(reason, Reason::NotServed { .. }))
        }
        _ => false,
    };
    let untold = why.reasons.iter().filter(|reason| !is_told(reason));
    untold.map(|reason| item(reason, why)).collect()
}

/// A reason in words, and what ends it.
fn item(reason: &Reason, why: &Why) -> Item {
    let execution = &why.execution;
    let id = execution.execution_id;
    match reason {
        Reason::Ended { at, .. } => ended_item(execution, *at),
        Reason::Running { .. } => running_item(reason, why),
        Reason::Suspended { .. } => suspended_item(reason, execution),
        Reason::Granted { worker, until } => Item::new(format!(
            "worker {worker} was granted it and has not claimed it yet"
        ))
        .then(format!("it returns to its lane at {} unless the worker claims it", time(*until))),
        Reason::TakenOverOnRequest { .. } => Item::new(
            "its policy says that another worker takes it over on request only",
        )
        .then(format!(
            "issue a reclaim grant for it; to end it instead: {}",
            advice::ff(format!("cancel {id}"))
        )),
        Reason::DeadlinePassed { deadline } => {
            Item::new(format!("its deadline has passed: {}", time(*deadline)))
                .then("it is about to end as expired; if it does not, no worker or timekeeper runs")
        }
        Reason::AttemptTimedOut { at } => {
            Item::new(format!("its attempt has timed out at {}", time(*at))).then(
                "it is about to fail, and is retried by its policy; if it does not, no worker or \
                 timekeeper runs",
            )
        }
        Reason::BlockedByOperator => {
            Item::new("an operator blocked it").then("it waits until it is unblocked")
        }
        Reason::BlockedByLane => {
            Item::new("it is blocked because of its lane").then("it waits until it is unblocked")
        }
        Reason::WaitsForDependencies => Item::new("it waits for other executions")
            .then("it waits until they have ended, or until it is unblocked"),
        reason if is_limited(reason) => Item::new("a budget or a quota holds it back"),
        Reason::NoCapableWorker { .. } | Reason::NotServed { .. } => unserved_item(why),
        Reason::LacksCapabilities { missing } => {
            Item::new(format!("the worker lacks {}", missing.join(", ")))
                .then(format!("to start one: {}", work_command(execution)))
        }
        Reason::Delayed { until, why } => delayed_item(*until, *why, execution),
        Reason::LaneHeld { lane, state, since, why, by } => {
            let by = by.as_ref().map_or_else(String::new, |by| format!(" by {}", printable(by)));
            let reason =
                why.as_ref().map_or_else(String::new, |why| format!(": {}", printable(why)));
            let resume = advice::ff(format!("lanes resume {}", quoted(lane)));
            Item::new(format!("lane {lane} is {state} since {}{by}{reason}", time(*since)))
                .then(format!("to start its work again: {resume}"))
        }
        other => Item::new(format!("{other:?}")),
    }
}

/// The end of an execution, with its cause.
fn ended_item(execution: &ExecutionSnapshot, at: TimestampMs) -> Item {
    let (id, at) = (execution.execution_id, time(at));
    let replay = advice::ff(format!("replay {id}"));
    match &execution.outcome {
        Some(Outcome::Success) | None => Item::new(format!("it completed at {at}"))
            .then(format!("to see its result: {}", advice::ff(format!("result {id}")))),
        Some(Outcome::Failed(failure)) => {
            let attempts = counted(execution.attempts_total.into(), "attempt", "attempts");
            Item::new(format!("it failed at {at} after {attempts}: {}", cause(failure)))
                .then(format!("to see its attempts: {}", advice::ff(format!("history {id}"))))
                .then(format!("to run it again, once the cause is removed: {replay}"))
        }
        Some(Outcome::Cancelled { reason }) => {
            let reason = shortened(&printable(reason.trim()), MAX_FAILURE_CHARS);
            let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
            Item::new(format!("it was cancelled at {at}{reason}"))
                .then(format!("to run it again: {replay}"))
        }
        Some(Outcome::Expired) => {
            let deadline = execution.deadline.map(|at| format!(": its deadline was {}", time(at)));
            Item::new(format!("it expired at {at}{}", deadline.unwrap_or_default()))
                .then(format!("to run it again: {replay}"))
        }
    }
}

/// A failure, on one line.
fn cause(failure: &WorkFailure) -> String {
    let reason = shortened(&printable(failure.reason.trim()), MAX_FAILURE_CHARS);
    format!("{}: {reason}", failure.category)
}

fn running_item(reason: &Reason, why: &Why) -> Item {
    let Reason::Running { worker, instance, since, until } = reason else {
        return Item::new("a worker runs it");
    };
    let (id, lasted) = (why.execution.execution_id, between(*since, why.at));
    let attempt = why.execution.attempt_index;
    let attempt = attempt.map_or_else(String::new, |attempt| format!("attempt {attempt} of "));
    let registration = why.workers.iter().find(|found| found.info.instance == *instance);
    let heard = match registration {
        Some(worker) => heard(worker, why.at),
        None => "it is not registered".to_owned(),
    };
    Item::new(format!(
        "worker {worker} (process {instance}) runs {attempt}it since {}, for {lasted}",
        time(*since)
    ))
    .then(format!("its process: {heard}"))
    .then(format!(
        "its lease ends at {} unless the worker renews it; to take it away: {}",
        time(*until),
        advice::ff(format!("revoke {id}"))
    ))
}

/// When a registered process was last heard of.
fn heard(worker: &Worker, at: TimestampMs) -> String {
    let since = between(worker.last_seen, at);
    let heard = match late(worker, at) {
        Some(each) => format!("no heartbeat for {since}, expected every {each}"),
        None => format!("its last heartbeat was {since} ago"),
    };
    match worker.state_at(at) {
        WorkerState::Live => heard,
        WorkerState::Draining => format!("it is draining, {heard}"),
        WorkerState::Dead => format!("dead, its last heartbeat was at {}", time(worker.last_seen)),
    }
}

/// The time between the heartbeats of a process, if one has not come in time.
fn late(worker: &Worker, at: TimestampMs) -> Option<String> {
    let each = worker.ttl.get() / HEARTBEATS;
    let is_late = at.since(worker.last_seen).get() > each.saturating_add(HEARTBEAT_TAKES_MS);
    is_late.then(|| lasting(DurationMs::new(each)))
}

/// The interruption of the attempt of an execution that waits to go on. `revoked_at` is the time at
/// which its lease was revoked, if that is known.
pub fn interrupted_item(why: &Why, revoked_at: Option<TimestampMs>) -> Option<Item> {
    let id = why.execution.execution_id;
    let (lost, attempt, instance) = match why.interrupted.as_ref()? {
        Interrupted::LeaseExpired { attempt, worker, instance, at } => {
            let lost = format!("worker {worker} (process {instance}) lost its lease at");
            (format!("{lost} {}: it expired", time(*at)), attempt, instance)
        }
        Interrupted::LeaseRevoked { attempt, worker, instance } => {
            let at = revoked_at.map_or_else(String::new, |at| format!(" at {}", time(at)));
            let lost = format!("worker {worker} (process {instance}) lost its lease{at}");
            (format!("{lost}: an operator revoked it"), attempt, instance)
        }
        Interrupted::Resumed { attempt } => {
            return Some(Item::new(format!("attempt {attempt} was interrupted, and is to go on")));
        }
        _ => return None,
    };
    let mut item = Item::new(format!("{lost}; attempt {attempt} is interrupted"));
    if let Some(worker) = why.workers.iter().find(|worker| worker.info.instance == *instance) {
        item = item.then(format!("its process: {}", heard(worker, why.at)));
    }
    Some(item.then(format!(
        "the next worker takes it over with another attempt; to see its attempts: {}",
        advice::ff(format!("history {id}"))
    )))
}

fn delayed_item(until: TimestampMs, delay: Delay, execution: &ExecutionSnapshot) -> Item {
    let (id, at) = (execution.execution_id, time(until));
    let nothing = "nothing to do until then";
    let last = execution.past_attempts.last().map(|past| &past.end);
    match (delay, last) {
        (Delay::RetryBackoff, Some(AttemptEnd::Failed(failure))) => {
            let (tries, most) = (execution.counts.retries, execution.policy.retry.max_retries);
            let most = most.saturating_add(1);
            Item::new(format!("attempt {tries} of {most} failed: {}", cause(failure)))
                .then(format!("it is retried at {at}; {nothing}"))
                .then(format!("to see its attempts: {}", advice::ff(format!("history {id}"))))
        }
        (Delay::RetryBackoff, _) => {
            Item::new(format!("its last attempt failed; it is retried at {at}")).then(nothing)
        }
        (Delay::Requested, _) => Item::new(format!("it is delayed until {at}")).then(nothing),
        (Delay::ResumeDelay, _) => {
            Item::new(format!("it was resumed, and goes on at {at}")).then(nothing)
        }
    }
}

/// The workers that serve the execution, but for one that only has its latest lease.
fn serving(why: &Why) -> impl Iterator<Item = &Worker> {
    let ExecutionSnapshot { lane, kind, requires, .. } = &why.execution;
    why.workers.iter().filter(|worker| worker.info.serves(lane, kind, requires))
}

fn work_command(execution: &ExecutionSnapshot) -> String {
    advice::work(&execution.lane, &execution.kind, execution.requires.iter())
}

/// The lack of a worker in words, and what ends it.
fn unserved_item(why: &Why) -> Item {
    let ExecutionSnapshot { lane, kind, requires, .. } = &why.execution;
    let with = match requires.iter().next() {
        None => String::new(),
        Some(_) => format!(" with {}", requires.iter().collect::<Vec<_>>().join(", ")),
    };
    let start = format!("to start one: {}", work_command(&why.execution));
    let nearest = why.reasons.iter().find_map(|reason| match reason {
        Reason::NotServed { nearest, .. } => Some(nearest),
        _ => None,
    });
    let Some(nearest) = nearest else {
        let waits = format!("no worker that looked for work had all of: {requires}");
        let live = serving(why).find(|worker| worker.claims(why.at));
        return match live {
            Some(live) => Item::new(waits).then(format!(
                "worker {} has them, and claims it in its turn; {}",
                live.info.instance,
                slots(live, why.at)
            )),
            None => Item::new(waits).then(start),
        };
    };
    let nearest = match (nearest, serving(why).next()) {
        (_, Some(_)) => String::new(),
        (Some(nearest), None) => format!(" (nearest: {nearest})"),
        (None, None) => " (no worker claims now)".to_owned(),
    };
    let others = serving(why).take(NAMED).map(|worker| {
        let (instance, state) = (&worker.info.instance, worker.state_at(why.at));
        match state {
            WorkerState::Draining => {
                format!("worker {instance} serves it, but is draining and claims nothing more")
            }
            _ => format!("worker {instance} served it: {}", heard(worker, why.at)),
        }
    });
    Item::new(format!("no live worker serves kind {kind} in lane {lane}{with}{nearest}"))
        .and_then(others)
        .then(start)
        .then(format!("to see the workers: {}", advice::ff("workers")))
}

/// A suspension in words, and how it is ended.
fn suspended_item(reason: &Reason, execution: &ExecutionSnapshot) -> Item {
    let Reason::Suspended { why, since, waits_for, waitpoints, timeout_at } = reason else {
        return Item::new("it is suspended");
    };
    let id = execution.execution_id;
    let keys: Vec<String> = waitpoints.iter().map(ToString::to_string).collect();
    let waits = match waits_for {
        WaitsFor::Signals => format!("it waits for a signal at {}", keys.join(", ")),
        WaitsFor::Operator => "only an operator resumes it".to_owned(),
        WaitsFor::Timeout => "it waits for its timeout".to_owned(),
    };
    let timeout = match timeout_at {
        Some(at) => format!("until {}", time(*at)),
        None => "without a timeout".to_owned(),
    };
    let resume = advice::ff(format!("resume {id}"));
    let (why, since) = (wire_name(why), time(*since));
    let item = Item::new(format!("it is suspended ({why}) since {since}: {waits}, {timeout}"));
    if *waits_for != WaitsFor::Signals {
        return item.then(format!("to resume it: {resume}"));
    }
    let resumes = execution.suspension.as_ref().map(|suspension| &suspension.resumes);
    let parts = match resumes {
        Some(Resumes::Signals(tallies)) => &tallies.parts[..],
        _ => &[],
    };
    let missing = parts.iter().find(|tally| (tally.counted.len() as u64) < u64::from(tally.part.n));
    let signal = missing.and_then(|tally| {
        let name = match &tally.part.matcher {
            SignalMatcher::Wildcard => "NAME".to_owned(),
            SignalMatcher::ByName(name) => quoted(name),
        };
        let key = quoted(tally.part.waitpoints.first()?);
        Some(format!(
            "to send a signal: {}",
            advice::ff(format!("signal {id} {key} {name} --token-file PATH"))
        ))
    });
    item.and_then(parts.iter().map(|tally| format!("it has {}", view::tallied(tally))))
        .and_then(signal)
        .then(format!("to see its waitpoints: {}", advice::ff(format!("waitpoints {id}"))))
        .then(format!(
            "to go on without the missing signals, which skips what they decide: {resume}"
        ))
}

/// The turn of an execution in words, and what to look at if it does not come.
pub fn turn_item(turn: Turn, why: &Why) -> Item {
    let lane = &why.execution.lane;
    let ahead = match turn.ahead {
        0 => "no other of its lane and kind is before it in its part of the store".to_owned(),
        ahead => {
            let least = if ahead >= Turn::COUNTED { "at least " } else { "" };
            let are = counted(ahead.into(), "is", "are");
            format!("{least}{are} before it in its part of the store")
        }
    };
    let item = Item::new(format!("nothing holds it back, it waits for a worker: {ahead}"));
    let live: Vec<&Worker> = serving(why).filter(|worker| worker.claims(why.at)).collect();
    let named = live.iter().take(NAMED).map(|worker| {
        format!("worker {} is registered for it: {}", worker.info.instance, slots(worker, why.at))
    });
    let more = live.len().checked_sub(NAMED).filter(|more| *more > 0);
    let item = item.and_then(named).and_then(more.map(|more| format!("and {more} more")));
    if turn.programs == 0 {
        return item
            .then(format!("no program listens for work of lane {lane} now"))
            .then(format!("to start a worker: {}", work_command(&why.execution)));
    }
    let listen = counted(turn.programs, "program listens", "programs listen");
    item.then(format!(
        "{listen} for work of lane {lane}; if it stays, their slots are taken, or they hang: {}",
        advice::ff("workers")
    ))
}

/// The slots of a worker as of its last heartbeat, if that is not late.
fn slots(worker: &Worker, at: TimestampMs) -> String {
    if late(worker, at).is_some() {
        return format!("{}: it may have crashed", heard(worker, at));
    }
    let slots = counted(worker.info.slots.into(), "slot", "slots");
    let (active, since) = (worker.active, between(worker.last_seen, at));
    format!("{active} of {slots} taken at its last heartbeat, {since} ago")
}
