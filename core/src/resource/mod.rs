//! Records beside executions: the states of lanes, budgets, quotas, registered workers
//! (`docs/spec.md`, 7). All of them are named, stored and changed in the same way, by
//! [`op::ChangeResource`](crate::op::ChangeResource).

mod change;
mod kept;

pub use change::{Change, Changed, Decided, Facts, NextResource};
pub use kept::{Kept, WRITERS};

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::id::Namespace;
use crate::partition::{Partition, PartitionConfig, PartitionFamily};
use crate::quota_ref::QuotaRef;
use crate::time::TimestampMs;

/// The kind of a record beside executions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// The lanes of a namespace that an operator has changed.
    Lanes,
    /// Budgets.
    Budgets,
    /// Charges of budgets that have a dedup key.
    Charges,
    /// Quotas.
    Quotas,
    /// The present use of quotas, by key.
    QuotaUses,
    /// Registered workers.
    Workers,
}

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Lanes, Self::Budgets, Self::Charges, Self::Quotas, Self::QuotaUses, Self::Workers];

    /// Returns the family of the partitions that hold records of this kind.
    pub const fn family(self) -> PartitionFamily {
        match self {
            Self::Lanes => PartitionFamily::Meta,
            Self::Budgets | Self::Charges => PartitionFamily::Budget,
            Self::Quotas | Self::QuotaUses => PartitionFamily::Quota,
            Self::Workers => PartitionFamily::Worker,
        }
    }

    /// Returns the letter of the kind in keys.
    pub const fn letter(self) -> u8 {
        match self {
            Self::Lanes => b'L',
            Self::Budgets => b'B',
            Self::Charges => b'C',
            Self::Quotas => b'Q',
            Self::QuotaUses => b'U',
            Self::Workers => b'W',
        }
    }
}

/// The name of a record beside executions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId {
    /// The kind of the record.
    pub kind: ResourceKind,
    /// The partition that holds it.
    pub partition: Partition,
    /// Its id within the kind.
    pub uuid: Uuid,
}

impl ResourceId {
    /// Names a record. Its partition follows from the id.
    pub fn new(kind: ResourceKind, uuid: Uuid, config: &PartitionConfig) -> Self {
        Self { kind, partition: config.of_uuid(kind.family(), uuid), uuid }
    }

    /// Names the record that belongs to these names. Different names have different ids, for all
    /// practical purposes: the id is a uuid of version 5 over them.
    pub fn of_names(kind: ResourceKind, names: &[&str], config: &PartitionConfig) -> Self {
        Self::new(kind, uuid_of(kind, names), config)
    }

    /// Names the record that belongs to these names, in the partition of this one.
    #[must_use]
    pub fn beside(&self, kind: ResourceKind, names: &[&str]) -> Self {
        Self { kind, partition: self.partition, uuid: uuid_of(kind, names) }
    }
}

/// Returns the uuid of the record that belongs to these names.
pub fn uuid_of(kind: ResourceKind, names: &[&str]) -> Uuid {
    let mut text = vec![kind.letter()];
    for name in names {
        text.extend_from_slice(&(name.len() as u64).to_be_bytes());
        text.extend_from_slice(name.as_bytes());
    }
    Uuid::new_v5(&NAMES, &text)
}

/// The uuid under which the ids of named records are made.
const NAMES: Uuid = Uuid::from_u128(0x5d0c_8a0e_3f0b_4b52_9d60_7c1f_2a9e_6b11);

/// A record beside executions.
pub trait Resource: Clone + Debug + PartialEq + Serialize + DeserializeOwned + 'static {
    /// The kind of the record.
    const KIND: ResourceKind;

    /// Returns the namespace in whose list the record is, and its place there; `None` for a record
    /// that no list shows. A list is in ascending order.
    fn listed(&self) -> Option<(&Namespace, TimestampMs)> {
        None
    }

    /// Returns when the record is to be removed, or visited; `None` for a record that stays.
    fn expires_at(&self) -> Option<TimestampMs> {
        None
    }

    /// Whether records of this kind can have slots of a quota, which are checked in place of a
    /// removal.
    const HAS_SLOTS: bool = false;

    /// Returns the quota of which slots are to be compared with their executions at this time.
    fn to_visit(&self, _now: TimestampMs) -> Option<(&Namespace, &QuotaRef)> {
        None
    }

    /// Returns the namespace whose programs are woken by a change; `None` if no program waits
    /// for changes.
    fn wakes(&self) -> Option<&Namespace> {
        None
    }
}
