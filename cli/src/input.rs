//! Executions from JSON lines, all checked before anything is submitted.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ff_sdk::core::policy::{ExecutionPolicy, RetryPolicy};
use ff_sdk::core::time::DurationMs;
use ff_sdk::{Client, Submission};
use serde::Deserialize;
use serde_json::Value;

use crate::outcome::Failed;
use crate::shell::ShellJob;

/// One line of the input.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object like {\"kind\": \"shell\", \"payload\": {...}}"
)]
struct JobLine {
    kind: String,
    #[serde(default)]
    payload: Value,
    #[serde(default)]
    priority: Option<i64>,
    #[serde(default)]
    delay_ms: Option<u64>,
    #[serde(default)]
    retry: Option<RetryPolicy>,
    #[serde(default)]
    timeout_ms: Option<u64>,
    #[serde(default)]
    idempotency_key: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// An execution to be submitted.
pub struct Job {
    /// Its line in the input, from 1.
    pub line: usize,
    /// What is submitted.
    pub submission: Submission,
}

/// The kind that runs a command.
pub const SHELL: &str = "shell";

/// So many reclaims only ever happen to jobs whose workers are killed on purpose.
const MAX_RECLAIMS: u32 = 1_000;

/// Reads and checks all executions. Every bad line is reported with the file's name and its number.
pub fn read(path: &Path, client: &Client) -> Result<Vec<Job>, Failed> {
    let (name, text) = if path.as_os_str() == "-" {
        ("standard input".to_owned(), std::io::read_to_string(std::io::stdin()))
    } else {
        (path.display().to_string(), std::fs::read_to_string(path))
    };
    let text = text.map_err(|error| Failed::usage(format!("{name}: {error}")))?;
    let mut jobs = Vec::new();
    let mut problems = Vec::new();
    let mut keys: BTreeMap<String, (usize, JobLine)> = BTreeMap::new();
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    for (number, text) in text.lines().enumerate() {
        let line = number + 1;
        if text.trim().is_empty() {
            continue;
        }
        match parse(text, line, client, &mut keys) {
            Ok(job) => jobs.push(job),
            Err(problem) => problems.push(format!("{name}:{line}: {problem}")),
        }
    }
    if !problems.is_empty() {
        problems.push("nothing was submitted".to_owned());
        return Err(Failed::usage(problems.join("\n")));
    }
    if jobs.is_empty() {
        return Err(Failed::usage(format!("{name}: there is no execution in it")));
    }
    Ok(jobs)
}

fn parse(
    text: &str,
    line: usize,
    client: &Client,
    keys: &mut BTreeMap<String, (usize, JobLine)>,
) -> Result<Job, String> {
    let job: JobLine = serde_json::from_str(text).map_err(|error| {
        let place = format!(" at line 1 column {}", error.column());
        format!("column {}: {}", error.column(), error.to_string().replace(&place, ""))
    })?;
    if job.kind != SHELL {
        return Err(format!("kind {:?} is unknown; ff run knows {SHELL:?}", job.kind));
    }
    ShellJob::parse(&job.payload)?;
    if let Some(key) = &job.idempotency_key {
        let first = keys.entry(key.clone()).or_insert_with(|| (line, job.clone()));
        if first.1 != job {
            return Err(format!(
                "idempotency_key {key:?} stands for other content in line {}",
                first.0
            ));
        }
    }
    let submission = submission(&job);
    client.check(&submission).map_err(|error| error.to_string())?;
    Ok(Job { line, submission })
}

fn submission(job: &JobLine) -> Submission {
    let policy = ExecutionPolicy {
        retry: job.retry.clone().unwrap_or_default(),
        max_reclaim_count: MAX_RECLAIMS,
        // The store ends with this process, and the report wants every execution.
        retention_ms: DurationMs::new(u64::MAX),
        ..ExecutionPolicy::default()
    };
    let mut submission = Submission::new(&job.kind)
        .payload(job.payload.to_string())
        .priority(job.priority.unwrap_or_default())
        .policy(policy);
    if let Some(delay) = job.delay_ms {
        submission = submission.delay(Duration::from_millis(delay));
    }
    if let Some(timeout) = job.timeout_ms {
        submission = submission.attempt_timeout(Duration::from_millis(timeout));
    }
    if let Some(key) = &job.idempotency_key {
        submission = submission.idempotency_key(key);
    }
    for (key, value) in &job.tags {
        submission = submission.tag(key, value);
    }
    submission
}
