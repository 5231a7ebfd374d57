//! The pools of names that plans draw from.

use ff_core::id::{AttemptIndex, ExecutionKind, LaneId, Namespace};
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::resource::ResourceKind;
use ff_core::store::{IndexName, Member, RecordKey, StreamName, Topic, ValueKey};

use super::plan::MEMBERS;

/// The number of [`IndexName::Due`] among the indexes.
pub const DUE: usize = 1;
/// The number of [`IndexName::Retention`] among the indexes.
pub(super) const RETENTION: usize = 10;
/// The numbers of the indexes of signals.
pub(super) const SIGNALS: std::ops::Range<usize> = 8..10;
/// The numbers of the queues of one lane among the indexes.
pub const QUEUES: [usize; 2] = [0, 3];
/// The numbers of queues of other lanes among the indexes.
pub(super) const OTHER_QUEUES: [usize; 2] = [2, 7];

/// The partition of a number.
pub(super) fn partition(number: usize) -> Partition {
    match number {
        0 => Partition::flow(0),
        1 => Partition::flow(1),
        2 => Partition { family: PartitionFamily::Budget, index: 1 },
        _ => Partition::META,
    }
}

/// The member of a number: the lowest and the highest bytes, some with a meaning in a key or on the
/// wire, and neighbours in the order.
pub(super) fn member(number: usize) -> Member {
    let bytes: [u8; 16] = match number {
        0 => [0; 16],
        1 => *b"{fp:1}x\r\n$-1\r\n\0*",
        2 => [0xff; 16],
        3 => *b"-inf +inf (1 now",
        4 => *b"0000000000000000",
        _ => *b"000000000000000\x80",
    };
    Member::from_bytes(bytes)
}

/// The record of a number.
pub(super) fn record(number: usize) -> RecordKey {
    let signal = |execution, signal| RecordKey::Signal {
        execution: member(execution),
        signal: member(signal),
    };
    match number.checked_sub(MEMBERS) {
        None => RecordKey::Execution(member(number)),
        Some(0) => RecordKey::Meta,
        Some(1) => RecordKey::Secrets,
        Some(2) => signal(1, 0),
        Some(3) => RecordKey::Resource(ResourceKind::Lanes, member(0)),
        Some(more) => signal(0, more - 4),
    }
}

/// The value of a number.
pub(super) fn value(number: usize) -> ValueKey {
    if number >= 2 * MEMBERS {
        let (execution, signal) = (number - 2 * MEMBERS, 0);
        ValueKey::Signal { execution: member(execution), signal: member(signal) }
    } else if number.is_multiple_of(2) {
        ValueKey::Payload(member(number / 2))
    } else {
        ValueKey::Result(member(number / 2))
    }
}

/// The index of a number, with the texts that a user chose.
pub(super) fn index(number: usize, texts: &[String]) -> IndexName {
    let namespace =
        |which: usize| Namespace::try_new(&texts[which]).expect("plans draw valid texts");
    let queue = |of: usize, lane: usize, kind: usize| IndexName::Eligible {
        namespace: namespace(of),
        lane: LaneId::try_new(&texts[lane]).expect("plans draw valid texts"),
        kind: ExecutionKind::try_new(&texts[kind]).expect("plans draw valid texts"),
    };
    match number {
        0 => queue(0, 1, 0),
        DUE => IndexName::Due,
        2 => queue(0, 0, 1),
        3 => queue(0, 1, 1),
        4 => IndexName::BlockedRoute { namespace: namespace(0) },
        5 => IndexName::All { namespace: namespace(1) },
        6 => IndexName::Quarantine,
        RETENTION => IndexName::Retention,
        7 => queue(1, 0, 0),
        11 => IndexName::Resources { kind: ResourceKind::Lanes, namespace: namespace(0) },
        12 => IndexName::Expiry(ResourceKind::Lanes),
        more => IndexName::Signals { execution: member(more - 8) },
    }
}

/// The stream of a number.
pub(super) fn stream(number: usize) -> StreamName {
    let frames = |execution, attempt| StreamName::Frames {
        execution: member(execution),
        attempt: AttemptIndex(u32::from_be_bytes(attempt)),
    };
    match number {
        0 => StreamName::Journal,
        1 => frames(0, [0; 4]),
        2 => frames(0, *b"\r\n+j"),
        _ => frames(2, [0xff; 4]),
    }
}

/// The topic of a stream.
pub(super) fn topic(stream: StreamName, partition: Partition) -> Topic {
    match stream {
        StreamName::Journal => Topic::Journal(partition),
        StreamName::Frames { execution, attempt } => Topic::Frames { execution, attempt },
    }
}
