//! The parts of a state, each with its sketch for the hash: a step changes few of them.

use std::rc::Rc;

use ff_core::agent::WorkerAgent;
use ff_core::execution::{AnyCommand, Claimed, Execution, IssuedWaitpoint, SignalRecord};
use ff_core::id::LeaseId;
use ff_core::op::load;
use ff_core::store::codec::Codec;
use ff_core::store::{
    IndexName, Reply, ReplyBody, Request, ScanEntry, Stored, Unit, UnitReply, Version,
};

use crate::exhaustive::carrier::{Carrier, Work};
use crate::model::waits::Taken;

use super::canon::{Reader, Sketch};

/// A part of a state that is shared until it changes.
#[derive(Clone, Debug)]
pub struct Part<T> {
    value: Rc<T>,
    sketch: Rc<Sketch>,
}

/// A value that can be read into a sketch.
pub trait Sketched: Clone {
    /// Reads everything that has an effect on the future.
    fn read(&self, reader: &mut Reader);
}

impl<T: Sketched> Part<T> {
    /// Creates a part.
    pub fn new(value: T) -> Self {
        let mut reader = Reader::new();
        value.read(&mut reader);
        Self { value: Rc::new(value), sketch: Rc::new(reader.finish()) }
    }

    /// The value.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// A copy of the value, to be changed.
    pub fn copy(&self) -> T {
        T::clone(&self.value)
    }

    /// Its sketch.
    pub fn sketch(&self) -> &Sketch {
        &self.sketch
    }
}

/// A running operation, and the message that it waits for.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The operation.
    pub carrier: Carrier,
    /// The message that it waits for.
    pub message: Message,
}

/// The message that an operation waits for.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // A handful of them.
pub enum Message {
    /// Its request is in flight.
    Request(Request),
    /// Its reply is in flight.
    Reply(Reply),
}

/// A worker process between its operations.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its agent.
    pub agent: WorkerAgent,
    /// How often it was started before.
    pub start: u32,
    /// Its job.
    pub job: Option<Job>,
    /// The lease that it renews.
    pub renewing: Option<LeaseId>,
}

/// An execution that a worker holds.
#[derive(Clone, Debug)]
pub struct Job {
    /// The claimed execution and its lease.
    pub claimed: Claimed,
    /// The call that gives its lease back, once it is decided.
    pub ending: Option<AnyCommand>,
    /// Whether it has opened its waitpoint, or is about to.
    pub opens: bool,
}

/// A request that no operation waits for any more, and that may arrive or not.
#[derive(Clone, Debug)]
pub struct Late {
    /// Its sender.
    pub carrier: Carrier,
    /// The request.
    pub request: Request,
}

/// A record of the store.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The record, if there is one.
    pub record: Option<Rc<Execution>>,
    /// Its version.
    pub version: Version,
    /// Its signals.
    pub signals: Vec<Rc<Taken>>,
}

impl Sketched for Exchange {
    fn read(&self, reader: &mut Reader) {
        // The store's clock in the latest reply matters for signals alone.
        let Carrier { work, caller, seen, seen_at: _, own } = &self.carrier;
        reader.number(caller.applied);
        reader.number(u64::from(caller.refused) << 1 | u64::from(caller.failed));
        // The time of sending matters for claims and renewals alone.
        let without: &[&str] = match work {
            Work::Claim(_) | Work::Renew(_) => &["looked", "since"],
            _ => &["at", "first_sent", "looked", "since"],
        };
        reader.value(work, without);
        if let Some(seen) = seen {
            reader.value(seen, &["at"]);
        }
        reader.value(own, &[]);
        match &self.message {
            Message::Request(request) => read_request(request, reader),
            Message::Reply(reply) => read_reply(reply, reader),
        }
    }
}

impl Sketched for Late {
    fn read(&self, reader: &mut Reader) {
        let caller = &self.carrier.caller;
        reader.number(caller.applied);
        reader.number(u64::from(caller.refused));
        reader.value(&caller.command, &[]);
        read_request(&self.request, reader);
    }
}

