//! A sorted set: members ordered by score, with a lookup of each member's score.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::score::Score;
use crate::store::contract::{Member, ScanOrder, ScanPosition};

/// One index of a partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    by_score: BTreeSet<ScanPosition>,
    by_member: BTreeMap<Member, Score>,
}

impl Index {
    pub(super) fn is_empty(&self) -> bool {
        self.by_score.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.by_score.len()
    }

    pub(super) fn first(&self) -> Option<ScanPosition> {
        self.by_score.first().copied()
    }

    pub(super) fn score(&self, member: &Member) -> Option<Score> {
        self.by_member.get(member).copied()
    }

    /// Sets the score of a member, or removes the member.
    pub(super) fn write(&mut self, member: Member, score: Option<Score>) {
        let before = match score {
            Some(score) => self.by_member.insert(member, score),
            None => self.by_member.remove(&member),
        };
        if before == score {
            return;
        }
        if let Some(score) = before {
            self.by_score.remove(&ScanPosition { score, member });
        }
        if let Some(score) = score {
            self.by_score.insert(ScanPosition { score, member });
        }
    }

    /// Iterates over the entries in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = ScanPosition> {
        self.by_score.iter().copied()
    }

    /// Iterates over the entries after a position, in this order.
    pub(super) fn after(
        &self,
        last: Option<ScanPosition>,
        order: ScanOrder,
    ) -> Box<dyn Iterator<Item = ScanPosition> + '_> {
        let last = last.map_or(Bound::Unbounded, Bound::Excluded);
        match order {
            ScanOrder::Ascending => {
                Box::new(self.by_score.range((last, Bound::Unbounded)).copied())
            }
            ScanOrder::Descending => {
                Box::new(self.by_score.range((Bound::Unbounded, last)).rev().copied())
            }
        }
    }
}
