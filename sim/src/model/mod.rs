//! What the world remembers by itself: a copy of every record and index entry as they should be,
//! and the facts that somebody was told.

pub mod caller;
pub mod change;
pub mod identity;
pub mod index_positions;
pub mod settled;
pub mod shown_leases;
pub mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ff_core::agent::WorkerProfile;
use ff_core::capability::Capabilities;
use ff_core::execution::{AnyCommand, Decide, Execution, LeaseFate, Phase, ReleaseOutcome};
use ff_core::id::{ExecutionId, GrantId, LeaseId};
use ff_core::partition::{Partition, PartitionConfig};
use ff_core::score::Score;
use ff_core::store::Member;
use ff_core::store::{Bytes, IndexName, IndexWrite, StreamEntry, StreamId, Take};
use ff_core::time::{DurationMs, TimestampMs};

use crate::model::change::Change;
use crate::model::identity::{Identity, Memory, identity_of, memory_of};
use crate::model::index_positions::{Places, places_of};
use crate::model::waits::Waits;
use crate::report::invariants::InvariantSet;

/// What was promised about the present life of an execution.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// How often the execution was created under this id, from 1.
    pub generation: u32,
    /// What its submitter handed in.
    pub payload: Option<Bytes>,
    /// What the commit of its completion handed back, once there was one.
    pub result: Option<Option<Bytes>>,
}

/// What the world remembers.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Which invariants are looked at; what is remembered does not depend on it.
    pub watched: InvariantSet,
    /// The store's partitions.
    pub partitions: PartitionConfig,
    /// What the worker processes can do, by number.
    pub capabilities: Vec<Capabilities>,
    /// The records as they should be.
    pub records: BTreeMap<ExecutionId, Rc<Execution>>,
    /// The index entries as they should be.
    pub places: BTreeMap<ExecutionId, Places>,
    /// Each execution that ever was.
    pub lives: BTreeMap<ExecutionId, Life>,
    /// Which lease consumed each grant.
    pub consumed: BTreeMap<GrantId, LeaseId>,
    /// Each lease ever given, and the operation that took it.
    pub leases: BTreeMap<LeaseId, u64>,
    /// Leases that an operator took away, or whose execution an operator cancelled.
    pub withdrawn: BTreeSet<LeaseId>,
    /// Leases that their holder gave back.
    pub given_back: BTreeSet<LeaseId>,
    /// Commands that were carried out.
    pub applied: BTreeMap<Identity, Memory>,
    /// The operations that carried them out.
    pub applied_by: BTreeMap<Identity, u64>,
    /// Lives that are over: execution, generation, number of replays.
    pub ended: BTreeSet<(ExecutionId, u32, u32)>,
    /// Executions that somebody was told exist, by generation.
    pub acknowledged: BTreeSet<(ExecutionId, u32)>,
    /// What the journal of each partition was told in the present history, with the numbers that
    /// the store has given.
    pub journals: BTreeMap<Partition, Vec<StreamEntry>>,
    /// How often the store's clock or history jumped.
    pub jumps: u64,
    /// Leases of whose end their holder cannot know since then, until it hears of a renewal.
    pub doubtful: BTreeSet<LeaseId>,
    /// Executions whose index entries were written without their record, when an error was raised
    /// in the middle of a function; and where they may stand among what is due.
    pub adrift: BTreeMap<ExecutionId, BTreeSet<Option<Score>>>,
    /// When each execution was last taken, by the store's clock.
    pub taken: BTreeMap<ExecutionId, TimestampMs>,
    /// Suspensions, signals, tokens and output.
    pub waits: Waits,
}

impl Model {
    /// Nothing yet, about these partitions and the workers, which are the first processes.
    pub fn new(
        watched: InvariantSet,
        partitions: PartitionConfig,
        workers: &[WorkerProfile],
    ) -> Self {
        let capabilities = workers.iter().map(|worker| worker.capabilities.clone()).collect();
        Self { watched, partitions, capabilities, ..Self::default() }
    }

    /// How often the execution was created under this id.
    pub fn generation(&self, id: &ExecutionId) -> u32 {
        self.lives.get(id).map_or(0, |life| life.generation)
    }

    /// The execution of a member of a partition.
    pub const fn id(partition: u16, member: Member) -> ExecutionId {
        ExecutionId::from_parts(partition, member)
    }

    /// The identity of a command that was answered. What it was about may have been removed and
    /// created anew since: then it is the latest one under which it was carried out.
    pub fn identity_of(&self, command: &AnyCommand) -> Option<Identity> {
        let generation = self.generation(&command.execution_id());
        let earlier = (0..=generation).rev().filter_map(|past| identity_of(command, past));
        let applied = earlier.into_iter().find(|identity| self.applied.contains_key(identity));
        applied.or_else(|| identity_of(command, generation))
    }

    /// The identity of the command that a change carries out, if it does.
    pub fn carried_out(&self, change: &Change<'_>) -> Option<(Identity, Memory)> {
        let command = change.caller.command.as_ref()?;
        let identity = identity_of(command, self.generation(&change.id))?;
        let after = memory_of(&identity, change.after.as_deref()?)?;
        let before = change.before.as_deref().and_then(|before| memory_of(&identity, before));
        (!change.kept && before.is_none()).then_some((identity, after))
    }

