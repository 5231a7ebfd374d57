//! The client's process: it submits, calls as an operator, repeats its commands, and runs a
//! scheduler that grants work to workers.

use std::sync::Arc;

use ff_core::agent::{Scheduler, Served, WorkerGrant, WorkerProfile, WorkerRequest};
use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::execution::{
    Admit, Admitted, AnyCommand, AnyOutcome, GrantAudit, Granted, IssueClaimGrant,
    IssueReclaimGrant, ReclaimGranted, ReleaseGrant, parse_grant_key,
};
use ff_core::id::{ExecutionId, GrantId, Nonce};
use ff_core::op::{Committed, OperationContext, Patience, TakenFromLane};
use ff_core::time::{DurationMs, TimestampMs};

use crate::determinism::hash::hashed;
use crate::determinism::random::{Draws, HAND_OVER, Source, between, happens, one_of, stream};
use crate::plan::ActionKind;
use crate::plan::settings::Settings;
use crate::process::task::{Origin, Output};
use crate::report::coverage::CommandKind;

use super::context::{About, Context, Effect, GrantInHand, Notice, Way};
use super::operator_calls::ANY;
use super::sent_commands::SentCommands;
use super::submissions::{lane, submission};

/// The most remembered calls that the client makes about one execution: together with those of the
/// operator fewer than a record remembers.
const MAX_CALLS: u32 = 3;

/// The client's process. Its memory of sent commands survives crashes, as a person's would.
#[derive(Debug)]
pub struct ClientProcess {
    seed: u64,
    settings: Settings,
    scheduler: Scheduler,
    /// The stream of its present action. Each action has its own.
    entropy: Entropy,
    /// How many actions it has taken.
    actions: u64,
    /// Submissions that are left.
    left: u64,
    next: TimestampMs,
    /// The executions that it knows, the latest last, and how many remembered calls each got.
    known: Vec<(ExecutionId, u32)>,
    /// Its latest command, which it may repeat immediately.
    latest: Option<AnyCommand>,
    /// Its workers by process.
    workers: Arc<[WorkerProfile]>,
    /// The worker and the lane for which the scheduler looks.
    asked_for: Option<(usize, Served)>,
    sent: SentCommands,
    /// The context of its operations since it was started.
    context: OperationContext,
}

impl ClientProcess {
    /// A client of those workers.
    pub fn new(
        seed: u64,
        settings: &Settings,
        workers: Arc<[WorkerProfile]>,
        mut entropy: Entropy,
    ) -> Self {
        let context = Self::new_context(settings);
        let searches = context.within(settings.patience);
        let scheduler = Scheduler::new(settings.partitions, searches, entropy.fork());
        Self {
            seed,
            settings: settings.clone(),
            scheduler,
            entropy,
            actions: 0,
            left: settings.executions,
            next: TimestampMs::ZERO,
            known: Vec::new(),
            latest: None,
            workers,
            asked_for: None,
            sent: SentCommands::default(),
            context,
        }
    }

    fn new_context(settings: &Settings) -> OperationContext {
        settings.client_context().with_retries(settings.retry_budget())
    }

    /// The same client after a crash: it remembers its commands and forgets its operations.
    #[must_use]
    pub fn restarted(mut self, now: TimestampMs) -> Self {
        self.context = Self::new_context(&self.settings);
        let searches = self.context.within(self.settings.patience);
        self.scheduler = Scheduler::new(self.settings.partitions, searches, self.entropy.fork());
        self.asked_for = None;
        self.next = now;
        self
    }

    /// The context of its operations.
    pub const fn context(&self) -> &OperationContext {
        &self.context
    }

    /// Takes an action when it is due.
    pub fn wake(&mut self, cx: &mut Context<'_>) {
        if cx.healing {
            return;
        }
        if self.next <= cx.now.local {
            self.actions += 1;
            self.entropy = stream(self.seed, "wish", self.actions);
            self.act(cx);
            // A submission and some three other actions for each execution.
            let pause = self.settings.busy_ms / (self.settings.executions * 4);
            let pause = between(&mut self.entropy, 1, pause * 2);
            self.next = cx.now.local.plus(DurationMs::new(pause));
        }
        cx.wake_at(self.next);
    }

