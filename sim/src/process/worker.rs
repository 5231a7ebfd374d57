//! A worker's process: the loop around a [`WorkerAgent`], and the handlers of its executions.

mod registering;
mod waiting;

use std::collections::{BTreeMap, VecDeque};

use ff_core::agent::{DrawnWork, Registration, WorkerAgent, WorkerProfile};
use ff_core::entropy::Entropy;
use ff_core::error::{EngineError, ErrorClass};
use ff_core::execution::{AnyCommand, AnyOutcome, Claim, Claimed, Fence, Offered, ReleaseGrant};
use ff_core::id::{AttemptId, ExecutionId, GrantId, LeaseId, Nonce, WorkerId};
use ff_core::op::{Committed, Known};
use ff_core::partition::Partition;
use ff_core::store::Wake;
use ff_core::time::{DurationMs, TimestampMs};

use crate::determinism::hash::hashed;
use crate::determinism::random::{Draws, Source, TAKE, between, happens, one_of, stream};
use crate::plan::ActionKind;
use crate::plan::settings::WaitRates;
use crate::process::task::{Origin, Output};
use crate::report::coverage::CommandKind;

use super::context::{About, Context, GrantInHand, Notice, Way};
use super::gather::Gatherer;
use super::job::{Act, Job};
use super::operator_calls::as_holder;
use super::sent_commands::SentCommands;
use super::submissions;

/// How many former leases it remembers.
const MOST_REMEMBERED: usize = 32;

/// A worker's process.
#[derive(Debug)]
pub struct WorkerProcess {
    /// The agent that it runs.
    pub agent: WorkerAgent,
    jobs: BTreeMap<LeaseId, Job>,
    claiming: bool,
    next_claim: TimestampMs,
    seed: u64,
    wait_rates: WaitRates,
    entropy: Entropy,
    /// Whether its handlers continue after their lease is lost.
    reckless: bool,
    /// Grants that it has used already.
    used: Vec<GrantInHand>,
    /// Completions that travel together.
    gatherer: Gatherer,
    /// The commands that it has sent for its handlers.
    sent: SentCommands,
    /// Its leases, including former ones, the latest last.
    had: VecDeque<(ExecutionId, Fence)>,
    /// Its registration, if the workers of this run register.
    registration: Option<Registration>,
    /// How long it runs before it shuts down; `None`: until it crashes.
    lives: Option<DurationMs>,
    /// When it shuts down, by its own clock.
    ends_at: Option<TimestampMs>,
}

impl WorkerProcess {
    /// A process of a worker. `key`: the key of its start.
    pub fn new(
        seed: u64,
        wait_rates: WaitRates,
        profile: WorkerProfile,
        key: u64,
        mut entropy: Entropy,
    ) -> Self {
        let registers = &mut stream(seed, "registration", key);
        let (take_over, ends) = (happens(registers, 600), happens(registers, 300));
        let lives = ends.then(|| DurationMs::new(between(registers, 100, 20_000)));
        let registration = (wait_rates.registry > 0).then(|| {
            let (nonce, version) = (Nonce(registers.next_u64()), "1.0".to_owned());
            Registration::new(&profile, version, take_over, nonce, registers.fork())
        });
        let agent = WorkerAgent::new(profile, entropy.fork());
        let reckless = happens(&mut entropy, 300);
        Self {
            agent,
            jobs: BTreeMap::new(),
            claiming: false,
            next_claim: TimestampMs::ZERO,
            seed,
            wait_rates,
            entropy,
            reckless,
            used: Vec::new(),
            gatherer: Gatherer::default(),
            sent: SentCommands::default(),
            had: VecDeque::new(),
            registration,
            lives,
            ends_at: None,
        }
    }

    /// Takes the steps that are due.
    pub fn wake(&mut self, cx: &mut Context<'_>) {
        for lost in self.agent.leases.ran_out(cx.now) {
            self.lose(lost.lease_id);
        }
        for renewal in self.agent.renewals(cx.now) {
            let (id, command) = (renewal.lease_id, renewal.operation.command().clone());
            let understand = move |result| Output::Renewed(id, result);
            cx.begin(About::Command(command.into(), None), renewal.operation, understand);
        }
        for lease_id in self.jobs.keys().copied().collect::<Vec<_>>() {
            self.act(lease_id, cx);
        }
        self.keep_registered(cx);
        let free = self.agent.profile().slots.saturating_sub(self.jobs.len());
        let claims = !self.claiming && self.may_claim();
        if claims && free > 0 && self.next_claim <= cx.now.local {
            self.claiming = true;
            cx.begin(About::Each(CommandKind::Offer), self.agent.claim(free), Output::Claimed);
        }
        cx.wake_at(self.next_wake());
    }

