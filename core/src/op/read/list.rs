//! Lists of executions, page by page over all partitions.

use crate::error::EngineError;
use crate::execution::{ExecutionSnapshot, snapshot};
use crate::id::{ExecutionId, ExecutionKind, LaneId, Namespace};
use crate::partition::{Partition, PartitionConfig};
use crate::score::Score;
use crate::state::PublicState;
use crate::store::bounds::{MAX_PAGE, MAX_PAGE_BYTES};
use crate::store::codec::Codec;
use crate::store::{IndexName, Member, Scan, ScanEntry, ScanOrder, ScanPosition, Scanned};
use crate::time::{DurationMs, HostTime, TimestampMs};

use crate::op::loaded::load_of;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::op::query::Query;

/// How much a page of a list reads of what it does not show: it ends after so many executions that
/// do not pass the filter. One whose record is larger than 1 KiB counts once for each KiB.
pub const MAX_FILTERED: usize = 16_384;

/// The filter that selects the executions of a list: those that pass all of its parts. The default
/// selects all executions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Only executions of this lane.
    pub lane: Option<LaneId>,
    /// Only executions of this kind.
    pub kind: Option<ExecutionKind>,
    /// Only executions in one of these states; empty for all states.
    pub states: Vec<PublicState>,
    /// Only executions that have all of these tags, each a key and its value.
    pub tags: Vec<(String, String)>,
    /// Only executions that were created at this time or later, by the store's clock.
    pub created_from: Option<TimestampMs>,
    /// Only executions that were created before this time, by the store's clock.
    pub created_before: Option<TimestampMs>,
}

impl ListFilter {
    /// Whether an execution passes the parts of the filter that its index entry does not show.
    pub(super) fn passes(&self, seen: &ExecutionSnapshot) -> bool {
        let has = |(key, value): &(String, String)| seen.tags.get(key) == Some(value.as_str());
        self.lane.as_ref().is_none_or(|lane| *lane == seen.lane)
            && self.kind.as_ref().is_none_or(|kind| *kind == seen.kind)
            && (self.states.is_empty() || self.states.contains(&seen.state.public_state))
            && self.tags.iter().all(has)
    }

    /// Whether the filter leaves out executions within its time.
    pub(super) fn is_selective(&self) -> bool {
        self.lane.is_some()
            || self.kind.is_some()
            || !self.states.is_empty()
            || !self.tags.is_empty()
    }
}

/// A position in a list. It is valid in lists of the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListPosition {
    /// The partition.
    pub partition: u16,
    /// The last entry that was looked at there.
    pub after: Option<ScanPosition>,
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListPage {
    /// The executions that pass the filter.
    pub executions: Vec<ExecutionSnapshot>,
    /// Records that could not be read: in quarantine, of a newer format, or of another execution.
    pub unreadable: usize,
    /// The number of entries that were read for this page.
    pub read: usize,
    /// Where the next page begins; `None` on the last page. Only this shows the end: a page can
    /// have fewer executions than its limit, even none, if it has read many that do not pass the
    /// filter.
    pub next: Option<ListPosition>,
}

/// The finding of a list at an entry of the index.
#[expect(clippy::large_enum_variant, reason = "one at a time, and most are shown")]
pub(super) enum Found {
    /// An execution that passes the filter.
    Shown(ExecutionSnapshot),
    /// A record that cannot be read.
    Unreadable,
    /// Nothing to show, and how much it counts for [`MAX_FILTERED`].
    Filtered(usize),
}

impl Found {
    /// Looks at an entry of a partition at an instant of the store's clock.
    pub(super) fn at(
        partition: u16,
        entry: &ScanEntry,
        filter: &ListFilter,
        codec: &Codec,
        now: TimestampMs,
    ) -> Self {
        let id = ExecutionId::from_parts(partition, entry.position.member);
        let Some(stored) = &entry.record else { return Self::Filtered(1) };
        match load_of(&id, stored, codec).map(|loaded| snapshot(&loaded.execution, now)) {
            Err(_) => Self::Unreadable,
            Ok(seen) if filter.passes(&seen) => Self::Shown(seen),
            Ok(_) => Self::Filtered((stored.size() / 1_024).max(1)),
        }
    }
}

