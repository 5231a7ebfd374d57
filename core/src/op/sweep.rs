//! Letting executions go on that no worker fitted, when one comes that does
//! (`docs/spec.md`, 7).

use crate::capability::Capabilities;
use crate::entropy::Entropy;
use crate::error::{Applied, Bug, EngineError};
use crate::execution::{BlockKind, Unblock};
use crate::id::{LaneId, Namespace};
use crate::partition::{Partition, PartitionConfig};
use crate::store::bounds::MAX_UNITS;
use crate::store::{IndexName, Poll, Reply, ReplyBody, Request, Scan, ScanPosition, Scanned};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::handed::{Handed, Page};
use super::operation::{Event, Operation, Step};
use super::retry::Patience;
use super::terms::Terms;
use super::unit::Loaded;

/// Unblocks those executions of a worker's lanes that it can run and that no worker fitted before,
/// no more than it has free slots for: what it could not take would only be set aside again.
#[derive(Clone, Debug)]
pub struct RouteSweep {
    namespace: Namespace,
    lanes: Vec<LaneId>,
    offered: Capabilities,
    /// How many more may go on.
    left: usize,
    config: PartitionConfig,
    entropy: Entropy,
    patience: Patience,
    terms: Terms,
    ready: Vec<Partition>,
    doing: Doing,
    unblocked: usize,
}

#[derive(Clone, Debug, Default)]
enum Doing {
    #[default]
    Nothing,
    Scanning(Partition, Option<ScanPosition>),
    /// The place behind this page, if there are more.
    Unblocking(Handed<Unblock>, Partition, Option<ScanPosition>),
}

const OP: &str = "sweep";

impl RouteSweep {
    /// A sweep for a worker of these lanes, with these capabilities and free slots, on
    /// these terms.
    pub fn new(
        (namespace, lanes): (Namespace, Vec<LaneId>),
        (offered, left): (Capabilities, usize),
        config: PartitionConfig,
        terms: Terms,
        mut entropy: Entropy,
    ) -> Self {
        let patience = Patience::new(terms.clone(), entropy.fork());
        let (ready, doing, unblocked) = (Vec::new(), Doing::Nothing, 0);
        Self {
            namespace,
            lanes,
            offered,
            left,
            config,
            entropy,
            patience,
            terms,
            ready,
            doing,
            unblocked,
        }
    }

    fn next(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        match self.ready.pop() {
            Some(partition) if self.goes_on(now) => self.scan(partition, None),
            _ => Step::Done(Ok(self.unblocked)),
        }
    }

    fn goes_on(&self, now: HostTime) -> bool {
        self.left > 0 && self.patience.left(now) > DurationMs::ZERO
    }

    fn scan(
        &mut self,
        partition: Partition,
        after: Option<ScanPosition>,
    ) -> Step<<Self as Operation>::Output> {
        self.doing = Doing::Scanning(partition, after);
        let index = IndexName::BlockedRoute { namespace: self.namespace.clone() };
        Step::Send(Request::Scan(Scan { partition, index, after, limit: MAX_UNITS as u32 }))
    }

    fn scanned(
        &mut self,
        scanned: &Scanned,
        partition: Partition,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        let (lanes, offered, left) = (&self.lanes, &self.offered, &mut self.left);
        let unblock = |loaded: &Loaded| {
            let execution = &loaded.execution;
            // An entry that an error inside a function has left behind takes nobody's place.
            let waits = execution.blocks().is_some_and(|b| b.get(BlockKind::Route).is_some());
            let fits = lanes.contains(&execution.lane) && execution.requires.satisfied_by(offered);
            if !waits || !fits {
                return None;
            }
            *left = left.checked_sub(1)?;
            let (execution_id, offered) = (execution.id, Some(offered.clone()));
            Some(Unblock { execution_id, kind: BlockKind::Route, offered })
        };
        let index = IndexName::BlockedRoute { namespace: self.namespace.clone() };
        let page = Page { partition, index: &index, entries: &scanned.entries, at, taken: false };
        let handed = Handed::new(page, (&self.terms, &mut self.entropy), unblock);
        self.doing = Doing::Unblocking(handed, partition, scanned.next);
        self.resume(Event::Start, now)
    }

    fn unblocked(&mut self, count: usize, now: HostTime) -> Step<<Self as Operation>::Output> {
        self.unblocked += count;
        match std::mem::take(&mut self.doing) {
            Doing::Unblocking(_, partition, Some(after)) if self.goes_on(now) => {
                self.scan(partition, Some(after))
            }
            _ => self.next(now),
        }
    }

    fn poll(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        self.patience.begin(now);
        let index = IndexName::BlockedRoute { namespace: self.namespace.clone() };
        let partitions = self.config.flow_partitions().collect();
        Step::Send(Request::Poll(Poll { index, partitions }))
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<<Self as Operation>::Output> {
        match (std::mem::take(&mut self.doing), reply.body) {
            (Doing::Nothing, ReplyBody::Poll(scores)) => {
                let full = |(index, score): (usize, &Result<Option<_>, _>)| {
                    matches!(score, Ok(Some(_))).then_some(Partition::flow(index as u16))
                };
                self.ready = scores.iter().enumerate().filter_map(full).collect();
                self.next(now)
            }
            (Doing::Scanning(partition, _), ReplyBody::Scan(scanned)) => {
                self.scanned(&scanned, partition, reply.at, now)
            }
            _ => Step::fail(Bug::unexpected_reply(OP)),
        }
    }
}

impl Operation for RouteSweep {
    /// How many executions can go on.
    type Output = Result<usize, EngineError>;

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        if let Doing::Unblocking(handed, ..) = &mut self.doing {
            return handed.resume(event, now).then(|results| {
                // Somebody else may have been faster: that is as good.
                self.unblocked(results.iter().filter(|result| result.is_ok()).count(), now)
            });
        }
        match event {
            Event::Start => self.poll(now),
            Event::Reply(reply) => self.on_reply(reply, now),
            Event::Failure(failure) => {
                Step::retry(self.patience.after_failure(OP, &failure, Applied::No, now))
            }
            Event::Wake => match self.doing {
                Doing::Scanning(partition, after) => self.scan(partition, after),
                _ => self.poll(now),
            },
        }
    }
}
