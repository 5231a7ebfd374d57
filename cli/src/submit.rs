//! `ff submit`: submits the executions of a file to a store, in chunks.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use ff_sdk::core::error::ErrorClass;
use ff_sdk::core::id::ExecutionKind;
use ff_sdk::core::policy::ExecutionPolicy;
use ff_sdk::{Client, CreateOutcome, EngineError, ExecutionId, SdkError, Submission};
use ff_server::JobLine;
use serde_json::json;

use crate::args::SubmitArgs;
use crate::exit::{CliError, FAILED, print, warn};
use crate::lines::Lines;
use crate::progress::Submitting;
use crate::report::counted;
use crate::watch::tags;
use crate::{backend, result};

/// The most submissions in one call.
const CHUNK: usize = 1_000;
/// The most bytes of lines in one call.
const CHUNK_BYTES: usize = 8 << 20;

/// Runs the command.
pub async fn submit(args: SubmitArgs) -> Result<ExitCode, CliError> {
    match (&args.file, &args.kind) {
        (None, Some(kind)) => submit_one(&args, kind).await,
        (Some(file), _) => submit_file(&args, file).await,
        (None, None) => Err(CliError::usage(
            "nothing to submit: give a FILE with one execution per line (- is standard input), or \
             --kind KIND for one execution",
        )),
    }
}

/// Submits the execution of `--kind`.
async fn submit_one(args: &SubmitArgs, kind: &ExecutionKind) -> Result<ExitCode, CliError> {
    let retry = args.max_retries.map(|max_retries| json!({"max_retries": max_retries}));
    let keyed = args.quota_key.chunks_exact(2).map(|of| json!({"quota": of[0], "key": of[1]}));
    let plain = args.quota.iter().map(|quota| json!({"quota": quota}));
    let quotas: Vec<_> = plain.chain(keyed).collect();
    let fields = json!({
        "kind": kind, "idempotency_key": args.idempotency_key, "priority": args.priority,
        "delay_ms": args.delay, "timeout_ms": args.attempt_timeout, "retry": retry,
        "tags": tags(&args.tag)?, "requires": args.requires,
        "quotas": quotas, "budgets": args.budget,
    });
    // The options have the names of the fields.
    let usage = |problem: String| CliError::usage(format!("--{problem}"));
    let job = JobLine::new(&fields, args.payload.as_deref()).map_err(usage)?;
    let submission = job.submission(args.lane.as_str(), ExecutionPolicy::default());
    let client = backend::client_or_set_up(&args.store, &args.set_up, args.timeout).await?;
    client.check(&submission).map_err(|error| CliError::usage(error.to_string()))?;
    let (outcome, _) = Outcome::of(client.submit(submission).await);
    match &outcome {
        Outcome::Created(id) | Outcome::Duplicate(id) if args.wait => {
            let name = outcome.name();
            warn(&format!("ff: {name} {id}\n"));
            return result::wait(&client, *id, None, args.json).await;
        }
        Outcome::Created(_) | Outcome::Duplicate(_) => {
            print(&outcome.line(1, args.json))?;
            return Ok(ExitCode::SUCCESS);
        }
        Outcome::Refused(error) | Outcome::NotSent(error) | Outcome::Unknown(error) => {
            let name = outcome.name().replace('_', " ");
            warn(&format!("ff: {name}: {error}\n"));
        }
    }
    if args.json {
        print(&outcome.line(1, true))?;
    }
    Ok(ExitCode::from(FAILED))
}

