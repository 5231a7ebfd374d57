//! Lists of executions, page by page over all partitions.

use crate::error::EngineError;
use crate::execution::{ExecutionSnapshot, snapshot};
use crate::id::{ExecutionId, ExecutionKind, LaneId, Namespace};
use crate::partition::{Partition, PartitionConfig};
use crate::state::PublicState;
use crate::store::bounds::{MAX_PAGE, MAX_PAGE_BYTES};
use crate::store::{IndexName, Scan, ScanEntry, ScanPosition, Scanned};
use crate::time::{DurationMs, HostTime, TimestampMs};

use crate::op::loaded::load_of;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::op::query::Query;

/// The filter that selects the executions of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Only executions of this lane.
    pub lane: Option<LaneId>,
    /// Only executions of this kind.
    pub kind: Option<ExecutionKind>,
    /// Only executions in this state.
    pub state: Option<PublicState>,
}

/// A position in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListPosition {
    /// The partition.
    pub partition: u16,
    /// The last entry that was looked at there.
    pub after: Option<ScanPosition>,
}

/// A page of a list: partition by partition, within each by creation time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListPage {
    /// The executions that pass the filter.
    pub executions: Vec<ExecutionSnapshot>,
    /// Records that could not be read: in quarantine, of a newer format, or of another execution.
    pub unreadable: usize,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<ListPosition>,
}

/// Reads one page of a list. Entries are read in steps of at most [`MAX_PAGE`].
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
        }
    }

    fn next(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        let missing = self.limit - self.page.executions.len();
        if self.position.partition >= self.partitions {
            return Step::Done(Ok(std::mem::take(&mut self.page)));
        }
        if missing == 0 {
            self.page.next = Some(self.position);
            return Step::Done(Ok(std::mem::take(&mut self.page)));
        }
        let scan = Scan {
            partition: Partition::flow(self.position.partition),
            index: IndexName::All { namespace: self.namespace.clone() },
            after: self.position.after,
            // A filter may leave out many executions: read in large steps.
            limit: if self.filter == ListFilter::default() {
                missing.min(MAX_PAGE)
            } else {
                MAX_PAGE
            } as u32,
            bytes: MAX_PAGE_BYTES,
        };
        let query = self.query.insert(Query::scan(scan, self.patience.clone()));
        query.resume(Event::Start, now).then_ok(|(scanned, at)| self.scanned(&scanned, at, now))
    }

    fn scanned(
        &mut self,
        scanned: &Scanned,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        for entry in &scanned.entries {
            if self.page.executions.len() == self.limit {
                return self.next(now);
            }
            self.show(entry, at);
            self.position.after = Some(entry.position);
        }
        match scanned.next {
            Some(_) => self.position.after = scanned.next,
            None => {
                let partition = self.position.partition + 1;
                self.position = ListPosition { partition, after: None };
            }
        }
        self.next(now)
    }

    fn show(&mut self, entry: &ScanEntry, at: TimestampMs) {
        let id = ExecutionId::from_parts(self.position.partition, entry.position.member);
        match entry.record.as_ref().map(|stored| load_of(&id, stored, self.patience.codec())) {
            None => {}
            Some(Err(_)) => self.page.unreadable += 1,
            Some(Ok(loaded)) => {
                let seen = snapshot(&loaded.execution, at);
                let filter = &self.filter;
                let fits = filter.lane.as_ref().is_none_or(|lane| *lane == seen.lane)
                    && filter.kind.as_ref().is_none_or(|kind| *kind == seen.kind)
                    && filter.state.is_none_or(|state| state == seen.state.public_state);
                if fits {
                    self.page.executions.push(seen);
                }
            }
        }
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
