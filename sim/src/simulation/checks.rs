//! The checks of a simulation: the workers' upkeep, and how long faults and tests last.

use ff_core::execution::{Active, Event, Execution, Phase, next_due};
use ff_core::store::{JournalEntry, Member, RecordKey, Request};
use ff_core::time::TimestampMs;

use crate::determinism::clock::store_time;
use crate::report::Broken;

use super::call::{Call, Cargo};
use super::scene::{Scene, Slot, Wrong, is_over};
use super::upkeep::{Look, RENEWAL, Touch};

/// The time between two checks of the upkeep, in milliseconds.
const CHECK_EVERY_MS: u64 = 500;

/// How long no fault has met a worker before the last two lifetimes of a lease that it should have
/// renewed, in milliseconds: a late copy of a claim may give it a lease that it does not know.
const UNDISTURBED_MS: u64 = 30_000;

/// Faults last for at least this many times the longest quiet time.
const HORIZON: u64 = 20;

/// A test without an end may take this many times the longest quiet time after the last fault.
const PATIENCE: u64 = 1_000;

/// How many time limits a handler, a timer or the test itself may wait: a day by default.
const WAITS: u64 = 144;

impl Scene {
    /// Notes a commit or a read that a process sends.
    pub fn touch(&mut self, slot: usize, at: u64, call: &Call) {
        for id in executions(call) {
            let touch = Touch { sent_at: at, answered: false };
            self.slots[slot].touched.entry(id).or_insert(touch).sent_at = at;
        }
    }

    /// Notes a commit or a read whose reply arrives.
    pub fn touched(&mut self, call: &Call) {
        for id in executions(call) {
            if let Some(touch) = self.slots[call.slot].touched.get_mut(&id) {
                touch.answered = true;
            }
        }
    }

    /// Checks the upkeep of every worker that runs.
    pub fn check_upkeep(&mut self) -> Result<(), Wrong> {
        if self.now < self.checked_at + CHECK_EVERY_MS {
            return Ok(());
        }
        self.checked_at = self.now;
        let (now, timeout_ms) = (self.now, self.conditions.network.timeout_ms);
        let records = &self.server.model.records;
        for slot in &mut self.slots {
            let Some(watched) = &mut slot.watched else { continue };
            if slot.process.is_none() || slot.paused {
                continue;
            }
            let records = records.values().map(|record| &**record);
            let held = records.filter(|record| watched.holds(record, store_time(now)));
            let (held, report): (Vec<&Execution>, _) = (held.collect(), watched.report());
            let (touched, continued_at) = (&slot.touched, slot.continued_at);
            let look = Look { now, report, held: &held, touched, continued_at, timeout_ms };
            watched.check(&look).map_err(|broken| {
                Wrong::from(Broken {
                    detail: format!("{}: {}", slot.name, broken.detail),
                    ..broken
                })
            })?;
        }
        Ok(())
    }

    /// Checks the leases that a commit ends because they expired: their workers renew them, unless
    /// a fault prevents it.
    pub fn check_expiries(&self, entries: &[Vec<JournalEntry>]) -> Result<(), Wrong> {
        for entry in entries.iter().flatten() {
            let expired = |event: &Event| matches!(event, Event::LeaseExpired { .. });
            let record = self.server.model.records.get(&entry.execution);
            let Some(Phase::Active(Active { lease, .. })) = record.map(|record| &record.phase)
            else {
                continue;
            };
            if !entry.events.iter().any(expired) {
                continue;
            }
            let ms = |at: TimestampMs| at.since(store_time(0)).get();
            let (acquired_at, expires_at) = (ms(lease.acquired_at), ms(lease.expires_at));
            let since = expires_at.saturating_sub(2 * lease.ttl_ms.get() + UNDISTURBED_MS);
            let knows = |slot: &Slot| {
                let touch = slot.touched.get(&entry.execution.uuid());
                slot.started_at <= acquired_at && touch.is_some_and(|touch| touch.answered)
            };
            let runs = |slot: &&Slot| {
                slot.watched.as_ref().is_some_and(|one| one.is(&lease.instance))
                    && slot.process.is_some()
                    && !slot.paused
                    && slot.disturbed_at.is_none_or(|at| at < since)
                    && knows(slot)
            };
            if let Some(slot) = self.slots.iter().find(runs) {
                let (name, id) = (&slot.name, entry.execution);
                let detail = format!("{name}: the lease of {id} expired, and no fault met it");
                return Err(Broken { tag: RENEWAL, detail }.into());
            }
        }
        Ok(())
    }

    /// When the faults end by themselves, in milliseconds.
    pub fn horizon(&self) -> u64 {
        let scale = self.quiet.scale_ms(self.now);
        self.conditions.until_ms.saturating_add(HORIZON.saturating_mul(scale))
    }

    /// Why the test counts as stuck, if it does.
    pub fn stuck(&self) -> Option<String> {
        let quiet_ms = self.quiet.for_ms(self.now);
        if quiet_ms > self.limit_ms && quiet_ms > self.longest_wait() {
            return Some(format!("nothing has happened for {quiet_ms} ms"));
        }
        let after = self.now.saturating_sub(self.faults_ended_at?);
        let most = PATIENCE.saturating_mul(self.quiet.scale_ms(self.now));
        let text = || format!("the test is still running {after} ms after the last fault");
        (after > self.limit_ms.saturating_add(most)).then(text)
    }

    /// How long nothing may happen. Executions without a lease and without a timer wait for the
    /// time limit only.
    fn longest_wait(&self) -> u64 {
        let records = self.server.model.records.values();
        let mut open = records.filter(|record| !is_over(&record.phase)).peekable();
        let waits = open.peek().is_none() || open.any(|record| next_due(record).is_some());
        if waits { self.limit_ms.saturating_mul(WAITS) } else { self.limit_ms }
    }
}

/// The executions that a call commits to or reads.
fn executions(call: &Call) -> Vec<Member> {
    let Cargo::Store { request, .. } = &call.cargo else { return Vec::new() };
    let keys: Vec<&RecordKey> = match request {
        Request::Commit(commit) => {
            commit.units.iter().filter_map(|unit| Some(&unit.expect.first()?.0)).collect()
        }
        // A renewal without a reply reads the record before it is sent again.
        Request::Read(read) => read.records.iter().collect(),
        _ => Vec::new(),
    };
    let about = keys.into_iter().filter_map(|key| match key {
        RecordKey::Execution(uuid) => Some(*uuid),
        _ => None,
    });
    about.collect()
}
