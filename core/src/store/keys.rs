//! The names of records, values, indexes and streams in a partition, and their keys. Key text is
//! built only in this module.
//!
//! Text that a user chose is length-prefixed, so that no two names have the same key.

use uuid::Uuid;

use crate::id::{AttemptIndex, ExecutionId, ExecutionKind, LaneId, Namespace};
use crate::partition::Partition;
use crate::resource::ResourceKind;
use crate::state::CountedState;

/// The name of a record in a partition.
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
    /// The configuration of the store, in the partition [`Partition::META`].
    Meta,
    /// The secrets that sign waitpoint tokens, in the partition [`Partition::META`].
    Secrets,
    /// A record beside executions, by its kind and uuid.
    Resource(ResourceKind, Uuid),
}

/// The name of a value in a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValueKey {
    /// The payload of an execution, by its uuid.
    Payload(Uuid),
    /// The result of an execution, by its uuid.
    Result(Uuid),
    /// The payload of a signal to an execution.
    Signal {
        /// The execution, by its uuid.
        execution: Uuid,
        /// The signal.
        signal: Uuid,
    },
}

/// The name of an index in a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexName {
    /// The executions of a lane and a kind that a worker may claim, in the order of claims.
    Eligible {
        /// The namespace.
        namespace: Namespace,
        /// The lane.
        lane: LaneId,
        /// The kind.
        kind: ExecutionKind,
    },
    /// Executions by the time of their next timer.
    Due,
    /// Executions that are over, by the time at which the next step of their removal is due. They
    /// are apart from `Due`, so that however many there are, they hold up no timer.
    Retention,
    /// Executions that are blocked because no worker has the required capabilities.
    BlockedRoute {
        /// The namespace.
        namespace: Namespace,
    },
    /// Executions that wait for a slot of a quota under one key, in the order of claims.
    AwaitsSlot {
        /// The use of the quota, by the uuid of its record.
        usage: Uuid,
    },
    /// Executions by creation time, for lists.
    All {
        /// The namespace.
        namespace: Namespace,
    },
    /// Records that do not decode although their format is known.
    Quarantine,
    /// The signals of one execution, by their number. Its members are signals, not executions. It
    /// is scanned, and never taken from.
    Signals {
        /// The execution, by its uuid.
        execution: Uuid,
    },
    /// The records of one kind beside executions in a namespace, for lists.
    Resources {
        /// The kind.
        kind: ResourceKind,
        /// The namespace.
        namespace: Namespace,
    },
    /// The records of one kind beside executions by the time at which they are to be removed.
    Expiry(ResourceKind),
}

/// The name of a stream in a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamName {
    /// The events of the partition's executions.
    Journal,
    /// The output of one attempt.
    Frames {
        /// The execution, by its uuid.
        execution: Uuid,
        /// The number of the attempt.
        attempt: AttemptIndex,
    },
}

/// A topic of wake-ups, to which a subscriber listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The executions of a lane that a worker may claim, in any partition. It rings when the first
    /// score of a kind becomes lower, and when a `Take` leaves entries.
    Lane {
        /// The namespace.
        namespace: Namespace,
        /// The lane.
        lane: LaneId,
    },
    /// The executions of a namespace that are blocked by route, in any partition. It rings with
    /// each commit that names it.
    Routes {
        /// The namespace.
        namespace: Namespace,
    },
    /// The timers of all partitions. It rings when an entry that is due within
    /// [`DUE_SOON`](super::DUE_SOON) becomes the first one of `due`, and with a `Take` from `due`.
    Due,
    /// The records of one kind beside executions in a namespace. It rings with each change of one
    /// for which programs wait.
    Resources {
        /// The kind.
        kind: ResourceKind,
        /// The namespace.
        namespace: Namespace,
    },
    /// The journal of one partition. It rings with each commit that names it.
    Journal(Partition),
    /// The output of one attempt. It rings with each commit that names it.
    Frames {
        /// The execution, by its uuid.
        execution: Uuid,
        /// The number of the attempt.
        attempt: AttemptIndex,
    },
}

