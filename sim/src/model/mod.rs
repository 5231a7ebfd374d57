//! The simulator's own copy of every record and index entry as they should be, and of every
//! answer that callers received.

pub mod budgets;
pub mod caller;
pub mod change;
pub mod identity;
pub mod index_positions;
pub mod journal;
pub mod quotas;
pub mod registry;
pub mod settled;
pub mod shown_leases;
pub mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ff_core::agent::WorkerProfile;
use ff_core::capability::Capabilities;
use ff_core::execution::{AnyCommand, Decide, Execution, LeaseFate, Phase, ReleaseOutcome};
use ff_core::id::{ExecutionId, GrantId, LeaseId};
use ff_core::kinds::Kinds;
use ff_core::partition::{Partition, PartitionConfig};
use ff_core::score::Score;
use ff_core::store::Member;
use ff_core::store::{Bytes, IndexName, IndexWrite};
use ff_core::time::{DurationMs, TimestampMs};

use crate::model::budgets::Budgets;
use crate::model::change::Change;
use crate::model::identity::{CommandIdentity, Remembered, identity_of, remembered_of};
use crate::model::index_positions::{IndexPositions, positions_of};
use crate::model::journal::Journal;
use crate::model::quotas::Quotas;
use crate::model::registry::Workers;
use crate::model::waits::Waits;
use crate::plan::settings::{Settings, SmallCaps};
use crate::report::invariants::InvariantSet;

/// The promises about the present life of an execution.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// How often the execution was created under this id, from 1.
    pub generation: u32,
    /// The payload of its submission.
    pub payload: Option<Bytes>,
    /// The result of its completion, once it is committed.
    pub result: Option<Option<Bytes>>,
    /// [`Model::jumps`] when its removal began.
    pub removed_at: u64,
}

/// The leases of a removed execution.
#[derive(Clone, Copy, Debug)]
pub struct Removed {
    /// The highest epoch.
    pub epoch: u64,
    /// [`Model::jumps`] when its removal began.
    pub jumps: u64,
}

/// The simulator's memory.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The invariants that are checked. The other fields do not depend on it.
    pub watched: InvariantSet,
    /// The store's partitions.
    pub partitions: PartitionConfig,
    /// The capabilities of the worker processes, by number.
    pub capabilities: Vec<Capabilities>,
    /// The kinds that the worker processes serve, by number.
    pub kinds: Vec<Kinds>,
    /// The records as they should be.
    pub records: BTreeMap<ExecutionId, Rc<Execution>>,
    /// The index entries as they should be.
    pub positions: BTreeMap<ExecutionId, IndexPositions>,
    /// The present life of each execution that was ever created.
    pub lives: BTreeMap<ExecutionId, Life>,
    /// The executions that were leased and removed since, by their id, without those that had lower
    /// epochs than a later one.
    pub removed: BTreeMap<ExecutionId, Vec<Removed>>,
    /// The lease that consumed each grant.
    pub consumed: BTreeMap<GrantId, LeaseId>,
    /// Each lease that was ever granted, and the operation that took it.
    pub leases: BTreeMap<LeaseId, u64>,
    /// Leases that an operator revoked, or whose execution an operator cancelled.
    pub withdrawn: BTreeSet<LeaseId>,
    /// Leases that their holders gave back.
    pub given_back: BTreeSet<LeaseId>,
    /// Commands that were applied.
    pub applied: BTreeMap<CommandIdentity, Remembered>,
    /// The operations that applied them.
    pub applied_by: BTreeMap<CommandIdentity, u64>,
    /// Lives that are over: execution, generation, number of replays.
    pub ended: BTreeSet<(ExecutionId, u32, u32)>,
    /// Executions whose existence was reported to a caller, by generation.
    pub acknowledged: BTreeSet<(ExecutionId, u32)>,
    /// The caps of streams.
    pub stream_caps: SmallCaps,
    /// The journal of each partition in the present history.
    pub journals: BTreeMap<Partition, Journal>,
    /// How often each operation has changed a record beside executions, in the present history.
    pub resource_changes: BTreeMap<u64, u64>,
    /// Budgets and charges as they should be.
    pub budgets: Budgets,
    /// The registered workers as they should be.
    pub workers: Workers,
    /// Quotas, and what they have let start.
    pub quotas: Quotas,
    /// The simulated time.
    pub at: u64,
    /// How far the clock of another partition may be ahead.
    pub clocks_differ_by: DurationMs,
    /// How often the store's clock or history jumped.
    pub jumps: u64,
    /// Leases whose end their holder cannot know since a jump, until it receives a renewal.
    pub doubtful: BTreeSet<LeaseId>,
    /// Executions whose index entries were written without their record, when a function raised an
    /// error in its middle; and their possible scores in `due`.
    pub partly_written: BTreeMap<ExecutionId, BTreeSet<Option<Score>>>,
    /// When each execution was last taken, or put into its queue, by the store's clock.
    pub moved: BTreeMap<ExecutionId, TimestampMs>,
    /// Suspensions, signals, tokens and output.
    pub waits: Waits,
}

