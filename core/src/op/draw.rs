//! Drawing work from lanes: find a partition that has some, take entries, decide on each.
//!
//! Sixteen claimers on one lane must not fight over one head: entries are taken, not looked at.
//! What is taken and not kept goes back to its place with the same commit that decides so.

use std::collections::VecDeque;

use crate::entropy::Entropy;
use crate::error::{Applied, Bug, EngineError};
use crate::execution::Decide;
use crate::id::{LaneId, Namespace};
use crate::partition::{Partition, PartitionConfig};
use crate::store::bounds::{MAX_TAKE, MAX_UNITS};
use crate::store::{
    Commit, Failure, IndexName, Poll, Reply, ReplyBody, Request, Take, TakeUntil, Taken,
};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::batch::Batch;
use super::retry::Patience;
use super::transact::{Committed, Known, Transact};
use super::unit::{Loaded, load, quarantine};
use super::{Operation, Step};

/// How long a taker has before others are offered what it took.
pub const HOLD: DurationMs = DurationMs::from_secs(5);
/// Takes in a row from one partition before others have their turn.
const MAX_IN_A_ROW: u32 = 8;
/// Time at one partition before others have their turn.
const MAX_AT_ONE: DurationMs = DurationMs::from_secs(1);

/// What is asked of each entry that was taken.
pub trait Ask {
    /// The command for one entry.
    type Command: Decide;

    /// The command for this record.
    fn ask(&mut self, record: &Loaded) -> Self::Command;

    /// Whether the entry is kept; what is not has gone back to its place.
    fn keeps(outcome: &<Self::Command as Decide>::Outcome) -> bool;
}

/// Where a drawer looks next: the partitions that are known to have work, lane by lane.
///
/// It goes on in one partition until it is empty, at most 8 times in a row or one second. Then it
/// looks for others that have work by now, in one lane after the other, so that no partition and no
/// lane starves.
#[derive(Clone, Debug)]
pub struct Rotation {
    namespace: Namespace,
    lanes: Vec<LaneId>,
    config: PartitionConfig,
    /// Lane and partition that probably have work, the next one first.
    ready: VecDeque<(usize, u16)>,
    in_a_row: u32,
    since: Option<TimestampMs>,
    /// The first place has had its turn: others are looked for before they have theirs.
    turning: bool,
    /// The lane that is looked through next.
    lane: usize,
}

impl Rotation {
    /// A rotation over the lanes of a namespace.
    pub const fn new(namespace: Namespace, lanes: Vec<LaneId>, config: PartitionConfig) -> Self {
        let ready = VecDeque::new();
        Self { namespace, lanes, config, ready, in_a_row: 0, since: None, turning: false, lane: 0 }
    }

    /// Notes a hint that a partition has work, to be looked at first.
    pub fn hint(&mut self, lane: &LaneId, partition: Partition) {
        if let Some(number) = self.lanes.iter().position(|known| known == lane) {
            let place = (number, partition.index);
            if !self.ready.contains(&place) {
                self.ready.push_front(place);
                self.begin(None);
            }
        }
    }

    fn index(&self, lane: usize) -> IndexName {
        IndexName::Eligible { namespace: self.namespace.clone(), lane: self.lanes[lane].clone() }
    }

    /// Begins the turn of the first place.
    const fn begin(&mut self, since: Option<TimestampMs>) {
        (self.in_a_row, self.since, self.turning) = (0, since, false);
    }

    /// Whether the first place has had its turn; if so, the next one's begins.
    fn turns(&mut self, now: HostTime) -> bool {
        let since = *self.since.get_or_insert(now.local);
        if self.in_a_row < MAX_IN_A_ROW && now.local.since(since) < MAX_AT_ONE {
            return false;
        }
        self.begin(Some(now.local));
        self.turning = !self.ready.is_empty();
        self.turning
    }

    /// The next place to take from.
    fn current(&mut self) -> Option<(usize, u16)> {
        self.in_a_row += 1;
        self.ready.front().copied()
    }

