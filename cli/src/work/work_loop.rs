//! The loop of a worker: claims, runs and reports until a shutdown or a limit.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ff_sdk::core::error::{Bug, EngineError};
use ff_sdk::{ClaimedTask, Client, FlowFabricWorker, SdkError};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::shell::ShellJob;

use super::attempt::{self, AttemptOutcome, FinishedAttempt};
use super::printer::Printer;
use crate::exit::{CliError, warn};
use crate::report::printable;
use crate::shutdown::{Shutdown, requested, stopping_message, waiting_message};

/// With --until-idle, the worker waits for executions that are due within this time.
const IDLE_HORIZON: Duration = Duration::from_secs(60);
/// The pause after the store refused a claim or did not answer one.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long the end of the loop waits until the worker is deregistered.
const DEREGISTER: Duration = Duration::from_secs(1);

/// How long a shutdown waits for a claim that was already sent.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(1);

/// When the loop ends without a shutdown, and the time that commands have to end.
pub struct Limits {
    /// After this number of executions.
    pub max: u64,
    /// When no work is left.
    pub until_idle: bool,
    /// After this time.
    pub timeout: Option<Duration>,
    /// The time between SIGTERM and SIGKILL for a command that is ended.
    pub grace: Duration,
}

/// The output for each finished attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Nothing.
    Quiet,
    /// A line of text.
    Lines,
    /// A JSON object.
    Json,
}

/// The number of attempts by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Executions that completed.
    pub completed: u64,
    /// Executions that failed permanently.
    pub failed: u64,
    /// Attempts that failed and will be retried.
    pub retried: u64,
    /// Attempts whose lease was lost, or whose result the store did not accept.
    pub lost: u64,
    /// Executions that were given back.
    pub given_back: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { completed, failed, retried, lost, given_back } = self;
        write!(
            f,
            "{completed} completed, {failed} failed, {retried} to be retried, {lost} lost, \
             {given_back} given back"
        )
    }
}

/// How the loop has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whether its tasks were stopped.
    pub stopped: bool,
    /// Whether all outcomes were printed.
    pub is_printed: bool,
    /// The number of attempts by outcome.
    pub counts: Counts,
}

/// The loop of a worker.
pub struct WorkLoop {
    worker: FlowFabricWorker,
    client: Client,
    job: Arc<ShellJob>,
    limits: Limits,
    output: Output,
    printer: Printer,
    shutdown: watch::Receiver<Shutdown>,
    running: JoinSet<FinishedAttempt>,
    claimed: u64,
    ends_at: Option<Instant>,
    /// Why the last claim failed.
    claim_error: Option<String>,
    counts: Counts,
}

impl WorkLoop {
    /// A loop that has not started.
    pub fn new(
        worker: FlowFabricWorker,
        client: Client,
        job: ShellJob,
        limits: Limits,
        output: Output,
        shutdown: watch::Receiver<Shutdown>,
    ) -> Self {
        let ends_at = limits.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self {
            worker,
            client,
            job: Arc::new(job),
            limits,
            output,
            printer: Printer::start(),
            shutdown,
            running: JoinSet::new(),
            claimed: 0,
            ends_at,
            claim_error: None,
            counts: Counts::default(),
        }
    }

    /// Runs until the end, and waits for the running tasks. Fails when this program is too old for
    /// the store.
    pub async fn run(mut self) -> Result<Ended, CliError> {
        loop {
            while let Some(ended) = self.running.try_join_next() {
                self.finished(ended).await?;
            }
            if self.is_over() {
                break;
            }
            let left = usize::try_from(self.limits.max - self.claimed).unwrap_or(usize::MAX);
            let free = self.worker.free_slots().min(left);
            if free == 0 {
                self.wait(std::future::pending()).await?;
                continue;
            }
            match self.claim(free).await {
                None => break,
                Some(Ok(tasks)) if tasks.is_empty() => {
                    self.claim_error = None;
                    if self.limits.until_idle && self.running.is_empty() && self.is_idle().await {
                        break;
                    }
                    let worker = self.worker.clone();
                    self.wait(worker.wait_for_work()).await?;
                }
                Some(Ok(tasks)) => {
                    self.claim_error = None;
                    self.start(tasks).await;
                }
                Some(Err(error)) if ends_claiming(&error) => {
                    warn(&format!("ff: this worker claims no more executions: {error}\n"));
                    let ended = self.drain().await?;
                    warn(&format!("ff: {}\n", ended.counts));
                    return Err(error.into());
                }
                Some(Err(error)) => {
                    self.claim_failed(&error);
                    self.wait(tokio::time::sleep(RETRY_PAUSE)).await?;
                }
            }
        }
        self.drain().await
    }

    /// Whether no more tasks may be claimed.
    fn is_over(&self) -> bool {
        *self.shutdown.borrow() > Shutdown::No
            || self.claimed >= self.limits.max
            || self.ends_at.is_some_and(|end| end <= Instant::now())
    }

    /// Waits for `until`, for an attempt that ends, or for the end of the loop.
    async fn wait(&mut self, until: impl Future<Output = ()>) -> Result<(), CliError> {
        let Self { running, shutdown, ends_at, .. } = self;
        let ended = tokio::select! {
            biased;
            Some(ended) = running.join_next() => Some(ended),
            () = over(shutdown, *ends_at) => None,
            () = until => None,
        };
        match ended {
            Some(ended) => self.finished(ended).await,
            None => Ok(()),
        }
    }

