//! Names of what a partition holds, and the one place that turns them into key text.
//!
//! Text that a user chose is length-prefixed, so that no two names share a key.

use uuid::Uuid;

use crate::id::{AttemptIndex, ExecutionId, LaneId, Namespace};
use crate::partition::Partition;

/// A record of a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKey {
    /// An execution, by its uuid.
    Execution(Uuid),
    /// A signal to an execution.
    Signal {
        /// The execution, by its uuid.
        execution: Uuid,
        /// The signal.
        signal: Uuid,
    },
    /// The store's configuration, in the partition [`Partition::META`].
    Meta,
    /// The secrets that sign the tokens of waitpoints, in the partition [`Partition::META`].
    Secrets,
}

/// A value of a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValueKey {
    /// What an execution's submitter handed in.
    Payload(Uuid),
    /// What an execution's worker handed back.
    Result(Uuid),
    /// What a signal to an execution carries.
    Signal {
        /// The execution, by its uuid.
        execution: Uuid,
        /// The signal.
        signal: Uuid,
    },
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
    /// The signals of one execution by their number. Members are signals, and their records are
    /// those of signals: it is scanned, never taken from.
    Signals {
        /// The execution, by its uuid.
        execution: Uuid,
    },
}

/// A stream of a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamName {
    /// What happened to the partition's executions.
    Journal,
    /// The output of one attempt.
    Frames {
        /// The execution, by its uuid.
        execution: Uuid,
        /// Which of its attempts.
        attempt: AttemptIndex,
    },
}

/// Something that a subscriber waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Entries of an index, in whatever partition. Rung when a commit made the index non-empty and
    /// when a `Take` leaves a remainder.
    Index(IndexName),
    /// The journal of one partition. Rung by each commit that names it.
    Journal(Partition),
    /// The output of one attempt. Rung by each commit that names it.
    Frames {
        /// The execution, by its uuid.
        execution: Uuid,
        /// Which of its attempts.
        attempt: AttemptIndex,
    },
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
            Self::Signal { execution, signal } => with_uuids(partition, b's', [execution, signal]),
            Self::Meta => prefix(partition, b'm'),
            Self::Secrets => prefix(partition, b'k'),
        }
    }
}

impl ValueKey {
    /// The key's text.
    pub fn text(&self, partition: Partition) -> Vec<u8> {
        match self {
            Self::Payload(uuid) => with_uuid(partition, b'p', uuid),
            Self::Result(uuid) => with_uuid(partition, b'r', uuid),
            Self::Signal { execution, signal } => with_uuids(partition, b'v', [execution, signal]),
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
            Self::Signals { execution } => with_uuid(partition, b'i', execution),
        }
    }

    /// The record that a member of the index stands for.
    pub const fn record_of(&self, member: Uuid) -> RecordKey {
        match self {
            Self::Signals { execution } => {
                RecordKey::Signal { execution: *execution, signal: member }
            }
            _ => RecordKey::Execution(member),
        }
    }

    /// What stands before the member in the texts of the keys of its members' records.
    pub fn record_prefix(&self, partition: Partition) -> Vec<u8> {
        let member = Uuid::nil();
        let mut key = self.record_of(member).text(partition);
        key.truncate(key.len() - member.as_bytes().len());
        key
    }
}

impl StreamName {
    /// The key's text.
    pub fn text(&self, partition: Partition) -> Vec<u8> {
        match self {
            Self::Journal => prefix(partition, b'j'),
            Self::Frames { execution, attempt } => {
                let mut key = with_uuid(partition, b'f', execution);
                key.extend_from_slice(&attempt.0.to_be_bytes());
                key
            }
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
            Self::Frames { execution, attempt } => {
                let stream = StreamName::Frames { execution: *execution, attempt: *attempt };
                stream.text(Partition::META)
            }
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
    with_uuids(partition, kind, [uuid])
}

fn with_uuids<const N: usize>(partition: Partition, kind: u8, uuids: [&Uuid; N]) -> Vec<u8> {
    let mut key = prefix(partition, kind);
    uuids.iter().for_each(|uuid| key.extend_from_slice(uuid.as_bytes()));
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
        let numbers = (0..3_u128, 0..3_u128);
        let names = (0..15_u8, texts(), texts(), numbers);
        (partitions(), names).prop_map(|(at, (kind, first, second, (number, other)))| {
            let namespace = Namespace::try_new(first).unwrap();
            let lane = LaneId::try_new(second).unwrap();
            let (uuid, signal) = (Uuid::from_u128(number), Uuid::from_u128(other));
            let attempt = AttemptIndex(other as u32);
            macro_rules! named {
                ($name:expr) => {{
                    // A record and a value may have one name and are different still.
                    let (kind, name) = (stringify!($name), $name);
                    (format!("{at} {kind} {name:?}"), name.text(at))
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
                9 => named!(RecordKey::Signal { execution: uuid, signal }),
                10 => named!(RecordKey::Secrets),
                11 => named!(ValueKey::Signal { execution: uuid, signal }),
                12 => named!(IndexName::Signals { execution: uuid }),
                13 => named!(StreamName::Frames { execution: uuid, attempt }),
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

    #[test]
    fn a_prefix_and_a_member_are_the_key_of_the_members_record() {
        let (at, execution) = (Partition::flow(1), Uuid::from_u128(7));
        let member = Uuid::from_u128(1 << 127 | 9);
        for (index, letter) in [(IndexName::Due, b'x'), (IndexName::Signals { execution }, b's')] {
            let key = index.record_of(member).text(at);
            assert_eq!([&*index.record_prefix(at), member.as_bytes()].concat(), key);
            assert_eq!(key["{fp:1}".len()], letter);
        }
    }

    #[test]
    fn the_output_of_an_attempt_has_a_channel_in_no_partition() {
        let (execution, attempt) = (Uuid::from_u128(7), AttemptIndex(258));
        let channel = Topic::Frames { execution, attempt }.channel();
        let ending = [execution.as_bytes().as_slice(), &[0, 0, 1, 2]].concat();
        let key = StreamName::Frames { execution, attempt }.text(Partition::META);
        assert_eq!(channel, [b"ff:", &*key].concat());
        assert!(key.ends_with(&[b"f", &*ending].concat()));
    }
}
