//! The client's process: it submits, it operates, it repeats itself, and it runs a scheduler that
//! grants work to workers.

use std::sync::Arc;

use ff_core::agent::{Scheduler, WorkerGrant, WorkerProfile, WorkerRequest};
use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::execution::{
    Admit, Admitted, AnyCommand, AnyOutcome, Granted, IssueClaimGrant, IssueReclaimGrant,
    ReclaimGranted, parse_grant_key,
};
use ff_core::id::{ExecutionId, GrantId, LaneId, Nonce};
use ff_core::op::{Committed, Patience, TakenFromLane};
use ff_core::time::{DurationMs, TimestampMs};

use crate::determinism::hash::hashed;
use crate::determinism::random::{Draws, HAND_OVER, Source, between, happens, one_of, stream};
use crate::plan::WishKind;
use crate::plan::settings::Settings;
use crate::process::task::{Errand, Output};
use crate::report::coverage::CommandKind;

use super::context::{Context, Effect, GrantInHand, Moment, Way};
use super::operator_calls::ANY;
use super::sent_commands::Memory;
use super::submissions::{lane, namespace, submission};

/// Calls that a record has to remember which one execution gets from the client at most: with
/// those of the operator fewer than a record remembers.
const MAX_CALLS: u32 = 3;

/// The client's process. What it has sent outlives its crashes, as a person's memory would.
#[derive(Debug)]
pub struct ClientProcess {
    seed: u64,
    settings: Settings,
    scheduler: Scheduler,
    /// What its present wish draws from: a stream of each wish's own.
    entropy: Entropy,
    /// How many wishes it has had.
    wishes: u64,
    /// Submissions that are left.
    left: u64,
    next: TimestampMs,
    /// Executions that it knows of, the latest last, and how many calls of operators each got.
    known: Vec<(ExecutionId, u32)>,
    /// Its latest command, which it may repeat at once.
    latest: Option<AnyCommand>,
    /// Its workers by process.
    workers: Arc<[WorkerProfile]>,
    /// The worker and the lane for which the scheduler looks.
    asked_for: Option<(usize, LaneId)>,
    memory: Memory,
}

impl ClientProcess {
    /// A client with wishes for those workers.
    pub fn new(
        seed: u64,
        settings: &Settings,
        workers: Arc<[WorkerProfile]>,
        mut entropy: Entropy,
    ) -> Self {
        let scheduler = Scheduler::new(settings.partitions, settings.terms(), entropy.fork());
        Self {
            seed,
            settings: settings.clone(),
            scheduler,
            entropy,
            wishes: 0,
            left: settings.executions,
            next: TimestampMs::ZERO,
            known: Vec::new(),
            latest: None,
            workers,
            asked_for: None,
            memory: Memory::default(),
        }
    }

    /// The same client after a crash: it remembers what it wishes and forgets what it was doing.
    #[must_use]
    pub fn restarted(mut self, now: TimestampMs) -> Self {
        let (partitions, terms) = (self.settings.partitions, self.settings.terms());
        self.scheduler = Scheduler::new(partitions, terms, self.entropy.fork());
        self.asked_for = None;
        self.next = now;
        self
    }

    /// Wishes for something when it is time.
    pub fn wake(&mut self, cx: &mut Context<'_>) {
        if cx.healing {
            return;
        }
        if self.next <= cx.now.local {
            self.wishes += 1;
            self.entropy = stream(self.seed, "wish", self.wishes);
            self.wish(cx);
            // A submission and some three other wishes for each execution.
            let pause = self.settings.busy_ms / (self.settings.executions * 4);
            let pause = between(&mut self.entropy, 1, pause * 2);
            self.next = cx.now.local.plus(DurationMs::new(pause));
        }
        cx.wake_at(self.next);
    }

