//! Whether a server accepts writes: an examination sends a commit that changes nothing.

use ff_core::backend::{Finding, FindingLevel};
use ff_core::execution::Purpose;
use ff_core::id::ExecutionId;
use ff_core::partition::Partition;
use ff_core::store::{Commit, Failure, RecordKey, Request, Unit, Version};
use uuid::Uuid;

/// A commit that the server runs like any other, and that never applies: it expects a version of a
/// record that does not exist.
pub(super) fn probe(partition: Partition) -> Request {
    let key = RecordKey::of(&ExecutionId::from_parts(partition.index, Uuid::nil()));
    let version = Version { count: u64::from(u32::MAX), nonce: 1 };
    let unit = Unit { expect: vec![(key, version)], ..Unit::new(Purpose::Admit, 1) };
    Request::Commit(Commit { partition, units: vec![unit] })
}

/// The finding about the outcome of a probe.
pub(super) fn finding(node: &str, outcome: Result<(), Failure>) -> Finding {
    let subject = format!("writes on {node}");
    let Err(failure) = outcome else {
        return Finding::new(FindingLevel::Good, &subject, "accepted");
    };
    let refused = failure.to_string();
    let advices = [
        (
            "OOM ",
            "the memory is full: new work is refused, and existing work can be finished. Raise \
             maxmemory, or let executions end and their retention pass",
        ),
        (
            "NOREPLICAS ",
            "too few replicas are connected for min-replicas-to-write: bring them back, or lower \
             it with CONFIG SET",
        ),
        (
            "MISCONF ",
            "the server cannot save to its disk: read its log, and free space on the disk. Work \
             waits meanwhile",
        ),
        ("READONLY ", "the server is a replica: connect to the primary"),
        ("NOPERM ", "grant the user the rights that docs/valkey.md lists"),
    ];
    let known = advices.iter().find(|(code, _)| refused.contains(code));
    let advice = known.map_or("look at the server: submitting and finishing work fails", |it| it.1);
    Finding::new(FindingLevel::Problem, &subject, refused).advise(advice)
}