    fn next_wake(&self) -> TimestampMs {
        let jobs = self.jobs.values().filter(|job| !job.busy).map(|job| job.next_at);
        let claims = !self.claiming && self.may_claim();
        let claim =
            (claims && self.jobs.len() < self.agent.profile().slots).then_some(self.next_claim);
        jobs.chain(claim)
            .chain(self.next_registering())
            .fold(self.agent.leases.next_wakeup().unwrap_or(TimestampMs::MAX), TimestampMs::min)
    }

    /// Takes the next actions of a job, as far as they are due.
    fn act(&mut self, lease_id: LeaseId, cx: &mut Context<'_>) {
        while let Some(job) = self.jobs.get_mut(&lease_id) {
            if job.busy || job.next_at > cx.now.local {
                return;
            }
            if let Some((command, _)) = job.finishing.clone() {
                job.busy = true;
                self.send(Origin::Finish(lease_id), command, cx);
                return;
            }
            if job.asking.is_some() {
                self.ask(lease_id, cx);
                return;
            }
            let (act, key) = job.next_act();
            match act {
                Some(Act::Work(ms)) => job.next_at = cx.now.local.plus(DurationMs::new(ms)),
                Some(Act::Progress(percent)) => {
                    if cx.performs(ActionKind::Progress, key) {
                        job.busy = true;
                        let command = job.progress(percent);
                        self.send(Origin::Progress(lease_id), command, cx);
                    }
                }
                Some(Act::Waitpoint) => {
                    if cx.performs(ActionKind::Suspend, key) {
                        job.asking = Some((job.waitpoint(), 0));
                    }
                }
                Some(Act::Suspend) => {
                    if cx.performs(ActionKind::Suspend, key) {
                        self.suspend(lease_id, cx);
                    }
                }
                Some(Act::Frame) => {
                    if cx.performs(ActionKind::Frame, key) {
                        job.asking = Some((job.frame(), 0));
                    }
                }
                Some(Act::ReadSignals) => self.read_signals(lease_id, cx),
                Some(Act::Neglect) => {
                    if cx.performs(ActionKind::Neglect, key) {
                        self.agent.leases.release(lease_id);
                    }
                }
                Some(Act::Finish(how)) => {
                    job.finishing = Some((job.finish(&how, cx.now.store), 0));
                }
                Some(Act::Drop) | None => {
                    if act.is_none() || cx.performs(ActionKind::Drop, key) {
                        self.agent.leases.release(lease_id);
                        self.jobs.remove(&lease_id);
                    }
                }
            }
        }
    }

    fn send(&mut self, origin: Origin, command: AnyCommand, cx: &mut Context<'_>) {
        let stale = happens(&mut self.entropy, 300);
        let patience = self.agent.patience();
        self.sent.note(&command);
        match origin {
            Origin::Finish(lease_id) if matches!(command, AnyCommand::Complete(_)) => {
                let known = if stale { Known::Nothing } else { self.agent.leases.known(lease_id) };
                self.gatherer.complete(origin, command, known, patience, cx);
            }
            // As the SDK does: with the record that the latest commit of this process has left.
            Origin::Finish(lease_id) | Origin::Progress(lease_id) | Origin::Frame(lease_id)
                if !stale =>
            {
                let known = self.agent.leases.known(lease_id);
                cx.command_knowing(origin, command, known, patience);
            }
            _ => cx.command(origin, command, stale, patience),
        }
    }

    /// Stops the handler of a lost lease, unless the worker is reckless.
    fn lose(&mut self, lease_id: LeaseId) {
        if !self.reckless {
            self.jobs.remove(&lease_id);
        }
    }

    /// Takes over claimed work.
    pub fn claimed(&mut self, result: Result<DrawnWork, EngineError>, cx: &mut Context<'_>) {
        self.claiming = false;
        let pause = between(&mut self.entropy, 300, 1_000);
        self.next_claim = cx.now.local.plus(DurationMs::new(pause));
        if let Ok(DrawnWork { mut work, queues, .. }) = result {
            self.agent.claimed(&mut work, queues);
            for work in work {
                self.next_claim = cx.now.local;
                self.begin(work.claimed, cx);
            }
        }
        self.wake(cx);
    }