    fn wish(&mut self, cx: &mut Context<'_>) {
        let choice = self.entropy.below(20);
        match choice {
            0..7 if self.left > 0 => {
                self.left -= 1;
                let create = submission(&self.settings, cx.now.store, &mut self.entropy);
                if !self.known.iter().any(|(id, _)| *id == create.execution_id) {
                    self.known.push((create.execution_id, 0));
                }
                self.wish_for(WishKind::Submit, Errand::Wish, create.into(), cx);
            }
            0..10 => {
                let again = if happens(&mut self.entropy, 400) {
                    self.memory.any(&mut self.entropy)
                } else {
                    self.latest.clone()
                };
                if let Some(mut command) = again {
                    if let (AnyCommand::Create(create), true) =
                        (&mut command, happens(&mut self.entropy, 300))
                    {
                        // Somebody else submits the same.
                        create.creator = Nonce(self.entropy.next_u64());
                    }
                    self.wish_for(WishKind::Repeat, Errand::Wish, command, cx);
                }
                self.latest = None;
            }
            10..15 => {
                let Some(id) = self.any_execution() else { return };
                let call = one_of(&mut self.entropy, ANY);
                if !call.is_remembered() || self.may_call(id) {
                    let held_by = self.memory.block_of(id);
                    let command = call.command(id, held_by, &mut self.entropy);
                    self.wish_for(WishKind::Operate, Errand::Wish, command, cx);
                }
            }
            15..17 => {
                let Some(id) = self.any_execution() else { return };
                self.ask_for_grant(id, WishKind::AskForGrant, self.wishes, cx);
            }
            _ => self.draw(cx),
        }
    }

    /// Carries a wish out, unless it is left out: all later ones are then as if it had been sent.
    fn wish_for(
        &mut self,
        kind: WishKind,
        errand: Errand,
        command: AnyCommand,
        cx: &mut Context<'_>,
    ) {
        if errand == Errand::Wish {
            self.latest = Some(command.clone());
        }
        self.memory.note(&command);
        let stale = happens(&mut self.entropy, 500);
        let patience = Patience::new(self.settings.client_terms(), self.entropy.fork());
        if cx.wishes_for(kind, self.wishes) {
            cx.command(errand, command, stale, patience);
        }
    }

    /// One of those that it knows, half of the time one of the latest.
    fn any_execution(&mut self) -> Option<ExecutionId> {
        let count = self.known.len() as u64;
        let from = if happens(&mut self.entropy, 500) { count.saturating_sub(5) } else { 0 };
        let number = from + self.entropy.below(count - from);
        self.known.get(number as usize).map(|(id, _)| *id)
    }

    /// Counts one more call of an operator about an execution, if it may get one.
    fn may_call(&mut self, id: ExecutionId) -> bool {
        let known = self.known.iter_mut().find(|(known, _)| *known == id);
        known.is_some_and(|(_, calls)| {
            *calls += 1;
            *calls <= MAX_CALLS
        })
    }

    fn any_worker(&mut self) -> usize {
        self.entropy.below(self.workers.len() as u64) as usize
    }

    /// Asks for a grant on a certain execution.
    fn ask_for_grant(
        &mut self,
        execution_id: ExecutionId,
        kind: WishKind,
        key: u64,
        cx: &mut Context<'_>,
    ) {
        let worker = self.any_worker();
        let request = IssueClaimGrant {
            execution_id,
            grant_id: GrantId::random(&mut self.entropy),
            worker: self.workers[worker].worker.clone(),
            capabilities: self.workers[worker].capabilities.clone(),
            ttl: DurationMs::new(between(&mut self.entropy, 100, 4_000)),
            audit: None,
        };
        let command = match self.entropy.below(5) {
            0 | 1 => AnyCommand::IssueClaimGrant(request),
            2 | 3 => AnyCommand::IssueReclaimGrant(IssueReclaimGrant(request)),
            // As the scheduler does with what it drew, perhaps long ago.
            _ => AnyCommand::Admit(Admit(request)),
        };
        let stale = happens(&mut self.entropy, 500);
        let patience = Patience::new(self.settings.client_terms(), self.entropy.fork());
        if cx.wishes_for(kind, key) {
            cx.command(Errand::Grant(worker), command, stale, patience);
        }
    }

    /// Has the scheduler look for work for a worker.
    fn draw(&mut self, cx: &mut Context<'_>) {
        if self.asked_for.is_some() {
            return;
        }
        let worker = self.any_worker();
        let lane = lane(self.entropy.below(2));
        let profile = &self.workers[worker];
        let request = WorkerRequest {
            namespace: namespace(),
            lane: lane.clone(),
            worker: profile.worker.clone(),
            instance: Some(profile.instance.clone()),
            capabilities: profile.capabilities.clone(),
            grant_ttl: DurationMs::new(between(&mut self.entropy, 100, 4_000)),
        };
        if !cx.wishes_for(WishKind::Draw, self.wishes) {
            return;
        }
        self.asked_for = Some((worker, lane));
        cx.start(CommandKind::Admit, self.scheduler.claim_for_worker(request), Output::Drawn);
    }

