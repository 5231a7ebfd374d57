//! How many executions of each lane are in each state, and since when the lanes have work.

use std::collections::BTreeMap;

use crate::error::{Applied, EngineError};
use crate::id::{LaneId, Namespace};
use crate::op::loaded::other_reply;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::partition::{Partition, PartitionConfig};
use crate::state::CountedState;
use crate::store::bounds::MAX_PAGE;
use crate::store::{
    CountOf, Failure, FirstOf, Firsts, IndexName, Poll, PollOf, Reply, ReplyBody, Request,
};
use crate::time::{DurationMs, HostTime};

/// Counts the executions of a namespace by lane and state. It reads the counts that the store
/// keeps, and the lists of queues: two polls of all partitions, and further ones only for a
/// partition with more than [`MAX_PAGE`] counts or queues of the namespace.
#[derive(Clone, Debug)]
pub struct CountExecutions {
    namespace: Namespace,
    config: PartitionConfig,
    /// Whether it reads the queues now, and not the counts.
    reads_queues: bool,
    /// How many counts or queues of each partition the next page skips.
    skip: u32,
    lanes: BTreeMap<LaneId, LaneCounts>,
    patience: Patience,
}

/// The executions of a namespace by lane and state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutionCounts {
    /// The lanes that have executions, as far as is known.
    pub lanes: BTreeMap<LaneId, LaneCounts>,
    /// Whether the store keeps counts. If it keeps none, only lanes with work are known.
    pub counted: bool,
}

/// The executions of one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneCounts {
    /// The number of executions in each state that has any.
    pub states: BTreeMap<CountedState, u64>,
    /// The age of the oldest execution among those that are first in the lane's queues.
    pub oldest: Option<DurationMs>,
}

const OP: &str = "stats";

impl CountExecutions {
    /// Counts the executions of this namespace.
    pub fn new(namespace: Namespace, config: PartitionConfig, patience: Patience) -> Self {
        let reads_queues = !patience.context().store().keeps_counts();
        Self { namespace, config, reads_queues, skip: 0, lanes: BTreeMap::new(), patience }
    }

    fn poll(&self) -> Request {
        let (namespace, skip) = (self.namespace.clone(), self.skip);
        let of = match self.reads_queues {
            true => PollOf::Queues { namespace, skip },
            false => PollOf::Counts { namespace, skip },
        };
        let partitions: Vec<Partition> = self.config.flow_partitions().collect();
        Request::Poll(Poll { of, partitions, listeners: None })
    }

    /// Takes over a page of each partition, and returns whether a partition has more.
    fn note(&mut self, page: &[Firsts]) -> bool {
        for Firsts { at, found, counts } in page {
            for CountOf { name, number } in counts {
                let lane = self.lanes.entry(name.lane.clone()).or_default();
                let number = u64::try_from(*number).unwrap_or(0);
                *lane.states.entry(name.state).or_default() += number;
            }
            for FirstOf { index, score } in found {
                let IndexName::Eligible { lane, .. } = index else { continue };
                let oldest = &mut self.lanes.entry(lane.clone()).or_default().oldest;
                *oldest = (*oldest).max(Some(score.age_in_lane(*at)));
            }
        }
        let is_full = |page: &Firsts| page.found.len().max(page.counts.len()) >= MAX_PAGE;
        page.iter().any(is_full)
    }

    fn polled(&mut self, page: &[Firsts]) -> Step<<Self as Operation>::Output> {
        let has_more = self.note(page);
        match (has_more, self.reads_queues) {
            (true, _) => self.skip = self.skip.saturating_add(MAX_PAGE as u32),
            (false, false) => (self.reads_queues, self.skip) = (true, 0),
            (false, true) => {
                let lanes = std::mem::take(&mut self.lanes);
                let counted = self.patience.context().store().keeps_counts();
                return Step::Done(Ok(ExecutionCounts { lanes, counted }));
            }
        }
        Step::Send(self.poll())
    }
}

impl Operation for CountExecutions {
    /// The counts of all partitions: each partition as it was at one time.
    type Output = Result<ExecutionCounts, EngineError>;

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        Some(self.patience.left(now))
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        match event {
            Event::Start | Event::Wake => {
                self.patience.begin(now);
                let step = Step::Send(self.poll());
                self.patience.in_time(step, OP, Applied::No, now)
            }
            Event::Reply(Reply { body: ReplyBody::OverBound(over), .. }) => Step::fail(over),
            Event::Reply(Reply { body: ReplyBody::Poll(polled), .. })
                if polled.firsts.len() == usize::from(self.config.num_flow_partitions) =>
            {
                match polled.firsts.into_iter().collect::<Result<Vec<_>, _>>() {
                    Ok(page) => self.polled(&page),
                    // The counts of some partitions alone would mislead.
                    Err(error) => self.resume(Event::Failure(Failure::MaybeApplied(error)), now),
                }
            }
            Event::Reply(_) => self.resume(Event::Failure(other_reply(OP)), now),
            Event::Failure(failure) => {
                Step::retry(self.patience.after_failure(OP, &failure, Applied::No, now))
            }
        }
    }
}
