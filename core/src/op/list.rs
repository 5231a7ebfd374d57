//! Lists of executions, page by page over all partitions.

use crate::error::EngineError;
use crate::execution::{ExecutionSnapshot, snapshot};
use crate::id::{ExecutionKind, LaneId, Namespace};
use crate::partition::{Partition, PartitionConfig};
use crate::state::PublicState;
use crate::store::bounds::MAX_PAGE;
use crate::store::{Failure, IndexName, Reply, Scan, ScanEntry, ScanPosition, Scanned};
use crate::time::{HostTime, TimestampMs};

use super::operation::{Operation, Step};
use super::query::Query;
use super::retry::Patience;
use super::unit::load;

/// Which executions a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Of this lane only.
    pub lane: Option<LaneId>,
    /// Of this kind only.
    pub kind: Option<ExecutionKind>,
    /// In this state only.
    pub state: Option<PublicState>,
}

/// A place in a list.
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
    /// Records that could not be read: in quarantine, or of a newer format.
    pub unreadable: usize,
    /// Where the next page begins; `None` at the end.
    pub next: Option<ListPosition>,
}

/// Reads one page of a list. Entries are read in steps of at most [`MAX_PAGE`].
#[derive(Clone, Debug)]
pub struct ListExecutions {
    namespace: Namespace,
    filter: ListFilter,
    partitions: u16,
    limit: usize,
    place: ListPosition,
    patience: Patience,
    query: Option<Query<Scanned>>,
    page: ListPage,
}

impl ListExecutions {
    /// A page of at most `limit` executions of a namespace, from a place on.
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
            place: from.unwrap_or(ListPosition { partition: 0, after: None }),
            patience,
            query: None,
            page: ListPage::default(),
        }
    }

    fn next(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        let missing = self.limit - self.page.executions.len();
        if self.place.partition >= self.partitions {
            return Step::Done(Ok(std::mem::take(&mut self.page)));
        }
        if missing == 0 {
            self.page.next = Some(self.place);
            return Step::Done(Ok(std::mem::take(&mut self.page)));
        }
        let scan = Scan {
            partition: Partition::flow(self.place.partition),
            index: IndexName::All { namespace: self.namespace.clone() },
            after: self.place.after,
            // What a filter leaves out is read in large steps.
            limit: if self.filter == ListFilter::default() {
                missing.min(MAX_PAGE)
            } else {
                MAX_PAGE
            } as u32,
        };
        let mut query = Query::scan(scan, self.patience.clone());
        let step = query.start(now);
        self.query = Some(query);
        self.take(step, now)
    }

    fn take(
        &mut self,
        step: Step<Result<(Scanned, TimestampMs), EngineError>>,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        match step {
            Step::Send(request) => Step::Send(request),
            Step::Wait(wait) => Step::Wait(wait),
            Step::Done(Err(error)) => Step::Done(Err(error)),
            Step::Done(Ok((scanned, at))) => {
                for entry in &scanned.entries {
                    if self.page.executions.len() == self.limit {
                        return self.next(now);
                    }
                    self.show(entry, at);
                    self.place.after = Some(entry.position);
                }
                match scanned.next {
                    Some(_) => self.place.after = scanned.next,
                    None => {
                        let partition = self.place.partition + 1;
                        self.place = ListPosition { partition, after: None };
                    }
                }
                self.next(now)
            }
        }
    }

    fn show(&mut self, entry: &ScanEntry, at: TimestampMs) {
        match entry.record.as_ref().map(|stored| load(stored, self.patience.codec())) {
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

    fn start(&mut self, now: HostTime) -> Step<Self::Output> {
        self.patience.begin(now);
        self.next(now)
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Self::Output> {
        match self.query.as_mut().map(|query| query.on_reply(reply, now)) {
            Some(step) => self.take(step, now),
            None => self.next(now),
        }
    }

    fn on_failure(&mut self, failure: &Failure, now: HostTime) -> Step<Self::Output> {
        match self.query.as_mut().map(|query| query.on_failure(failure, now)) {
            Some(step) => self.take(step, now),
            None => self.next(now),
        }
    }

    fn on_wake(&mut self, now: HostTime) -> Step<Self::Output> {
        match self.query.as_mut().map(|query| query.on_wake(now)) {
            Some(step) => self.take(step, now),
            None => self.next(now),
        }
    }
}
