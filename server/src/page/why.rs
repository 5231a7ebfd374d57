//! Why an execution does not run, in words, and the next step.

use ff_sdk::{
    Delay, ExecutionSnapshot, Interrupted, LimitState, Outcome, Reason, Resumes, SignalMatcher,
    SuspensionSnapshot, Tally, TimestampMs, Turn, WaitpointKey, WaitsFor, Why, Worker,
};
use maud::{Markup, html};

use super::layout::{At, counted, execution_link, lasting, words};
use super::visitor::Visitor;

/// The most executions and workers that are named.
const NAMED: usize = 5;

/// The heading: the question that the section answers.
pub(super) fn heading(execution: &ExecutionSnapshot) -> &'static str {
    match (&execution.outcome, &execution.lease) {
        (Some(_), _) => "How it ended",
        (None, Some(_)) => "What it does now",
        (None, None) => "Why it waits",
    }
}

/// A statement and the next step.
struct Item {
    what: Markup,
    next: Markup,
}

/// The reasons with what ends each of them.
pub(super) fn section(visitor: &Visitor, why: &Why) -> Markup {
    let mut items: Vec<Item> = interrupted(why).into_iter().collect();
    items.extend(why.reasons.iter().map(|reason| item(visitor, reason, why)));
    items.extend(why.limits.iter().filter_map(|limit| of_limit(visitor, limit, why.at)));
    items.extend(why.turn.map(|turn| of_turn(visitor, turn, why)));
    html! {
        ul.why {
            @for Item { what, next } in &items {
                li { p { (what) } p.next { (next) } }
            }
        }
    }
}

/// The work of an execution in words: its kind, lane and capabilities.
fn work(execution: &ExecutionSnapshot) -> String {
    let requires: Vec<&str> = execution.requires.iter().collect();
    let with = match requires.is_empty() {
        true => String::new(),
        false => format!(" with {}", requires.join(", ")),
    };
    format!("kind {} in lane {}{with}", execution.kind, execution.lane)
}

/// The command that starts a worker for an execution.
fn start_worker(visitor: &Visitor, execution: &ExecutionSnapshot) -> Markup {
    html! {
        "Start a worker for it, or look at the " a href=(visitor.link("/workers")) { "workers" }
        ": "
        code {
            "ff work --exec COMMAND --lane '" (execution.lane) "' --kind '" (execution.kind) "'"
            @for token in execution.requires.iter() { " --capability '" (token) "'" }
        }
    }
}

fn item(visitor: &Visitor, reason: &Reason, why: &Why) -> Item {
    let (execution, now) = (&why.execution, why.at);
    let at = |at: &TimestampMs| At(*at, now);
    match reason {
        Reason::Ended { at: ended, .. } => ended_item(execution, At(*ended, now)),
        Reason::Running { worker, instance, since, until } => Item {
            what: html! {
                "Worker " strong { (worker) } " (process " (instance) ") runs it since "
                (at(since)) "."
            },
            next: html! {
                "Nothing to do. Its lease ends at " (at(until)) " unless the worker renews it. "
                (heartbeat(why, instance.as_str()))
            },
        },
        Reason::Suspended { waits_for, waitpoints, .. } => suspended(*waits_for, waitpoints),
        Reason::Granted { worker, until } => Item {
            what: html! {
                "Worker " strong { (worker) } " was granted it and has not claimed it yet."
            },
            next: html! { "Nothing to do: it returns to its lane at " (at(until)) "." },
        },
        Reason::TakenOverOnRequest { worker, since } => Item {
            what: html! {
                "Worker " strong { (worker) } " lost its lease at " (at(since))
                ", and its policy says that another one takes it over on request only."
            },
            next: html! {
                "Issue a reclaim grant for it, or " a href="#actions" { "cancel it" } "."
            },
        },
        Reason::DeadlinePassed { deadline } => Item {
            what: html! { "Its deadline has passed: " (at(deadline)) "." },
            next: html! { "It is about to end as expired. " (NO_TIMEKEEPER) },
        },
        Reason::AttemptTimedOut { at: timed_out } => Item {
            what: html! { "Its attempt timed out at " (at(timed_out)) "." },
            next: html! { "It is about to be retried by its policy. " (NO_TIMEKEEPER) },
        },
        Reason::LaneHeld { .. } => held(visitor, reason, now),
        Reason::NotServed { nearest, .. } => Item {
            what: html! {
                "No live worker serves " strong { (work(execution)) }
                @if let Some(nearest) = nearest { " (nearest: " (nearest) ")" }
                "."
            },
            next: start_worker(visitor, execution),
        },
        Reason::NoCapableWorker { requires: lacks }
        | Reason::LacksCapabilities { missing: lacks } => {
            let lacks = lacks.join(", ");
            let what =
                html! { "No worker that looked for work had all of " strong { (lacks) } "." };
            Item { what, next: start_worker(visitor, execution) }
        }
        Reason::Delayed { until, why } => delayed(At(*until, now), *why),
        other => of_block(other, now),
    }
}

