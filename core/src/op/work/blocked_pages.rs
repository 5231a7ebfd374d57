//! Where a program looks for executions that no worker fitted.

use std::collections::{BTreeMap, BTreeSet};

use crate::partition::Partition;
use crate::store::ScanPosition;
use crate::time::{DurationMs, HostTime, TimestampMs};

/// The partitions that have executions which no worker fitted.
///
/// A wake-up names the partition where one was blocked, whose first page is read next. A program
/// that receives none reads the first page of each after every look over all partitions. A page
/// that has nothing for the program has its price, so that a fleet with many wake-ups does not read
/// without end. Each look also allows one page in turn: so a program finds the executions of
/// lost wake-ups, and those after the first page.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockedPages {
    /// Partitions that have some, as far as is known.
    known: BTreeSet<u16>,
    /// Those that are read next, each with where its page begins.
    next: BTreeMap<u16, Option<ScanPosition>>,
    /// Where the next page in turn begins.
    turn: (u16, Option<ScanPosition>),
    /// Whether it may read the page in turn.
    has_turn: bool,
    /// Whether it receives wake-ups.
    hears: bool,
    /// The time at which the pages that were read are paid for.
    paid: TimestampMs,
}

/// A page of the executions that no worker fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockedPage {
    pub(super) partition: Partition,
    /// It begins after this entry.
    pub(super) after: Option<ScanPosition>,
    in_turn: bool,
}

/// The executions of a page that a program could take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageHad {
    /// No execution that it could take.
    Nothing,
    /// Some.
    Some,
    /// As many as it asked for, or more.
    Enough,
}

/// The price of a page that has nothing: with one every 5 ms, a program reads 200 in a second.
const PRICE: DurationMs = DurationMs::new(5);
/// The pages that a program may read without a pause, such as when it starts: one of each partition
/// by default.
const CREDIT: DurationMs = DurationMs::new(256 * PRICE.get());

impl BlockedPages {
    /// Notes that a partition has some, by a look over all partitions.
    pub(super) fn found(&mut self, partition: Partition) {
        if self.known.insert(partition.index) || !self.hears {
            self.next.insert(partition.index, None);
        }
    }

    /// Notes that another one was blocked in a partition.
    pub(super) fn blocked(&mut self, partition: Partition) {
        self.hears = true;
        self.known.insert(partition.index);
        self.next.insert(partition.index, None);
    }

    /// Notes that a look over all partitions is over.
    pub(super) fn looked(&mut self) {
        self.has_turn = true;
    }

    /// Notes that wake-ups arrive from now on, and that some may have been missed.
    pub(super) fn missed(&mut self) {
        self.hears = true;
        self.next = self.known.iter().map(|index| (*index, None)).collect();
    }

    /// When the next page may be read, by the host's clock; `None` if none is.
    pub(super) fn next_at(&self) -> Option<TimestampMs> {
        let waits = !self.next.is_empty() || (self.has_turn && !self.known.is_empty());
        waits.then_some(self.paid.minus(CREDIT))
    }

    /// The page that may be read now.
    pub(super) fn next(&mut self, now: HostTime) -> Option<BlockedPage> {
        self.next_at().filter(|at| *at <= now.local)?;
        if let Some((index, after)) = self.next.pop_first() {
            return Some(BlockedPage { partition: Partition::flow(index), after, in_turn: false });
        }
        self.has_turn = false;
        let (from, after) = self.turn;
        let index = self.known.range(from..).next().or_else(|| self.known.first()).copied()?;
        let after = after.filter(|_| index == from);
        Some(BlockedPage { partition: Partition::flow(index), after, in_turn: true })
    }

    /// Notes that a page is to be read again.
    pub(super) fn read_again(&mut self, page: BlockedPage) {
        self.next.insert(page.partition.index, page.after);
    }

    /// Notes what a page had. `rest`: where the next page of the partition begins.
    pub(super) fn read(
        &mut self,
        page: BlockedPage,
        had: PageHad,
        rest: Option<ScanPosition>,
        now: HostTime,
    ) {
        let BlockedPage { partition: Partition { index, .. }, in_turn, .. } = page;
        match had {
            // The program reads it again when it has finished some.
            PageHad::Enough => self.read_again(page),
            PageHad::Some => self.next.extend(rest.map(|rest| (index, Some(rest)))),
            PageHad::Nothing => self.paid = self.paid.max(now.local).plus(PRICE),
        }
        if in_turn {
            let next = rest.map_or(index.saturating_add(1), |_| index);
            self.turn = (next, rest);
        }
    }

