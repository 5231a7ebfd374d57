//! The simulated store: it serves requests and checks every step.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use ff_core::execution::{Continuation, Event, EventKind, Execution, situation};
use ff_core::id::{ExecutionId, SignalId, SlotId};
use ff_core::op::{Loaded, load};
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::store::Member;
use ff_core::store::codec::{Codec, FORMAT, decode};
use ff_core::store::{
    Bytes, Commit, IndexName, IndexWrite, JournalEntry, MemoryStore, Read, RecordKey, Reply,
    ReplyBody, Request, Stored, StreamName, Take, TakenEntry, Unit, UnitReply, ValueKey, Version,
};
use ff_core::time::{TimestampMs, Window};

use crate::determinism::hash::Fnv;
use crate::fault::store::Raised;
use crate::invariant::{check_change, durable, frame, journal, lists, readers, signal, time};
use crate::model::caller::Caller;
use crate::model::change::{Change, SideWrites};
use crate::model::{Model, quotas};
use crate::report::coverage::{CommandKind, Coverage, Effect};
use crate::report::invariants::Invariant;
use crate::report::{Broken, StoreKind, ensure};

use super::backing::{Backing, Behind};
use super::condition::Condition;
use super::resources::{ResourceWrites, understood};

/// The store, the model of its contents, and counts.
#[derive(Debug)]
pub struct Server {
    pub(super) store: Backing,
    pub(super) history: u64,
    pub(super) behind: Option<Behind>,
    /// Its condition.
    pub condition: Condition,
    /// The most bytes of records for a page or a conflict, if a request allows more.
    pub reply_bytes: u32,
    /// The contents that it should have.
    pub model: Model,
    /// Old copies of records, for callers that begin with a stale one.
    pub copies: BTreeMap<Member, Loaded>,
    /// Requests that were served.
    pub calls: u64,
    /// Units that were committed.
    pub commits: u64,
    /// Executions that were created.
    pub created: u64,
    /// The events of the latest request.
    pub latest_events: Vec<(ExecutionId, EventKind)>,
    /// The grants under which executions have ceased to run in the latest request, if they have
    /// quotas.
    pub stopped: Vec<SlotId>,
    /// Executions whose signals or output have changed since the last full check.
    pub dirty: BTreeSet<ExecutionId>,
    /// The coverage.
    pub coverage: Coverage,
    /// The hash over all steps.
    pub hash: Fnv,
}

/// The writes of a unit, extracted before the store gets it.
struct Plan {
    id: ExecutionId,
    put: Option<Bytes>,
    removed: bool,
    version: Version,
    window: Window,
    entries: Vec<JournalEntry>,
    journal: Vec<Bytes>,
    writes: Vec<IndexWrite>,
    side_writes: SideWrites,
}

impl Server {
    /// An empty store.
    pub fn new(kind: StoreKind, seed: u64) -> Self {
        Self {
            store: Backing::new(kind, seed),
            history: seed,
            behind: None,
            condition: Condition::default(),
            reply_bytes: u32::MAX,
            model: Model::default(),
            copies: BTreeMap::new(),
            calls: 0,
            commits: 0,
            created: 0,
            latest_events: Vec::new(),
            stopped: Vec::new(),
            dirty: BTreeSet::new(),
            coverage: Coverage::default(),
            hash: Fnv::default(),
        }
    }

    /// Serves the part of a request before an error that is raised inside a function, and checks
    /// it.
    pub fn serve_in_part(
        &mut self,
        request: Request,
        raised: Raised,
        now: TimestampMs,
    ) -> Result<(), Broken> {
        self.hash.number(5);
        self.latest_events.clear();
        match request {
            // The index entries of all units are written first.
            Request::Commit(commit) => {
                let count = raised.units + usize::from(raised.indexes);
                let (partition, units) = (commit.partition, commit.units.into_iter().take(count));
                units
                    .into_iter()
                    .try_for_each(|unit| self.write_indexes_alone(partition, unit, now))
            }
            Request::Take(take) if raised.units > 0 => self.take(take, now).map(drop),
            _ => Ok(()),
        }
    }

