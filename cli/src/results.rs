//! What became of each execution.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use ff_sdk::core::execution::{ExecutionSnapshot, Outcome, ValueKind, WorkFailure};
use ff_sdk::core::id::ExecutionId;
use ff_sdk::core::time::TimestampMs;
use ff_sdk::{Client, SdkError};
use serde::Serialize;

use crate::outcome::Failed;

/// One line of the results.
#[derive(Debug, Serialize)]
pub struct JobResult {
    /// Its line in the input.
    pub line: usize,
    /// Its id.
    pub id: ExecutionId,
    /// Its kind.
    pub kind: String,
    /// Its public state at the end: completed, failed, cancelled, expired, or where it was left.
    pub outcome: String,
    /// How many attempts there were.
    pub attempts: u32,
    /// How many of them were retries.
    pub retries: u32,
    /// How many of them took over from a lost worker.
    pub reclaims: u32,
    /// When it was created, in milliseconds since the epoch by the store's clock.
    pub created_at: TimestampMs,
    /// When it ended.
    pub ended_at: Option<TimestampMs>,
    /// Its result, where that is text.
    pub result: Option<String>,
    /// Its result in hexadecimal, where that is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_hex: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<WorkFailure>,
}

impl JobResult {
    /// Whether it completed.
    pub fn is_completed(&self) -> bool {
        self.outcome == "completed"
    }

    /// The time from creation to end, in milliseconds.
    pub fn took_ms(&self) -> Option<u64> {
        self.ended_at.map(|ended| ended.since(self.created_at).get())
    }
}

/// Reads what became of an execution.
pub async fn read(
    client: &Client,
    line: usize,
    id: ExecutionId,
) -> Result<Option<JobResult>, SdkError> {
    let Some(seen) = client.describe(&id).await? else { return Ok(None) };
    let bytes = client.value(&id, ValueKind::Result).await?;
    let (result, result_hex) = readable(bytes.as_deref());
    Ok(Some(of(seen, line, result, result_hex)))
}

/// A value as text, and in hexadecimal where it is no text.
pub fn readable(bytes: Option<&[u8]>) -> (Option<String>, Option<String>) {
    match bytes.map(std::str::from_utf8) {
        None => (None, None),
        Some(Ok(text)) => (Some(text.to_owned()), None),
        Some(Err(_)) => (None, bytes.map(hex)),
    }
}

fn of(
    seen: ExecutionSnapshot,
    line: usize,
    result: Option<String>,
    result_hex: Option<String>,
) -> JobResult {
    JobResult {
        line,
        id: seen.execution_id,
        kind: seen.kind.to_string(),
        outcome: seen.state.public_state.to_string(),
        attempts: seen.attempts_total,
        retries: seen.counts.retries,
        reclaims: seen.counts.reclaims,
        created_at: seen.created_at,
        ended_at: seen.ended_at,
        result,
        result_hex,
        failure: seen.outcome.as_ref().and_then(Outcome::failure).cloned(),
    }
}

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a text takes any write");
        text
    })
}

/// Where the results go: opened before anything runs, and in place only when all are written.
pub struct ResultsFile {
    file: std::fs::File,
    path: PathBuf,
    /// What is written until it is complete; none where the path is a device or a pipe.
    partial: Option<PathBuf>,
}

impl ResultsFile {
    /// Opens it. The input is never overwritten.
    pub fn create(path: &Path, input: &Path) -> Result<Self, Failed> {
        let wrong =
            |problem: String| Failed::usage(format!("--results {}: {problem}", path.display()));
        if path.as_os_str() == "-" {
            return Err(wrong("is no file; name one, or /dev/stdout".to_owned()));
        }
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        if real(path).is_some_and(|results| real(input) == Some(results)) {
            return Err(wrong("is the input".to_owned()));
        }
        let regular = std::fs::metadata(path).map_or(true, |found| found.is_file());
        let partial = regular.then(|| {
            let mut name = path.as_os_str().to_owned();
            name.push(".partial");
            PathBuf::from(name)
        });
        let target = partial.as_deref().unwrap_or(path);
        let opened = match regular {
            true => std::fs::File::create(target),
            false => std::fs::OpenOptions::new().write(true).open(target),
        };
        let file = opened.map_err(|error| wrong(error.to_string()))?;
        Ok(Self { file, path: path.to_owned(), partial })
    }

    /// Writes one line for each execution.
    pub fn write(self, results: &[JobResult]) -> Result<(), Failed> {
        let Self { file, path, partial } = self;
        let written = write_lines(file, results).and_then(|()| match &partial {
            Some(partial) => std::fs::rename(partial, &path),
            None => Ok(()),
        });
        written.map_err(|error| Failed::runtime(format!("--results {}: {error}", path.display())))
    }
}

fn write_lines(file: std::fs::File, results: &[JobResult]) -> std::io::Result<()> {
    let mut file = BufWriter::new(file);
    for result in results {
        serde_json::to_writer(&mut file, result)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}