    /// Notes the partitions of the lane that was looked through, from `offset` on.
    fn found(&mut self, scores: &[Result<Option<crate::score::Score>, String>], offset: usize) {
        let count = scores.len();
        for index in (0..count).map(|step| (offset + step) % count) {
            let place = (self.lane, index as u16);
            if matches!(scores[index], Ok(Some(_))) && !self.ready.contains(&place) {
                self.ready.push_back(place);
            }
        }
        self.lane = (self.lane + 1) % self.lanes.len();
        if std::mem::take(&mut self.turning) {
            self.ready.rotate_left(usize::from(!self.ready.is_empty()));
        }
    }

    /// The present place has nothing left.
    fn exhausted(&mut self, place: (usize, u16)) {
        self.ready.retain(|ready| *ready != place);
        self.begin(None);
    }
}

/// Draws up to a number of entries and carries a command to each.
#[derive(Debug)]
pub struct Draw<A: Ask> {
    rotation: Rotation,
    ask: A,
    count: usize,
    entropy: Entropy,
    patience: Patience,
    allowed: DurationMs,
    doing: Doing<A::Command>,
    /// Lanes that were not looked through yet.
    unpolled: usize,
    unreadable: Vec<EngineError>,
    failed: Vec<EngineError>,
}

#[derive(Debug)]
enum Doing<C: Decide> {
    Nothing,
    Polling,
    Taking((usize, u16)),
    Quarantining(Vec<Transact<C>>, Partition),
    Deciding(Batch<C>),
}

/// What was drawn.
#[derive(Debug)]
pub struct Drawn<A: Ask> {
    /// The entries that are kept; none when there is no work.
    pub kept: Vec<Committed<<A::Command as Decide>::Outcome>>,
    /// The rotation, for the next draw.
    pub rotation: Rotation,
    /// Entries whose record could not be read.
    pub unreadable: Vec<EngineError>,
    /// Entries that were taken and could not be decided on; others are offered them once the hold
    /// is over.
    pub failed: Vec<EngineError>,
}

const OP: &str = "draw";

impl<A: Ask> Draw<A> {
    /// Draws at most `count` entries within `allowed`.
    pub fn new(
        rotation: Rotation,
        ask: A,
        count: usize,
        allowed: DurationMs,
        mut entropy: Entropy,
    ) -> Self {
        let patience = Patience::new(allowed, entropy.fork());
        let count = count.clamp(1, MAX_TAKE.min(MAX_UNITS));
        let (doing, unpolled) = (Doing::Nothing, rotation.lanes.len());
        let (unreadable, failed) = (Vec::new(), Vec::new());
        Self {
            rotation,
            ask,
            count,
            entropy,
            patience,
            allowed,
            doing,
            unpolled,
            unreadable,
            failed,
        }
    }

    /// Takes from the next place that may have work, looks for one, or ends.
    fn next(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        if self.rotation.turns(now) {
            return self.poll();
        }
        if let Some(place) = self.rotation.current() {
            self.doing = Doing::Taking(place);
            return Step::Send(Request::Take(Take {
                partition: Partition::flow(place.1),
                index: self.rotation.index(place.0),
                count: self.count as u32,
                until: TakeUntil::End,
                hold: HOLD,
            }));
        }
        if self.unpolled > 0 {
            return self.poll();
        }
        self.end(Vec::new())
    }

    /// Looks for partitions that have work, in the lane whose turn it is.
    fn poll(&mut self) -> Step<<Self as Operation>::Output> {
        self.doing = Doing::Polling;
        let partitions = self.rotation.config.flow_partitions().collect();
        let index = self.rotation.index(self.rotation.lane);
        Step::Send(Request::Poll(Poll { index, partitions }))
    }

    fn end(
        &mut self,
        kept: Vec<Committed<<A::Command as Decide>::Outcome>>,
    ) -> Step<<Self as Operation>::Output> {
        Step::Done(Ok(Drawn {
            kept,
            rotation: self.rotation.clone(),
            unreadable: std::mem::take(&mut self.unreadable),
            failed: std::mem::take(&mut self.failed),
        }))
    }