    /// Writes the index entries of a unit and nothing else, if the execution is found by them.
    fn write_indexes_alone(
        &mut self,
        partition: Partition,
        mut unit: Unit,
        now: TimestampMs,
    ) -> Result<(), Broken> {
        let Some(Plan { id, side_writes, .. }) = plan(partition, &unit)? else { return Ok(()) };
        if !self.model.is_found_by(id, &unit.index, now) || !side_writes.forgotten.is_empty() {
            return Ok(());
        }
        let signals = side_writes.signals.iter().map(|(signal, _)| (id, signal.id));
        let signals: Vec<_> = signals.collect();
        (unit.put, unit.remove, unit.values) = (Vec::new(), Vec::new(), Vec::new());
        (unit.append, unit.ring, unit.fetch) = (Vec::new(), Vec::new(), Vec::new());
        (unit.drop_streams, unit.counts) = (Vec::new(), Vec::new());
        let index = unit.index.clone();
        let commit = Commit { partition, units: vec![unit] };
        let reply = self.store.handle(Request::Commit(commit), now)?;
        if let ReplyBody::Commit(units) = reply.body
            && matches!(units[..], [UnitReply::Committed { .. }])
        {
            self.model.note_partly_written(id, &index);
            self.model.waits.partly_written.extend(signals);
        }
        self.store.check_indexes(&self.model, partition)
    }

    /// A copy of the store and its model, without the counts; `None` if the store cannot be copied.
    pub fn copied(&self) -> Option<Self> {
        let (store, model) = (self.store.copied()?, self.model.clone());
        Some(Self { store, model, ..Self::new(StoreKind::Memory, self.history) })
    }

    /// The reference store itself, past all checks: tests look into it and spoil it.
    pub fn memory(&mut self) -> &mut MemoryStore {
        match &mut self.store {
            Backing::Memory(store) => store,
            #[cfg(feature = "lua")]
            Backing::Lua(_) => unreachable!("tests look into the reference store only"),
        }
    }

    /// The version of a record in the store.
    pub fn version(&mut self, id: &ExecutionId, now: TimestampMs) -> Result<Version, Broken> {
        let (records, values) = (vec![RecordKey::of(id)], Vec::new());
        let read = Read { partition: id.partition(), records, values };
        let reply = self.store.handle(Request::Read(read), now)?;
        let stored = match reply.body {
            ReplyBody::Read(mut read) => read.records.pop().flatten(),
            _ => None,
        };
        Ok(stored.map_or(Version::ABSENT, |stored| stored.version))
    }

    /// Lowers the bounds on the bytes of records in the reply.
    fn limit_reply(&self, request: &mut Request) {
        let limit = |bytes: &mut u32| *bytes = self.reply_bytes.min(*bytes);
        match request {
            Request::Take(take) => limit(&mut take.bytes),
            Request::Scan(scan) => limit(&mut scan.bytes),
            Request::Commit(commit) => {
                commit.units.iter_mut().for_each(|unit| limit(&mut unit.conflict_bytes));
            }
            Request::Poll(_) | Request::Read(_) | Request::Stream(_) => {}
        }
    }

    /// Serves a request and checks its effect.
    pub fn serve(
        &mut self,
        caller: &mut Caller,
        mut request: Request,
        now: TimestampMs,
    ) -> Result<Reply, Broken> {
        self.calls += 1;
        self.latest_events.clear();
        self.stopped.clear();
        self.limit_reply(&mut request);
        if is_about_quotas(&request) {
            caller.asked_quota_at = Some(self.model.at);
        }
        #[cfg(feature = "planted-bugs")]
        let (request, answered) = super::spoil::sent(request, &self.model);
        let reply = match request {
            // The configuration that all processes share; it is not about an execution.
            Request::Commit(commit) if commit.partition == Partition::META => {
                self.commit_meta(caller, commit, now)
            }
            Request::Commit(commit) => self.commit(caller, commit, now),
            Request::Take(take) => self.take(take, now),
            other => self.store.handle(other, now),
        };
        #[cfg(feature = "planted-bugs")]
        let reply = reply.map(|reply| answered.spoil(reply));
        reply
    }