impl Model {
    /// An empty model of a run with these workers, which are the first processes.
    pub fn new(watched: InvariantSet, settings: &Settings, workers: &[WorkerProfile]) -> Self {
        let capabilities = workers.iter().map(|worker| worker.capabilities.clone()).collect();
        let kinds = workers.iter().map(|worker| worker.kinds.clone()).collect();
        let (partitions, stream_caps) = (settings.partitions, settings.stream_caps);
        Self { watched, partitions, stream_caps, capabilities, kinds, ..Self::default() }
    }

    /// The model of the same store without contents.
    pub fn of_empty_store(&self) -> Self {
        let (partitions, capabilities) = (self.partitions, self.capabilities.clone());
        let kinds = self.kinds.clone();
        let (watched, stream_caps) = (self.watched, self.stream_caps);
        Self { watched, partitions, stream_caps, capabilities, kinds, ..Self::default() }
    }

    /// How often the execution was created under this id.
    pub fn generation(&self, id: &ExecutionId) -> u32 {
        self.lives.get(id).map_or(0, |life| life.generation)
    }

    /// Whether the execution lives since the beginning of an operation. `present`: the executions
    /// at that time, and how often each was created.
    pub fn stayed(&self, id: &ExecutionId, present: &[(ExecutionId, u32)]) -> bool {
        present.contains(&(*id, self.generation(id)))
    }

    /// The id of a member of a partition.
    pub const fn id(partition: u16, member: Member) -> ExecutionId {
        ExecutionId::from_parts(partition, member)
    }

    /// The identity of a command that was answered. The execution may have been removed and created
    /// again since: then the latest identity under which the command was applied.
    pub fn identity_of(&self, command: &AnyCommand) -> Option<CommandIdentity> {
        let generation = self.generation(&command.execution_id());
        let earlier = (0..=generation).rev().filter_map(|past| identity_of(command, past));
        let applied = earlier.into_iter().find(|identity| self.applied.contains_key(identity));
        applied.or_else(|| identity_of(command, generation))
    }

    /// The identity of the command that a change applies, if it does.
    pub fn carried_out(&self, change: &Change<'_>) -> Option<(CommandIdentity, Remembered)> {
        let command = change.caller.command.as_ref()?;
        let identity = identity_of(command, self.generation(&change.id))?;
        let after = remembered_of(&identity, change.after.as_deref()?)?;
        let before = change.before.as_deref().and_then(|before| remembered_of(&identity, before));
        (!change.kept && before.is_none()).then_some((identity, after))
    }

