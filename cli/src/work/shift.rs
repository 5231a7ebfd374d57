//! The loop of a worker: claim, run, report, until it is told to end or has nothing left to do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ff_sdk::{ClaimedTask, Client, FlowFabricWorker, SdkError};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::attempt::{self, Became, Exec, Finished};
use crate::outcome::{Failed, print, warn};
use crate::report::printable;
use crate::signals::{Wish, asked};

/// What is due within this time is waited for by a worker that ends when nothing is left.
const SOON: Duration = Duration::from_secs(60);
/// How long to wait after the store refused a claim or did not answer one.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the store may take before the user is told, and how often that is repeated.
const SLOW: Duration = Duration::from_secs(3);
/// How long a claim under way is waited for once the worker is to end.
const LAST_CLAIM: Duration = Duration::from_secs(1);

/// When a worker ends by itself.
pub struct Limits {
    /// After so many executions.
    pub max: u64,
    /// When nothing is left to do.
    pub until_idle: bool,
    /// After this time.
    pub timeout: Option<Duration>,
}

/// What is told of each execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// Nothing.
    Nothing,
    /// A line.
    Lines,
    /// A JSON object.
    Json,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With nothing left running.
    AsTold,
    /// At once.
    Stopped,
}

/// What became of the attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Executions that completed.
    pub completed: u64,
    /// Executions that failed for good.
    pub failed: u64,
    /// Attempts that failed and are tried again.
    pub retried: u64,
    /// Attempts whose lease was lost, or whose end the store did not take.
    pub lost: u64,
    /// Executions that were given back.
    pub given_back: u64,
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { completed, failed, retried, lost, given_back } = self;
        write!(
            f,
            "{completed} completed, {failed} failed, {retried} to be retried, {lost} lost, \
             {given_back} given back"
        )
    }
}

/// A worker's time at work.
pub struct Shift {
    worker: FlowFabricWorker,
    client: Client,
    exec: Arc<Exec>,
    limits: Limits,
    tell: Tell,
    wishes: watch::Receiver<Wish>,
    running: JoinSet<Finished>,
    claimed: u64,
    ends_at: Option<Instant>,
    /// When the user was last told that the store does not answer.
    warned: Option<Instant>,
    sums: Sums,
}

impl Shift {
    /// A shift that has not begun.
    pub fn new(
        worker: FlowFabricWorker,
        client: Client,
        exec: Exec,
        limits: Limits,
        tell: Tell,
        wishes: watch::Receiver<Wish>,
    ) -> Self {
        let ends_at = limits.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self {
            worker,
            client,
            exec: Arc::new(exec),
            limits,
            tell,
            wishes,
            running: JoinSet::new(),
            claimed: 0,
            ends_at,
            warned: None,
            sums: Sums::default(),
        }
    }

    /// Works until the end, and waits for what runs then.
    pub async fn run(mut self) -> Result<(End, Sums), Failed> {
        loop {
            while let Some(ended) = self.running.try_join_next() {
                self.note(ended)?;
            }
            if self.is_over() {
                break;
            }
            let left = usize::try_from(self.limits.max - self.claimed).unwrap_or(usize::MAX);
            let room = self.worker.free_slots().min(left);
            if room == 0 {
                self.rest(std::future::pending()).await?;
                continue;
            }
            match self.claim(room).await {
                None => break,
                Some(Ok(tasks)) if tasks.is_empty() => {
                    self.answered();
                    if self.limits.until_idle && self.running.is_empty() && self.is_idle().await {
                        break;
                    }
                    let worker = self.worker.clone();
                    self.rest(worker.wait_for_work()).await?;
                }
                Some(Ok(tasks)) => {
                    self.answered();
                    self.start(tasks).await;
                }
                Some(Err(error)) => {
                    self.complain(&error.to_string());
                    self.rest(tokio::time::sleep(PAUSE)).await?;
                }
            }
        }
        self.drain().await
    }

    /// Whether nothing more is to be claimed.
    fn is_over(&self) -> bool {
        *self.wishes.borrow() > Wish::Work
            || self.claimed >= self.limits.max
            || self.ends_at.is_some_and(|end| end <= Instant::now())
    }

