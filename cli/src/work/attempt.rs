//! One attempt: runs the command under the lease of the task, and reports the result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_sdk::core::id::{AttemptIndex, ExecutionKind, LaneId, LeaseEpoch};
use ff_sdk::{ClaimedTask, ExecutionId, FailOutcome, HandlerError, SdkError, TimestampMs};
use serde::Serialize;
use tokio::sync::watch;

use crate::shell::{self, CommandResult, ShellJob, TaskEnv};
use crate::shutdown::{Shutdown, requested};

/// How long giving back a task may take.
const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(1);

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// The execution completed.
    #[serde(rename = "success")]
    Completed,
    /// The execution failed permanently.
    Failed,
    /// The attempt failed and will be retried.
    Retried,
    /// The lease was lost, or the store did not accept the result.
    Lost,
    /// The execution was given back for other workers.
    GivenBack,
}

/// An attempt that has ended on this worker.
#[derive(Debug, Serialize)]
pub struct FinishedAttempt {
    /// The ID of the execution.
    #[serde(rename = "execution_id")]
    pub id: ExecutionId,
    /// The kind.
    pub kind: ExecutionKind,
    /// The lane.
    pub lane: LaneId,
    /// The attempt, from 0.
    pub attempt: AttemptIndex,
    /// The fencing epoch of the lease.
    pub epoch: LeaseEpoch,
    /// The outcome.
    pub outcome: AttemptOutcome,
    /// How long the attempt ran on this worker, in milliseconds.
    pub ms: u64,
    /// The category of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Why the attempt did not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it will be retried, by the store's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<TimestampMs>,
}

impl FinishedAttempt {
    /// A line for people, without a line end.
    pub fn line(&self) -> String {
        let Self { id, kind, attempt, ms, .. } = self;
        let outcome = match self.outcome {
            AttemptOutcome::Completed => "completed",
            AttemptOutcome::Failed => "failed",
            AttemptOutcome::Retried => "failed (will be retried)",
            AttemptOutcome::Lost => "lost",
            AttemptOutcome::GivenBack => "given back",
        };
        let why: Vec<&str> =
            [&self.category, &self.reason].into_iter().flatten().map(|part| part.trim()).collect();
        let colon = if why.is_empty() { "" } else { ": " };
        format!("{id} {kind} {outcome} after {ms} ms, attempt {attempt}{colon}{}", why.join(": "))
    }
}

/// Runs the command for a task, and reports the result to the store.
pub async fn run(
    task: ClaimedTask,
    job: Arc<ShellJob>,
    mut shutdown: watch::Receiver<Shutdown>,
) -> FinishedAttempt {
    let started = Instant::now();
    let mut finished = FinishedAttempt {
        id: task.execution_id(),
        kind: task.execution_kind().clone(),
        lane: task.lane_id().clone(),
        attempt: task.attempt_index(),
        epoch: task.lease_epoch(),
        outcome: AttemptOutcome::Lost,
        ms: 0,
        category: None,
        reason: None,
        retry_at: None,
    };
    let lease = task.lease_watch();
    tokio::select! {
        biased;
        () = lease.lost() => {
            finished.reason = Some("the lease was lost, or the attempt timed out".to_owned());
        }
        () = requested(&mut shutdown, Shutdown::Stop) => give_back(&mut finished, task).await,
        result = shell::execute(&job, TaskEnv::from(&task), task.payload().cloned()) => {
            report(&mut finished, task, result).await;
        }
    }
    finished.ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    finished
}

/// Gives back a task that was claimed after the shutdown began.
pub async fn refuse(task: ClaimedTask) {
    // If the task cannot be given back, its lease expires.
    let _ = tokio::time::timeout(GIVE_BACK_TIMEOUT, release(task)).await;
}

/// Releases the lease. Another worker continues the same attempt.
async fn release(task: ClaimedTask) -> Result<(), SdkError> {
    let now = task.store_now();
    task.delay_execution(now).await
}

async fn give_back(finished: &mut FinishedAttempt, task: ClaimedTask) {
    match tokio::time::timeout(GIVE_BACK_TIMEOUT, release(task)).await {
        Ok(Ok(())) => finished.outcome = AttemptOutcome::GivenBack,
        Ok(Err(error)) => finished.reason = Some(error.to_string()),
        Err(_) => finished.reason = Some("the store did not answer".to_owned()),
    }
}

async fn report(finished: &mut FinishedAttempt, task: ClaimedTask, result: CommandResult) {
    let reported = match result {
        Ok(output) => task.complete(Some(output)).await.map(|()| AttemptOutcome::Completed),
        Err(HandlerError { category, reason, permanent }) => {
            let failed = match permanent {
                true => task.fail_permanently(&reason, &category).await,
                false => task.fail(&reason, &category).await,
            };
            (finished.category, finished.reason) = (Some(category), Some(reason));
            failed.map(|outcome| match outcome {
                FailOutcome::RetryScheduled { delay_until } => {
                    finished.retry_at = Some(delay_until);
                    AttemptOutcome::Retried
                }
                FailOutcome::TerminalFailed => AttemptOutcome::Failed,
            })
        }
    };
    match reported {
        Ok(outcome) => finished.outcome = outcome,
        Err(error) => finished.reason = Some(error.to_string()),
    }
}