    fn begin(&mut self, claimed: Claimed, cx: &Context<'_>) {
        let lease_id = claimed.lease_id;
        if self.had.len() == MOST_REMEMBERED {
            self.had.pop_front();
        }
        self.had.push_back((claimed.execution_id, claimed.fence()));
        let (seed, wait_rates) = (self.seed, self.wait_rates);
        let job = Job::new(seed, wait_rates, claimed, cx.healing, cx.now.local);
        self.jobs.insert(lease_id, job);
    }

    /// Takes over the result of a renewal.
    pub fn renewed(
        &mut self,
        lease_id: LeaseId,
        result: Result<Committed<ff_core::execution::Renewed>, EngineError>,
        cx: &mut Context<'_>,
    ) {
        if let Some(lost) = self.agent.leases.renewed(lease_id, result, cx.now) {
            self.lose(lost.lease_id);
        }
        self.wake(cx);
    }

    /// Takes over a wake-up of a lane, or of the executions that no worker fitted.
    pub fn ring(&mut self, wake: &Wake, cx: &mut Context<'_>) {
        self.agent.wake(Some(wake));
        self.next_claim = cx.now.local;
        self.wake(cx);
    }

    /// Takes over the answer to a command.
    pub fn answered(
        &mut self,
        origin: Origin,
        result: Result<Committed<AnyOutcome>, EngineError>,
        cx: &mut Context<'_>,
    ) {
        self.gatherer.answered(origin, cx);
        if let (Some(lease_id), Err(error)) = (origin.lease_id(), &result) {
            self.agent.leases.failed(lease_id, error);
        }
        match (origin, result) {
            (Origin::Finish(lease_id), result) => self.finished(lease_id, &result, cx),
            (Origin::Progress(lease_id), result) => {
                if let Ok(committed) = result {
                    self.agent.leases.learn(lease_id, committed.record);
                }
                if let Some(job) = self.jobs.get_mut(&lease_id) {
                    job.busy = false;
                }
            }
            (
                Origin::Suspend(lease_id) | Origin::Waitpoint(lease_id) | Origin::Frame(lease_id),
                result,
            ) => self.asked(lease_id, result, cx),
            (Origin::Take, Ok(committed)) => {
                if let Some(claimed) = claimed_by(committed.outcome) {
                    // A repeated claim may have lost much of its lease, so the lease is left to
                    // expire.
                    if !committed.repeat {
                        let record = committed.record;
                        self.agent.track(&claimed, record, committed.first_sent, committed.at);
                        self.begin(claimed, cx);
                    }
                }
            }
            _ => {}
        }
        self.wake(cx);
    }

    /// Takes over the answers to completions that were carried together.
    pub fn gathered(
        &mut self,
        partition: Partition,
        answers: Vec<(Origin, Result<Committed<AnyOutcome>, EngineError>)>,
        cx: &mut Context<'_>,
    ) {
        for (origin, result) in answers {
            if let Origin::Finish(lease_id) = origin {
                self.finished(lease_id, &result, cx);
            }
        }
        self.gatherer.returned(partition, cx);
        self.wake(cx);
    }

    /// Reacts to an event of an execution: a handler that had it once calls again.
    pub fn notice(&mut self, notice: Notice, cx: &mut Context<'_>) {
        if cx.healing || !cx.performs(ActionKind::React, notice.key) {
            return;
        }
        let mut entropy = stream(self.seed, "meddle", notice.key);
        if happens(&mut entropy, 300) && self.may_claim() {
            self.take_at_once(notice.id, &mut entropy, cx);
            return;
        }
        let again = self.sent.about(notice.id, &mut entropy);
        let again = again.filter(|again| self.may_claim() || !CommandKind::from(again).claims());
        let is_over = |(id, fence): &&(ExecutionId, Fence)| {
            *id == notice.id && !self.jobs.contains_key(&fence.lease_id)
        };
        let had = self.had.iter().filter(is_over).map(|(_, fence)| *fence).next_back();
        let command = match (again, had) {
            (Some(command), _) if happens(&mut entropy, 600) => Some(command),
            (_, Some(fence)) => Some(as_holder(notice.id, fence.into(), &mut entropy)),
            (again, None) => again,
        };
        if let Some(command) = command {
            self.send(Origin::Afterwards, command, cx);
        }
    }

