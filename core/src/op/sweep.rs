//! Letting executions go on that no worker fitted, when one comes that does
//! (`docs/spec.md`, 7).

use crate::capability::Capabilities;
use crate::entropy::Entropy;
use crate::error::{Applied, Bug, EngineError};
use crate::execution::{BlockKind, Unblock};
use crate::id::{LaneId, Namespace};
use crate::partition::{Partition, PartitionConfig};
use crate::store::bounds::MAX_UNITS;
use crate::store::{
    Failure, IndexName, Poll, Reply, ReplyBody, Request, Scan, ScanPosition, Scanned,
};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::handed::{Handed, Page};
use super::operation::{Operation, Step};
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

#[derive(Clone, Debug)]
enum Doing {
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
        let mut handed = Handed::new(page, (&self.terms, &mut self.entropy), unblock);
        let step = handed.start(now);
        self.doing = Doing::Unblocking(handed, partition, scanned.next);
        self.unblocked(step, now)
    }

    fn unblocked(
        &mut self,
        step: Step<<Handed<Unblock> as Operation>::Output>,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        match step {
            Step::Send(request) => Step::Send(request),
            Step::Wait(wait) => Step::Wait(wait),
            Step::Done(results) => {
                // Somebody else may have been faster: that is as good.
                self.unblocked += results.iter().filter(|result| result.is_ok()).count();
                match std::mem::replace(&mut self.doing, Doing::Nothing) {
                    Doing::Unblocking(_, partition, Some(after)) if self.goes_on(now) => {
                        self.scan(partition, Some(after))
                    }
                    _ => self.next(now),
                }
            }
        }
    }
}

impl Operation for RouteSweep {
    /// How many executions can go on.
    type Output = Result<usize, EngineError>;

    fn start(&mut self, now: HostTime) -> Step<Self::Output> {
        self.patience.begin(now);
        let index = IndexName::BlockedRoute { namespace: self.namespace.clone() };
        let partitions = self.config.flow_partitions().collect();
        Step::Send(Request::Poll(Poll { index, partitions }))
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Self::Output> {
        match (std::mem::replace(&mut self.doing, Doing::Nothing), reply.body) {
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
            (Doing::Unblocking(mut handed, partition, after), body) => {
                let step = handed.on_reply(Reply { at: reply.at, body }, now);
                self.doing = Doing::Unblocking(handed, partition, after);
                self.unblocked(step, now)
            }
            _ => Step::Done(Err(Bug::unexpected_reply(OP))),
        }
    }

    fn on_failure(&mut self, failure: &Failure, now: HostTime) -> Step<Self::Output> {
        if let Doing::Unblocking(handed, ..) = &mut self.doing {
            let step = handed.on_failure(failure, now);
            return self.unblocked(step, now);
        }
        match self.patience.after_failure(OP, failure, Applied::No, now) {
            Ok(wait) => Step::Wait(wait),
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn on_wake(&mut self, now: HostTime) -> Step<Self::Output> {
        if let Doing::Unblocking(handed, ..) = &mut self.doing {
            let step = handed.on_wake(now);
            return self.unblocked(step, now);
        }
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Scanning(partition, after) => self.scan(partition, after),
            _ => self.start(now),
        }
    }
}
