//! Which store answers: core's reference store, or the function library that servers run.

use ff_core::partition::Partition;
use ff_core::store::{MemoryStore, Reply, Request, Wake};
use ff_core::time::TimestampMs;

use crate::invariant::index;
use crate::model::Model;
use crate::report::Broken;

#[cfg(feature = "lua")]
use super::lua::LuaStore;

/// Which store answers. A seed gives the same run with either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StoreKind {
    /// Core's reference store.
    #[default]
    Memory,
    /// The function library of Valkey and Redis in process; each of its replies is compared with
    /// the reference store's.
    #[cfg(feature = "lua")]
    Lua,
}

/// The store that answers.
#[derive(Debug)]
pub(super) enum Backing {
    /// The reference store.
    Memory(MemoryStore),
    /// The function library.
    #[cfg(feature = "lua")]
    Lua(Box<LuaStore>),
}

impl Backing {
    /// An empty store with a history of its own.
    pub(super) fn new(kind: StoreKind, history: u64) -> Self {
        match kind {
            StoreKind::Memory => Self::Memory(MemoryStore::new(history)),
            #[cfg(feature = "lua")]
            StoreKind::Lua => Self::Lua(Box::new(LuaStore::new(history))),
        }
    }

    /// Answers a request at an instant of the store's clock.
    ///
    /// # Errors
    ///
    /// When the function library raises an error, or answers otherwise than the reference store.
    pub(super) fn handle(&mut self, request: Request, now: TimestampMs) -> Result<Reply, Broken> {
        match self {
            Self::Memory(store) => Ok(store.handle(request, now)),
            #[cfg(feature = "lua")]
            Self::Lua(store) => store.handle(request, now),
        }
    }

    /// The wake-ups that the requests since the last call have rung.
    pub(super) fn take_wakes(&mut self) -> Vec<Wake> {
        match self {
            Self::Memory(store) => store.take_wakes(),
            #[cfg(feature = "lua")]
            Self::Lua(store) => store.take_wakes(),
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
    ///
    /// # Errors
    ///
    /// When an entry is not where it should be.
    pub(super) fn check_indexes(
        &mut self,
        model: &Model,
        partition: Partition,
    ) -> Result<(), Broken> {
        match self {
            Self::Memory(store) => index::check(model, store.entries(partition), partition),
            #[cfg(feature = "lua")]
            Self::Lua(store) => {
                let entries = store.entries(partition)?;
                let entries = entries.iter().map(|(index, position)| (index, *position));
                index::check(model, entries, partition)
            }
        }
    }

    /// Checks the records of a partition.
    ///
    /// # Errors
    ///
    /// When a record is not what was written.
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