    /// Takes over the effect of a step.
    pub fn note(&mut self, change: &Change<'_>) {
        self.note_life(change);
        self.note_leases(change);
        self.waits.note(change, self.jumps);
        if let (Some(after), false) = (&change.after, change.kept)
            && after.limits.is_some()
        {
            self.quotas.note_written(change.id, change.version, self.at);
        }
        if let Some((_, grant)) = quotas::starts(change) {
            self.quotas.given.insert(grant, change.caller.begun);
        }
        self.quotas.stopped.extend(quotas::stops(change));
        if let Some((identity, memory)) = self.carried_out(change) {
            self.applied_by.insert(identity.clone(), change.caller.number);
            self.applied.insert(identity, memory);
        }
        let wanted = change.after.as_ref().map(|after| positions_of(after));
        let stood = self.positions.get(&change.id).is_some_and(|stood| stood.eligible.is_some());
        if !stood && wanted.as_ref().is_some_and(|wanted| wanted.eligible.is_some()) {
            self.moved.insert(change.id, change.now);
        }
        if let Some(due) = self.partly_written.get_mut(&change.id) {
            // Each commit that has a due time writes it, and so does each commit that changes it.
            let wanted = wanted.and_then(|wanted| wanted.due).map(Some);
            if let Some(written) = wanted.or_else(|| written_due(&change.writes)) {
                *due = BTreeSet::from([written]);
            } else if change.before.is_none() {
                // A Take drops entries without a record.
                due.insert(None);
            }
        }
        match &change.after {
            Some(after) => {
                self.positions.extend(wanted.map(|wanted| (change.id, wanted)));
                self.records.insert(change.id, Rc::clone(after));
            }
            None => {
                self.positions.remove(&change.id);
                self.records.remove(&change.id);
            }
        }
    }

    fn note_life(&mut self, change: &Change<'_>) {
        let life = self.lives.entry(change.id).or_default();
        if change.before.is_none() && change.after.is_some() {
            let payload = match &change.caller.command {
                Some(AnyCommand::Create(create)) => create.payload.clone(),
                _ => None,
            };
            *life = Life { generation: life.generation + 1, payload, ..Life::default() };
        }
        let removal = |record: &Option<Rc<Execution>>| record.as_ref()?.continuation;
        let removes = change.after.is_none() || removal(&change.after).is_some();
        if removal(&change.before).is_none() && removes {
            life.removed_at = self.jumps;
        }
        let Some(after) = &change.after else {
            let epoch = change.before.as_ref().map_or(0, |before| before.epoch.0);
            if epoch > 0 {
                let removed = self.removed.entry(change.id).or_default();
                removed.retain(|earlier| earlier.epoch > epoch);
                removed.push(Removed { epoch, jumps: life.removed_at });
            }
            return;
        };
        if change.ends_life() {
            self.ended.insert((change.id, life.generation, after.counts.replays));
            if let Some(AnyCommand::Complete(complete)) = &change.caller.command {
                life.result = Some(complete.result.clone());
            }
        }
        if !matches!(after.phase, Phase::Terminal(_)) {
            life.result = None;
        }
    }

    fn note_leases(&mut self, change: &Change<'_>) {
        if let Some(new) = change.new_lease() {
            self.leases.insert(new.lease.id, change.caller.number);
            self.consumed.insert(new.lease.grant.id, new.lease.id);
        }
        let Some(before) = change.active_before() else { return };
        let lease = before.lease.id;
        let after = change.active_after().filter(|after| after.lease.id == lease);
        if let Some(after) = after {
            if after.fate == LeaseFate::Revoked {
                self.withdrawn.insert(lease);
            }
            return;
        }
        let release = change.after.as_deref().and_then(|after| after.last_release.as_ref());
        let suspends = matches!(change.caller.command, Some(AnyCommand::Suspend(_)));
        if suspends || release.is_some_and(|release| release.fence.lease_id == lease) {
            self.given_back.insert(lease);
        } else if matches!(change.caller.command, Some(AnyCommand::Cancel(_))) {
            self.withdrawn.insert(lease);
        }
    }