    /// Takes over what a step did.
    pub fn note(&mut self, change: &Change<'_>) {
        self.note_life(change);
        self.note_leases(change);
        self.waits.note(change, self.jumps);
        if let Some((identity, memory)) = self.carried_out(change) {
            self.applied_by.insert(identity.clone(), change.caller.number);
            self.applied.insert(identity, memory);
        }
        let wanted = change.after.as_ref().map(|after| places_of(after));
        if let Some(due) = self.adrift.get_mut(&change.id) {
            // What is due is written by each commit that has it, and where it changes.
            let wanted = wanted.and_then(|wanted| wanted.due).map(Some);
            if let Some(written) = wanted.or_else(|| written_due(&change.writes)) {
                *due = BTreeSet::from([written]);
            } else if change.before.is_none() {
                // A Take drops what has no record.
                due.insert(None);
            }
        }
        match &change.after {
            Some(after) => {
                self.places.extend(wanted.map(|wanted| (change.id, wanted)));
                self.records.insert(change.id, Rc::clone(after));
            }
            None => {
                self.places.remove(&change.id);
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
            *life = Life { generation: life.generation + 1, payload, result: None };
        }
        let Some(after) = &change.after else { return };
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

    /// Takes over what a `Take` did to the indexes, exactly as the contract says.
    pub fn note_take(&mut self, id: ExecutionId, take: &Take, now: TimestampMs) {
        self.taken.insert(id, now);
        let hold = Score::at(now.plus(take.hold));
        let places = self.places.entry(id).or_default();
        match &take.index {
            IndexName::Due => places.due = None,
            IndexName::Eligible { .. } => places.eligible = None,
            _ => {}
        }
        places.due = Some(places.due.map_or(hold, |due| due.min(hold)));
        if let Some(due) = self.adrift.get_mut(&id) {
            let before = |due: &Option<Score>| due.filter(|_| take.index != IndexName::Due);
            let after = |due| Some(before(due).map_or(hold, |due| due.min(hold)));
            *due = due.iter().map(after).collect();
        }
    }

    /// Takes over that the index entries of an execution were written, and nothing else.
    pub fn note_adrift(&mut self, id: ExecutionId, index: &[IndexWrite]) {
        let stood = self.places.get(&id).and_then(|places| places.due);
        let due = self.adrift.entry(id).or_insert_with(|| BTreeSet::from([stood]));
        if let Some(written) = written_due(index) {
            *due = BTreeSet::from([written]);
        }
    }

    /// Takes over an entry that a partition's journal was told.
    pub fn note_entry(&mut self, partition: Partition, entry: Bytes, now: TimestampMs) {
        let journal = self.journals.entry(partition).or_default();
        let last = journal.last().map(|entry| entry.id).unwrap_or_default();
        let id = if now > last.at {
            StreamId { at: now, sequence: 0 }
        } else {
            StreamId { sequence: last.sequence + 1, ..last }
        };
        journal.push(StreamEntry { id, entry });
    }

    /// Whether an execution would be looked at in time if only its index entries were written: it
    /// stands in its lane, or among what is due no later than its record wants it, or soon.
    pub fn is_found_by(&self, id: ExecutionId, index: &[IndexWrite], now: TimestampMs) -> bool {
        let Some(record) = self.records.get(&id) else { return true };
        let mut places = self.places.get(&id).copied().unwrap_or_default();
        for write in index {
            match write.index {
                IndexName::Eligible { .. } => places.eligible = write.score,
                IndexName::Due => places.due = write.score,
                _ => {}
            }
        }
        let soon = Score::at(now.plus(DurationMs::from_secs(30)));
        let wanted = places_of(record).due.map_or(soon, |due| due.max(soon));
        places.eligible.is_some() || places.due.is_some_and(|due| due <= wanted)
    }

    /// The store's clock has stepped.
    pub fn note_clock_step(&mut self) {
        self.jumps += 1;
        self.doubtful.extend(self.leases.keys());
    }

    /// The store has lost everything since it was as remembered `then`. What was promised before
    /// stays promised, even where it was told later.
    pub fn note_loss(&mut self, then: &Self) {
        let kept = |(id, generation): &&(ExecutionId, u32)| then.generation(id) >= *generation;
        let acknowledged = self.acknowledged.iter().filter(kept).copied().collect();
        let doubtful = self.doubtful.iter().chain(self.leases.keys()).copied().collect();
        let (jumps, mut waits) = (self.jumps + 1, then.waits.clone());
        waits.keys.remember(&self.waits.keys);
        *self = Self { acknowledged, doubtful, jumps, waits, ..then.clone() };
    }

    /// The result of an execution that is completed, as it was committed.
    pub fn result(&self, id: &ExecutionId) -> Option<&Option<Bytes>> {
        self.lives.get(id).and_then(|life| life.result.as_ref())
    }

    /// Whether a record says that its holder completed it.
    pub fn completed(record: &Execution) -> bool {
        let release = record.last_release.as_ref();
        release.is_some_and(|release| release.outcome == ReleaseOutcome::Completed)
            && matches!(record.phase, Phase::Terminal(_))
    }
}

/// Where a unit writes what is due, if it does.
fn written_due(index: &[IndexWrite]) -> Option<Option<Score>> {
    let due = index.iter().rev().find(|write| write.index == IndexName::Due);
    due.map(|write| write.score)
}