    /// Commits shared configuration, and takes over the secrets.
    fn commit_meta(
        &mut self,
        caller: &Caller,
        commit: Commit,
        now: TimestampMs,
    ) -> Result<Reply, Broken> {
        let puts = commit.units.iter().map(|unit| unit.put.first().cloned());
        let puts: Vec<_> = puts.collect();
        let reply = self.store.handle(Request::Commit(commit), now)?;
        let ReplyBody::Commit(units) = &reply.body else { return Ok(reply) };
        for (put, unit) in puts.into_iter().zip(units) {
            if let (Some((RecordKey::Resource(..), bytes)), UnitReply::Committed { .. }) =
                (&put, unit)
            {
                self.hash.bytes(bytes);
                *self.model.resource_changes.entry(caller.number).or_default() += 1;
            }
            if let (Some((RecordKey::Secrets, bytes)), UnitReply::Committed { .. }) = (put, unit) {
                self.hash.bytes(&bytes);
                let lost = self.model.waits.keys.note(&bytes, caller.rotates, now)?;
                let watched = self.model.watched.contains(Invariant::Token);
                ensure!(lost.is_none() || !watched, "INV-TOKEN-1", "at {now} {lost:?} is not kept");
            }
        }
        Ok(reply)
    }

    /// The wake-ups since the last call.
    pub fn take_wakes(&mut self) -> Vec<ff_core::store::Wake> {
        self.store.take_wakes()
    }

    fn commit(
        &mut self,
        caller: &mut Caller,
        mut commit: Commit,
        now: TimestampMs,
    ) -> Result<Reply, Broken> {
        let partition = commit.partition;
        for append in commit.units.iter_mut().flat_map(|unit| &mut unit.append) {
            self.model.stream_caps.limit(append);
        }
        let plans = commit.units.iter().map(|unit| plan(partition, unit));
        let plans = plans.collect::<Result<Vec<_>, _>>()?;
        let resources: Vec<_> = commit.units.iter().map(ResourceWrites::of).collect();
        let reply = self.store.handle(Request::Commit(commit), now)?;
        let ReplyBody::Commit(units) = &reply.body else {
            let watched = self.model.watched.contains(Invariant::Bounds);
            ensure!(!watched, "BOUNDS", "a commit was answered {:?}", reply.body);
            return Ok(reply);
        };
        let touched: Vec<ExecutionId> = plans.iter().flatten().map(|plan| plan.id).collect();
        for ((plan, resource), unit) in plans.into_iter().zip(resources).zip(units) {
            match unit {
                UnitReply::Committed { .. } => {
                    if let Some(writes) = resource {
                        writes.committed(&mut self.model, &mut self.hash, caller, now)?;
                    }
                    if let Some(plan) = plan {
                        self.committed(caller, plan, now)?;
                    }
                }
                UnitReply::Conflict { .. } => {
                    self.hash.number(1);
                    caller.was_refused |= plan.is_some();
                }
                UnitReply::OutsideWindow => {
                    self.hash.number(2);
                    caller.was_refused = true;
                    if let Some(Plan { put: Some(bytes), version, window, .. }) = plan {
                        time::check_window(&self.model, &decoded(version, &bytes)?, window)?;
                    }
                }
            }
        }
        self.store.check_touched(&self.model, partition, &touched)?;
        Ok(reply)
    }

