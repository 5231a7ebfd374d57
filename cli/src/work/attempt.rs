//! One attempt: runs the command under the lease of the task, and reports the result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_sdk::core::id::{AttemptIndex, ExecutionKind, LaneId, LeaseEpoch};
use ff_sdk::{ClaimedTask, ExecutionId, FailOutcome, TimestampMs};
use serde::Serialize;
use tokio::sync::watch;

use crate::shell::{self, CommandResult, Ending, ShellJob, TaskEnv};
use crate::shutdown::{Shutdown, requested};

/// How long giving back a task may take.
const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long reporting a result may take after a request to stop.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);

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

/// Why a command was ended.
enum Stopped {
    LeaseLost,
    Shutdown,
}

/// Waits until the command of a task has to be ended.
async fn stopped(task: &ClaimedTask, mut shutdown: watch::Receiver<Shutdown>) -> Stopped {
    let lease = task.lease_watch();
    tokio::select! {
        biased;
        () = lease.lost() => Stopped::LeaseLost,
        () = requested(&mut shutdown, Shutdown::Stop) => Stopped::Shutdown,
    }
}

/// Waits until commands that are being ended must be killed.
async fn killed(mut shutdown: watch::Receiver<Shutdown>) {
    requested(&mut shutdown, Shutdown::Kill).await;
}

/// Waits until reporting a result has to end: a second after the request to stop.
async fn interrupted(mut shutdown: watch::Receiver<Shutdown>) {
    requested(&mut shutdown, Shutdown::Stop).await;
    tokio::select! {
        () = tokio::time::sleep(REPORT_TIMEOUT) => {}
        () = requested(&mut shutdown, Shutdown::Kill) => {}
    }
}

/// Runs the command for a task, and reports the result to the store. If the command is ended, its
/// processes have `grace` between SIGTERM and SIGKILL.
pub async fn run(
    task: ClaimedTask,
    job: Arc<ShellJob>,
    grace: Duration,
    shutdown: watch::Receiver<Shutdown>,
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
    let ending =
        Ending { when: stopped(&task, shutdown.clone()), grace, kill: killed(shutdown.clone()) };
    let payload = task.payload().cloned();
    match shell::execute(&job, TaskEnv::from(&task), payload, ending).await {
        Ok(result) => {
            tokio::select! {
                biased;
                () = report(&mut finished, task, result) => {}
                () = interrupted(shutdown) => {
                    let reason = "the store did not answer before the shutdown: the result may be \
                                  lost, and another worker runs the execution again";
                    finished.reason = Some(reason.to_owned());
                }
            }
        }
        Err(Stopped::LeaseLost) => {
            finished.reason = Some("the lease was lost, or the attempt timed out".to_owned());
        }
        Err(Stopped::Shutdown) => give_back(&mut finished, task).await,
    }
    finished.ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    finished
}

/// Gives back a task that was claimed after the shutdown began.
pub async fn refuse(task: ClaimedTask) {
    // If the task cannot be given back, its lease expires.
    let _ = tokio::time::timeout(GIVE_BACK_TIMEOUT, task.give_back()).await;
}

async fn give_back(finished: &mut FinishedAttempt, task: ClaimedTask) {
    match tokio::time::timeout(GIVE_BACK_TIMEOUT, task.give_back()).await {
        Ok(Ok(())) => finished.outcome = AttemptOutcome::GivenBack,
        Ok(Err(error)) => finished.reason = Some(error.to_string()),
        Err(_) => finished.reason = Some("the store did not answer".to_owned()),
    }
}

async fn report(finished: &mut FinishedAttempt, task: ClaimedTask, result: CommandResult) {
    let reported = match result {
        Ok(output) => task.complete(Some(output)).await.map(|()| AttemptOutcome::Completed),
        Err(error) => {
            let failed = match error.is_permanent() {
                true => task.fail_permanently(error.reason(), error.category()).await,
                false => task.fail(error.reason(), error.category()).await,
            };
            finished.category = Some(error.category().to_owned());
            finished.reason = Some(error.reason().to_owned());
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