impl Sketched for Worker {
    fn read(&self, reader: &mut Reader) {
        reader.id(super::canon::name(self.agent.profile().worker.as_str().as_bytes()));
        reader.value(&self.agent.profile().instance, &[]);
        reader.value(&self.agent.leases, &["at"]);
        reader.value(&self.renewing, &[]);
        match &self.job {
            Some(job) => {
                reader.value(&job.claimed, &[]);
                reader.value(&job.ending, &[]);
                reader.number(u64::from(job.opens));
            }
            None => reader.number(0),
        }
    }
}

impl Sketched for IssuedWaitpoint {
    fn read(&self, reader: &mut Reader) {
        reader.value(self, &[]);
    }
}

impl Sketched for Kept {
    fn read(&self, reader: &mut Reader) {
        read_version(self.version, reader);
        // The timeout of a suspension is in `due`.
        reader.value(&self.record, &["at", "since"]);
        for taken in &self.signals {
            reader.value(&taken.record, SIGNAL_TOLD_ONLY);
        }
    }
}

fn read_version(version: Version, reader: &mut Reader) {
    reader.number(version.count);
    if version.count > 0 {
        reader.id(u128::from(version.nonce));
    }
}

fn read_stored(stored: Option<&Stored>, reader: &mut Reader) {
    let Some(stored) = stored else { return reader.number(0) };
    read_version(stored.version, reader);
    let codec = Codec::default();
    if let Ok(loaded) = load(stored, &codec) {
        reader.value(&loaded.execution, &["at", "since"]);
    } else if let Ok(signal) = codec.decode::<SignalRecord>(&stored.bytes) {
        reader.value(&signal, SIGNAL_TOLD_ONLY);
    } else {
        reader.value(&stored.bytes, &[]);
    }
}

/// The instants of signals, which no rule reads: no secret is rotated in these worlds.
const SIGNAL_TOLD_ONLY: &[&str] = &["at", "waitpoint_created_at"];

/// Reads a request. Its journal entries and wake-ups are not part of the state.
fn read_request(request: &Request, reader: &mut Reader) {
    match request {
        Request::Commit(commit) => {
            reader.number(11);
            commit.units.iter().for_each(|unit| read_unit(unit, reader));
        }
        other => {
            reader.number(12);
            reader.value(other, &[]);
        }
    }
}

fn read_unit(unit: &Unit, reader: &mut Reader) {
    for (key, version) in &unit.expect {
        reader.value(key, &[]);
        read_version(*version, reader);
    }
    reader.limit(unit.window.not_before.get());
    reader.limit(unit.window.not_after.get());
    reader.id(u128::from(unit.nonce));
    reader.value(&unit.remove, &[]);
    for (_, bytes) in &unit.put {
        read_stored(Some(&Stored { version: Version::ABSENT, bytes: bytes.clone() }), reader);
    }
    for write in &unit.values {
        reader.value(&(&write.key, &write.value), &[]);
    }
    for write in &unit.index {
        reader.value(&(&write.index, write.member), &[]);
        match (write.score, &write.index) {
            (None, _) => reader.number(0),
            (Some(score), IndexName::Due | IndexName::Retention) => {
                reader.limit(score.instant().get());
            }
            (Some(score), _) => reader.number(score.get() as u64),
        }
    }
    reader.number(unit.fetch.len() as u64);
}

fn read_reply(reply: &Reply, reader: &mut Reader) {
    reader.instant(reply.at.get());
    match &reply.body {
        ReplyBody::Commit(units) => {
            for unit in units {
                match unit {
                    UnitReply::Conflict { current } => {
                        reader.number(21);
                        current.iter().for_each(|stored| read_stored(stored.as_ref(), reader));
                    }
                    UnitReply::Committed { fetched } => reader.value(fetched, &[]),
                    UnitReply::OutsideWindow => reader.number(22),
                }
            }
        }
        ReplyBody::Take(taken) => {
            taken.rest.iter().for_each(|rest| reader.number(u64::from(rest.is_some())));
            taken.entries.iter().for_each(|taken| read_entry(&taken.entry, reader));
        }
        ReplyBody::Read(read) => {
            read.records.iter().for_each(|stored| read_stored(stored.as_ref(), reader));
            reader.value(&read.values, &[]);
        }
        other => reader.value(other, &[]),
    }
}

fn read_entry(entry: &ScanEntry, reader: &mut Reader) {
    reader.id(entry.position.member.as_u128());
    read_stored(entry.record.as_ref(), reader);
}