    fn committed(
        &mut self,
        caller: &mut Caller,
        plan: Plan,
        now: TimestampMs,
    ) -> Result<(), Broken> {
        let before = self.model.records.get(&plan.id).cloned();
        let caller = caller.part(plan.id, before.as_deref());
        let after = match &plan.put {
            Some(bytes) => {
                self.hash.bytes(bytes);
                Some(Rc::new(decoded(plan.version, bytes)?))
            }
            None if plan.removed => None,
            None => before.clone(),
        };
        let kept = plan.put.is_none() && !plan.removed;
        self.commits += 1;
        self.created += u64::from(before.is_none() && after.is_some());
        if self.model.watched.contains(Invariant::Journal) {
            for entry in &plan.entries {
                journal::check_entry(entry, plan.version.count, after.as_deref())?;
            }
        }
        let events: Vec<Event> = plan.entries.into_iter().flat_map(|entry| entry.events).collect();
        for event in &events {
            *self.coverage.events.entry(event.kind()).or_default() += 1;
            self.latest_events.push((plan.id, event.kind()));
        }
        let (id, writes, side_writes) = (plan.id, plan.writes, plan.side_writes);
        for entry in plan.journal {
            self.model.note_entry(id.partition(), entry, now);
        }
        let version = plan.version;
        let change =
            Change { id, now, before, after, version, kept, events, writes, side_writes, caller };
        check_change(&self.model, &change)?;
        if let (Some(before), None) = (&change.before, &change.after) {
            signal::check_gone(&self.model, before, |request| self.store.handle(request, now))?;
        }
        if !change.side_writes.is_empty() {
            self.dirty.insert(id);
        }
        self.stopped.extend(quotas::stops(&change));
        cover(&mut self.coverage, &self.model, &change);
        self.model.note(&change);
        if let (Some(after), false, 0) = (&change.after, kept, self.commits % 2) {
            let execution = Arc::new(Execution::clone(after));
            let copy = Loaded { version: plan.version, execution };
            self.copies.insert(id.uuid(), copy);
        }
        caller.applied += u64::from(!kept);
        Ok(())
    }

    fn take(&mut self, take: Take, now: TimestampMs) -> Result<Reply, Broken> {
        let reply = self.store.handle(Request::Take(take.clone()), now)?;
        let mut touched = Vec::new();
        if let ReplyBody::Take(taken) = &reply.body {
            for TakenEntry { from, entry } in &taken.entries {
                let id = Model::id(take.partition.index, entry.position.member);
                self.model.note_take(id, &take.from[*from], take.hold, now);
                self.hash.number(3);
                touched.push(id);
            }
        }
        self.store.check_touched(&self.model, take.partition, &touched)?;
        Ok(reply)
    }

    /// Checks all contents of the store.
    pub fn check_all(&mut self, now: TimestampMs) -> Result<(), Broken> {
        for partition in self.store.partitions() {
            self.store.check_indexes(&self.model, partition)?;
            self.store.check_records(&self.model, partition)?;
        }
        durable::check_acknowledged(&self.model)?;
        readers::check_kept(&self.model, |request| self.store.handle(request, now))?;
        lists::check(&self.model, now, |request| self.store.handle(request, now))?;
        for id in std::mem::take(&mut self.dirty) {
            signal::check_stored(&self.model, &id, |request| self.store.handle(request, now))?;
            frame::check_stored(&self.model, &id, |request| self.store.handle(request, now))?;
        }
        for record in self.model.records.values() {
            let values = vec![ValueKey::Result(record.id.uuid())];
            let read = Read { partition: record.id.partition(), records: Vec::new(), values };
            let reply = self.store.handle(Request::Read(read), now)?;
            if let ReplyBody::Read(read) = reply.body {
                durable::check_result(&self.model, record, &read.values[0])?;
            }
        }
        Ok(())
    }
}

fn is_about_quotas(request: &Request) -> bool {
    let partition = match request {
        Request::Commit(commit) => commit.partition,
        Request::Read(read) => read.partition,
        _ => return false,
    };
    partition.family == PartitionFamily::Quota
}

