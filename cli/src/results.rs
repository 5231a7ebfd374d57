//! The results of `ff run`, and the file that they are written to.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ff_sdk::core::execution::{Outcome, ValueKind, WorkFailure};
use ff_sdk::core::id::ExecutionId;
use ff_sdk::core::state::TerminalOutcome;
use ff_sdk::core::time::TimestampMs;
use ff_sdk::{Client, SdkError};
use serde::Serialize;

use crate::exit::CliError;

/// The result of one execution, a line of the results file.
#[derive(Debug, Serialize)]
pub struct JobResult {
    /// The line in the input.
    pub line: usize,
    /// The ID of the execution.
    #[serde(rename = "execution_id")]
    pub id: ExecutionId,
    /// The kind.
    pub kind: String,
    /// The public state when the run ended: completed, failed, cancelled, expired, or a state that
    /// is not terminal if the run was interrupted.
    pub state: String,
    /// The terminal outcome; none if the run was interrupted.
    pub outcome: TerminalOutcome,
    /// The number of attempts.
    pub attempts: u32,
    /// How many of them were retries.
    pub retries: u32,
    /// How many of them took over from a lost worker.
    pub reclaims: u32,
    /// When it was created, in milliseconds since the epoch by the store's clock.
    pub created_at: TimestampMs,
    /// When it ended.
    pub ended_at: Option<TimestampMs>,
    /// The result, if it is text.
    pub result: Option<String>,
    /// The result in hexadecimal, if it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_hex: Option<String>,
    /// The failure, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<WorkFailure>,
}

impl JobResult {
    /// Whether the execution completed.
    pub fn is_completed(&self) -> bool {
        self.outcome == TerminalOutcome::Success
    }

    /// The time from creation to end, in milliseconds.
    pub fn took_ms(&self) -> Option<u64> {
        self.ended_at.map(|ended| ended.since(self.created_at).get())
    }
}

/// Reads the result of an execution. `None` if the execution does not exist.
pub async fn read(
    client: &Client,
    line: usize,
    id: ExecutionId,
) -> Result<Option<JobResult>, SdkError> {
    let Some(snapshot) = client.describe(&id).await? else { return Ok(None) };
    let bytes = client.value(&id, ValueKind::Result).await?;
    let (result, result_hex) = text_or_hex(bytes.as_deref());
    Ok(Some(JobResult {
        line,
        id: snapshot.execution_id,
        kind: snapshot.kind.to_string(),
        state: snapshot.state.public_state.to_string(),
        outcome: snapshot.state.terminal_outcome,
        attempts: snapshot.attempts_total,
        retries: snapshot.counts.retries,
        reclaims: snapshot.counts.reclaims,
        created_at: snapshot.created_at,
        ended_at: snapshot.ended_at,
        result,
        result_hex,
        failure: snapshot.outcome.as_ref().and_then(Outcome::failure).cloned(),
    }))
}

/// A value as text, or in hexadecimal if it is not text.
pub fn text_or_hex(bytes: Option<&[u8]>) -> (Option<String>, Option<String>) {
    match bytes.map(std::str::from_utf8) {
        None => (None, None),
        Some(Ok(text)) => (Some(text.to_owned()), None),
        Some(Err(_)) => (None, bytes.map(hex)),
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String never fails");
        text
    })
}

/// The results file. It is opened before anything runs, and gets its name when all results are
/// written.
pub struct ResultsFile {
    file: File,
    path: PathBuf,
    /// The temporary file; `None` if the path is a device or a pipe.
    partial: Option<PathBuf>,
}

impl ResultsFile {
    /// Opens the file. The input is never overwritten.
    pub fn create(path: &Path, input: &Path) -> Result<Self, CliError> {
        let error = |problem: &dyn std::fmt::Display| {
            CliError::usage(format!("--results {}: {problem}", path.display()))
        };
        if path.as_os_str() == "-" {
            return Err(error(&"this is not a file: give the path of a file, or /dev/stdout"));
        }
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        if real(path).is_some_and(|results| real(input) == Some(results)) {
            return Err(error(&"this is the input file: give the path of another file"));
        }
        let regular = std::fs::metadata(path).map_or(true, |found| found.is_file());
        let partial = regular.then(|| {
            let mut name = path.as_os_str().to_owned();
            name.push(".partial");
            PathBuf::from(name)
        });
        let opened = match &partial {
            Some(partial) => File::create(partial),
            None => OpenOptions::new().write(true).open(path),
        };
        let file = opened.map_err(|problem| error(&problem))?;
        Ok(Self { file, path: path.to_owned(), partial })
    }

    /// Writes one line per execution.
    pub fn write(self, results: &[JobResult]) -> Result<(), CliError> {
        let Self { file, path, partial } = self;
        let written = write_lines(file, results).and_then(|()| match &partial {
            Some(partial) => std::fs::rename(partial, &path),
            None => Ok(()),
        });
        written.map_err(|error| CliError::runtime(format!("--results {}: {error}", path.display())))
    }
}

fn write_lines(file: File, results: &[JobResult]) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    for result in results {
        serde_json::to_writer(&mut file, result)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}