    /// Claims up to `free` tasks. `None` if the loop ended first. Dropping a claim may leave an
    /// execution claimed until its lease expires, so that the end waits a little for the claim.
    async fn claim(&mut self, free: usize) -> Option<Result<Vec<ClaimedTask>, SdkError>> {
        let worker = self.worker.clone();
        let claim = worker.claim_many(free);
        let (mut shutdown, ends_at) = (self.shutdown.clone(), self.ends_at);
        let end = async {
            over(&mut shutdown, ends_at).await;
            tokio::time::sleep(CLAIM_TIMEOUT).await;
        };
        tokio::select! {
            biased;
            claimed = claim => Some(claimed),
            () = end => None,
        }
    }

    /// Starts the command for each task, or gives the tasks back if the loop has ended.
    async fn start(&mut self, tasks: Vec<ClaimedTask>) {
        let mut refused = JoinSet::new();
        for task in tasks {
            if self.is_over() {
                refused.spawn(attempt::refuse(task));
                continue;
            }
            self.claimed += 1;
            let (job, grace) = (self.job.clone(), self.limits.grace);
            self.running.spawn(attempt::run(task, job, grace, self.shutdown.clone()));
        }
        refused.join_all().await;
    }

    async fn is_idle(&mut self) -> bool {
        let (lanes, kinds) =
            (self.worker.config().lanes.clone(), self.worker.config().kinds.clone());
        let mut shutdown = self.shutdown.clone();
        let idle = tokio::select! {
            idle = self.client.is_idle(&lanes, &kinds, IDLE_HORIZON) => idle,
            () = over(&mut shutdown, self.ends_at) => return false,
        };
        idle.unwrap_or_else(|error| {
            self.claim_failed(&error);
            false
        })
    }

    /// Waits for the running tasks. Each of them follows a request to stop.
    async fn drain(mut self) -> Result<Ended, CliError> {
        if !self.running.is_empty() && *self.shutdown.borrow() == Shutdown::Drain {
            warn(&format!("{}\n", waiting_message(self.running.len() as u64)));
        }
        let mut stops = self.shutdown.clone();
        let mut stopping = false;
        loop {
            let ended = tokio::select! {
                biased;
                ended = self.running.join_next() => ended,
                () = requested(&mut stops, Shutdown::Stop), if !stopping => {
                    stopping = true;
                    warn(&format!("{}\n", stopping_message(self.running.len() as u64)));
                    continue;
                }
            };
            let Some(ended) = ended else { break };
            self.finished(ended).await?;
        }
        // Executions may wait for the slots of quotas that these have freed.
        tokio::select! {
            biased;
            () = requested(&mut stops, Shutdown::Stop) => {}
            () = self.worker.settle() => {}
        }
        let is_printed = self.printer.finish(self.shutdown.clone()).await;
        let stopped = *self.shutdown.borrow() >= Shutdown::Stop;
        // A store that does not answer lets the registration expire.
        let _ = tokio::time::timeout(DEREGISTER, self.worker.deregister()).await;
        Ok(Ended { stopped, is_printed, counts: self.counts })
    }

    /// Counts and prints a finished attempt.
    async fn finished(
        &mut self,
        ended: Result<FinishedAttempt, JoinError>,
    ) -> Result<(), CliError> {
        let panicked = |error| CliError::runtime(format!("a task stopped unexpectedly: {error}"));
        let finished = ended.map_err(panicked)?;
        if self.output == Output::Quiet {
            log(&finished);
        }
        *match finished.outcome {
            AttemptOutcome::Completed => &mut self.counts.completed,
            AttemptOutcome::Failed => &mut self.counts.failed,
            AttemptOutcome::Retried => &mut self.counts.retried,
            AttemptOutcome::Lost => &mut self.counts.lost,
            AttemptOutcome::GivenBack => &mut self.counts.given_back,
        } += 1;
        let line = match self.output {
            Output::Quiet => return Ok(()),
            Output::Lines => printable(&finished.line()),
            Output::Json => json!(finished).to_string(),
        };
        self.printer.print(line, self.shutdown.clone()).await;
        Ok(())
    }

    /// Warns of a failed call, once for each reason. The backend reports a store that does not
    /// answer, or refuses everything.
    fn claim_failed(&mut self, error: &SdkError) {
        let text = error.to_string();
        if is_outage(error) || self.claim_error.as_ref() == Some(&text) {
            tracing::debug!(%error, "cannot claim");
        } else {
            tracing::warn!("cannot claim; trying again: {}", printable(&text));
        }
        self.claim_error = Some(text);
    }
}

/// Logs a finished attempt: a failure of the execution and a lost lease as warnings.
fn log(finished: &FinishedAttempt) {
    let line = printable(&finished.line());
    match finished.outcome {
        AttemptOutcome::Completed => tracing::debug!("{line}"),
        AttemptOutcome::Retried | AttemptOutcome::GivenBack => tracing::info!("{line}"),
        AttemptOutcome::Failed | AttemptOutcome::Lost => tracing::warn!("{line}"),
    }
}

/// Whether the store did not answer, or refused the call.
const fn is_outage(error: &SdkError) -> bool {
    use EngineError::{Timeout, Transport, Unreachable};
    matches!(error.engine(), Some(Timeout { .. } | Transport { .. } | Unreachable { .. }))
}

/// Waits until no more tasks may be claimed.
async fn over(shutdown: &mut watch::Receiver<Shutdown>, ends_at: Option<Instant>) {
    let timeout = async {
        match ends_at {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = requested(shutdown, Shutdown::Drain) => {}
        () = timeout => {}
    }
}

/// Whether this program is too old for a record that it met, or its store is lost.
const fn ends_claiming(error: &SdkError) -> bool {
    use EngineError::{Bug as Defect, StoreLost};
    matches!(error.engine(), Some(Defect(Bug::NewerFormat { .. }) | StoreLost { .. }))
}
