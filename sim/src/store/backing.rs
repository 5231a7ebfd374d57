//! The store that answers: core's reference store, or the function library that servers run.

use std::collections::BTreeMap;

use ff_core::id::ExecutionId;
use ff_core::partition::Partition;
use ff_core::store::{MemoryStore, Reply, Request, Wake};
use ff_core::time::TimestampMs;

use crate::invariant::{count, index};
use crate::model::Model;
use crate::report::{Broken, StoreKind};

#[cfg(feature = "lua")]
use super::lua::{LuaReplica, LuaStore};

/// The store that answers.
#[derive(Debug)]
pub(super) enum Backing {
    /// The reference store.
    Memory(MemoryStore),
    /// The function library.
    #[cfg(feature = "lua")]
    Lua(Box<LuaStore>),
}

/// A copy of a store's contents.
#[derive(Debug)]
pub(super) enum Replica {
    /// Of the reference store.
    Memory(MemoryStore),
    /// Of the function library.
    #[cfg(feature = "lua")]
    Lua(Box<LuaReplica>),
}

/// A replica that receives nothing more, and the simulator's memory of its last state.
#[derive(Debug)]
pub(super) struct Behind {
    /// The number of the failover in which it takes over.
    pub number: u64,
    /// The contents of the replica.
    pub store: Replica,
    /// The model at that time.
    pub model: Model,
    /// How many commits of each caller had changed something, and of each of its parts.
    pub applied: BTreeMap<u64, Vec<u64>>,
}

impl Backing {
    /// An empty store with its own history.
    pub(super) fn new(kind: StoreKind, history: u64) -> Self {
        match kind {
            StoreKind::Memory => Self::Memory(MemoryStore::new(history)),
            #[cfg(feature = "lua")]
            StoreKind::Lua => Self::Lua(Box::new(LuaStore::new(history))),
        }
    }

    /// A copy, if the store can be copied.
    pub(super) fn copied(&self) -> Option<Self> {
        match self {
            Self::Memory(store) => Some(Self::Memory(store.clone())),
            #[cfg(feature = "lua")]
            Self::Lua(_) => None,
        }
    }

    /// Answers a request at an instant of the store's clock.
    pub(super) fn handle(&mut self, request: Request, now: TimestampMs) -> Result<Reply, Broken> {
        #[cfg(feature = "planted-bugs")]
        let request = match (super::spoil::installed().served, &mut *self) {
            (Some(bug), Self::Memory(store)) => {
                let mut spoiled = request;
                bug(&mut spoiled, &mut |request| store.handle(request, now));
                spoiled
            }
            _ => request,
        };
        match self {
            Self::Memory(store) => Ok(store.handle(request, now)),
            #[cfg(feature = "lua")]
            Self::Lua(store) => store.handle(request, now),
        }
    }

    /// The wake-ups since the last call.
    pub(super) fn take_wakes(&mut self) -> Vec<Wake> {
        match self {
            Self::Memory(store) => store.take_wakes(),
            #[cfg(feature = "lua")]
            Self::Lua(store) => store.take_wakes(),
        }
    }

    /// Copies the contents of the store.
    pub(super) fn replicate(&mut self) -> Replica {
        match self {
            Self::Memory(store) => Replica::Memory(store.clone()),
            #[cfg(feature = "lua")]
            Self::Lua(store) => Replica::Lua(Box::new(store.replicate())),
        }
    }

    /// A replica that holds nothing.
    pub(super) fn empty_replica(&self) -> Replica {
        match self {
            Self::Memory(_) => Replica::Memory(MemoryStore::default()),
            #[cfg(feature = "lua")]
            Self::Lua(_) => Replica::Lua(Box::new(LuaStore::new(0).replicate())),
        }
    }

    /// A replica of the same kind takes over.
    pub(super) fn take_over(&mut self, replica: Replica) {
        match (self, replica) {
            (Self::Memory(store), Replica::Memory(replica)) => *store = replica,
            #[cfg(feature = "lua")]
            (Self::Lua(store), Replica::Lua(replica)) => store.take_over(*replica),
            #[cfg(feature = "lua")]
            _ => unreachable!("a replica is of the kind of its store"),
        }
    }

    /// Starts another history.
    pub(super) fn set_history(&mut self, history: u64) {
        match self {
            Self::Memory(store) => store.set_history(history),
            #[cfg(feature = "lua")]
            Self::Lua(store) => store.set_history(history),
        }
    }

    /// The partitions that hold anything.
    pub(super) fn partitions(&self) -> Vec<Partition> {
        match self {
            Self::Memory(store) => store.partitions().collect(),
            #[cfg(feature = "lua")]
            Self::Lua(store) => store.partitions(),
        }
    }

    /// Checks the index entries of a partition.
    pub(super) fn check_indexes(
        &mut self,
        model: &Model,
        partition: Partition,
    ) -> Result<(), Broken> {
        match self {
            Self::Memory(store) => {
                index::check(model, store.entries(partition), partition)?;
                index::check_listed(model, store.entries(partition), store.listed(partition))?;
                count::check(model, store.counts(partition), partition)
            }
            #[cfg(feature = "lua")]
            Self::Lua(store) => {
                let (entries, listed) = (store.entries(partition)?, store.listed(partition)?);
                let entries = entries.iter().map(|(index, position)| (index, *position));
                index::check(model, entries.clone(), partition)?;
                index::check_listed(model, entries, listed.into_iter())?;
                let counts = store.counts(partition)?;
                let counts = counts.iter().map(|(name, number)| (name, *number));
                count::check(model, counts, partition)
            }
        }
    }

    /// Checks the index entries of some executions of a partition: those that a step has touched.
    pub(super) fn check_touched(
        &mut self,
        model: &Model,
        partition: Partition,
        touched: &[ExecutionId],
    ) -> Result<(), Broken> {
        match self {
            Self::Memory(store) => touched.iter().try_for_each(|id| {
                index::check_one(model, store.entries_of(partition, id.uuid()), *id)
            }),
            // The keyspace can only be read as a whole.
            #[cfg(feature = "lua")]
            Self::Lua(_) => self.check_indexes(model, partition),
        }
    }

    /// Checks the records of a partition.
    pub(super) fn check_records(
        &mut self,
        model: &Model,
        partition: Partition,
    ) -> Result<(), Broken> {
        match self {
            Self::Memory(store) => index::check_records(model, store.records(partition), partition),
            #[cfg(feature = "lua")]
            Self::Lua(store) => {
                store.check_keys()?;
                let records = store.records(partition);
                let records = records.iter().map(|(key, stored)| (key, stored));
                index::check_records(model, records, partition)
            }
        }
    }
}