    /// Notes what the scheduler drew, and hands it over.
    pub fn drawn(
        &mut self,
        result: Result<TakenFromLane<ff_core::agent::AdmitTo>, EngineError>,
        cx: &mut Context<'_>,
    ) {
        let Some((worker, lane)) = self.asked_for.take() else { return };
        let Ok(drawn) = result else { return };
        let grant = self.scheduler.admitted(namespace(), lane, drawn);
        let (execution_id, key, way) = match grant {
            Some(WorkerGrant::Claim(grant)) => (grant.execution_id, grant.grant_key, Way::New),
            Some(WorkerGrant::Resume(grant)) => (grant.execution_id, grant.grant_key, Way::Resumed),
            Some(WorkerGrant::Reclaim(grant)) => (grant.execution_id, grant.grant_key, Way::Over),
            None => return,
        };
        let grant_id = parse_grant_key(&key).expect("a grant's own key");
        self.hand_over(worker, GrantInHand { execution_id, grant_id, way }, cx);
    }

    /// Notes the answer to a command.
    pub fn answered(
        &mut self,
        errand: Errand,
        result: Result<Committed<AnyOutcome>, EngineError>,
        cx: &mut Context<'_>,
    ) {
        let (Errand::Grant(worker), Ok(committed)) = (errand, result) else { return };
        let in_hand = |granted: Granted, way| GrantInHand {
            execution_id: granted.execution_id,
            grant_id: granted.grant_id,
            way,
        };
        let grant = match committed.outcome {
            AnyOutcome::IssueClaimGrant(granted) => {
                let way = if granted.resumes { Way::Resumed } else { Way::New };
                in_hand(granted, way)
            }
            AnyOutcome::Admit(Admitted::Granted(granted)) => {
                let way = if granted.resumes { Way::Resumed } else { Way::New };
                in_hand(granted, way)
            }
            AnyOutcome::IssueReclaimGrant(ReclaimGranted::Granted(granted))
            | AnyOutcome::Admit(Admitted::ReclaimGranted(granted)) => in_hand(granted, Way::Over),
            AnyOutcome::IssueReclaimGrant(ReclaimGranted::CapExceeded { .. })
            | AnyOutcome::Admit(Admitted::CapExceeded { .. }) => {
                // There is no grant; who does not listen tries all the same.
                let Some(record) = committed.record else { return };
                let execution_id = record.execution.id;
                let key = hashed(execution_id.uuid().as_bytes());
                let grant_id = GrantId::random(&mut stream(self.seed, "forged", key));
                GrantInHand { execution_id, grant_id, way: Way::Over }
            }
            _ => return,
        };
        self.hand_over(worker, grant, cx);
    }

    /// Something has just happened to an execution.
    pub fn moment(&mut self, moment: Moment, cx: &mut Context<'_>) {
        if cx.healing {
            return;
        }
        self.entropy = stream(self.seed, "meddle", moment.key);
        let again = self.memory.about(moment.id, &mut self.entropy);
        match again.filter(|_| happens(&mut self.entropy, 300)) {
            Some(command) => {
                let patience = Patience::new(self.settings.client_terms(), self.entropy.fork());
                if cx.wishes_for(WishKind::Meddle, moment.key) {
                    cx.command(Errand::Wish, command, false, patience);
                }
            }
            None => self.ask_for_grant(moment.id, WishKind::Meddle, moment.key, cx),
        }
    }

    /// Hands a grant to its worker, or to another one, once or twice, soon or late.
    fn hand_over(&mut self, worker: usize, grant: GrantInHand, cx: &mut Context<'_>) {
        let mut draws = Draws::new(self.seed, HAND_OVER, hashed(grant.grant_id.uuid().as_bytes()));
        let copies = if happens(&mut draws, 300) { 2 } else { 1 };
        for _ in 0..copies {
            let wrong = happens(&mut draws, 150);
            let other = draws.below(self.workers.len() as u64) as usize;
            let to = if wrong { other } else { worker };
            let longest = if happens(&mut draws, 200) { 5_000 } else { 100 };
            let after = between(&mut draws, 1, longest);
            cx.effects.push(Effect::Grant { to, after, grant });
        }
    }
}