    /// Waits for something to do, an execution that ends, or the end of the shift.
    async fn rest(&mut self, until: impl Future<Output = ()>) -> Result<(), Failed> {
        let Self { running, wishes, ends_at, .. } = self;
        let ended = tokio::select! {
            biased;
            Some(ended) = running.join_next() => Some(ended),
            () = over(wishes, *ends_at) => None,
            () = until => None,
        };
        ended.map_or(Ok(()), |ended| self.note(ended))
    }

    /// Claims up to so many executions; nothing when the shift ended meanwhile. Dropping a claim
    /// may leave an execution claimed until its lease runs out, so that it is waited for.
    async fn claim(&mut self, room: usize) -> Option<Result<Vec<ClaimedTask>, SdkError>> {
        let worker = self.worker.clone();
        let claim = worker.claim_many(room);
        tokio::pin!(claim);
        let (mut wishes, ends_at) = (self.wishes.clone(), self.ends_at);
        let end = async {
            over(&mut wishes, ends_at).await;
            tokio::time::sleep(LAST_CLAIM).await;
        };
        tokio::pin!(end);
        loop {
            tokio::select! {
                biased;
                claimed = &mut claim => return Some(claimed),
                () = &mut end => return None,
                () = tokio::time::sleep(SLOW) => self.complain("no answer yet"),
            }
        }
    }

    /// Starts a command for each, or gives them back when the shift ended meanwhile.
    async fn start(&mut self, tasks: Vec<ClaimedTask>) {
        for task in tasks {
            if self.is_over() {
                attempt::refuse(task).await;
                continue;
            }
            self.claimed += 1;
            self.running.spawn(attempt::run(task, self.exec.clone(), self.wishes.clone()));
        }
    }

    async fn is_idle(&mut self) -> bool {
        let lanes = self.worker.config().lanes.clone();
        let idle = self.client.is_idle(&lanes, SOON).await;
        idle.unwrap_or_else(|error| {
            self.complain(&error.to_string());
            false
        })
    }

    /// Waits for what runs; a wish to stop is for each to follow.
    async fn drain(mut self) -> Result<(End, Sums), Failed> {
        if !self.running.is_empty() && *self.wishes.borrow() == Wish::Drain {
            warn("ff: draining: running commands end; press Ctrl-C again to stop them\n");
        }
        while let Some(ended) = self.running.join_next().await {
            self.note(ended)?;
        }
        let stopped = *self.wishes.borrow() == Wish::Stop;
        Ok((if stopped { End::Stopped } else { End::AsTold }, self.sums))
    }

    fn note(&mut self, ended: Result<Finished, JoinError>) -> Result<(), Failed> {
        let finished = ended.map_err(|error| Failed::runtime(format!("a task ended: {error}")))?;
        *match finished.outcome {
            Became::Completed => &mut self.sums.completed,
            Became::Failed => &mut self.sums.failed,
            Became::Retried => &mut self.sums.retried,
            Became::Lost => &mut self.sums.lost,
            Became::GivenBack => &mut self.sums.given_back,
        } += 1;
        match self.tell {
            Tell::Nothing => Ok(()),
            Tell::Lines => print(&format!("{}\n", printable(&finished.line()))),
            Tell::Json => print(&format!("{}\n", json!(finished))),
        }
    }

    /// Tells the user that the store does not do what it should, now and then.
    fn complain(&mut self, problem: &str) {
        if self.warned.is_none_or(|warned| warned.elapsed() >= SLOW) {
            self.warned = Some(Instant::now());
            warn(&format!("ff: the store: {}; trying again\n", printable(problem)));
        }
    }

    fn answered(&mut self) {
        if self.warned.take().is_some() {
            warn("ff: the store answers again\n");
        }
    }
}

/// Resolves when nothing more is to be claimed.
async fn over(wishes: &mut watch::Receiver<Wish>, ends_at: Option<Instant>) {
    let timeout = async {
        match ends_at {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = asked(wishes, Wish::Drain) => {}
        () = timeout => {}
    }
}