    fn act(&mut self, cx: &mut Context<'_>) {
        let choice = self.entropy.below(20);
        match choice {
            0..7 if self.left > 0 => {
                self.left -= 1;
                let create = submission(&self.settings, cx.now.store, &mut self.entropy);
                if !self.known.iter().any(|(id, _)| *id == create.execution_id) {
                    self.known.push((create.execution_id, 0));
                }
                self.perform(ActionKind::Submit, Origin::Detached, create.into(), cx);
            }
            0..10 => {
                let again = if happens(&mut self.entropy, 400) {
                    self.sent.any(&mut self.entropy)
                } else {
                    self.latest.clone()
                };
                if let Some(mut command) = again {
                    if let (AnyCommand::Create(create), true) =
                        (&mut command, happens(&mut self.entropy, 300))
                    {
                        // Another client submits the same.
                        create.creator = Nonce(self.entropy.next_u64());
                    }
                    self.perform(ActionKind::Repeat, Origin::Detached, command, cx);
                }
                self.latest = None;
            }
            10..15 => {
                let Some(id) = self.any_execution() else { return };
                let call = one_of(&mut self.entropy, ANY);
                if !call.is_remembered() || self.may_call(id) {
                    let held_by = self.sent.block_of(id);
                    let command = call.command(id, held_by, None, &mut self.entropy);
                    self.perform(ActionKind::Operate, Origin::Detached, command, cx);
                }
            }
            15..17 => {
                let Some(id) = self.any_execution() else { return };
                self.ask_for_grant(id, ActionKind::AskForGrant, self.actions, cx);
            }
            _ => self.draw(cx),
        }
    }

    /// Performs an action, unless the plan leaves it out. The later actions do not depend on it.
    fn perform(
        &mut self,
        kind: ActionKind,
        origin: Origin,
        command: AnyCommand,
        cx: &mut Context<'_>,
    ) {
        if origin == Origin::Detached {
            self.latest = Some(command.clone());
        }
        self.sent.note(&command);
        let stale = happens(&mut self.entropy, 500);
        let patience = self.patience();
        if cx.performs(kind, self.actions) {
            cx.command(origin, command, stale, patience);
        }
    }

    /// One of the known executions, half of the time one of the latest.
    fn any_execution(&mut self) -> Option<ExecutionId> {
        let count = self.known.len() as u64;
        let from = if happens(&mut self.entropy, 500) { count.saturating_sub(5) } else { 0 };
        let number = from + self.entropy.below(count - from);
        self.known.get(number as usize).map(|(id, _)| *id)
    }

    /// Counts one more remembered call about an execution, if it may get one.
    fn may_call(&mut self, id: ExecutionId) -> bool {
        let known = self.known.iter_mut().find(|(known, _)| *known == id);
        known.is_some_and(|(_, calls)| {
            *calls += 1;
            *calls <= MAX_CALLS
        })
    }

    fn patience(&mut self) -> Patience {
        Patience::new(self.context.clone(), self.entropy.fork()).budgeted()
    }

    fn any_worker(&mut self) -> usize {
        self.entropy.below(self.workers.len() as u64) as usize
    }

    /// Requests a grant on an execution.
    fn ask_for_grant(
        &mut self,
        execution_id: ExecutionId,
        kind: ActionKind,
        key: u64,
        cx: &mut Context<'_>,
    ) {
        let worker = self.any_worker();
        let request = IssueClaimGrant {
            execution_id,
            lane: None,
            grant_id: GrantId::random(&mut self.entropy),
            worker: self.workers[worker].worker.clone(),
            capabilities: self.workers[worker].capabilities.clone(),
            ttl: DurationMs::new(between(&mut self.entropy, 100, 4_000)),
            audit: GrantAudit::default(),
        };
        let command = match self.entropy.below(5) {
            0 | 1 => AnyCommand::IssueClaimGrant(request),
            2 | 3 => AnyCommand::IssueReclaimGrant(IssueReclaimGrant(request)),
            // As the scheduler does with work that it drew, perhaps long ago.
            _ => AnyCommand::Admit(Admit(request)),
        };
        let stale = happens(&mut self.entropy, 500);
        let patience = self.patience();
        if cx.performs(kind, key) {
            cx.command(Origin::Grant(worker), command, stale, patience);
        }
    }

    /// Lets the scheduler look for work for a worker.
    fn draw(&mut self, cx: &mut Context<'_>) {
        if self.asked_for.is_some() {
            return;
        }
        let worker = self.any_worker();
        let profile = &self.workers[worker];
        let served = Served { lanes: vec![lane(self.entropy.below(2))], ..profile.served() };
        let request = WorkerRequest {
            served: served.clone(),
            worker: profile.worker.clone(),
            audit: GrantAudit { instance: Some(profile.instance.clone()), ..GrantAudit::default() },
            grant_ttl: DurationMs::new(between(&mut self.entropy, 100, 4_000)),
        };
        if !cx.performs(ActionKind::Draw, self.actions) {
            return;
        }
        self.asked_for = Some((worker, served));
        cx.begin(
            About::Each(CommandKind::Admit),
            self.scheduler.claim_for_worker(request),
            Output::Drawn,
        );
    }

