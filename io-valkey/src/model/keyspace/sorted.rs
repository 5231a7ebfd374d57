//! A sorted set.
//!
//! The scores of a server are doubles. The library uses only integers that a double holds exactly,
//! so the model has only those.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// A sorted set: members by (score, bytes), and the score of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sorted {
    by_score: BTreeSet<(i64, Vec<u8>)>,
    by_member: BTreeMap<Vec<u8>, i64>,
}

impl Sorted {
    /// The members with their scores, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], i64)> {
        self.by_score.iter().map(|(score, member)| (member.as_slice(), *score))
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.by_score.len()
    }

    /// Returns whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.by_score.is_empty()
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<i64> {
        self.by_member.get(member).copied()
    }

    pub(super) fn insert(&mut self, member: &[u8], score: i64) {
        if let Some(before) = self.by_member.insert(member.to_vec(), score) {
            self.by_score.remove(&(before, member.to_vec()));
        }
        self.by_score.insert((score, member.to_vec()));
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> bool {
        let Some(score) = self.by_member.remove(member) else {
            return false;
        };
        self.by_score.remove(&(score, member.to_vec()))
    }

    /// The entries between two scores, in order.
    pub(super) fn between(&self, min: Limit, max: Limit) -> impl Iterator<Item = (&[u8], i64)> {
        let above = move |score: i64| match min {
            Bound::Included(min) => score >= min,
            Bound::Excluded(min) => score > min,
            Bound::Unbounded => true,
        };
        let below = move |score: i64| match max {
            Bound::Included(max) => score <= max,
            Bound::Excluded(max) => score < max,
            Bound::Unbounded => true,
        };
        // No member is lower than the empty one.
        let start = match min {
            Bound::Included(min) | Bound::Excluded(min) => Bound::Included((min, Vec::new())),
            Bound::Unbounded => Bound::Unbounded,
        };
        let rest = self.by_score.range((start, Bound::Unbounded));
        rest.map(|(score, member)| (member.as_slice(), *score))
            .skip_while(move |(_, score)| !above(*score))
            .take_while(move |(_, score)| below(*score))
    }
}

/// One end of a range of scores; `Unbounded` is an infinity that admits all scores.
pub(super) type Limit = Bound<i64>;