    fn finished(
        &mut self,
        lease_id: LeaseId,
        result: &Result<Committed<AnyOutcome>, EngineError>,
        cx: &mut Context<'_>,
    ) {
        let Some(job) = self.jobs.get_mut(&lease_id) else { return };
        job.busy = false;
        let again = match (result, &mut job.finishing) {
            (Err(error), Some((_, tries))) => {
                *tries += 1;
                *tries < 3 && error.class() == ErrorClass::Retryable
            }
            _ => false,
        };
        if again {
            job.next_at = cx.now.local.plus(DurationMs::new(50));
            return;
        }
        self.agent.leases.release(lease_id);
        let Some(mut job) = self.jobs.remove(&lease_id) else { return };
        self.next_claim = cx.now.local;
        if let Some((command, key)) = job.afterwards(cx.now.store)
            && cx.performs(ActionKind::Afterwards, key)
        {
            self.send(Origin::Afterwards, command, cx);
        }
    }

    /// Uses a grant, sometimes twice, sometimes as another worker, sometimes the wrong way.
    pub fn take(&mut self, grant: GrantInHand, cx: &mut Context<'_>) {
        if !self.may_claim() {
            return;
        }
        let key = hashed(grant.grant_id.uuid().as_bytes());
        let mut draws = Draws::new(self.seed, TAKE, key.wrapping_add(self.used.len() as u64));
        let twice = happens(&mut draws, 300);
        let old = self.used.get(draws.below(self.used.len() as u64) as usize).copied();
        let old = old.filter(|_| happens(&mut draws, 300));
        self.used.push(grant);
        for (number, grant) in [Some(grant), twice.then_some(grant), old].iter().enumerate() {
            let way = draws.below(10);
            let wrong = happens(&mut draws, 100);
            let Some(grant) = grant else { continue };
            if !cx.performs(ActionKind::Take, (key & !0xff) + number as u64) {
                continue;
            }
            let way = match way {
                0 => Way::New,
                1 => Way::Resumed,
                2 | 3 => Way::Over,
                // As a worker does that was slow with the work that it drew.
                4 => Way::Offered,
                _ => grant.way,
            };
            self.take_by(way, grant, wrong, cx);
        }
    }

    /// Tries to claim an execution in any way, or to give its grant back, under a former grant or a
    /// forged one.
    fn take_at_once(&mut self, id: ExecutionId, entropy: &mut Entropy, cx: &mut Context<'_>) {
        let had = self.used.iter().rev().find(|grant| grant.execution_id == id).copied();
        let grant_id = GrantId::random(entropy);
        let grant = had.unwrap_or(GrantInHand { execution_id: id, grant_id, way: Way::New });
        if happens(entropy, 150) {
            let GrantInHand { execution_id, grant_id, .. } = grant;
            let worker = self.agent.profile().worker.clone();
            let release = ReleaseGrant { execution_id, grant_id, worker };
            return self.send(Origin::Afterwards, release.into(), cx);
        }
        let ways = [Way::New, Way::Resumed, Way::Over, Way::Offered];
        self.take_by(one_of(entropy, &ways), &grant, false, cx);
    }

    fn take_by(&mut self, way: Way, grant: &GrantInHand, wrong: bool, cx: &mut Context<'_>) {
        let mut claim = self.claim_under(grant, wrong);
        if way == Way::Offered {
            claim.grant_id = GrantId::random(self.agent.entropy());
        }
        let command = way.command(claim, &self.agent.profile().capabilities);
        self.send(Origin::Take, command, cx);
    }

    fn claim_under(&mut self, grant: &GrantInHand, wrong: bool) -> Claim {
        let profile = self.agent.profile().clone();
        let stranger = || WorkerId::try_new("stranger").expect("a valid id");
        let entropy = self.agent.entropy();
        Claim {
            execution_id: grant.execution_id,
            grant_id: grant.grant_id,
            worker: if wrong { stranger() } else { profile.worker },
            instance: profile.instance,
            lane: happens(entropy, 30).then(|| submissions::lane(entropy.below(2))),
            lease_id: LeaseId::random(entropy),
            attempt_id: AttemptId::random(entropy),
            lease_ttl: profile.lease_ttl,
        }
    }
}

/// The claim in an outcome, if there is one.
fn claimed_by(outcome: AnyOutcome) -> Option<Claimed> {
    match outcome {
        AnyOutcome::Claim(claimed)
        | AnyOutcome::ClaimResumed(claimed)
        | AnyOutcome::Reclaim(claimed) => Some(claimed),
        AnyOutcome::Offer(Offered::Claimed(claimed)) => Some(*claimed),
        _ => None,
    }
}
