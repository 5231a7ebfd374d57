//! `ff submit`: hands executions to a store, in chunks.

use std::io::IsTerminal;
use std::process::ExitCode;

use ff_sdk::core::policy::ExecutionPolicy;
use ff_sdk::{Client, CreateOutcome, EngineError, SdkError, Submission};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::args::SubmitArgs;
use crate::backend;
use crate::job_line::JobLine;
use crate::lines::Lines;
use crate::outcome::{ALL_COMPLETED, Failed, SOME_FAILED, print, warn};

/// Submissions handed to the client at once.
const CHUNK: usize = 1_000;
/// Bytes of lines handed to the client at once.
const CHUNK_BYTES: usize = 8 << 20;
/// Bad lines that are told one by one.
const MAX_PROBLEMS: usize = 100;

/// Runs the command.
pub async fn submit(args: SubmitArgs) -> Result<ExitCode, Failed> {
    // The input is read before the store is looked for: it may be wrong.
    let mut lines = Lines::open(&args.file)?;
    let client = backend::client(&args.store).await?;
    let total = check(&mut lines, &client, args.lane.as_str())?;
    lines.rewind()?;
    let bar = progress(total);
    let mut sums = Sums::default();
    let sent = send(&mut lines, &client, &args, &bar, &mut sums).await;
    bar.finish_and_clear();
    warn(&format!("ff: {sums} of {total}\n"));
    sent?;
    Ok(ExitCode::from(if sums.refused == 0 { ALL_COMPLETED } else { SOME_FAILED }))
}

/// What became of the lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    created: u64,
    duplicates: u64,
    refused: u64,
}

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { created, duplicates, refused } = self;
        write!(f, "{created} created, {duplicates} duplicates, {refused} refused")
    }
}

/// Checks every line; how many there are.
fn check(lines: &mut Lines, client: &Client, lane: &str) -> Result<u64, Failed> {
    let (mut total, mut bad, mut problems) = (0, 0, Vec::new());
    while let Some((line, text)) = lines.next()? {
        total += 1;
        if let Err(problem) = parse(text, client, lane) {
            bad += 1;
            if problems.len() < MAX_PROBLEMS {
                problems.push(format!("{}:{line}: {problem}", lines.name()));
            }
        }
    }
    if bad > problems.len() {
        problems.push(format!("and {} more", bad - problems.len()));
    }
    if bad > 0 {
        problems.push("nothing was submitted".to_owned());
        return Err(Failed::usage(problems.join("\n")));
    }
    if total == 0 {
        return Err(Failed::usage(format!("{}: there is no execution in it", lines.name())));
    }
    Ok(total)
}

fn parse(text: Result<String, String>, client: &Client, lane: &str) -> Result<Submission, String> {
    let submission = JobLine::parse(&text?)?.submission(lane, ExecutionPolicy::default());
    client.check(&submission).map_err(|error| error.to_string())?;
    Ok(submission)
}

/// Sends all lines and tells what became of each.
async fn send(
    lines: &mut Lines,
    client: &Client,
    args: &SubmitArgs,
    bar: &ProgressBar,
    sums: &mut Sums,
) -> Result<(), Failed> {
    loop {
        let (mut numbers, mut chunk, mut bytes) = (Vec::new(), Vec::new(), 0);
        while chunk.len() < CHUNK && bytes < CHUNK_BYTES {
            let Some((line, text)) = lines.next()? else { break };
            bytes += text.as_ref().map_or(0, String::len);
            let changed = |problem| {
                Failed::runtime(format!("{}:{line}: it has changed: {problem}", lines.name()))
            };
            chunk.push(parse(text, client, args.lane.as_str()).map_err(changed)?);
            numbers.push(line);
        }
        if chunk.is_empty() {
            return Ok(());
        }
        let outcomes = client.submit_many(chunk).await;
        bar.inc(numbers.len() as u64);
        tell(numbers, outcomes, args.json, sums)?;
    }
}

/// Tells what became of the lines of a chunk. The first that the store did not answer for ends it:
/// nobody can say whether that one was created.
fn tell(
    numbers: Vec<usize>,
    outcomes: Vec<Result<CreateOutcome, SdkError>>,
    json: bool,
    sums: &mut Sums,
) -> Result<(), Failed> {
    let (mut text, mut unanswered) = (String::new(), None);
    for (line, outcome) in numbers.into_iter().zip(outcomes) {
        let (word, id, error) = match outcome {
            Ok(CreateOutcome::Created(id)) => ("created", Some(id), None),
            Ok(CreateOutcome::Duplicate(id)) => ("duplicate", Some(id), None),
            Err(error) => match error.engine().and_then(EngineError::rejection) {
                Some(_) => ("refused", None, Some(error)),
                None => ("unanswered", None, Some(error)),
            },
        };
        match word {
            "created" => sums.created += 1,
            "duplicate" => sums.duplicates += 1,
            "refused" => sums.refused += 1,
            _ => {}
        }
        let error = error.map(|error| error.to_string());
        match (json, id) {
            (true, Some(id)) => {
                text.push_str(&json!({"line": line, "outcome": word, "id": id}).to_string());
                text.push('\n');
            }
            (true, None) => {
                text.push_str(&json!({"line": line, "outcome": word, "error": error}).to_string());
                text.push('\n');
            }
            (false, Some(id)) => text.push_str(&format!("{id}\n")),
            (false, None) => {}
        }
        if let Some(error) = error {
            let problem = format!("line {line}: {word}: {error}");
            if word == "unanswered" {
                unanswered.get_or_insert(problem);
            } else {
                warn(&format!("ff: {problem}\n"));
            }
        }
    }
    print(&text)?;
    unanswered.map_or(Ok(()), |problem| Err(Failed::runtime(problem)))
}

fn progress(total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = "{bar:20.cyan/blue} {pos}/{len} {per_sec} eta {eta}";
    let style = ProgressStyle::with_template(style).expect("a valid template");
    ProgressBar::new(total).with_style(style)
}
