//! The operator's process: it watches events and calls at the worst time, lists and audits
//! meanwhile, and activates record formats.

use std::collections::BTreeMap;

use ff_core::entropy::Entropy;
use ff_core::execution::ValueKind;
use ff_core::id::{ExecutionId, LaneId, SlotId, SuspensionId};
use ff_core::lane::{LaneState, SetLane};
use ff_core::op::{
    ActivateFormat, AuditPartition, ChangeResource, EnsureMeta, ListExecutions, ListFilter,
    ListPage, ListPosition, ListSecrets, OperationContext, Patience, ReadExecution, RotateSecret,
};
use ff_core::partition::Partition;
use ff_core::state::PublicState;
use ff_core::store::StoreMeta;
use ff_core::store::codec::FORMAT;
use ff_core::time::{DurationMs, TimestampMs};
use ff_core::token::{Kid, Secret};

use crate::determinism::random::{between, happens, one_of, stream};
use crate::plan::ActionKind;
use crate::plan::settings::{Settings, WaitRates};
use crate::process::task::{Origin, Output};

use super::context::{About, Context, Notice};
use super::operator_calls::{ANY, Call, calls_after};
use super::registry;
use super::sent_commands::SentCommands;
use super::submissions::{QUOTAS, lane, namespace};
use super::{budgets, quotas};

/// The most remembered calls that the operator makes about one execution: together with those of
/// the client fewer than a record remembers.
const MAX_CALLS: u32 = 4;
/// More executions than a run has.
const WHOLE_LIST: usize = 1_000;
/// How long the operator makes lanes active after the faults: longer than a call takes.
const RESTORES_FOR: DurationMs = DurationMs::from_secs(12);
/// The time between two of these rounds.
const RESTORES_EVERY: DurationMs = DurationMs::from_secs(3);

/// The operator's process. Its memory of sent commands survives crashes, as a person's would.
#[derive(Debug)]
pub struct OperatorProcess {
    seed: u64,
    settings: Settings,
    /// How many rounds it has made.
    rounds: u64,
    next: TimestampMs,
    /// Executions that it knows, the latest last.
    known: Vec<ExecutionId>,
    /// The latest suspension that it knows, by execution.
    looked: BTreeMap<ExecutionId, SuspensionId>,
    /// The number of remembered calls, by execution.
    calls: BTreeMap<ExecutionId, u32>,
    sent: SentCommands,
    /// The context of its operations since it was started.
    context: OperationContext,
    /// Until when it makes sure that all lanes are active, once the faults are over, by its own
    /// clock.
    restores_until: Option<TimestampMs>,
}

impl OperatorProcess {
    /// An operator that knows no executions yet.
    pub fn new(seed: u64, settings: &Settings) -> Self {
        Self {
            seed,
            settings: settings.clone(),
            rounds: 0,
            next: TimestampMs::ZERO,
            known: Vec::new(),
            looked: BTreeMap::new(),
            calls: BTreeMap::new(),
            sent: SentCommands::default(),
            context: settings.context().with_retries(settings.retry_budget()),
            restores_until: None,
        }
    }

    /// The same operator after a crash.
    #[must_use]
    pub fn restarted(mut self, now: TimestampMs) -> Self {
        self.context = self.settings.context().with_retries(self.settings.retry_budget());
        self.next = now;
        self
    }

    /// Makes a round when it is due.
    pub fn wake(&mut self, cx: &mut Context<'_>) {
        if cx.healing {
            self.restore(cx);
            return;
        }
        if self.next <= cx.now.local {
            self.rounds += 1;
            let mut entropy = stream(self.seed, "operator", self.rounds);
            let pause = between(&mut entropy, 100, 1_500);
            self.next = cx.now.local.plus(DurationMs::new(pause));
            if cx.performs(ActionKind::LookAround, self.rounds) {
                self.look_around(&mut entropy, cx);
            }
        }
        cx.wake_at(self.next);
    }

    fn patience(&self, entropy: &mut Entropy) -> Patience {
        Patience::new(self.context.clone(), entropy.fork()).budgeted()
    }

    /// The context of its operations.
    pub const fn context(&self) -> &OperationContext {
        &self.context
    }

