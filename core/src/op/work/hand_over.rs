//! Freeing slots of quotas, and handing them over to the executions that wait.

use crate::entropy::Entropy;
use crate::error::EngineError;
use crate::execution::{BlockKind, CheckSlot, SlotCheck, Unblock};
use crate::id::{ExecutionId, SlotId};
use crate::op::command::{CarryCommand, Committed, Known};
use crate::op::context::{OperationContext, UseTask, UseWork};
use crate::op::loaded::{Loaded, other_reply};
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::op::resource::ChangeUse;
use crate::partition::Partition;
use crate::quota::{QuotaUse, UpdateUse, UseUpdated};
use crate::resource::ResourceId;
use crate::store::bounds::MAX_PAGE_BYTES;
use crate::store::{IndexName, Poll, PollOf, Polled, ReplyBody, Request, Scan, ScanOrder, Scanned};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::fetched::{FetchedEntries, Page};

/// Does one task of a [`UseQueue`](crate::op::UseQueue): frees slots, and wakes as many executions
/// as there are free slots, the first in the order of claims. Each has its slot kept for 2 s.
///
/// It waits for at most 2 s. Whatever it leaves is found by the checks of slots and executions.
#[derive(Clone, Debug)]
pub struct HandOver {
    task: UseTask,
    context: OperationContext,
    entropy: Entropy,
    patience: Patience,
    doing: Doing,
    /// The slots to compare, and what was found.
    to_check: Vec<(ExecutionId, SlotId)>,
    free: Vec<(SlotId, bool)>,
    keep: Vec<SlotId>,
    /// How many slots may be offered.
    room: u32,
    /// The executions that wait, with the store's time when they were read.
    waiting: Option<(Partition, Scanned, TimestampMs)>,
}

#[derive(Clone, Debug)]
enum Doing {
    Nothing,
    Updating(Box<ChangeUse<UpdateUse>>),
    Checking(SlotId, Box<CarryCommand<CheckSlot>>),
    Looking,
    Scanning(Partition),
    Promising(Box<ChangeUse<UpdateUse>>),
    Waking(Box<FetchedEntries<Unblock>>),
}

/// The time limit of a hand-over.
const WITHIN: DurationMs = DurationMs::from_secs(2);
/// The most executions that one hand-over wakes.
const MAX_WOKEN: u32 = 16;

const OP: &str = "hand_over";

type Output = Result<(), EngineError>;

impl HandOver {
    /// Creates the operation.
    pub fn new(task: UseTask, context: &OperationContext, mut entropy: Entropy) -> Self {
        let context = context.within(context.allowed().min(WITHIN));
        let patience = Patience::new(context.clone(), entropy.fork());
        Self {
            task,
            context,
            entropy,
            patience,
            doing: Doing::Nothing,
            to_check: Vec::new(),
            free: Vec::new(),
            keep: Vec::new(),
            room: 0,
            waiting: None,
        }
    }

    fn begin(&mut self, now: HostTime) -> Step<Output> {
        self.patience.begin(now);
        if let UseWork::Free { slot, unused } = self.task.work {
            self.free.push((slot, unused));
            // Those that wait are read first, so that one commit frees the slot and promises it.
            let (uses, usage) = (self.context.known_uses(), self.usage());
            if uses.is_awaited(&usage, now) {
                self.room = 1;
                return self.look();
            }
        }
        self.update(now)
    }

    fn usage(&self) -> ResourceId {
        QuotaUse::key(&self.task.namespace, &self.task.of, self.context.partitions())
    }

    fn look(&mut self) -> Step<Output> {
        self.doing = Doing::Looking;
        let partitions = self.context.partitions().flow_partitions().collect();
        let of = PollOf::Index(self.index());
        Step::Send(Request::Poll(Poll { of, partitions, listeners: None }))
    }

    fn change(&mut self, promise: Vec<ExecutionId>) -> Box<ChangeUse<UpdateUse>> {
        let update = UpdateUse {
            namespace: self.task.namespace.clone(),
            of: self.task.of.clone(),
            free: std::mem::take(&mut self.free),
            keep: std::mem::take(&mut self.keep),
            promise,
            partitions: *self.context.partitions(),
        };
        Box::new(ChangeUse::new(update, self.patience.fork()))
    }

    fn update(&mut self, now: HostTime) -> Step<Output> {
        self.doing = Doing::Updating(self.change(Vec::new()));
        self.resume(Event::Start, now)
    }

    fn updated(&mut self, done: UseUpdated, now: HostTime) -> Step<Output> {
        self.doing = Doing::Nothing;
        if self.task.work == UseWork::Check && !done.to_check.is_empty() {
            // Each task checks once; the next one checks slots that are due again by then.
            self.task.work = UseWork::Wake;
            self.to_check = done.to_check;
            return self.check_next(now);
        }
        if done.room == 0 || !done.is_awaited {
            return Step::Done(Ok(()));
        }
        self.room = done.room.min(MAX_WOKEN);
        self.look()
    }

    fn check_next(&mut self, now: HostTime) -> Step<Output> {
        let Some((execution_id, slot)) = self.to_check.pop() else { return self.update(now) };
        let check = CheckSlot { execution_id, slot };
        let carry = CarryCommand::knowing(check, Known::Nothing, self.patience.fork());
        self.doing = Doing::Checking(slot, Box::new(carry));
        self.resume(Event::Start, now)
    }

