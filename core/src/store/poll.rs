//! The request and the reply of a poll: first scores and counts in many partitions.

use crate::id::Namespace;
use crate::partition::Partition;
use crate::score::Score;
use crate::time::TimestampMs;

use super::keys::{CountName, IndexName, Topic};

/// Reads first scores or counts in many partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// The scores or counts to read in each partition.
    pub of: PollOf,
    /// The partitions.
    pub partitions: Vec<Partition>,
    /// The topic whose programs are counted, if any.
    pub listeners: Option<Topic>,
}

/// The scores or counts that a `Poll` reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PollOf {
    /// The first score of one index.
    Index(IndexName),
    /// A page of the namespace's list of queues: the indexes `Eligible` and `BlockedRoute` that
    /// have entries, each with its first score or a lower one, in the order of these scores. A page
    /// has at most [`MAX_PAGE`](super::bounds::MAX_PAGE) queues.
    Queues {
        /// The namespace.
        namespace: Namespace,
        /// How many queues to skip.
        skip: u32,
    },
    /// A page of the namespace's counts, in the order of their numbers. A page has at most
    /// [`MAX_PAGE`](super::bounds::MAX_PAGE) counts.
    Counts {
        /// The namespace.
        namespace: Namespace,
        /// How many counts to skip.
        skip: u32,
    },
}

/// The result of a `Poll`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Polled {
    /// The first scores or counts in each partition, in the order of the request. An error concerns
    /// only its own partition.
    pub firsts: Vec<Result<Firsts, String>>,
    /// How many programs listen to the topic of the request, as far as the store knows; 0 if it
    /// names none, and if the store does not know.
    pub listeners: u64,
}

impl Polled {
    /// Returns those of the polled partitions that have entries.
    pub fn with_entries(
        &self,
        polled: impl Iterator<Item = Partition>,
    ) -> impl Iterator<Item = Partition> {
        let has_entries = |firsts: &Result<Firsts, String>| {
            firsts.as_ref().is_ok_and(|firsts| !firsts.found.is_empty())
        };
        let polled = polled.zip(&self.firsts);
        polled.filter(move |(_, firsts)| has_entries(firsts)).map(|(partition, _)| partition)
    }
}

/// First scores or counts in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firsts {
    /// The clock of the node that holds the partition.
    pub at: TimestampMs,
    /// The indexes that have entries, in the order of their scores.
    pub found: Vec<FirstOf>,
    /// The counts that are not 0, in the order of their numbers.
    pub counts: Vec<CountOf>,
}

/// A count and its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CountOf {
    /// The count.
    pub name: CountName,
    /// The number of executions.
    pub number: i64,
}

/// An index and its first score.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirstOf {
    /// The index.
    pub index: IndexName,
    /// The score of its first entry; for a queue, this or a lower one.
    pub score: Score,
}

impl Firsts {
    /// Returns the result of a poll that found nothing at this time.
    pub const fn none(at: TimestampMs) -> Self {
        Self { at, found: Vec::new(), counts: Vec::new() }
    }

    /// Returns the lowest score.
    pub fn score(&self) -> Option<Score> {
        self.found.first().map(|first| first.score)
    }
}
