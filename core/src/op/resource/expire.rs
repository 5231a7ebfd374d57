//! Removing records beside executions once their time is over.

use crate::error::{Applied, EngineError};
use crate::op::context::{UseTask, UseWork};
use crate::op::loaded::other_reply;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::partition::Partition;
use crate::purpose::Purpose;
use crate::resource::{Resource, ResourceId};
use crate::score::Score;
use crate::store::bounds::{MAX_PAGE_BYTES, MAX_UNITS};
use crate::store::{
    Commit, IndexName, IndexWrite, ReplyBody, Request, Scan, ScanEntry, ScanOrder, ScanPosition,
    Scanned, Unit, UnitReply,
};
use crate::time::{DurationMs, HostTime, TimestampMs, Window};

use super::stored::{LoadedResource, key_of, write_entries};

/// Removes the records of one kind in one partition whose time is over, at most 64. Uses of quotas
/// with slots are left for the program to check; the first 64 are looked at, due or not.
#[derive(Clone, Debug)]
pub struct RemoveExpired<R> {
    partition: Partition,
    patience: Patience,
    /// Where the next page begins, and how many entries were looked at and removed so far.
    after: Option<ScanPosition>,
    seen: usize,
    removed: usize,
    /// Whether another page is read.
    has_more: bool,
    kind: std::marker::PhantomData<fn() -> R>,
}

const OP: &str = "remove_expired";

impl<R: Resource> RemoveExpired<R> {
    /// Creates the operation.
    pub const fn new(partition: Partition, patience: Patience) -> Self {
        let (after, seen, removed, has_more) = (None, 0, 0, false);
        let kind = std::marker::PhantomData;
        Self { partition, patience, after, seen, removed, has_more, kind }
    }

    /// The units that remove what is over. An index entry without a record, or with one that is to
    /// be removed later, is corrected.
    fn removals(&mut self, scanned: &Scanned, at: TimestampMs) -> Vec<Unit> {
        let mut units = Vec::new();
        for entry in &scanned.entries {
            let (member, score) = (entry.position.member, entry.position.score);
            // Slots are also checked if the clock has stepped back since they were taken.
            if score > Score::at(at) && !R::HAS_SLOTS {
                break;
            }
            let id = ResourceId { kind: R::KIND, partition: self.partition, uuid: member };
            let mut unit = Unit::new(Purpose::Finish, self.patience.nonce());
            let index = IndexName::Expiry(R::KIND);
            let stored = entry.record.as_ref();
            let version = stored.map_or_else(Default::default, |stored| stored.version);
            unit.expect.push((key_of(&id), version));
            let codec = self.patience.codec();
            match stored.map(|stored| LoadedResource::<R>::of(stored, codec)) {
                // A program that can read the record removes it.
                Some(Err(_)) => continue,
                Some(Ok(loaded)) if loaded.record().to_visit(at).is_some() => {
                    if let Some((namespace, of)) = loaded.record().to_visit(at) {
                        let (namespace, of) = (namespace.clone(), of.clone());
                        let task = UseTask { namespace, of, work: UseWork::Check };
                        self.patience.context().uses().push(task);
                    }
                    continue;
                }
                Some(Ok(_)) if score > Score::at(at) => continue,
                Some(Ok(loaded)) => match loaded.record().expires_at() {
                    Some(expires_at) if expires_at <= at => {
                        unit.window = Window::from(expires_at);
                        unit.remove.push(key_of(&id));
                        write_entries(&mut unit, member, Some(loaded.record()), None);
                    }
                    expires_at => {
                        let score = expires_at.map(Score::at);
                        unit.index.push(IndexWrite { index, member, score });
                    }
                },
                None => unit.index.push(IndexWrite { index, member, score: None }),
            }
            units.push(unit);
        }
        units
    }
}

impl<R: Resource> RemoveExpired<R> {
    /// Reads the next page of what is over, of which a page may have less than is looked for.
    fn scan(&mut self, now: HostTime) -> Step<Result<usize, EngineError>> {
        let step = Step::Send(Request::Scan(Scan {
            partition: self.partition,
            index: IndexName::Expiry(R::KIND),
            order: ScanOrder::Ascending,
            after: self.after,
            limit: MAX_UNITS.saturating_sub(self.seen) as u32,
            bytes: MAX_PAGE_BYTES,
        }));
        self.patience.in_time(step, OP, Applied::No, now)
    }

    fn go_on(&mut self, now: HostTime) -> Step<Result<usize, EngineError>> {
        if self.has_more { self.scan(now) } else { Step::Done(Ok(self.removed)) }
    }
}

impl<R: Resource> Operation for RemoveExpired<R> {
    /// How many records were removed or corrected. If it is 64, more may be left.
    type Output = Result<usize, EngineError>;

    fn partition(&self) -> Option<Partition> {
        Some(self.partition)
    }

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        Some(self.patience.left(now))
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        match event {
            Event::Start | Event::Wake => {
                self.patience.begin(now);
                self.scan(now)
            }
            Event::Reply(reply) => match reply.body {
                ReplyBody::Scan(scanned) => {
                    let (partition, units) = (self.partition, self.removals(&scanned, reply.at));
                    self.seen += scanned.entries.len();
                    self.after = scanned.next;
                    let is_due = |last: &ScanEntry| last.position.score <= Score::at(reply.at);
                    let is_in_reach = R::HAS_SLOTS || scanned.entries.last().is_some_and(is_due);
                    self.has_more = is_in_reach && self.after.is_some() && self.seen < MAX_UNITS;
                    match units.is_empty() {
                        true => self.go_on(now),
                        false => Step::Send(Request::Commit(Commit { partition, units })),
                    }
                }
                // A unit that met a conflict is looked at again in the next round.
                ReplyBody::Commit(units) => {
                    let done = |unit: &&UnitReply| matches!(unit, UnitReply::Committed { .. });
                    self.removed += units.iter().filter(done).count();
                    self.go_on(now)
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
