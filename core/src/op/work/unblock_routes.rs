//! Unblocking executions that no worker fitted, when a worker that fits comes
//! (`docs/spec.md`, 7).

use crate::capability::Capabilities;
use crate::entropy::Entropy;
use crate::error::{Applied, EngineError};
use crate::execution::{BlockKind, Unblock};
use crate::id::{LaneId, Namespace};
use crate::kinds::Kinds;
use crate::op::context::OperationContext;
use crate::op::loaded::{Loaded, other_reply};
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::partition::{Partition, PartitionConfig};
use crate::store::bounds::{MAX_PAGE_BYTES, MAX_UNITS};
use crate::store::{
    IndexName, Poll, PollOf, Reply, ReplyBody, Request, Scan, ScanPosition, Scanned,
};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::fetched::{FetchedEntries, Page};

/// A worker that can run executions which no worker fitted before.
#[derive(Clone, Debug)]
pub struct RouteOffer {
    /// The tenant whose executions it sees.
    pub namespace: Namespace,
    /// The lanes that it claims from.
    pub lanes: Vec<LaneId>,
    /// The kinds that it serves.
    pub kinds: Kinds,
    /// The worker's capabilities.
    pub capabilities: Capabilities,
    /// How many executions it can take: more would only be blocked again.
    pub free_slots: usize,
}

/// Unblocks executions of a worker's lanes that it can run and that no worker fitted before.
#[derive(Clone, Debug)]
pub struct UnblockRoutes {
    offer: RouteOffer,
    config: PartitionConfig,
    entropy: Entropy,
    patience: Patience,
    context: OperationContext,
    /// Partitions that have blocked executions.
    ready: Vec<Partition>,
    doing: Doing,
    unblocked: usize,
}

#[derive(Clone, Debug, Default)]
enum Doing {
    #[default]
    Nothing,
    Scanning(Partition, Option<ScanPosition>),
    /// With the position after the page, if there are more.
    Unblocking(FetchedEntries<Unblock>, Partition, Option<ScanPosition>),
}

const OP: &str = "unblock_routes";

impl UnblockRoutes {
    /// A look over all partitions for this worker.
    pub fn new(
        offer: RouteOffer,
        config: PartitionConfig,
        context: OperationContext,
        mut entropy: Entropy,
    ) -> Self {
        let patience = Patience::new(context.clone(), entropy.fork());
        let (ready, doing, unblocked) = (Vec::new(), Doing::Nothing, 0);
        Self { offer, config, entropy, patience, context, ready, doing, unblocked }
    }

    fn index(&self) -> IndexName {
        IndexName::BlockedRoute { namespace: self.offer.namespace.clone() }
    }

    fn poll(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        self.patience.begin(now);
        let partitions = self.config.flow_partitions().collect();
        let (of, listeners) = (PollOf::Index(self.index()), None);
        Step::Send(Request::Poll(Poll { of, partitions, listeners }))
    }

    fn next(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        if let Err(error) = self.context.check_store() {
            return Step::fail(error);
        }
        match self.ready.pop() {
            Some(partition) if self.goes_on(now) => self.scan(partition, None),
            _ => Step::Done(Ok(self.unblocked)),
        }
    }

    fn goes_on(&self, now: HostTime) -> bool {
        self.offer.free_slots > 0 && self.patience.left(now) > DurationMs::ZERO
    }

    fn scan(
        &mut self,
        partition: Partition,
        after: Option<ScanPosition>,
    ) -> Step<<Self as Operation>::Output> {
        self.doing = Doing::Scanning(partition, after);
        let (index, limit, bytes) = (self.index(), MAX_UNITS as u32, MAX_PAGE_BYTES);
        Step::Send(Request::Scan(Scan { partition, index, after, limit, bytes }))
    }

    fn scanned(
        &mut self,
        scanned: &Scanned,
        partition: Partition,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        let index = self.index();
        let RouteOffer { lanes, kinds, capabilities, free_slots, .. } = &mut self.offer;
        let unblock = |loaded: &Loaded, _| {
            let execution = &loaded.execution;
            // An entry that an error inside a function has left takes no slot.
            let waits = execution.blocks().is_some_and(|b| b.get(BlockKind::Route).is_some());
            let serves = lanes.contains(&execution.lane) && kinds.serves(&execution.kind);
            let fits = serves && execution.requires.satisfied_by(capabilities);
            if !waits || !fits {
                return None;
            }
            *free_slots = free_slots.checked_sub(1)?;
            let (execution_id, offered) = (execution.id, Some(capabilities.clone()));
            Some(Unblock { execution_id, kind: BlockKind::Route, offered })
        };
        let entries: Vec<_> = scanned.entries.iter().map(|entry| (&index, entry)).collect();
        let page = Page { partition, entries: &entries, at };
        let fetched = FetchedEntries::new(page, &self.context, &mut self.entropy, unblock);
        self.doing = Doing::Unblocking(fetched, partition, scanned.next);
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

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<<Self as Operation>::Output> {
        match (std::mem::take(&mut self.doing), reply.body) {
            (Doing::Nothing, ReplyBody::Poll(polled))
                if polled.firsts.len() == self.config.flow_partitions().count() =>
            {
                self.ready = polled.with_entries(self.config.flow_partitions()).collect();
                self.next(now)
            }
            (Doing::Scanning(partition, _), ReplyBody::Scan(scanned)) => {
                self.scanned(&scanned, partition, reply.at, now)
            }
            (_, ReplyBody::OverBound(over)) => Step::fail(over),
            _ => self.resume(Event::Failure(other_reply(OP)), now),
        }
    }
}

impl Operation for UnblockRoutes {
    /// How many executions can go on. `NewerFormat` as for `TakeFromLane`: the program would not
    /// claim what it unblocks.
    type Output = Result<usize, EngineError>;

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        if let Doing::Unblocking(fetched, ..) = &mut self.doing {
            return fetched.resume(event, now).then(|results| {
                // An execution that another worker unblocked first can go on as well.
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
