//! Names of what a partition holds, and the one place that turns them into key text.
//!
//! Text that a user chose is length-prefixed, so that no two names share a key.

use uuid::Uuid;

use crate::id::{ExecutionId, LaneId, Namespace};
use crate::partition::Partition;

/// A record of a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKey {
    /// An execution, by its uuid.
    Execution(Uuid),
    /// The store's configuration, in the partition [`Partition::META`].
    Meta,
}

/// A value of a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValueKey {
    /// What an execution's submitter handed in.
    Payload(Uuid),
    /// What an execution's worker handed back.
    Result(Uuid),
}

/// An index of a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexName {
    /// Executions that a worker may take.
    Eligible {
        /// The tenant.
        namespace: Namespace,
        /// The queue.
        lane: LaneId,
    },
    /// Executions by the time at which something about them is due.
    Due,
    /// Executions that no worker fitted.
    BlockedRoute {
        /// The tenant.
        namespace: Namespace,
    },
    /// Executions by creation time, for lists.
    All {
        /// The tenant.
        namespace: Namespace,
    },
    /// Records that do not decode though their format is known.
    Quarantine,
}

/// A stream of a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamName {
    /// What happened to the partition's executions.
    Journal,
}

/// Something that a subscriber waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Entries of an index, in whatever partition. Rung when a commit made the index non-empty and
    /// when a `Take` leaves a remainder.
    Index(IndexName),
    /// The journal of one partition. Rung by each commit that names it.
    Journal(Partition),
}

impl RecordKey {
    /// The key of an execution's record.
    pub const fn of(id: &ExecutionId) -> Self {
        Self::Execution(id.uuid())
    }

    /// The key's text.
    pub fn text(&self, partition: Partition) -> Vec<u8> {
        match self {
            Self::Execution(uuid) => with_uuid(partition, b'x', uuid),
            Self::Meta => prefix(partition, b'm'),
        }
    }
}

impl ValueKey {
    /// The key's text.
    pub fn text(&self, partition: Partition) -> Vec<u8> {
        match self {
            Self::Payload(uuid) => with_uuid(partition, b'p', uuid),
            Self::Result(uuid) => with_uuid(partition, b'r', uuid),
        }
    }
}

impl IndexName {
    /// The key's text.
    pub fn text(&self, partition: Partition) -> Vec<u8> {
        match self {
            Self::Eligible { namespace, lane } => {
                let key = with_text(prefix(partition, b'e'), namespace.as_str());
                with_text(key, lane.as_str())
            }
            Self::Due => prefix(partition, b'd'),
            Self::BlockedRoute { namespace } => {
                with_text(prefix(partition, b'b'), namespace.as_str())
            }
            Self::All { namespace } => with_text(prefix(partition, b'a'), namespace.as_str()),
            Self::Quarantine => prefix(partition, b'q'),
        }
    }
}

impl StreamName {
    /// The key's text.
    pub fn text(&self, partition: Partition) -> Vec<u8> {
        match self {
            Self::Journal => prefix(partition, b'j'),
        }
    }
}

impl Topic {
    /// The name of the channel on which its wake-ups travel: that of the key in no partition, and
    /// for a journal that of the key.
    pub fn channel(&self) -> Vec<u8> {
        let key = match self {
            Self::Index(index) => index.text(Partition::META),
            Self::Journal(partition) => StreamName::Journal.text(*partition),
        };
        [b"ff:".as_slice(), &key].concat()
    }
}

fn prefix(partition: Partition, kind: u8) -> Vec<u8> {
    let mut key = partition.to_string().into_bytes();
    key.push(kind);
    key
}

fn with_uuid(partition: Partition, kind: u8, uuid: &Uuid) -> Vec<u8> {
    let mut key = prefix(partition, kind);
    key.extend_from_slice(uuid.as_bytes());
    key
}

fn with_text(mut key: Vec<u8>, text: &str) -> Vec<u8> {
    key.extend_from_slice(text.len().to_string().as_bytes());
    key.push(b':');
    key.extend_from_slice(text.as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::PartitionFamily;
    use proptest::prelude::*;

    fn partitions() -> impl Strategy<Value = Partition> {
        use PartitionFamily::{Budget, Flow, Meta, Quota, Worker};
        let families = prop::sample::select(vec![Flow, Budget, Quota, Worker]);
        prop_oneof![
            (families, 0..30_u16).prop_map(|(family, index)| Partition { family, index }),
            Just(Partition { family: Meta, index: 0 }),
        ]
    }

    /// Texts that try to look like parts of keys.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof!["[:0-9a-c{}]{1,6}", "[!-~]{1,64}"]
    }

    fn keys() -> impl Strategy<Value = (String, Vec<u8>)> {
        let names = (0..10_u8, texts(), texts(), 0..3_u128);
        (partitions(), names).prop_map(|(at, (kind, first, second, number))| {
            let namespace = Namespace::try_new(first).unwrap();
            let lane = LaneId::try_new(second).unwrap();
            let uuid = Uuid::from_u128(number);
            macro_rules! named {
                ($name:expr) => {{
                    let name = $name;
                    (format!("{at} {name:?}"), name.text(at))
                }};
            }
            match kind {
                0 => named!(RecordKey::Execution(uuid)),
                1 => named!(RecordKey::Meta),
                2 => named!(ValueKey::Payload(uuid)),
                3 => named!(ValueKey::Result(uuid)),
                4 => named!(IndexName::Eligible { namespace, lane }),
                5 => named!(IndexName::Due),
                6 => named!(IndexName::BlockedRoute { namespace }),
                7 => named!(IndexName::All { namespace }),
                8 => named!(IndexName::Quarantine),
                _ => named!(StreamName::Journal),
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn different_names_have_different_keys(one in keys(), other in keys()) {
            prop_assert_eq!(one.0 == other.0, one.1 == other.1, "{:?} {:?}", one, other);
        }
    }

    #[test]
    fn a_name_cannot_be_shifted_into_its_neighbour() {
        let name = |namespace: &str, lane: &str| IndexName::Eligible {
            namespace: Namespace::try_new(namespace).unwrap(),
            lane: LaneId::try_new(lane).unwrap(),
        };
        let at = Partition::flow(1);
        assert_ne!(name("a", "1:b").text(at), name("a1:", "b").text(at));
        assert_eq!(name("a", "b").text(at), b"{fp:1}e1:a1:b");
    }
}
