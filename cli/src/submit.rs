//! `ff submit`: submits the executions of a file to a store, in chunks.

use std::process::ExitCode;

use ff_sdk::core::policy::ExecutionPolicy;
use ff_sdk::{Client, CreateOutcome, EngineError, SdkError, Submission};
use indicatif::ProgressBar;
use serde_json::json;

use crate::args::SubmitArgs;
use crate::exit::{CliError, FAILED, print, warn};
use crate::job_line::JobLine;
use crate::lines::Lines;
use crate::report::counted;
use crate::{backend, progress};

/// The most submissions in one call.
const CHUNK: usize = 1_000;
/// The most bytes of lines in one call.
const CHUNK_BYTES: usize = 8 << 20;

/// Runs the command.
pub async fn submit(args: SubmitArgs) -> Result<ExitCode, CliError> {
    // A missing file is reported without a store.
    let mut lines = Lines::open(&args.file)?;
    let client = backend::client_or_set_up(&args.store).await?;
    let lane = args.lane.as_str();
    let checked = lines.parse_all(|_, text| parse(&text, &client, lane).map(drop))?;
    let total = checked.len() as u64;
    lines.rewind()?;
    let bar = progress::bar(total, "{bar:20.cyan/blue} {pos}/{len} {per_sec} eta {eta}");
    let mut counts = Counts::default();
    let sent = send(&mut lines, &client, &args, &bar, &mut counts).await;
    bar.finish_and_clear();
    warn(&format!("ff: {counts} of {total}\n"));
    sent?;
    Ok(if counts.refused == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// The number of lines by outcome.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    created: u64,
    duplicates: u64,
    refused: u64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { created, duplicates, refused } = self;
        let duplicates = counted(*duplicates, "duplicate", "duplicates");
        write!(f, "{created} created, {duplicates}, {refused} refused")
    }
}

fn parse(text: &str, client: &Client, lane: &str) -> Result<Submission, String> {
    let submission = JobLine::parse(text)?.submission(lane, ExecutionPolicy::default());
    client.check(&submission).map_err(|error| error.to_string())?;
    Ok(submission)
}

/// Submits all lines and prints the outcome of each.
async fn send(
    lines: &mut Lines,
    client: &Client,
    args: &SubmitArgs,
    bar: &ProgressBar,
    counts: &mut Counts,
) -> Result<(), CliError> {
    loop {
        let (mut numbers, mut chunk, mut bytes) = (Vec::new(), Vec::new(), 0);
        while chunk.len() < CHUNK && bytes < CHUNK_BYTES {
            let Some((line, text)) = lines.next()? else { break };
            bytes += text.as_ref().map_or(0, String::len);
            let submission = text.and_then(|text| parse(&text, client, args.lane.as_str()));
            let changed = |problem| {
                let name = lines.name();
                CliError::runtime(format!("{name}:{line}: the file was changed: {problem}"))
            };
            chunk.push(submission.map_err(changed)?);
            numbers.push(line);
        }
        if chunk.is_empty() {
            return Ok(());
        }
        let outcomes = client.submit_many(chunk).await;
        bar.inc(numbers.len() as u64);
        print_outcomes(numbers, outcomes, args.json, counts)?;
    }
}

/// Prints the outcomes of a chunk. If the store did not answer for a line, the first such line ends
/// the command: it is not known whether its execution was created.
fn print_outcomes(
    numbers: Vec<usize>,
    outcomes: Vec<Result<CreateOutcome, SdkError>>,
    json: bool,
    counts: &mut Counts,
) -> Result<(), CliError> {
    let (mut text, mut unanswered) = (String::new(), None);
    for (line, result) in numbers.into_iter().zip(outcomes) {
        let (outcome, id, error) = match result {
            Ok(CreateOutcome::Created(id)) => ("created", Some(id), None),
            Ok(CreateOutcome::Duplicate(id)) => ("duplicate", Some(id), None),
            Err(error) => match error.engine().and_then(EngineError::rejection) {
                Some(_) => ("refused", None, Some(error.to_string())),
                None => ("unanswered", None, Some(error.to_string())),
            },
        };
        match outcome {
            "created" => counts.created += 1,
            "duplicate" => counts.duplicates += 1,
            "refused" => counts.refused += 1,
            _ => {}
        }
        let printed = match (json, id) {
            (true, Some(id)) => {
                format!("{}\n", json!({"line": line, "outcome": outcome, "id": id}))
            }
            (true, None) => {
                format!("{}\n", json!({"line": line, "outcome": outcome, "error": error}))
            }
            (false, Some(id)) => format!("{id}\n"),
            (false, None) => String::new(),
        };
        text.push_str(&printed);
        if let Some(error) = error {
            let problem = format!("line {line}: {outcome}: {error}");
            if outcome == "unanswered" {
                unanswered.get_or_insert(problem);
            } else {
                warn(&format!("ff: {problem}\n"));
            }
        }
    }
    print(&text)?;
    unanswered.map_or(Ok(()), |problem| Err(CliError::runtime(problem)))
}
