//! The results of `ff run`, and the file that they are written to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use ff_sdk::core::execution::{Outcome, ValueKind, WorkFailure};
use ff_sdk::core::id::ExecutionId;
use ff_sdk::core::state::TerminalOutcome;
use ff_sdk::core::time::TimestampMs;
use ff_sdk::{Client, SdkError};
use ff_server::view::text_or_hex;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use crate::exit::CliError;

/// The result of one execution, a line of the results file.
#[derive(Clone, Debug, Serialize)]
pub struct JobResult {
    /// The line in the input; 0 if there is none.
    #[serde(skip_serializing_if = "is_zero")]
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

fn is_zero(line: &usize) -> bool {
    *line == 0
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

/// Reads the result of an execution, for line 0. `None` if the execution does not exist.
pub async fn read(client: Client, id: ExecutionId) -> Result<Option<JobResult>, SdkError> {
    let Some(snapshot) = client.describe(&id).await? else { return Ok(None) };
    let bytes = client.value(&id, ValueKind::Result).await?;
    let (result, result_hex) = text_or_hex(bytes.as_deref());
    Ok(Some(JobResult {
        line: 0,
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

/// How many executions or results are read at the same time.
pub const MAX_READS: usize = 64;

/// The results of a run. They are read and written as executions end.
pub struct Results {
    client: Client,
    /// The lines of each execution whose result is not known yet.
    lines: BTreeMap<ExecutionId, Vec<usize>>,
    reads: JoinSet<Result<Option<JobResult>, SdkError>>,
    rows: Vec<JobResult>,
    file: Option<ResultsFile>,
}

impl Results {
    /// The results of these lines and executions.
    pub fn new(client: Client, ids: &[(usize, ExecutionId)], file: Option<ResultsFile>) -> Self {
        let mut lines: BTreeMap<ExecutionId, Vec<usize>> = BTreeMap::new();
        ids.iter().for_each(|(line, id)| lines.entry(*id).or_default().push(*line));
        Self { client, lines, reads: JoinSet::new(), rows: Vec::new(), file }
    }

    /// The executions whose result is not known yet.
    pub fn open(&self) -> BTreeSet<ExecutionId> {
        self.lines.keys().copied().collect()
    }

    /// Begins to read the result of an execution that has ended.
    pub fn begin(&mut self, id: ExecutionId) {
        self.reads.spawn(read(self.client.clone(), id));
    }

    /// Whether no more results should be read at the same time.
    pub fn is_busy(&self) -> bool {
        self.reads.len() >= MAX_READS
    }

    /// Whether no result is being read.
    pub fn is_idle(&self) -> bool {
        self.reads.is_empty()
    }

    /// Waits for the next result, and writes it to the file.
    pub async fn next(&mut self) -> Result<(), CliError> {
        let Some(read) = self.reads.join_next().await else { return Ok(()) };
        let Some(result) = read.map_err(CliError::runtime)?? else { return Ok(()) };
        for line in self.lines.remove(&result.id).unwrap_or_default() {
            let row = JobResult { line, ..result.clone() };
            self.file.iter_mut().for_each(|file| file.write(&row));
            self.rows.push(row);
        }
        Ok(())
    }

    /// Reads the results that are not known yet. Returns all of them in the order of the lines, and
    /// whether all were written.
    pub async fn finish(mut self) -> Result<(Vec<JobResult>, Result<(), CliError>), CliError> {
        while !self.is_idle() {
            self.next().await?;
        }
        for id in self.lines.keys().copied().collect::<Vec<_>>() {
            while self.is_busy() {
                self.next().await?;
            }
            self.begin(id);
        }
        while !self.is_idle() {
            self.next().await?;
        }
        self.rows.sort_by_key(|row| row.line);
        Ok((self.rows, self.file.map_or(Ok(()), |file| file.written)))
    }
}

/// The results file. It is opened before anything runs, and gets a line when an execution ends.
pub struct ResultsFile {
    file: File,
    path: PathBuf,
    /// The first problem with the file. The run goes on without it.
    written: Result<(), CliError>,
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
        // A device or a pipe is not truncated.
        let regular = std::fs::metadata(path).map_or(true, |found| found.is_file());
        let opened = OpenOptions::new().write(true).create(regular).truncate(regular).open(path);
        let file = opened.map_err(|problem| error(&problem))?;
        Ok(Self { file, path: path.to_owned(), written: Ok(()) })
    }

    /// Writes a line, unless writing has failed before.
    fn write(&mut self, result: &JobResult) {
        if self.written.is_ok() {
            let line = format!("{}\n", json!(result));
            let written = self.file.write_all(line.as_bytes());
            let path = self.path.display();
            self.written =
                written.map_err(|error| CliError::runtime(format!("--results {path}: {error}")));
        }
    }
}
