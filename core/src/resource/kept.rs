//! How a record beside executions is stored: with the latest commits of its writers.

use serde::{Deserialize, Serialize};

use crate::bounded::Bounded;

/// The number of writers whose latest commit a record remembers.
pub const WRITERS: usize = 32;

/// A record with the latest commit of each of its latest writers. A writer has one commit of a
/// record in flight at a time. So the record shows whether a commit was applied whose reply was
/// lost, unless 32 other writers have changed the record since. \[INV-IDENTITY-1\]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept<R> {
    /// Writers with the nonces of their latest commits, the latest commit last.
    writers: Bounded<(u64, u64), WRITERS>,
    /// The record.
    pub record: R,
}

impl<R> Kept<R> {
    /// A record that no writer has written yet.
    pub const fn new(record: R) -> Self {
        Self { writers: Bounded::new(), record }
    }

    /// Returns another record after a commit of this one.
    pub fn next(&self, record: R, writer: u64, nonce: u64) -> Self {
        let others = self.writers.iter().filter(|(other, _)| *other != writer).copied();
        let mut writers = Bounded::new();
        others.for_each(|entry| writers.push(entry));
        writers.push((writer, nonce));
        Self { writers, record }
    }

    /// Returns whether a writer may have been forgotten.
    pub const fn has_forgotten(&self) -> bool {
        self.writers.is_full()
    }

    /// Returns the nonce of the writer's latest commit, if it is remembered.
    pub fn latest_of(&self, writer: u64) -> Option<u64> {
        self.writers.iter().find(|(known, _)| *known == writer).map(|(_, nonce)| *nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_remembered_until_as_many_others_have_written() {
        let mut kept = Kept::new(0_u32).next(1, 7, 70).next(2, 7, 71);
        assert_eq!(kept.latest_of(7), Some(71));
        for other in 0..WRITERS as u64 - 1 {
            kept = kept.next(3, 100 + other, other);
            kept = kept.next(3, 100 + other, other + 1);
        }
        assert_eq!(kept.latest_of(7), Some(71), "the same writers again do not count");
        assert_eq!(kept.next(4, 1, 1).latest_of(7), None);
    }
}