    /// Notes that a partition has none.
    pub(super) fn has_none(&mut self, partition: Partition) {
        self.known.remove(&partition.index);
        self.next.remove(&partition.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    use crate::score::Score;

    fn at(local: u64) -> HostTime {
        HostTime { local: TimestampMs::new(local), store: TimestampMs::ZERO }
    }

    fn position(score: i64) -> ScanPosition {
        ScanPosition { score: Score::new(score), member: Uuid::nil() }
    }

    /// The pages that may be read, none of which has anything; each with how it begins.
    fn read_all(pages: &mut BlockedPages, now: HostTime) -> Vec<(u16, Option<ScanPosition>)> {
        std::iter::from_fn(|| {
            let page = pages.next(now)?;
            pages.read(page, PageHad::Nothing, None, now);
            Some((page.partition.index, page.after))
        })
        .collect()
    }

    #[test]
    fn a_partition_is_read_when_it_is_found_and_when_another_one_is_blocked() {
        let mut pages = BlockedPages::default();
        assert_eq!((pages.next_at(), pages.next(at(9_000))), (None, None));
        pages.found(Partition::flow(3));
        pages.found(Partition::flow(1));
        assert_eq!(read_all(&mut pages, at(9_000)), [(1, None), (3, None)]);
        pages.found(Partition::flow(3));
        assert_eq!(read_all(&mut pages, at(9_000)), [(3, None)], "it heard of nothing");
        pages.blocked(Partition::flow(3));
        assert_eq!(read_all(&mut pages, at(9_000)), [(3, None)]);
        pages.found(Partition::flow(3));
        assert_eq!(read_all(&mut pages, at(9_000)), [], "it would have heard");
        pages.missed();
        assert_eq!(read_all(&mut pages, at(9_000)), [(1, None), (3, None)]);
        pages.has_none(Partition::flow(1));
        pages.missed();
        assert_eq!(read_all(&mut pages, at(9_000)), [(3, None)]);
    }

    #[test]
    fn each_look_allows_one_page_in_turn() {
        let mut pages = BlockedPages::default();
        [1, 3].into_iter().for_each(|index| pages.found(Partition::flow(index)));
        read_all(&mut pages, at(9_000));
        let mut seen = Vec::new();
        for _ in 0..4 {
            pages.looked();
            let page = pages.next(at(9_000)).expect("the page in turn");
            let rest = (page.partition.index == 1 && page.after.is_none()).then(|| position(7));
            pages.read(page, PageHad::Nothing, rest, at(9_000));
            assert_eq!(pages.next(at(9_000)), None);
            seen.push((page.partition.index, page.after));
        }
        assert_eq!(seen, [(1, None), (1, Some(position(7))), (3, None), (1, None)]);
    }

    #[test]
    fn a_page_that_had_some_goes_on_and_one_with_enough_is_read_again() {
        let mut pages = BlockedPages::default();
        pages.blocked(Partition::flow(2));
        let first = pages.next(at(9_000)).expect("a page");
        pages.read(first, PageHad::Some, Some(position(7)), at(9_000));
        let second = pages.next(at(9_000)).expect("the next page");
        assert_eq!(second.after, Some(position(7)));
        pages.read(second, PageHad::Enough, None, at(9_000));
        assert_eq!(pages.next(at(9_000)), Some(second));
        pages.read(second, PageHad::Some, None, at(9_000));
        assert_eq!(pages.next(at(9_000)), None);
    }

    #[test]
    fn pages_that_have_nothing_are_limited() {
        let mut pages = BlockedPages::default();
        let mut count = 0;
        for now in 100_000..101_000 {
            pages.blocked(Partition::flow(0));
            count += read_all(&mut pages, at(now)).len();
        }
        // 256 at the start, then 200 in a second.
        assert!((455..=460).contains(&count), "{count}");
        assert!(pages.next_at() > Some(TimestampMs::new(100_999)));
    }
}