    fn look_around(&mut self, entropy: &mut Entropy, cx: &mut Context<'_>) {
        let partitions = self.settings.partitions;
        if happens(entropy, self.settings.wait_rates.rotates) {
            self.see_to_secrets(entropy, cx);
            return;
        }
        if self.tend_resources(cx) {
            return;
        }
        match if self.rounds == 1 { 9 } else { entropy.below(10) } {
            0..2 => self.list(ListFilter::default(), None, WHOLE_LIST, entropy, cx),
            2 => {
                let lane = happens(entropy, 500).then(|| lane(0));
                let states = [PublicState::Waiting, PublicState::Active, PublicState::Completed];
                let state = happens(entropy, 500).then(|| one_of(entropy, &states));
                let states = state.into_iter().collect();
                let filter = ListFilter { lane, states, ..ListFilter::default() };
                self.list(filter, None, between(entropy, 1, 5) as usize, entropy, cx);
            }
            3..5 => {
                let Some(id) = self.any_execution(entropy) else { return };
                let values = [ValueKind::Payload, ValueKind::Result];
                let read = ReadExecution::new(&id, &values, self.patience(entropy));
                cx.begin(About::Present, read, move |result| Output::Described(id, result));
            }
            5..7 => {
                let index = entropy.below(u64::from(partitions.num_flow_partitions)) as u16;
                let partition = Partition::flow(index);
                let patience = self.patience(entropy);
                let look = AuditPartition::new(partition, namespace(), [], WHOLE_LIST, patience);
                cx.begin(About::Nothing, look, move |result| Output::Looked(partition, result));
            }
            7 => {
                let Some(id) = self.any_execution(entropy) else { return };
                let call = one_of(entropy, ANY);
                self.call(call, id, None, entropy, cx);
            }
            8 => {
                let format = between(entropy, 0, u64::from(FORMAT) + 1) as u8;
                let activate = ActivateFormat::new(format, self.patience(entropy));
                cx.begin(About::Nothing, activate, Output::Activated);
            }
            _ => {
                // As each program does when it connects.
                let wanted = StoreMeta { format: FORMAT, partitions, counts: true };
                let ensure = EnsureMeta::new(wanted, self.patience(entropy));
                cx.begin(About::Nothing, ensure, |result| Output::Activated(result.map(|_| ())));
            }
        }
    }

    /// Changes lanes, the registry, budgets or quotas, in some rounds. Returns whether it did.
    fn tend_resources(&mut self, cx: &mut Context<'_>) -> bool {
        let partitions = self.settings.partitions;
        let mut draws = stream(self.seed, "lanes", self.rounds);
        if happens(&mut draws, self.settings.wait_rates.lanes) {
            let states = [
                LaneState::Active,
                LaneState::Active,
                LaneState::Paused,
                LaneState::Draining,
                LaneState::Disabled,
            ];
            self.set_lane(lane(draws.below(2)), one_of(&mut draws, &states), &mut draws, cx);
            return true;
        }
        let mut draws = stream(self.seed, "registry", self.rounds);
        if happens(&mut draws, self.settings.wait_rates.registry) {
            registry::begin(&self.settings, self.patience(&mut draws), &mut draws, cx);
            return true;
        }
        let mut draws = stream(self.seed, "budgets", self.rounds);
        if happens(&mut draws, self.settings.wait_rates.budgets) {
            for _ in 0..between(&mut draws, 1, 4) {
                budgets::begin(partitions, self.patience(&mut draws), &mut draws, cx);
            }
            return true;
        }
        let mut draws = stream(self.seed, "quotas", self.rounds);
        let rate = self.settings.wait_rates.limits;
        if rate > 0 && (2..2 + QUOTAS).contains(&self.rounds) {
            let patience = self.patience(&mut draws);
            quotas::set_up(self.rounds - 2, partitions, patience, &mut draws, cx);
            return true;
        }
        if happens(&mut draws, rate / 2) {
            let patience = self.patience(&mut draws);
            quotas::begin(partitions, patience, &mut draws, cx);
            return true;
        }
        false
    }

    fn set_lane(
        &self,
        lane: LaneId,
        state: LaneState,
        entropy: &mut Entropy,
        cx: &mut Context<'_>,
    ) {
        let reason = happens(entropy, 300).then(|| "a reason".to_owned());
        let change = SetLane { namespace: namespace(), lane, state, reason, by: None };
        let operation = ChangeResource::new(change, self.patience(entropy));
        cx.begin(About::Nothing, operation, Output::LaneSet);
    }

    /// Makes all lanes active, and all quotas and budgets admit executions, again and again until
    /// no earlier change can still arrive.
    fn restore(&mut self, cx: &mut Context<'_>) {
        let WaitRates { lanes, limits, .. } = self.settings.wait_rates;
        if lanes == 0 && limits == 0 {
            return;
        }
        let until = *self.restores_until.get_or_insert(cx.now.local.plus(RESTORES_FOR));
        if cx.now.local > until {
            return;
        }
        if self.next <= cx.now.local {
            self.rounds += 1;
            self.next = cx.now.local.plus(RESTORES_EVERY);
            let mut entropy = stream(self.seed, "restores", self.rounds);
            for number in 0..if lanes > 0 { 2 } else { 0 } {
                self.set_lane(lane(number), LaneState::Active, &mut entropy, cx);
            }
            if limits > 0 {
                let partitions = self.settings.partitions;
                let patience = |entropy: &mut Entropy| self.patience(entropy);
                quotas::restore(partitions, self.seed, patience, &mut entropy, cx);
                budgets::restore(partitions, patience, &mut entropy, cx);
            }
        }
        cx.wake_at(self.next);
    }