/// Covers the effect of a unit's command.
fn cover(coverage: &mut Coverage, model: &Model, change: &Change<'_>) {
    let Some(mut command) = change.caller.carries else { return };
    let own = |lease| model.leases.get(lease) == Some(&change.caller.number);
    if command == CommandKind::Offer
        && change.active_before().is_some_and(|active| own(&active.lease.id))
    {
        // An operation that draws work and already holds the lease confirms it.
        command = CommandKind::Renew;
    }
    if change.caller.hands_over() && change.events.is_empty() && !change.kept {
        command = CommandKind::CheckSlot;
    }
    let continuation = change.before.as_deref().and_then(|before| before.continuation);
    if continuation == Some(Continuation::RemoveSignals) && !change.kept {
        command = CommandKind::ForgetSignals;
    }
    let after = change.after.as_deref().map(|after| situation(after, change.now));
    let effect = if change.kept { Effect::Kept } else { Effect::Becomes(after) };
    let leased_again = change.new_lease().is_some() && model.removed.contains_key(&change.id);
    coverage.ids_used_again += u64::from(leased_again);
    coverage.note(command, change.before.as_deref(), change.now, effect);
}

/// Extracts the writes of a unit. It is about the execution whose record it expects first; `None`
/// for a record beside executions.
fn plan(partition: Partition, unit: &Unit) -> Result<Option<Plan>, Broken> {
    if let Some((RecordKey::Meta | RecordKey::Secrets | RecordKey::Resource(..), _)) =
        unit.expect.first()
    {
        return Ok(None);
    }
    let Some((RecordKey::Execution(uuid), version)) = unit.expect.first() else {
        ensure!(false, "BOUNDS", "a unit is about no execution: {unit:?}");
        unreachable!("the line above returns");
    };
    let key = RecordKey::Execution(*uuid);
    let journal = || unit.append.iter().filter(|append| append.stream == StreamName::Journal);
    let mut entries = Vec::new();
    for append in journal() {
        match decode::<JournalEntry>(&append.entry, FORMAT) {
            Ok(entry) => entries.push(entry),
            Err(error) => ensure!(false, "BOUNDS", "a journal entry does not decode: {error}"),
        }
    }
    let journal = journal().map(|append| append.entry.clone()).collect();
    let put = unit.put.iter().find(|(put, _)| *put == key);
    let of_signals = |write: &&IndexWrite| matches!(write.index, IndexName::Signals { .. });
    let writes = unit.index.iter().filter(|write| !of_signals(write));
    Ok(Some(Plan {
        id: Model::id(partition.index, *uuid),
        put: put.map(|(_, bytes)| bytes.clone()),
        removed: unit.remove.contains(&key),
        version: version.next(unit.nonce),
        window: unit.window,
        entries,
        journal,
        writes: writes.cloned().collect(),
        side_writes: side_writes(unit)?,
    }))
}

/// The signals and the output that a unit writes.
fn side_writes(unit: &Unit) -> Result<SideWrites, Broken> {
    let mut side_writes = SideWrites::default();
    for (key, bytes) in &unit.put {
        let RecordKey::Signal { execution, signal } = key else { continue };
        let key = ValueKey::Signal { execution: *execution, signal: *signal };
        let payload = unit.values.iter().find(|write| write.key == key);
        let payload = payload.and_then(|write| write.value.clone());
        side_writes.signals.push((understood(bytes)?, payload));
    }
    for key in &unit.remove {
        if let RecordKey::Signal { signal, .. } = key {
            side_writes.forgotten.push(SignalId::from_uuid(*signal));
        }
    }
    for append in &unit.append {
        if let StreamName::Frames { attempt, .. } = append.stream {
            side_writes.frames.push((attempt, understood(&append.entry)?));
        }
    }
    for stream in &unit.drop_streams {
        if let StreamName::Frames { attempt, .. } = stream {
            side_writes.dropped.push(*attempt);
        }
    }
    Ok(side_writes)
}

fn decoded(version: Version, bytes: &Bytes) -> Result<Execution, Broken> {
    match load(&Stored { version, bytes: bytes.clone() }, &Codec::default()) {
        Ok(loaded) => Ok(Arc::unwrap_or_clone(loaded.execution)),
        Err(error) => {
            let detail = format!("a record was written that does not decode: {error}");
            Err(Broken { tag: "BOUNDS", detail })
        }
    }
}