/// The meaning of a timer of an execution that does not fire.
const NO_TIMEKEEPER: &str = "If that does not happen, no worker or timekeeper runs.";

fn suspended(waits_for: WaitsFor, waitpoints: &[WaitpointKey]) -> Item {
    let keys: Vec<&str> = waitpoints.iter().map(|key| key.as_str()).collect();
    match waits_for {
        WaitsFor::Signals => Item {
            what: html! { "It waits for a signal at " strong { (keys.join(", ")) } "." },
            next: html! {
                a href="#waitpoints" { "Send the signal" }
                ", with the token of the waitpoint; or resume it without."
            },
        },
        WaitsFor::Operator => Item {
            what: html! { "It is suspended until an operator resumes it." },
            next: html! { a href="#actions" { "Resume it" } "." },
        },
        WaitsFor::Timeout => Item {
            what: html! { "It is suspended until its timeout." },
            next: html! {
                "Nothing to do until then; or " a href="#actions" { "resume it" } "."
            },
        },
    }
}

fn held(visitor: &Visitor, reason: &Reason, now: TimestampMs) -> Item {
    let Reason::LaneHeld { lane, state, since, why, by } = reason else {
        return of_block(reason, now);
    };
    let what = html! {
        "Lane " strong { (lane) } " is " strong { (state) } " since " (At(*since, now))
        @if let Some(by) = by { ", by " (by) }
        @if let Some(why) = why { ": " (why) }
        "."
    };
    let next = html! {
        a href=(visitor.link("/lanes")) { "Resume the lane" } " to start its work again."
    };
    Item { what, next }
}

fn delayed(until: At, why: Delay) -> Item {
    let what = html! {
        @match why {
            Delay::RetryBackoff => "Its last attempt failed. It is retried at ",
            Delay::ResumeDelay => "It was resumed, and goes on at ",
            Delay::Requested => "It is delayed until ",
        }
        (until) "."
    };
    let next = html! {
        "Nothing to do until then."
        @if why == Delay::RetryBackoff {
            " The cause is among its " a href="#attempts" { "attempts" } "."
        }
    };
    Item { what, next }
}

/// A reason that only ends from outside.
fn of_block(reason: &Reason, now: TimestampMs) -> Item {
    let unblocked = html! { "It waits until it is unblocked." };
    let (what, next) = match reason {
        Reason::BlockedByOperator => ("An operator blocked it.", unblocked),
        Reason::BlockedByLane => ("It is blocked because of its lane.", unblocked),
        Reason::WaitsForDependencies => {
            let next = html! { "It goes on when they have ended." };
            ("It waits for other executions.", next)
        }
        Reason::BlockedByBudget { recheck_at } | Reason::BlockedByQuota { recheck_at } => {
            let next = html! {
                @match recheck_at {
                    Some(at) => { "It is looked at again by " (At(*at, now)) "." },
                    None => "It is looked at again when the limit changes.",
                }
            };
            ("A quota or a budget holds it back.", next)
        }
        other => return Item { what: html! { (format!("{other:?}")) }, next: html! {} },
    };
    Item { what: html! { (what) }, next }
}

fn ended_item(execution: &ExecutionSnapshot, at: At) -> Item {
    let again =
        html! { a href="#actions" { "Replay it" } " to run it again, once the cause is removed." };
    let (what, next) = match &execution.outcome {
        Some(Outcome::Failed(failure)) => (
            html! {
                "It failed at " (at) " after "
                (counted(execution.attempts_total.into(), "attempt", "attempts")) ": "
                strong { (failure.category) } ": " (failure.reason)
            },
            again,
        ),
        Some(Outcome::Cancelled { reason }) => (
            html! { "It was cancelled at " (at) @if !reason.is_empty() { ": " (reason) } "." },
            again,
        ),
        Some(Outcome::Expired) => (html! { "It expired at " (at) "." }, again),
        Some(Outcome::Success) | None => (html! { "It completed at " (at) "." }, html! {}),
    };
    Item { what, next }
}