/// Submits the lines of a file.
async fn submit_file(args: &SubmitArgs, file: &Path) -> Result<ExitCode, CliError> {
    // A missing file is reported without a store.
    let mut lines = Lines::open(file)?;
    let client = backend::client_or_set_up(&args.store, &args.set_up, args.timeout).await?;
    let checked = lines.parse_all(|line, text| parse(&text, line, &client, args).map(drop))?;
    let total = checked.len() as u64;
    lines.rewind()?;
    let progress = Submitting::new(total);
    let mut counts = Counts::default();
    let sent = send(&mut lines, &client, args, &progress, &mut counts).await;
    progress.finish();
    // An error of the input ends the loop early.
    let sent_lines = counts.created + counts.duplicates + counts.refused + counts.unknown;
    counts.not_sent = total.saturating_sub(sent_lines);
    warn(&format!("ff: {counts} of {total}\n"));
    if sent?.is_break() {
        warn(&format!("ff: {}\n", advice(args)));
    }
    Ok(if counts.all_submitted() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// How to submit the rest.
fn advice(args: &SubmitArgs) -> &'static str {
    match args.key_prefix {
        Some(_) => "to submit the rest, repeat the command: lines that exist count as duplicates",
        None => {
            "repeating the command would create lines without an idempotency_key twice: --json \
             prints the outcome of each line, and with --key-prefix the command can be repeated"
        }
    }
}

/// The number of lines by outcome.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    created: u64,
    duplicates: u64,
    refused: u64,
    not_sent: u64,
    unknown: u64,
}

impl Counts {
    fn add(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Created(_) => &mut self.created,
            Outcome::Duplicate(_) => &mut self.duplicates,
            Outcome::Refused(_) => &mut self.refused,
            Outcome::NotSent(_) => &mut self.not_sent,
            Outcome::Unknown(_) => &mut self.unknown,
        } += 1;
    }

    const fn all_submitted(&self) -> bool {
        self.refused + self.not_sent + self.unknown == 0
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, duplicates, refused, not_sent, unknown } = self;
        let duplicates = counted(*duplicates, "duplicate", "duplicates");
        write!(f, "{created} created, {duplicates}, {refused} refused")?;
        if not_sent + unknown > 0 {
            write!(f, ", {not_sent} not sent, {unknown} unknown")?;
        }
        Ok(())
    }
}

/// The outcome of a line.
#[derive(Clone, Debug)]
enum Outcome {
    Created(ExecutionId),
    Duplicate(ExecutionId),
    Refused(String),
    NotSent(String),
    Unknown(String),
}

impl Outcome {
    /// The outcome, and whether to go on.
    fn of(result: Result<CreateOutcome, SdkError>) -> (Self, ControlFlow<()>) {
        let error = match result {
            Ok(CreateOutcome::Created(id)) => {
                return (Self::Created(id), ControlFlow::Continue(()));
            }
            Ok(CreateOutcome::Duplicate(id)) => {
                return (Self::Duplicate(id), ControlFlow::Continue(()));
            }
            Err(error) => error,
        };
        let text = error.to_string();
        match error.engine() {
            Some(engine) if engine.may_be_applied() => {
                (Self::Unknown(text), ControlFlow::Break(()))
            }
            Some(EngineError::StoreLost { .. }) => (Self::NotSent(text), ControlFlow::Break(())),
            Some(engine) if engine.class() != ErrorClass::Retryable => {
                (Self::Refused(text), ControlFlow::Continue(()))
            }
            _ => (Self::NotSent(text), ControlFlow::Break(())),
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Created(_) => "created",
            Self::Duplicate(_) => "duplicate",
            Self::Refused(_) => "refused",
            Self::NotSent(_) => "not_sent",
            Self::Unknown(_) => "unknown",
        }
    }

    const fn error(&self) -> Option<&String> {
        match self {
            Self::Created(_) | Self::Duplicate(_) => None,
            Self::Refused(error) | Self::NotSent(error) | Self::Unknown(error) => Some(error),
        }
    }

    /// The line that is printed.
    fn line(&self, number: usize, as_json: bool) -> String {
        let outcome = self.name();
        let line = match (self, self.error()) {
            (Self::Created(id) | Self::Duplicate(id), _) if as_json => {
                json!({"line": number, "outcome": outcome, "execution_id": id}).to_string()
            }
            (Self::Created(id) | Self::Duplicate(id), _) => id.to_string(),
            (_, error) if as_json => {
                json!({"line": number, "outcome": outcome, "error": error}).to_string()
            }
            _ => "-".to_owned(),
        };
        line + "\n"
    }
}

