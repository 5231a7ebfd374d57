//! `ff why`: explains why an execution does not run.

use std::process::ExitCode;

use ff_sdk::{Delay, ExecutionId, Reason, SdkError, Turn, WaitsFor, Why};
use serde_json::json;

use crate::args::ExecutionArgs;
use crate::backend;
use crate::exit::{CliError, print, print_line};
use crate::limits::limit_words;
use crate::report::{counted, printable, time, wire_name};

/// Runs the command.
pub async fn why(args: ExecutionArgs) -> Result<ExitCode, CliError> {
    let client = backend::client(&args.store).await?;
    let why = match client.why(&args.id).await {
        Ok(Some(why)) => why,
        Ok(None) => return Err(not_found(&client, &args).await),
        Err(error) => return Err(backend::call_error(&client, &args.id, error)),
    };
    if args.json {
        print_line(object(&why))?;
    } else {
        print(&text(&why))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn not_found(client: &ff_sdk::Client, args: &ExecutionArgs) -> CliError {
    let missing = ff_sdk::EngineError::NotFound { entity: "execution" };
    backend::call_error(client, &args.id, SdkError::Engine(missing))
}

fn object(why: &Why) -> serde_json::Value {
    let turn =
        why.turn.map(|Turn { ahead, programs, .. }| json!({"ahead": ahead, "programs": programs}));
    json!({
        "execution_id": why.execution.execution_id,
        "state": why.execution.state.public_state,
        "version": why.version,
        "at": why.at,
        "reasons": why.reasons,
        "limits": why.limits,
        "turn": turn,
    })
}

fn text(why: &Why) -> String {
    let execution = &why.execution;
    let mut text = format!(
        "{}: kind {} in lane {}, as of {}\n",
        execution.state.public_state,
        execution.kind,
        execution.lane,
        time(why.at)
    );
    for reason in &why.reasons {
        let (what, next) = words(reason, &execution.execution_id);
        text.push_str(&format!("- {what}\n  {next}\n"));
    }
    for state in &why.limits {
        let (what, next) = limit_words(state);
        text.push_str(&format!("- {what}\n  {next}\n"));
    }
    if let Some(turn) = why.turn {
        let (what, next) = turn_words(turn, why);
        text.push_str(&format!("- {what}\n  {next}\n"));
    }
    text
}

/// A reason in words, and what ends it.
fn words(reason: &Reason, id: &ExecutionId) -> (String, String) {
    match reason {
        Reason::Ended { outcome, at } => (
            format!("it has ended: {}, at {}", wire_name(outcome), time(*at)),
            format!("to run it again: ff replay {id}"),
        ),
        Reason::Running { worker, instance, since, until } => (
            format!("worker {worker} (process {instance}) runs it since {}", time(*since)),
            format!(
                "its lease ends at {} unless the worker renews it; to take it away: ff revoke {id}",
                time(*until)
            ),
        ),
        Reason::Suspended { .. } => suspended_words(reason, id),
        Reason::Granted { worker, until } => (
            format!("worker {worker} was granted it and has not claimed it yet"),
            format!("it returns to its lane at {} unless the worker claims it", time(*until)),
        ),
        Reason::TakenOverOnRequest { worker, since } => (
            format!(
                "worker {worker} lost its lease by {}, and its policy says that it is taken over \
                 on request only",
                time(*since)
            ),
            "issue a reclaim grant for it, or let ff cancel end it".to_owned(),
        ),
        Reason::DeadlinePassed { deadline } => (
            format!("its deadline has passed: {}", time(*deadline)),
            "it is about to end as expired; if it does not, no worker or timekeeper runs"
                .to_owned(),
        ),
        Reason::AttemptTimedOut { at } => (
            format!("its attempt has timed out at {}", time(*at)),
            "it is about to fail, and is retried by its policy; if it does not, no worker or \
             timekeeper runs"
                .to_owned(),
        ),
        Reason::BlockedByOperator => {
            ("an operator blocked it".to_owned(), "it waits until it is unblocked".to_owned())
        }
        Reason::BlockedByLane => (
            "it is blocked because of its lane".to_owned(),
            "it waits until it is unblocked".to_owned(),
        ),
        Reason::WaitsForDependencies => (
            "it waits for other executions".to_owned(),
            "it waits until they have ended, or until it is unblocked".to_owned(),
        ),
        Reason::BlockedByBudget { recheck_at } => held("a budget", *recheck_at),
        Reason::BlockedByQuota { recheck_at } => held("a quota", *recheck_at),
        Reason::NoCapableWorker { requires } => (
            format!("no worker that looked for work had all of: {}", requires.join(", ")),
            "start a worker of its lane with these capabilities: ff work --capability ..."
                .to_owned(),
        ),
        Reason::NotServed { .. } => not_served_words(reason),
        Reason::LacksCapabilities { missing } => (
            format!("the worker lacks {}", missing.join(", ")),
            "start a worker with these capabilities".to_owned(),
        ),
        Reason::Delayed { until, why } => (
            match why {
                Delay::Requested => format!("it is delayed until {}", time(*until)),
                Delay::RetryBackoff => {
                    format!("its last attempt failed; it is retried at {}", time(*until))
                }
                Delay::ResumeDelay => format!("it was resumed, and goes on at {}", time(*until)),
            },
            "nothing to do".to_owned(),
        ),
        Reason::LaneHeld { lane, state, since, why, by } => {
            let by = by.as_ref().map_or_else(String::new, |by| format!(" by {}", printable(by)));
            let reason =
                why.as_ref().map_or_else(String::new, |why| format!(": {}", printable(why)));
            (
                format!("lane {lane} is {state} since {}{by}{reason}", time(*since)),
                format!("to start its work again: ff lanes resume {lane}"),
            )
        }
        other => (format!("{other:?}"), "see ff describe".to_owned()),
    }
}

/// The lack of a worker in words, and what ends it.
fn not_served_words(reason: &Reason) -> (String, String) {
    let Reason::NotServed { lane, kind, requires, nearest } = reason else {
        return (String::new(), String::new());
    };
    let with = match requires.is_empty() {
        true => String::new(),
        false => format!(" with {}", requires.join(", ")),
    };
    let nearest = match nearest {
        Some(nearest) => format!("nearest: {nearest}"),
        None => "no worker claims now".to_owned(),
    };
    let what = format!("no live worker serves kind {kind} in lane {lane}{with} ({nearest})");
    (what, "start one that does, as with ff work; to see the workers: ff workers".to_owned())
}

/// A suspension in words, and how it is ended.
fn suspended_words(reason: &Reason, id: &ExecutionId) -> (String, String) {
    let Reason::Suspended { why, since, waits_for, waitpoints, timeout_at } = reason else {
        return (String::new(), String::new());
    };
    let keys: Vec<String> = waitpoints.iter().map(ToString::to_string).collect();
    let (waits, next) = match waits_for {
        WaitsFor::Signals => (
            format!("it waits for a signal at {}", keys.join(", ")),
            format!("to see the waitpoints: ff waitpoints {id}; to go on without: ff resume {id}"),
        ),
        WaitsFor::Operator => {
            ("only an operator resumes it".to_owned(), format!("to resume it: ff resume {id}"))
        }
        WaitsFor::Timeout => {
            ("it waits for its timeout".to_owned(), format!("to resume it: ff resume {id}"))
        }
    };
    let timeout = match timeout_at {
        Some(at) => format!("until {}", time(*at)),
        None => "without a timeout".to_owned(),
    };
    let (why, since) = (wire_name(why), time(*since));
    (format!("it is suspended ({why}) since {since}: {waits}, {timeout}"), next)
}

fn held(by: &str, recheck_at: Option<ff_sdk::TimestampMs>) -> (String, String) {
    let next = match recheck_at {
        Some(at) => format!("it is looked at again at {}", time(at)),
        None => "it waits until it is unblocked".to_owned(),
    };
    (format!("{by} holds it back"), next)
}

/// The turn of an execution in words, and what to look at if it does not come.
fn turn_words(turn: Turn, why: &Why) -> (String, String) {
    let execution = &why.execution;
    let ahead = match turn.ahead {
        0 => "it is the next one of its partition".to_owned(),
        Turn::COUNTED.. => format!("at least {} are before it in its partition", Turn::COUNTED),
        ahead => format!("{} before it in its partition", are(ahead)),
    };
    let (kind, lane) = (&execution.kind, &execution.lane);
    let next = match turn.programs {
        0 => format!("no program listens for work of lane {lane}: start a worker, as ff work does"),
        _ => format!(
            "{} for work of lane {lane}; if it stays, their workers do not serve kind {kind}, lack \
             one of its capabilities, or have no free slot",
            listen(turn.programs)
        ),
    };
    (format!("nothing holds it back, it waits for a worker: {ahead}"), next)
}

fn are(count: u32) -> String {
    counted(count.into(), "execution is", "executions are")
}

fn listen(programs: u64) -> String {
    counted(programs, "program listens", "programs listen")
}