    /// Takes over the work that the scheduler drew, and passes the grant on.
    pub fn drawn(
        &mut self,
        result: Result<TakenFromLane<ff_core::agent::AdmitTo>, EngineError>,
        cx: &mut Context<'_>,
    ) {
        let Some((worker, served)) = self.asked_for.take() else { return };
        let Ok(drawn) = result else { return };
        let grant = self.scheduler.admitted(served, drawn);
        let (execution_id, key, way) = match grant {
            Some(WorkerGrant::Claim(grant)) => (grant.execution_id, grant.grant_key, Way::New),
            Some(WorkerGrant::Resume(grant)) => (grant.execution_id, grant.grant_key, Way::Resumed),
            Some(WorkerGrant::Reclaim(grant)) => (grant.execution_id, grant.grant_key, Way::Over),
            None => return,
        };
        let grant_id = parse_grant_key(&key).expect("a grant's own key");
        self.hand_over(worker, GrantInHand { execution_id, grant_id, way }, cx);
    }

    /// Takes over the answer to a command.
    pub fn answered(
        &mut self,
        origin: Origin,
        result: Result<Committed<AnyOutcome>, EngineError>,
        cx: &mut Context<'_>,
    ) {
        let (Origin::Grant(worker), Ok(committed)) = (origin, result) else { return };
        let in_hand = |granted: Granted, way| GrantInHand {
            execution_id: granted.execution_id,
            grant_id: granted.grant_id,
            way,
        };
        let grant = match committed.outcome {
            AnyOutcome::IssueClaimGrant(granted)
            | AnyOutcome::Admit(Admitted::Granted(granted)) => {
                let way = if granted.resumes { Way::Resumed } else { Way::New };
                in_hand(granted, way)
            }
            AnyOutcome::IssueReclaimGrant(ReclaimGranted::Granted(granted))
            | AnyOutcome::Admit(Admitted::ReclaimGranted(granted)) => in_hand(granted, Way::Over),
            AnyOutcome::IssueReclaimGrant(ReclaimGranted::CapExceeded { .. })
            | AnyOutcome::Admit(Admitted::CapExceeded { .. }) => {
                // There is no grant; a careless client tries all the same.
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

    /// Reacts to an event of an execution.
    pub fn notice(&mut self, notice: Notice, cx: &mut Context<'_>) {
        if cx.healing {
            return;
        }
        self.entropy = stream(self.seed, "meddle", notice.key);
        let again = self.sent.about(notice.id, &mut self.entropy);
        match again.filter(|_| happens(&mut self.entropy, 300)) {
            Some(command) => {
                let patience = self.patience();
                if cx.performs(ActionKind::React, notice.key) {
                    cx.command(Origin::Detached, command, false, patience);
                }
            }
            None => self.ask_for_grant(notice.id, ActionKind::React, notice.key, cx),
        }
    }

    /// Gives a grant back on behalf of a worker.
    fn release(&mut self, worker: usize, grant: GrantInHand, cx: &mut Context<'_>) {
        let command = ReleaseGrant {
            execution_id: grant.execution_id,
            grant_id: grant.grant_id,
            worker: self.workers[worker].worker.clone(),
        };
        let patience = self.patience();
        if cx.performs(ActionKind::ReleaseGrant, hashed(grant.grant_id.uuid().as_bytes())) {
            cx.command(Origin::Detached, command, false, patience);
        }
    }

    /// Passes a grant to its worker, or to another one, once or twice, soon or late.
    fn hand_over(&mut self, worker: usize, grant: GrantInHand, cx: &mut Context<'_>) {
        let mut draws = Draws::new(self.seed, HAND_OVER, hashed(grant.grant_id.uuid().as_bytes()));
        let released = happens(&mut draws, 200);
        if released {
            let wrong = happens(&mut draws, 150);
            let other = draws.below(self.workers.len() as u64) as usize;
            self.release(if wrong { other } else { worker }, grant, cx);
        }
        let copies = match (released, happens(&mut draws, 300)) {
            (true, late) => usize::from(late),
            (false, twice) => 1 + usize::from(twice),
        };
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
