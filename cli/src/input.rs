//! The input of `ff run`. All lines are read and checked before any is submitted.

use std::collections::BTreeMap;

use ff_sdk::core::policy::ExecutionPolicy;
use ff_sdk::core::time::DurationMs;
use ff_sdk::{Client, Submission};
use ff_server::{JobLine, JobPayload};

use uuid::Uuid;

use crate::exit::CliError;
use crate::lines::Lines;
use crate::shell::ShellJob;

/// An execution to submit.
pub struct Job {
    /// The line in the input, from 1.
    pub line: usize,
    /// The submission.
    pub submission: Submission,
    /// Whether the line has an idempotency key.
    has_key: bool,
}

/// The kind that runs a command.
pub const SHELL: &str = "shell";

/// The lane of a run.
const LANE: &str = "default";

/// High enough that only jobs whose workers are killed on purpose are reclaimed this often.
const MAX_RECLAIMS: u32 = 1_000;

/// The executions of the lines of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lives {
    /// Executions in a store that ends with this command.
    InThisRun,
    /// New executions.
    New,
    /// The executions that an earlier run of the same lines has created, if there are any.
    Resumed,
}

/// Reads and checks all executions. Every bad line is reported with the file's name and its number.
pub fn read(
    mut lines: Lines,
    client: &Client,
    lives: Lives,
    mut line_read: impl FnMut(),
) -> Result<Vec<Job>, CliError> {
    let mut policy =
        ExecutionPolicy { max_reclaim_count: MAX_RECLAIMS, ..ExecutionPolicy::default() };
    if lives == Lives::InThisRun {
        // The summary reads every execution.
        policy.retention_ms = DurationMs::new(u64::MAX);
    }
    let (mut keys, mut contents) = (BTreeMap::new(), BTreeMap::new());
    lines.parse_all(|line, text| {
        line_read();
        let mut job = parse(&text, line, client, &policy, &mut keys)?;
        if lives == Lives::Resumed && !job.has_key {
            job.submission = job.submission.idempotency_key(own_key(&text, &mut contents));
        }
        Ok(job)
    })
}

/// The key of a line that has none: its content, and how often it has occurred before. So another
/// run of the file finds the executions of this one, also if lines were added or moved.
fn own_key(text: &str, contents: &mut BTreeMap<Uuid, u64>) -> String {
    let content = Uuid::new_v5(&Uuid::NAMESPACE_OID, text.trim().as_bytes());
    let count = contents.entry(content).or_default();
    *count += 1;
    format!("ff-run:{content}:{count}")
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
        return Err(format!("unknown kind {:?}: ff run supports only {SHELL:?}", job.kind));
    }
    if job.lane.is_some() || !job.requires.is_empty() {
        return Err("remove `lane` and `requires`: only ff submit supports them".to_owned());
    }
    if !job.quotas.is_empty() || !job.budgets.is_empty() {
        return Err("remove `quotas` and `budgets`: only ff submit supports them".to_owned());
    }
    ShellJob::parse(job.payload.as_ref().map_or("null", JobPayload::text).as_bytes())?;
    if let Some(key) = &job.idempotency_key {
        let (first_line, first) = keys.entry(key.clone()).or_insert_with(|| (line, job.clone()));
        if *first != job {
            return Err(format!(
                "idempotency_key {key:?} is already used by line {first_line} with other content"
            ));
        }
    }
    let submission = job.submission(LANE, policy.clone());
    client.check(&submission).map_err(|error| error.to_string())?;
    Ok(Job { line, submission, has_key: job.idempotency_key.is_some() })
}