fn interrupted(why: &Why) -> Option<Item> {
    let what = match why.interrupted.as_ref()? {
        Interrupted::LeaseExpired { attempt, worker, at, .. } => html! {
            "Worker " strong { (worker) } " lost its lease at " (At(*at, why.at)) ": it expired. "
            "Attempt " (attempt) " is interrupted."
        },
        Interrupted::LeaseRevoked { attempt, worker, .. } => html! {
            "Worker " strong { (worker) } " lost its lease: an operator revoked it. Attempt "
            (attempt) " is interrupted."
        },
        Interrupted::Resumed { attempt } => {
            html! { "Attempt " (attempt) " was interrupted, and is to go on." }
        }
        _ => return None,
    };
    Some(Item { what, next: html! { "The next worker takes it over." } })
}

/// A budget or a quota that holds an execution back.
fn of_limit(visitor: &Visitor, limit: &LimitState, now: TimestampMs) -> Option<Item> {
    let limits = html! { a href=(visitor.link("/limits")) { "quotas and budgets" } };
    let (what, next) = match limit {
        LimitState::Quota(usage) => {
            let holders = usage.holders.iter().take(NAMED);
            (
                html! {
                    "Quota " strong { (usage.of) } ": "
                    @if let Some(most) = usage.limits.concurrency {
                        (usage.holders.len()) " of " (counted(most.into(), "slot", "slots"))
                        " taken. "
                    }
                    @if let Some(rate) = usage.limits.rate {
                        (usage.admitted) " of " (counted(rate.max.into(), "start", "starts"))
                        " in " (lasting(rate.window)) " used."
                    }
                },
                html! {
                    @if usage.holders.is_empty() { "See " (limits) "." }
                    @else {
                        "Slots are taken by "
                        @for holder in holders { (execution_link(visitor, &holder.execution)) " " }
                        "– or raise the limit: " code { "ff quotas set" } "."
                    }
                },
            )
        }
        LimitState::QuotaNotFound { of } => (
            html! { "Quota " strong { (of) } " does not exist." },
            html! { "Create it: " code { "ff quotas set" } "." },
        ),
        LimitState::BudgetExhausted { budget, dimension, limit, resets_at } => (
            html! {
                "Budget " strong { (budget) } ": " (dimension) " is at its hard limit of "
                (limit) "."
            },
            html! {
                @if let Some(at) = resets_at { "It resets itself at " (At(*at, now)) ". " }
                "Raise the limit or reset it: " code { "ff budgets" } "."
            },
        ),
        LimitState::BudgetNotFound { budget } => (
            html! { "Budget " strong { (budget) } " does not exist." },
            html! { "Create it: " code { "ff budgets create" } "." },
        ),
        _ => return None,
    };
    Some(Item { what, next })
}

fn of_turn(visitor: &Visitor, turn: Turn, why: &Why) -> Item {
    let live: Vec<&Worker> = why.workers.iter().filter(|one| one.claims(why.at)).collect();
    let what = html! {
        "Nothing holds it back, it waits for a worker: "
        @if turn.ahead >= Turn::COUNTED { "at least " }
        (counted(turn.ahead.into(), "execution is", "executions are"))
        " before it in its part of the store."
    };
    let next = html! {
        @if live.is_empty() || turn.programs == 0 { (start_worker(visitor, &why.execution)) }
        @else {
            "Workers for it: "
            @for worker in live.iter().take(NAMED) {
                (worker.info.instance) " (" (worker.active) " of "
                (counted(worker.info.slots.into(), "slot", "slots")) " taken) "
            }
            "– see the " a href=(visitor.link("/workers")) { "workers" } "."
        }
    };
    Item { what, next }
}

/// When a process was last heard of.
fn heartbeat(why: &Why, instance: &str) -> Markup {
    let worker = why.workers.iter().find(|worker| worker.info.instance.as_str() == instance);
    html! {
        @match worker {
            Some(worker) => { "Its last heartbeat: " (At(worker.last_seen, why.at)) "." },
            None => "Its process is not registered.",
        }
    }
}

/// The name of a signal that a suspension lacks.
pub(super) fn missing_signal(suspension: &SuspensionSnapshot) -> Option<String> {
    let Resumes::Signals(tallies) = &suspension.resumes else { return None };
    let lacks = |tally: &&Tally| (tally.counted.len() as u64) < u64::from(tally.part.n);
    let names = tallies.parts.iter().filter(lacks).filter_map(|tally| match &tally.part.matcher {
        SignalMatcher::ByName(name) => Some(name.to_string()),
        SignalMatcher::Wildcard => None,
    });
    let named = names.into_iter().next();
    named.or_else(|| Some(words(suspension.reason)).filter(|reason| reason != "signal"))
}
