//! Finding the partitions that have records beside executions whose time is over.

use crate::entropy::Entropy;
use crate::error::{Applied, EngineError};
use crate::op::loaded::other_reply;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::partition::{Partition, PartitionConfig};
use crate::resource::Resource;
use crate::score::Score;
use crate::store::{Firsts, IndexName, Poll, PollOf, Polled, ReplyBody, Request};
use crate::time::{DurationMs, HostTime};

use super::RemoveExpired;

/// Looks over all partitions of a kind of records with one call, and visits those whose first
/// record has expired. Uses of quotas with slots are also visited in one partition in turn, since
/// the clock may have stepped back after a slot was taken.
///
/// A partition whose visit fails does not keep the others from being visited.
#[derive(Clone, Debug)]
pub struct SweepExpired<R> {
    partitions: Vec<Partition>,
    in_turn: Option<Partition>,
    patience: Patience,
    /// The partitions that are visited next.
    left: Vec<Partition>,
    visiting: Option<Box<RemoveExpired<R>>>,
    removed: usize,
    failed: Option<EngineError>,
}

const OP: &str = "sweep_expired";

impl<R: Resource> SweepExpired<R> {
    /// Creates the operation.
    pub fn new(config: &PartitionConfig, patience: Patience, entropy: &mut Entropy) -> Self {
        let partitions: Vec<Partition> = config.partitions(R::KIND.family()).collect();
        let turn = entropy.below(partitions.len() as u64) as usize;
        let in_turn = partitions.get(turn).copied().filter(|_| R::HAS_SLOTS);
        let (left, visiting, removed, failed) = (Vec::new(), None, 0, None);
        Self { partitions, in_turn, patience, left, visiting, removed, failed }
    }

    fn look(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        let of = PollOf::Index(IndexName::Expiry(R::KIND));
        let partitions = self.partitions.clone();
        let step = Step::Send(Request::Poll(Poll { of, partitions, listeners: None }));
        self.patience.in_time(step, OP, Applied::No, now)
    }

    fn found(&mut self, polled: &Polled, now: HostTime) -> Step<<Self as Operation>::Output> {
        let firsts = self.partitions.iter().zip(&polled.firsts);
        let is_due = |(partition, firsts): (&Partition, &Result<Firsts, String>)| {
            let firsts = firsts.as_ref().ok()?;
            let is_due = firsts.score()? <= Score::at(firsts.at);
            (is_due || self.in_turn == Some(*partition)).then_some(*partition)
        };
        self.left = firsts.filter_map(is_due).collect();
        self.next(now)
    }

    fn next(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        let Some(partition) = self.left.pop() else {
            return Step::Done(self.failed.take().map_or(Ok(self.removed), Err));
        };
        self.visiting = Some(Box::new(RemoveExpired::new(partition, self.patience.fork())));
        self.resume(Event::Start, now)
    }

    fn visited(
        &mut self,
        removed: Result<usize, EngineError>,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        self.visiting = None;
        match removed {
            Ok(removed) => self.removed += removed,
            Err(error) => self.failed = Some(error),
        }
        self.next(now)
    }
}

impl<R: Resource> Operation for SweepExpired<R> {
    /// How many records were removed or corrected. If it is 64 or more, more may be left.
    type Output = Result<usize, EngineError>;

    fn partition(&self) -> Option<Partition> {
        self.visiting.as_ref()?.partition()
    }

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        match &self.visiting {
            Some(visit) => visit.reply_within(now),
            None => Some(self.patience.left(now)),
        }
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        if let Some(visit) = &mut self.visiting {
            return visit.resume(event, now).then(|removed| self.visited(removed, now));
        }
        match event {
            Event::Start | Event::Wake => {
                self.patience.begin(now);
                self.look(now)
            }
            Event::Reply(reply) => match reply.body {
                ReplyBody::Poll(polled) if polled.firsts.len() == self.partitions.len() => {
                    self.found(&polled, now)
                }
                ReplyBody::OverBound(over) => Step::fail(over),
                _ => self.resume(Event::Failure(other_reply(OP)), now),
            },
            Event::Failure(failure) => {
                Step::retry(self.patience.after_failure(OP, &failure, Applied::No, now))
            }
        }
    }
}