/// The name of a count in a partition: how many executions of a lane are in a state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CountName {
    /// The namespace.
    pub namespace: Namespace,
    /// The lane.
    pub lane: LaneId,
    /// The state.
    pub state: CountedState,
}

impl CountName {
    /// Returns the name of the count in the list of its namespace's counts.
    pub fn listed_name(&self) -> Vec<u8> {
        with_text(vec![b'a' + self.state as u8], self.lane.as_str())
    }

    /// Parses the name of a count in the list of a namespace.
    pub fn from_listed(namespace: &Namespace, name: &[u8]) -> Option<Self> {
        let (letter, rest) = name.split_first()?;
        let state = *CountedState::ALL.get(usize::from(letter.checked_sub(b'a')?))?;
        let (lane, rest) = text_of(rest)?;
        let (namespace, lane) = (namespace.clone(), LaneId::try_new(lane).ok()?);
        rest.is_empty().then_some(Self { namespace, lane, state })
    }
}

impl RecordKey {
    /// Returns the name of an execution's record.
    pub const fn of(id: &ExecutionId) -> Self {
        Self::Execution(id.uuid())
    }

    /// Returns the text of the key.
    pub fn text(&self, partition: Partition) -> Vec<u8> {
        self.after(tag(partition))
    }

    /// Returns the text of the key without its partition, which SQL has in another column.
    pub fn column(&self) -> Vec<u8> {
        self.after(Vec::new())
    }

    fn after(&self, start: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Execution(uuid) => with_uuid(start, b'x', uuid),
            Self::Signal { execution, signal } => with_uuids(start, b's', [execution, signal]),
            Self::Meta => with_letter(start, b'm'),
            Self::Secrets => with_letter(start, b'k'),
            Self::Resource(kind, uuid) => with_uuid(start, kind.letter(), uuid),
        }
    }
}

impl ValueKey {
    /// Returns the text of the key.
    pub fn text(&self, partition: Partition) -> Vec<u8> {
        self.after(tag(partition))
    }

    /// Returns the text of the key without its partition.
    pub fn column(&self) -> Vec<u8> {
        self.after(Vec::new())
    }

    fn after(&self, start: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Payload(uuid) => with_uuid(start, b'p', uuid),
            Self::Result(uuid) => with_uuid(start, b'r', uuid),
            Self::Signal { execution, signal } => with_uuids(start, b'v', [execution, signal]),
        }
    }
}

impl IndexName {
    /// Returns the text of the key.
    pub fn text(&self, partition: Partition) -> Vec<u8> {
        self.after(tag(partition))
    }

    /// Returns the text of the key without its partition.
    pub fn column(&self) -> Vec<u8> {
        self.after(Vec::new())
    }