    /// Rotates secrets, back and forth, or lists them.
    fn see_to_secrets(&self, entropy: &mut Entropy, cx: &mut Context<'_>) {
        let patience = self.patience(entropy);
        if happens(entropy, 250) {
            cx.begin(About::Nothing, ListSecrets::new(patience), Output::Secrets);
            return;
        }
        let number = between(entropy, 2, 4);
        let kid = Kid::try_new(format!("k{number}")).expect("a valid kid");
        let other = happens(entropy, 80);
        let hex = format!("{:02x}", number + if other { 0x80 } else { 0 });
        let secret = Secret::from_hex(&hex).expect("a valid secret");
        let grace = match entropy.below(30) {
            0 => DurationMs::new(u64::MAX),
            1..10 => DurationMs::ZERO,
            10..20 => DurationMs::new(between(entropy, 1, 3_000)),
            _ => DurationMs::new(between(entropy, 1_000, 60_000)),
        };
        cx.begin(
            About::Rotation(grace),
            RotateSecret::new(kid, secret, grace, patience),
            Output::Rotated,
        );
    }

    fn list(
        &self,
        filter: ListFilter,
        from: Option<ListPosition>,
        limit: usize,
        entropy: &mut Entropy,
        cx: &mut Context<'_>,
    ) {
        let partitions = &self.settings.partitions;
        let whole = limit == WHOLE_LIST;
        let patience = self.patience(entropy);
        let list =
            ListExecutions::new(partitions, namespace(), filter.clone(), from, limit, patience);
        cx.begin(About::Present, list, move |result| Output::Listed {
            filter: filter.clone(),
            whole,
            result,
        });
    }

    /// Reads the next page of a list.
    pub fn listed(&self, filter: ListFilter, page: &ListPage, cx: &mut Context<'_>) {
        if cx.healing {
            return;
        }
        if let Some(next) = page.next {
            let mut entropy = stream(self.seed, "pages", u64::from(next.partition));
            let limit = between(&mut entropy, 1, 9) as usize;
            self.list(filter, Some(next), limit, &mut entropy, cx);
        }
    }

    fn any_execution(&self, entropy: &mut Entropy) -> Option<ExecutionId> {
        self.known.get(entropy.below(self.known.len() as u64) as usize).copied()
    }

    /// Reacts to an event of an execution.
    pub fn notice(&mut self, notice: Notice, cx: &mut Context<'_>) {
        if !self.known.contains(&notice.id) {
            self.known.push(notice.id);
        }
        if cx.healing {
            self.wakes_up(notice, cx);
            return;
        }
        if !cx.performs(ActionKind::React, notice.key) {
            return;
        }
        let mut entropy = stream(self.seed, "meddle", notice.key);
        if happens(&mut entropy, 300)
            && let Some(command) = self.sent.about(notice.id, &mut entropy)
        {
            let (stale, patience) = (happens(&mut entropy, 300), self.patience(&mut entropy));
            cx.command(Origin::Detached, command, stale, patience);
            return;
        }
        let call = one_of(&mut entropy, calls_after(notice.event));
        let looked = self.looked.get(&notice.id).copied();
        self.looked.extend(notice.suspension.map(|suspension| (notice.id, suspension)));
        if let (Some(looked), Some(present)) = (looked, notice.suspension)
            && looked != present
            && happens(&mut stream(self.seed, "has looked", notice.key), 300)
        {
            // The operator looked earlier, and calls late.
            let command = Call::resume(notice.id, Some(looked), &mut entropy);
            let patience = self.patience(&mut entropy);
            cx.command(Origin::Detached, command, false, patience);
            return;
        }
        self.call(call, notice.id, notice.slot, &mut entropy, cx);
    }

    /// Resumes an execution that nothing else ends.
    fn wakes_up(&self, notice: Notice, cx: &mut Context<'_>) {
        let mut entropy = stream(self.seed, "wakes up", notice.key);
        let command = Call::Resume.command(notice.id, None, None, &mut entropy);
        cx.command(Origin::Detached, command, false, self.patience(&mut entropy));
    }

    fn call(
        &mut self,
        call: Call,
        id: ExecutionId,
        slot: Option<SlotId>,
        entropy: &mut Entropy,
        cx: &mut Context<'_>,
    ) {
        if call.is_remembered() {
            let calls = self.calls.entry(id).or_default();
            if *calls == MAX_CALLS {
                return;
            }
            *calls += 1;
        }
        let command = call.command(id, self.sent.block_of(id), slot, entropy);
        self.sent.note(&command);
        let (stale, patience) = (happens(entropy, 500), self.patience(entropy));
        cx.command(Origin::Detached, command, stale, patience);
    }
}
