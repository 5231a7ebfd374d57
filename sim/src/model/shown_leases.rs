//! The own leases that the store has shown to an operation.
//!
//! A claim whose reply was lost asks again, and the store shows it the lease that it has already
//! taken. It must recognise that lease, and not take another (`docs/architecture.md`, Identity).

use std::collections::BTreeMap;

use ff_core::execution::{LeaseFate, Phase};
use ff_core::id::{ExecutionId, LeaseId};
use ff_core::op::load;
use ff_core::store::codec::Codec;
use ff_core::store::{RecordKey, Reply, ReplyBody, Request, Stored, UnitReply};

use crate::model::Model;

/// The leases that an operation took, and that the store showed it when it asked again.
#[derive(Clone, Debug, Default)]
pub struct ShownLeases(BTreeMap<ExecutionId, LeaseId>);

impl ShownLeases {
    /// Forgets those of the executions that a request is about: its reply may tell more.
    pub fn forget_touched(&mut self, request: &Request) {
        if !self.0.is_empty() {
            self.0.retain(|id, _| !touches(request, id));
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds those that a reply shows to the operation of that number.
    pub fn note(&mut self, model: &Model, number: u64, reply: &Reply) {
        let codec = Codec::default();
        for loaded in shown(reply).into_iter().filter_map(|stored| load(stored, &codec).ok()) {
            let Phase::Active(active) = &loaded.execution.phase else { continue };
            let lease = active.lease.id;
            let live = active.fate == LeaseFate::Held && reply.at < active.lease.expires_at;
            if live && model.leases.get(&lease) == Some(&number) {
                self.0.insert(loaded.execution.id, lease);
            }
        }
    }

    /// The leases, each with its execution.
    pub fn iter(&self) -> impl Iterator<Item = (&ExecutionId, &LeaseId)> {
        self.0.iter()
    }
}

/// The records in a reply that were requested, or that conflict.
fn shown(reply: &Reply) -> Vec<&Stored> {
    match &reply.body {
        ReplyBody::Read(read) => read.records.iter().flatten().collect(),
        ReplyBody::Commit(units) => {
            let current = units.iter().filter_map(|unit| match unit {
                UnitReply::Conflict { current } => Some(current.iter().flatten()),
                _ => None,
            });
            current.flatten().collect()
        }
        _ => Vec::new(),
    }
}

/// Whether a request reads or writes the record of an execution.
fn touches(request: &Request, id: &ExecutionId) -> bool {
    let key = RecordKey::of(id);
    match request {
        Request::Read(read) => read.records.contains(&key),
        Request::Commit(commit) => {
            commit.units.iter().flat_map(|unit| &unit.expect).any(|(expected, _)| *expected == key)
        }
        _ => false,
    }
}