fn parse(
    text: &str,
    line: usize,
    client: &Client,
    args: &SubmitArgs,
) -> Result<Submission, String> {
    let mut job = JobLine::parse(text)?;
    if let (None, Some(prefix)) = (&job.idempotency_key, &args.key_prefix) {
        job.idempotency_key = Some(format!("{prefix}:{line}"));
    }
    let submission = job.submission(args.lane.as_str(), ExecutionPolicy::default());
    client.check(&submission).map_err(|error| error.to_string())?;
    Ok(submission)
}

/// Submits all lines and prints the outcome of each. After the store has accepted nothing for the
/// time limit of a call, the other lines are not sent.
async fn send(
    lines: &mut Lines,
    client: &Client,
    args: &SubmitArgs,
    progress: &Submitting,
    counts: &mut Counts,
) -> Result<ControlFlow<()>, CliError> {
    let mut flow = ControlFlow::Continue(());
    loop {
        let (mut numbers, mut chunk, mut bytes) = (Vec::new(), Vec::new(), 0);
        while numbers.len() < CHUNK && bytes < CHUNK_BYTES {
            let Some((line, text)) = lines.next()? else { break };
            numbers.push(line);
            bytes += text.as_ref().map_or(0, String::len);
            if flow.is_break() {
                continue;
            }
            let submission = text.and_then(|text| parse(&text, line, client, args));
            let changed = |problem| {
                let name = lines.name();
                CliError::runtime(format!("{name}:{line}: the file was changed: {problem}"))
            };
            chunk.push(submission.map_err(changed)?);
        }
        if numbers.is_empty() {
            return Ok(flow);
        }
        let rest = Outcome::NotSent("the command stopped before this line".to_owned());
        let mut outcomes = vec![rest; numbers.len()];
        let each = |number: usize, result| {
            progress.answered();
            let (outcome, next) = Outcome::of(result);
            if let (true, true, Some(problem)) =
                (next.is_break(), flow.is_continue(), outcome.error())
            {
                let (line, name) = (numbers[number], outcome.name().replace('_', " "));
                let problem = format!("ff: line {line}: {name}: {problem}");
                progress.print_line(&format!("{problem}; no further lines are sent"));
                flow = next;
            }
            outcomes[number] = outcome;
            next
        };
        progress.during(client.submit_each(chunk, each)).await;
        print_outcomes(&numbers, &outcomes, args.json, counts)?;
    }
}

/// Prints the outcomes of a chunk, and why lines were refused.
fn print_outcomes(
    numbers: &[usize],
    outcomes: &[Outcome],
    as_json: bool,
    counts: &mut Counts,
) -> Result<(), CliError> {
    let mut text = String::new();
    for (line, outcome) in numbers.iter().zip(outcomes) {
        counts.add(outcome);
        text.push_str(&outcome.line(*line, as_json));
        if let Outcome::Refused(error) = outcome {
            warn(&format!("ff: line {line}: refused: {error}\n"));
        }
    }
    print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    use ff_sdk::core::error::Applied;
    use ff_sdk::core::time::DurationMs;
    use ff_sdk::{Rejection, SdkError};

    #[test]
    fn each_error_is_one_outcome_and_only_a_refusal_lets_the_others_be_sent() {
        let elapsed = DurationMs::new(7);
        let timeout = |applied| EngineError::Timeout { op: "create", elapsed, applied };
        let message = "OOM".to_owned();
        let existing = "{fp:1}:00000000-0000-0000-0000-000000000001".parse().expect("an ID");
        let mismatch = Rejection::IdempotencyMismatch { existing };
        for (error, name, goes_on) in [
            (timeout(Applied::Unknown), "unknown", false),
            (timeout(Applied::No), "not_sent", false),
            (EngineError::Transport { op: "create", message }, "not_sent", false),
            (EngineError::Conflict(mismatch), "refused", true),
        ] {
            let (outcome, flow) = Outcome::of(Err(SdkError::Engine(error)));
            assert_eq!((outcome.name(), flow.is_continue()), (name, goes_on));
            assert_eq!(outcome.line(7, false), "-\n");
            assert!(outcome.line(7, true).contains("\"line\":7"), "{outcome:?}");
        }
    }
}
