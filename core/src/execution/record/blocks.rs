//! Blocks: the reasons that hold an execution back. Several can hold at the same time, one of each
//! kind.

use serde::{Deserialize, Serialize};

use crate::time::TimestampMs;

/// The kind of a reason that holds an execution back, in the order in which users see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// An operator blocked it.
    Operator,
    /// The state of its lane.
    Lane,
    /// Executions that must finish first.
    Dependencies,
    /// A budget.
    Budget,
    /// A quota.
    Quota,
    /// No worker had the capabilities that it needs.
    Route,
}

impl BlockKind {
    /// Every kind, in order.
    pub const ALL: [Self; 6] =
        [Self::Operator, Self::Lane, Self::Dependencies, Self::Budget, Self::Quota, Self::Route];
}

/// One reason that holds an execution back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockEntry {
    /// The reason.
    pub kind: BlockKind,
    /// When the reason is checked again. A reason that depends on another partition has such a
    /// time, because a wake-up that crosses partitions can be lost.
    pub recheck_at: Option<TimestampMs>,
}

/// The reasons that hold an execution back: a set by kind, so that removing one never removes
/// another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocks(Vec<BlockEntry>);

impl Blocks {
    /// Adds or replaces the reason of the entry's kind.
    pub fn insert(&mut self, entry: BlockEntry) {
        match self.0.binary_search_by_key(&entry.kind, |held| held.kind) {
            Ok(position) => self.0[position] = entry,
            Err(position) => self.0.insert(position, entry),
        }
    }

    /// Removes a reason and returns whether it was there.
    pub fn remove(&mut self, kind: BlockKind) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| entry.kind != kind);
        self.0.len() < before
    }

    /// The reason of that kind.
    pub fn get(&self, kind: BlockKind) -> Option<&BlockEntry> {
        self.0.iter().find(|entry| entry.kind == kind)
    }

    /// The reason that users see: the first in the order of the kinds.
    pub fn first(&self) -> Option<&BlockEntry> {
        self.0.first()
    }

    /// All reasons in the order of their kinds.
    pub fn iter(&self) -> impl Iterator<Item = &BlockEntry> {
        self.0.iter()
    }

    /// Whether this is the only reason.
    pub fn is_only(&self, kind: BlockKind) -> bool {
        self.get(kind).is_some() && self.iter().count() == 1
    }

    /// Whether nothing holds the execution back.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
