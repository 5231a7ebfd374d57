//! One attempt: the command is run under the task's lease, and its end reported.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_sdk::core::id::{AttemptIndex, ExecutionKind, LaneId, LeaseEpoch};
use ff_sdk::{ClaimedTask, ExecutionId, FailOutcome, HandlerError, SdkError, TimestampMs};
use serde::Serialize;
use tokio::sync::watch;

use crate::shell::{self, ShellJob, Told};
use crate::signals::{Wish, asked};

/// How long a task that is stopped may take to be given back.
const GIVE_BACK: Duration = Duration::from_secs(1);

/// The command, and what it is for.
pub struct Exec {
    /// The command.
    pub job: ShellJob,
    /// The kinds that it is for; none are all.
    pub kinds: Vec<ExecutionKind>,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Became {
    /// The execution completed.
    Completed,
    /// The execution failed for good.
    Failed,
    /// The attempt failed and is tried again.
    Retried,
    /// The lease was lost, or the store did not take the end.
    Lost,
    /// It was given back for others.
    GivenBack,
}

/// An attempt that this worker is done with.
#[derive(Debug, Serialize)]
pub struct Finished {
    /// The execution.
    pub id: ExecutionId,
    /// Its kind.
    pub kind: ExecutionKind,
    /// Its queue.
    pub lane: LaneId,
    /// The attempt, from 0.
    pub attempt: AttemptIndex,
    /// The fencing token.
    pub epoch: LeaseEpoch,
    /// What became of it.
    pub outcome: Became,
    /// How long it took here.
    pub ms: u64,
    /// By which the retry policy decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Why it did not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it is tried again, by the store's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<TimestampMs>,
}

impl Finished {
    /// For people, without a line's end.
    pub fn line(&self) -> String {
        let Self { id, kind, attempt, ms, .. } = self;
        let outcome = match self.outcome {
            Became::Completed => "completed",
            Became::Failed => "failed",
            Became::Retried => "failed, to be retried,",
            Became::Lost => "lost",
            Became::GivenBack => "given back",
        };
        let why: Vec<&str> =
            [&self.category, &self.reason].into_iter().flatten().map(|part| part.trim()).collect();
        let colon = if why.is_empty() { "" } else { ": " };
        format!("{id} {kind} {outcome} after {ms} ms, attempt {attempt}{colon}{}", why.join(": "))
    }
}

/// Runs the command for a task and reports how it ended.
pub async fn run(
    task: ClaimedTask,
    exec: Arc<Exec>,
    mut wishes: watch::Receiver<Wish>,
) -> Finished {
    let began = Instant::now();
    let mut finished = Finished {
        id: task.execution_id(),
        kind: task.execution_kind().clone(),
        lane: task.lane_id().clone(),
        attempt: task.attempt_index(),
        epoch: task.lease_epoch(),
        outcome: Became::Lost,
        ms: 0,
        category: None,
        reason: None,
        retry_at: None,
    };
    let lease = task.lease_watch();
    let ended = if exec.kinds.is_empty() || exec.kinds.contains(task.execution_kind()) {
        tokio::select! {
            biased;
            () = lease.lost() => Err("its lease was lost, or its time is over".to_owned()),
            () = asked(&mut wishes, Wish::Stop) => Ok(None),
            ran = shell::execute(&exec.job, Told::from(&task), task.payload().cloned()) => {
                Ok(Some(ran))
            }
        }
    } else {
        let reason = format!("no command for kind {}", task.execution_kind());
        Ok(Some(Err(HandlerError::new("no_handler", reason))))
    };
    match ended {
        Ok(Some(ran)) => report(&mut finished, task, ran).await,
        Ok(None) => give_back(&mut finished, task).await,
        Err(reason) => finished.reason = Some(reason),
    }
    finished.ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    finished
}

/// Gives back a task that was claimed too late to be worked on.
pub async fn refuse(task: ClaimedTask) {
    // If it cannot be given back its lease runs out.
    let _ = tokio::time::timeout(GIVE_BACK, back(task)).await;
}

/// The same attempt goes on with whoever takes it next.
async fn back(task: ClaimedTask) -> Result<(), SdkError> {
    let now = task.store_now();
    task.delay_execution(now).await
}

async fn give_back(finished: &mut Finished, task: ClaimedTask) {
    match tokio::time::timeout(GIVE_BACK, back(task)).await {
        Ok(Ok(())) => finished.outcome = Became::GivenBack,
        Ok(Err(error)) => finished.reason = Some(error.to_string()),
        Err(_) => finished.reason = Some("the store did not answer".to_owned()),
    }
}

async fn report(finished: &mut Finished, task: ClaimedTask, ran: shell::Ran) {
    let reported = match ran {
        Ok(output) => task.complete(Some(output)).await.map(|()| Became::Completed),
        Err(HandlerError { category, reason, permanent }) => {
            let failed = match permanent {
                true => task.fail_permanently(&reason, &category).await,
                false => task.fail(&reason, &category).await,
            };
            (finished.category, finished.reason) = (Some(category), Some(reason));
            failed.map(|outcome| match outcome {
                FailOutcome::RetryScheduled { delay_until } => {
                    finished.retry_at = Some(delay_until);
                    Became::Retried
                }
                FailOutcome::TerminalFailed => Became::Failed,
            })
        }
    };
    match reported {
        Ok(outcome) => finished.outcome = outcome,
        Err(error) => finished.reason = Some(error.to_string()),
    }
}