/// Reads one page of a list: partition by partition, and within each by creation time. This order
/// needs the fewest calls for a whole list. Entries are read in steps of at most [`MAX_PAGE`].
#[derive(Clone, Debug)]
pub struct ListExecutions {
    namespace: Namespace,
    filter: ListFilter,
    partitions: u16,
    limit: usize,
    position: ListPosition,
    patience: Patience,
    query: Option<Query<(Scanned, TimestampMs)>>,
    page: ListPage,
    filtered: usize,
}

impl ListExecutions {
    /// A page of at most `limit` executions of a namespace.
    pub fn new(
        config: &PartitionConfig,
        namespace: Namespace,
        filter: ListFilter,
        from: Option<ListPosition>,
        limit: usize,
        patience: Patience,
    ) -> Self {
        Self {
            namespace,
            filter,
            partitions: config.num_flow_partitions,
            limit: limit.max(1),
            position: from.unwrap_or(ListPosition { partition: 0, after: None }),
            patience,
            query: None,
            page: ListPage::default(),
            filtered: 0,
        }
    }

    fn next(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        let missing = self.limit - self.page.executions.len();
        if self.position.partition >= self.partitions {
            return Step::Done(Ok(std::mem::take(&mut self.page)));
        }
        if missing == 0 || self.filtered >= MAX_FILTERED {
            self.page.next = Some(self.position);
            return Step::Done(Ok(std::mem::take(&mut self.page)));
        }
        let scan = Scan {
            partition: Partition::flow(self.position.partition),
            index: IndexName::All { namespace: self.namespace.clone() },
            order: ScanOrder::Ascending,
            after: self.position.after.or_else(|| self.first()),
            // A filter may leave out many executions: read in large steps.
            limit: if self.filter.is_selective() { MAX_PAGE } else { missing.min(MAX_PAGE) } as u32,
            bytes: MAX_PAGE_BYTES,
        };
        let query = self.query.insert(Query::scan(scan, self.patience.clone()));
        query.resume(Event::Start, now).then_ok(|(scanned, at)| self.scanned(&scanned, at, now))
    }

    /// The position before the first entry of a partition that the filter's time allows.
    fn first(&self) -> Option<ScanPosition> {
        let score = self.filter.created_from.map(Score::at)?;
        Some(ScanPosition { score: Score::new(score.get() - 1), member: Member::max() })
    }

    fn scanned(
        &mut self,
        scanned: &Scanned,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        let end = self.filter.created_before.map(Score::at);
        let mut next = scanned.next;
        for entry in &scanned.entries {
            if end.is_some_and(|end| end <= entry.position.score) {
                next = None;
                break;
            }
            if self.page.executions.len() == self.limit || self.filtered >= MAX_FILTERED {
                return self.next(now);
            }
            let (partition, codec) = (self.position.partition, self.patience.codec());
            match Found::at(partition, entry, &self.filter, codec, at) {
                Found::Shown(seen) => self.page.executions.push(seen),
                Found::Unreadable => self.page.unreadable += 1,
                Found::Filtered(count) => self.filtered += count,
            }
            self.page.read += 1;
            self.position.after = Some(entry.position);
        }
        match next {
            Some(_) => self.position.after = next,
            None => {
                let partition = self.position.partition + 1;
                self.position = ListPosition { partition, after: None };
            }
        }
        self.next(now)
    }
}

impl Operation for ListExecutions {
    type Output = Result<ListPage, EngineError>;

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        Some(self.patience.left(now))
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        match &mut self.query {
            None => {
                self.patience.begin(now);
                self.next(now)
            }
            Some(query) => {
                query.resume(event, now).then_ok(|(scanned, at)| self.scanned(&scanned, at, now))
            }
        }
    }
}