    /// Takes over the effect of a `Take` on the indexes, exactly as the contract specifies it.
    pub fn note_take(
        &mut self,
        id: ExecutionId,
        from: &IndexName,
        hold: DurationMs,
        now: TimestampMs,
    ) {
        self.moved.insert(id, now);
        let hold = Score::at(now.plus(hold));
        let positions = self.positions.entry(id).or_default();
        match from {
            IndexName::Due => positions.due = None,
            IndexName::Eligible { .. } => positions.eligible = None,
            IndexName::Retention => positions.retention = None,
            _ => {}
        }
        positions.due = Some(positions.due.map_or(hold, |due| due.min(hold)));
        if let Some(due) = self.partly_written.get_mut(&id) {
            let before = |due: &Option<Score>| due.filter(|_| *from != IndexName::Due);
            let after = |due| Some(before(due).map_or(hold, |due| due.min(hold)));
            *due = due.iter().map(after).collect();
        }
    }

    /// Takes over that only the index entries of an execution were written.
    pub fn note_partly_written(&mut self, id: ExecutionId, index: &[IndexWrite]) {
        let stood = self.positions.get(&id).and_then(|positions| positions.due);
        let due = self.partly_written.entry(id).or_insert_with(|| BTreeSet::from([stood]));
        if let Some(written) = written_due(index) {
            *due = BTreeSet::from([written]);
        }
    }

    /// Takes over a new entry of a partition's journal.
    pub fn note_entry(&mut self, partition: Partition, entry: Bytes, now: TimestampMs) {
        let most = self.stream_caps.journal_bytes.max(entry.len());
        self.journals.entry(partition).or_default().append(entry, most, now);
    }

    /// Whether an execution would still be found in time if only its index entries were written: it
    /// is in its lane, or in `due` no later than its record requires, or soon.
    pub fn is_found_by(&self, id: ExecutionId, index: &[IndexWrite], now: TimestampMs) -> bool {
        let Some(record) = self.records.get(&id) else { return true };
        let mut positions = self.positions.get(&id).copied().unwrap_or_default();
        for write in index {
            match write.index {
                IndexName::Eligible { .. } => positions.eligible = write.score,
                IndexName::Due => positions.due = write.score,
                IndexName::Retention => positions.retention = write.score,
                _ => {}
            }
        }
        let soon = Score::at(now.plus(DurationMs::from_secs(30)));
        let wanted = positions_of(record).due.map_or(soon, |due| due.max(soon));
        positions.eligible.is_some() || positions.due.is_some_and(|due| due <= wanted)
    }

    /// Takes over that the store's clock has stepped.
    pub fn note_clock_step(&mut self) {
        self.jumps += 1;
        self.doubtful.extend(self.leases.keys());
        self.budgets.note_clock_step(self.at);
    }

    /// Takes over that the store has lost everything since the time of `then`. Promises from before
    /// that time remain, even those that a caller received later.
    pub fn note_loss(&mut self, then: &Self) {
        let kept = |(id, generation): &&(ExecutionId, u32)| then.generation(id) >= *generation;
        let acknowledged = self.acknowledged.iter().filter(kept).copied().collect();
        let doubtful = self.doubtful.iter().chain(self.leases.keys()).copied().collect();
        let (jumps, mut waits) = (self.jumps + 1, then.waits.clone());
        waits.keys.remember(&self.waits.keys);
        let quotas = self.quotas.after_loss(&then.quotas, self.at);
        let budgets = self.budgets.after_loss(&then.budgets, self.at);
        let at = self.at;
        *self = Self { acknowledged, doubtful, jumps, waits, quotas, budgets, at, ..then.clone() };
    }

    /// The result that a completed execution was committed with.
    pub fn result(&self, id: &ExecutionId) -> Option<&Option<Bytes>> {
        self.lives.get(id).and_then(|life| life.result.as_ref())
    }

    /// Whether a record is that of a completed execution.
    pub fn completed(record: &Execution) -> bool {
        let release = record.last_release.as_ref();
        release.is_some_and(|release| release.outcome == ReleaseOutcome::Completed)
            && matches!(record.phase, Phase::Terminal(_))
    }
}

/// The score in `due` that a unit writes, if it writes one.
fn written_due(index: &[IndexWrite]) -> Option<Option<Score>> {
    let due = index.iter().rev().find(|write| write.index == IndexName::Due);
    due.map(|write| write.score)
}