    fn taken(
        &mut self,
        taken: &Taken,
        place: (usize, u16),
        at: TimestampMs,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        if taken.rest.is_none() {
            self.rotation.exhausted(place);
        }
        let partition = Partition::flow(place.1);
        let mut operations = Vec::with_capacity(taken.entries.len());
        let mut corrupt = Vec::new();
        for entry in &taken.entries {
            let Some(stored) = &entry.record else { continue };
            match load(stored) {
                Ok(loaded) => {
                    let command = self.ask.ask(&loaded);
                    let patience = Patience::new(self.allowed, self.entropy.fork());
                    let known = Known::Fresh(loaded, at);
                    operations.push(Transact::knowing(command, known, patience));
                }
                Err(error) => {
                    if let EngineError::Bug(Bug::CorruptRecord { .. }) = &error {
                        corrupt.push(quarantine(entry.position.member, stored.version, at));
                    }
                    self.unreadable.push(error);
                }
            }
        }
        if !corrupt.is_empty() {
            self.doing = Doing::Quarantining(operations, partition);
            return Step::Send(Request::Commit(Commit { partition, units: corrupt }));
        }
        self.offer(operations, partition, now)
    }

    fn offer(
        &mut self,
        operations: Vec<Transact<A::Command>>,
        partition: Partition,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        if operations.is_empty() {
            return self.next(now);
        }
        let mut batch = Batch::new(partition, operations);
        let step = batch.start(now);
        self.doing = Doing::Deciding(batch);
        self.decided(step, now)
    }

    fn decided(
        &mut self,
        step: Step<<Batch<A::Command> as Operation>::Output>,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        match step {
            Step::Send(request) => Step::Send(request),
            Step::Wait(wait) => Step::Wait(wait),
            Step::Done(results) => {
                let mut kept = Vec::with_capacity(results.len());
                for result in results {
                    match result {
                        Ok(committed) if A::keeps(&committed.outcome) => kept.push(committed),
                        Ok(_) => {}
                        Err(error) => self.failed.push(error),
                    }
                }
                if !kept.is_empty() || self.patience.left(now) == DurationMs::ZERO {
                    return self.end(kept);
                }
                self.next(now)
            }
        }
    }
}

impl<A: Ask> Operation for Draw<A> {
    /// What was drawn.
    type Output = Result<Drawn<A>, EngineError>;

    fn start(&mut self, now: HostTime) -> Step<Self::Output> {
        self.patience.begin(now);
        self.next(now)
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Self::Output> {
        match (std::mem::replace(&mut self.doing, Doing::Nothing), reply.body) {
            (Doing::Polling, ReplyBody::Poll(scores)) => {
                let offset = self.entropy.below(scores.len() as u64) as usize;
                self.rotation.found(&scores, offset);
                self.unpolled = self.unpolled.saturating_sub(1);
                self.next(now)
            }
            (Doing::Taking(place), ReplyBody::Take(taken)) => {
                self.taken(&taken, place, reply.at, now)
            }
            (Doing::Quarantining(operations, partition), ReplyBody::Commit(_)) => {
                self.offer(operations, partition, now)
            }
            (Doing::Deciding(mut batch), body) => {
                let step = batch.on_reply(Reply { at: reply.at, body }, now);
                self.doing = Doing::Deciding(batch);
                self.decided(step, now)
            }
            _ => {
                let detail = format!("{OP} got the reply of another request");
                Step::Done(Err(EngineError::Bug(Bug::UnexpectedReply { detail })))
            }
        }
    }

    fn on_failure(&mut self, failure: &Failure, now: HostTime) -> Step<Self::Output> {
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Deciding(mut batch) => {
                let step = batch.on_failure(failure, now);
                self.doing = Doing::Deciding(batch);
                return self.decided(step, now);
            }
            Doing::Quarantining(operations, partition) => {
                // It is found again when its hold is over.
                return self.offer(operations, partition, now);
            }
            // A take whose reply was lost has hidden its entries; they come back after the hold.
            Doing::Polling | Doing::Taking(_) | Doing::Nothing => {}
        }
        match self.patience.after_failure(OP, failure, Applied::No, now) {
            Ok(wait) => Step::Wait(wait),
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn on_wake(&mut self, now: HostTime) -> Step<Self::Output> {
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Deciding(mut batch) => {
                let step = batch.on_wake(now);
                self.doing = Doing::Deciding(batch);
                self.decided(step, now)
            }
            _ => self.next(now),
        }
    }
}