    fn after(&self, start: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Eligible { namespace, lane, kind } => {
                let key = with_text(with_letter(start, b'e'), namespace.as_str());
                with_text(with_text(key, lane.as_str()), kind.as_str())
            }
            Self::Due => with_letter(start, b'd'),
            Self::Retention => with_letter(start, b't'),
            Self::BlockedRoute { namespace } => {
                with_text(with_letter(start, b'b'), namespace.as_str())
            }
            Self::AwaitsSlot { usage } => with_uuid(start, b'w', usage),
            Self::All { namespace } => with_text(with_letter(start, b'a'), namespace.as_str()),
            Self::Quarantine => with_letter(start, b'q'),
            Self::Signals { execution } => with_uuid(start, b'i', execution),
            Self::Resources { kind, namespace } => {
                let key = with_letter(with_letter(start, b'n'), kind.letter());
                with_text(key, namespace.as_str())
            }
            Self::Expiry(kind) => with_letter(with_letter(start, b'o'), kind.letter()),
        }
    }

    /// Returns the namespace in whose list of queues the index is while it has entries. The store
    /// keeps the list, with the first score of each index, so that one poll finds all work.
    pub const fn listed_in(&self) -> Option<&Namespace> {
        match self {
            Self::Eligible { namespace, .. } | Self::BlockedRoute { namespace } => Some(namespace),
            Self::Due
            | Self::Retention
            | Self::AwaitsSlot { .. }
            | Self::All { .. }
            | Self::Quarantine
            | Self::Signals { .. }
            | Self::Resources { .. }
            | Self::Expiry(_) => None,
        }
    }

    /// Returns the name of the index in the list of its namespace.
    pub fn listed_name(&self) -> Vec<u8> {
        match self {
            Self::Eligible { lane, kind, .. } => {
                with_text(with_text(vec![b'e'], lane.as_str()), kind.as_str())
            }
            _ => vec![b'b'],
        }
    }

    /// Parses the name of an index in the list of a namespace.
    pub fn from_listed(namespace: &Namespace, name: &[u8]) -> Option<Self> {
        let namespace = namespace.clone();
        match name.split_first()? {
            (b'b', []) => Some(Self::BlockedRoute { namespace }),
            (b'e', rest) => {
                let (lane, rest) = text_of(rest)?;
                let (kind, rest) = text_of(rest)?;
                let (lane, kind) =
                    (LaneId::try_new(lane).ok()?, ExecutionKind::try_new(kind).ok()?);
                rest.is_empty().then_some(Self::Eligible { namespace, lane, kind })
            }
            _ => None,
        }
    }

    /// Returns the topic that rings with the first score of the index.
    pub fn topic(&self) -> Option<Topic> {
        match self {
            Self::Eligible { namespace, lane, .. } => {
                Some(Topic::Lane { namespace: namespace.clone(), lane: lane.clone() })
            }
            Self::Due => Some(Topic::Due),
            _ => None,
        }
    }

    /// Returns the record of a member of the index.
    pub const fn record_of(&self, member: Uuid) -> RecordKey {
        match self {
            Self::Signals { execution } => {
                RecordKey::Signal { execution: *execution, signal: member }
            }
            Self::Resources { kind, .. } | Self::Expiry(kind) => RecordKey::Resource(*kind, member),
            _ => RecordKey::Execution(member),
        }
    }

    /// Returns the common prefix of the record keys of all members. The uuid of the member follows
    /// it.
    pub fn record_prefix(&self, partition: Partition) -> Vec<u8> {
        let member = Uuid::nil();
        let mut key = self.record_of(member).text(partition);
        key.truncate(key.len() - member.as_bytes().len());
        key
    }
}

impl StreamName {
    /// Returns the text of the key.
    pub fn text(&self, partition: Partition) -> Vec<u8> {
        self.after(tag(partition))
    }

    /// Returns the text of the key without its partition.
    pub fn column(&self) -> Vec<u8> {
        self.after(Vec::new())
    }

    fn after(&self, start: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Journal => with_letter(start, b'j'),
            Self::Frames { execution, attempt } => {
                let mut key = with_uuid(start, b'f', execution);
                key.extend_from_slice(&attempt.0.to_be_bytes());
                key
            }
        }
    }
}

impl Topic {
    /// Returns the name of the pub/sub channel for the topic: `ff:` and the text of a key. The key
    /// of a journal is in its own partition, the key of any other topic in [`Partition::META`].
    pub fn channel(&self) -> Vec<u8> {
        let key = match self {
            Self::Lane { namespace, lane } => {
                let key = with_text(with_letter(tag(Partition::META), b'e'), namespace.as_str());
                with_text(key, lane.as_str())
            }
            Self::Routes { namespace } => {
                let namespace = namespace.clone();
                IndexName::BlockedRoute { namespace }.text(Partition::META)
            }
            Self::Due => IndexName::Due.text(Partition::META),
            Self::Resources { kind, namespace } => {
                let namespace = namespace.clone();
                IndexName::Resources { kind: *kind, namespace }.text(Partition::META)
            }
            Self::Journal(partition) => StreamName::Journal.text(*partition),
            Self::Frames { execution, attempt } => {
                let stream = StreamName::Frames { execution: *execution, attempt: *attempt };
                stream.text(Partition::META)
            }
        };
        [b"ff:".as_slice(), &key].concat()
    }
}

/// Returns the key of the list of a namespace's queues in a partition.
pub fn list_of_queues(namespace: &Namespace, partition: Partition) -> Vec<u8> {
    with_text(with_letter(tag(partition), b'l'), namespace.as_str())
}