    fn checked(
        &mut self,
        slot: SlotId,
        result: Result<Committed<SlotCheck>, EngineError>,
        now: HostTime,
    ) -> Step<Output> {
        self.doing = Doing::Nothing;
        match result {
            Ok(Committed { outcome: SlotCheck::Held, .. }) => self.keep.push(slot),
            Ok(Committed { outcome: SlotCheck::Free, .. }) => self.free.push((slot, false)),
            Err(EngineError::NotFound { .. }) => self.free.push((slot, false)),
            // Its partition does not answer: the slot is checked again.
            Err(_) => {}
        }
        self.check_next(now)
    }

    fn index(&self) -> IndexName {
        IndexName::AwaitsSlot { usage: self.usage().uuid }
    }

    /// Reads those that wait in the partition that has the first of all.
    fn looked(&mut self, polled: &Polled, now: HostTime) -> Step<Output> {
        let partitions = self.context.partitions().flow_partitions();
        let firsts = partitions.zip(&polled.firsts).filter_map(|(partition, firsts)| {
            let first = firsts.as_ref().ok()?.found.first()?;
            Some((first.score, partition))
        });
        let Some((_, partition)) = firsts.min() else { return self.nobody_waits(now) };
        self.doing = Doing::Scanning(partition);
        Step::Send(Request::Scan(Scan {
            partition,
            index: self.index(),
            order: ScanOrder::Ascending,
            after: None,
            limit: self.room,
            bytes: MAX_PAGE_BYTES,
        }))
    }

    fn scanned(
        &mut self,
        partition: Partition,
        page: Scanned,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<Output> {
        let members = page.entries.iter().map(|entry| entry.position.member);
        let waiting = members.map(|member| ExecutionId::from_parts(partition.index, member));
        let waiting: Vec<_> = waiting.collect();
        if waiting.is_empty() {
            return self.nobody_waits(now);
        }
        self.waiting = Some((partition, page, at));
        self.doing = Doing::Promising(self.change(waiting));
        self.resume(Event::Start, now)
    }

    /// Offers the slots that are still free.
    fn woken(&mut self, now: HostTime) -> Step<Output> {
        if self.room == 0 || self.patience.left(now) == DurationMs::ZERO {
            return Step::Done(Ok(()));
        }
        self.look()
    }

    /// Frees what is still to be freed.
    fn nobody_waits(&mut self, now: HostTime) -> Step<Output> {
        if self.free.is_empty() {
            return Step::Done(Ok(()));
        }
        self.room = 0;
        self.doing = Doing::Promising(self.change(Vec::new()));
        self.resume(Event::Start, now)
    }

    fn promised(&mut self, done: &UseUpdated, now: HostTime) -> Step<Output> {
        let promised = &done.promised;
        // As after limits were raised.
        self.room = if promised.is_empty() { 0 } else { done.room.min(MAX_WOKEN) };
        let Some((partition, page, at)) = self.waiting.take() else { return Step::Done(Ok(())) };
        let index = self.index();
        let entries: Vec<_> = page.entries.iter().map(|entry| (&index, entry)).collect();
        let page = Page { partition, entries: &entries, at };
        let unblock = |loaded: &Loaded, _| {
            let execution_id = loaded.execution.id;
            let unblock = Unblock { execution_id, kind: BlockKind::Quota };
            promised.contains(&execution_id).then_some(unblock)
        };
        let woken = FetchedEntries::new(page, &self.context, &mut self.entropy, unblock);
        self.doing = Doing::Waking(Box::new(woken));
        self.resume(Event::Start, now)
    }
}

impl Operation for HandOver {
    type Output = Output;

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        Some(match &self.doing {
            Doing::Updating(change) | Doing::Promising(change) => change.reply_within(now)?,
            Doing::Checking(_, check) => check.reply_within(now)?,
            Doing::Waking(wake) => wake.reply_within(now)?,
            Doing::Nothing | Doing::Looking | Doing::Scanning(_) => self.patience.left(now),
        })
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Output> {
        match (&mut self.doing, event) {
            (Doing::Updating(change), event) => {
                change.resume(event, now).then_ok(|done| self.updated(done, now))
            }
            (Doing::Promising(change), event) => {
                change.resume(event, now).then_ok(|done| self.promised(&done, now))
            }
            (Doing::Checking(slot, check), event) => {
                let slot = *slot;
                check.resume(event, now).then(|result| self.checked(slot, result, now))
            }
            (Doing::Waking(wake), event) => wake.resume(event, now).then(|_| self.woken(now)),
            (Doing::Nothing, _) => self.begin(now),
            (Doing::Looking, Event::Reply(reply)) => match reply.body {
                ReplyBody::Poll(polled) => self.looked(&polled, now),
                ReplyBody::OverBound(over) => Step::fail(over),
                _ => self.failed(&other_reply(OP), now),
            },
            (Doing::Scanning(partition), Event::Reply(reply)) => match reply.body {
                ReplyBody::Scan(page) => {
                    let partition = *partition;
                    self.scanned(partition, page, reply.at, now)
                }
                ReplyBody::OverBound(over) => Step::fail(over),
                _ => self.failed(&other_reply(OP), now),
            },
            (_, Event::Failure(failure)) => self.failed(&failure, now),
            (_, Event::Start | Event::Wake) => self.update(now),
        }
    }
}

impl HandOver {
    /// Begins again after a call without a reply; what was freed stays free.
    fn failed(&mut self, failure: &crate::store::Failure, now: HostTime) -> Step<Output> {
        self.doing = Doing::Looking;
        Step::retry(self.patience.after_failure(OP, failure, crate::error::Applied::No, now))
    }
}
