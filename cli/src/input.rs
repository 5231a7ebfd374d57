//! The input of `ff run`: all executions are read and checked before anything is submitted.

use std::collections::BTreeMap;
use std::path::Path;

use ff_sdk::core::policy::ExecutionPolicy;
use ff_sdk::core::time::DurationMs;
use ff_sdk::{Client, Submission};
use serde_json::Value;

use crate::job_line::JobLine;
use crate::outcome::Failed;
use crate::shell::ShellJob;

/// An execution to be submitted.
pub struct Job {
    /// Its line in the input, from 1.
    pub line: usize,
    /// What is submitted.
    pub submission: Submission,
}

/// The kind that runs a command.
pub const SHELL: &str = "shell";

/// The lane of a run.
const LANE: &str = "default";

/// So many reclaims only ever happen to jobs whose workers are killed on purpose.
const MAX_RECLAIMS: u32 = 1_000;

/// Reads and checks all executions. Every bad line is reported with the file's name and its number.
/// In a store that is `shared` they are kept after the run no longer than others.
pub fn read(path: &Path, client: &Client, shared: bool) -> Result<Vec<Job>, Failed> {
    let (name, text) = if path.as_os_str() == "-" {
        ("standard input".to_owned(), std::io::read_to_string(std::io::stdin()))
    } else {
        (path.display().to_string(), std::fs::read_to_string(path))
    };
    let text = text.map_err(|error| Failed::usage(format!("{name}: {error}")))?;
    let policy = policy(shared);
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
        match parse(text, line, client, &policy, &mut keys) {
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

fn policy(shared: bool) -> ExecutionPolicy {
    let mut policy =
        ExecutionPolicy { max_reclaim_count: MAX_RECLAIMS, ..ExecutionPolicy::default() };
    if !shared {
        // The store ends with this process, and the report wants every execution.
        policy.retention_ms = DurationMs::new(u64::MAX);
    }
    policy
}

fn parse(
    text: &str,
    line: usize,
    client: &Client,
    policy: &ExecutionPolicy,
    keys: &mut BTreeMap<String, (usize, JobLine)>,
) -> Result<Job, String> {
    let job = JobLine::parse(text)?;
    if job.kind != SHELL {
        return Err(format!("kind {:?} is unknown; ff run knows {SHELL:?}", job.kind));
    }
    if job.lane.is_some() || !job.requires.is_empty() {
        return Err("lane and requires are for ff submit; ff run serves one lane".to_owned());
    }
    ShellJob::parse(job.payload.as_ref().unwrap_or(&Value::Null))?;
    if let Some(key) = &job.idempotency_key {
        let first = keys.entry(key.clone()).or_insert_with(|| (line, job.clone()));
        if first.1 != job {
            return Err(format!(
                "idempotency_key {key:?} stands for other content in line {}",
                first.0
            ));
        }
    }
    let submission = job.submission(LANE, policy.clone());
    client.check(&submission).map_err(|error| error.to_string())?;
    Ok(Job { line, submission })
}