/// Returns the key of the list of a namespace's counts in a partition.
pub fn list_of_counts(namespace: &Namespace, partition: Partition) -> Vec<u8> {
    with_text(with_letter(tag(partition), b'c'), namespace.as_str())
}

/// The start of a key: the tag of its partition.
fn tag(partition: Partition) -> Vec<u8> {
    partition.to_string().into_bytes()
}

fn with_letter(mut key: Vec<u8>, letter: u8) -> Vec<u8> {
    key.push(letter);
    key
}

fn with_uuid(key: Vec<u8>, letter: u8, uuid: &Uuid) -> Vec<u8> {
    with_uuids(key, letter, [uuid])
}

fn with_uuids<const N: usize>(key: Vec<u8>, letter: u8, uuids: [&Uuid; N]) -> Vec<u8> {
    let mut key = with_letter(key, letter);
    uuids.iter().for_each(|uuid| key.extend_from_slice(uuid.as_bytes()));
    key
}

fn with_text(mut key: Vec<u8>, text: &str) -> Vec<u8> {
    key.extend_from_slice(text.len().to_string().as_bytes());
    key.push(b':');
    key.extend_from_slice(text.as_bytes());
    key
}

/// Splits a text with its length off the front; the inverse of [`with_text`].
fn text_of(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(&bytes[..colon]).ok()?.parse().ok()?;
    let (text, rest) = bytes[colon + 1..].split_at_checked(length)?;
    Some((std::str::from_utf8(text).ok()?, rest))
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

    /// A list of a namespace, with the function of its key.
    #[derive(Debug)]
    struct ListOf(fn(&Namespace, Partition) -> Vec<u8>, Namespace);

    impl ListOf {
        fn text(&self, partition: Partition) -> Vec<u8> {
            (self.0)(&self.1, partition)
        }
    }

    /// Texts that look like parts of keys.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof!["[:0-9a-c{}]{1,6}", "[!-~]{1,64}"]
    }

    fn keys() -> impl Strategy<Value = (String, Vec<u8>)> {
        let numbers = (0..3_u128, 0..3_u128);
        let names = (0..21_u8, texts(), texts(), numbers);
        (partitions(), names).prop_map(|(at, (kind, first, second, (number, other)))| {
            let namespace = Namespace::try_new(first).unwrap();
            let lane = LaneId::try_new(&*second).unwrap();
            let execution_kind = ExecutionKind::try_new(second).unwrap();
            let uuid = Uuid::from_u128(number);
            let signal = Uuid::from_u128(other);
            let attempt = AttemptIndex(other as u32);
            macro_rules! named {
                ($name:expr) => {{
                    // A record and a value may print the same name, but they are different.
                    let kind = stringify!($name);
                    let name = $name;
                    (format!("{at} {kind} {name:?}"), name.text(at))
                }};
            }
            match kind {
                0 => named!(RecordKey::Execution(uuid)),
                1 => named!(RecordKey::Meta),
                2 => named!(ValueKey::Payload(uuid)),
                3 => named!(ValueKey::Result(uuid)),
                4 => named!(IndexName::Eligible { namespace, lane, kind: execution_kind }),
                5 => named!(IndexName::Due),
                6 => named!(IndexName::BlockedRoute { namespace }),
                7 => named!(IndexName::All { namespace }),
                8 => named!(IndexName::Quarantine),
                9 => named!(RecordKey::Signal { execution: uuid, signal }),
                10 => named!(RecordKey::Secrets),
                11 => named!(ValueKey::Signal { execution: uuid, signal }),
                12 => named!(IndexName::Signals { execution: uuid }),
                13 => named!(IndexName::Retention),
                14 => named!(RecordKey::Resource(ResourceKind::Lanes, uuid)),
                15 => named!(IndexName::Resources { kind: ResourceKind::Lanes, namespace }),
                16 => named!(IndexName::Expiry(ResourceKind::Lanes)),
                18 => named!(ListOf(list_of_queues, namespace)),
                19 => named!(ListOf(list_of_counts, namespace)),
                17 => named!(StreamName::Frames { execution: uuid, attempt }),
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
    fn a_column_is_the_key_without_its_partition() {
        let (at, uuid) = (Partition::flow(1), Uuid::from_u128(7));
        let text = |column: Vec<u8>| [b"{fp:1}".as_slice(), &column].concat();
        let record = RecordKey::Signal { execution: uuid, signal: uuid };
        assert_eq!(record.text(at), text(record.column()));
        assert_eq!(ValueKey::Payload(uuid).text(at), text(ValueKey::Payload(uuid).column()));
        let index = queue("a", "b", "kind");
        assert_eq!(index.text(at), text(index.column()));
        let stream = StreamName::Frames { execution: uuid, attempt: AttemptIndex(258) };
        assert_eq!(stream.text(at), text(stream.column()));
    }

    #[test]
    fn text_cannot_move_from_one_part_of_a_key_to_the_next() {
        let at = Partition::flow(1);
        assert_ne!(queue("a", "1:b", "k").text(at), queue("a1:", "b", "k").text(at));
        assert_ne!(queue("a", "b", "c1:").text(at), queue("a", "b1:", "c").text(at));
        assert_eq!(queue("a", "b", "kind").text(at), b"{fp:1}e1:a1:b4:kind");
    }

    fn queue(namespace: &str, lane: &str, kind: &str) -> IndexName {
        IndexName::Eligible {
            namespace: Namespace::try_new(namespace).unwrap(),
            lane: LaneId::try_new(lane).unwrap(),
            kind: ExecutionKind::try_new(kind).unwrap(),
        }
    }

    #[test]
    fn the_name_of_a_queue_in_its_list_is_parsed_back() {
        let namespace = Namespace::try_new("ns").unwrap();
        let blocked = IndexName::BlockedRoute { namespace: namespace.clone() };
        for index in [queue("ns", "1:b", "e9:"), queue("ns", "l", "k"), blocked] {
            let name = index.listed_name();
            assert_eq!(IndexName::from_listed(&namespace, &name), Some(index));
            for end in 0..name.len() {
                assert_eq!(IndexName::from_listed(&namespace, &name[..end]), None);
            }
            let longer = [&*name, b"x"].concat();
            assert_eq!(IndexName::from_listed(&namespace, &longer), None);
        }
    }

    #[test]
    fn the_name_of_a_count_in_its_list_is_parsed_back() {
        let namespace = Namespace::try_new("ns").unwrap();
        for (state, lane) in CountedState::ALL.iter().zip(["l", "1:b", "c2:"].iter().cycle()) {
            let lane = LaneId::try_new(*lane).unwrap();
            let count = CountName { namespace: namespace.clone(), lane, state: *state };
            let name = count.listed_name();
            assert_eq!(CountName::from_listed(&namespace, &name), Some(count));
            for end in 0..name.len() {
                assert_eq!(CountName::from_listed(&namespace, &name[..end]), None);
            }
            assert_eq!(CountName::from_listed(&namespace, &[&*name, b"x"].concat()), None);
        }
        assert_eq!(CountName::from_listed(&namespace, b"q1:l"), None, "there are 16 states");
    }

    #[test]
    fn a_record_key_is_the_prefix_followed_by_the_member() {
        let at = Partition::flow(1);
        let execution = Uuid::from_u128(7);
        let member = Uuid::from_u128(1 << 127 | 9);
        for (index, letter) in [(IndexName::Due, b'x'), (IndexName::Signals { execution }, b's')] {
            let key = index.record_of(member).text(at);
            assert_eq!([&*index.record_prefix(at), member.as_bytes()].concat(), key);
            assert_eq!(key["{fp:1}".len()], letter);
        }
    }

    #[test]
    fn the_channel_of_an_attempts_output_does_not_depend_on_the_partition() {
        let execution = Uuid::from_u128(7);
        let attempt = AttemptIndex(258);
        let channel = Topic::Frames { execution, attempt }.channel();
        let ending = [execution.as_bytes().as_slice(), &[0, 0, 1, 2]].concat();
        let key = StreamName::Frames { execution, attempt }.text(Partition::META);
        assert_eq!(channel, [b"ff:", &*key].concat());
        assert!(key.ends_with(&[b"f", &*ending].concat()));
    }
}
