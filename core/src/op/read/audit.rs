//! Auditing a store: do the indexes of a partition say what its records say? It only reads.
//!
//! Records change between two pages, and a taker holds what it took in `due` alone. So one look
//! only finds suspects: what a second look, after longer than a hold, finds again at the same
//! version is wrong, unless its entry was taken and given back between two pages of each look. A
//! record that stands in no index at all is not found this way.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::error::{Bug, EngineError};
use crate::execution::{Execution, IndexEntries, awaited_use, index_entries};
use crate::id::{ExecutionId, ExecutionKind, LaneId, Namespace};
use crate::partition::Partition;
use crate::score::Score;
use crate::store::bounds::{MAX_PAGE, MAX_PAGE_BYTES};
use crate::store::{
    FirstOf, IndexName, PollOf, Scan, ScanEntry, ScanOrder, ScanPosition, Scanned, Stored, Version,
};
use crate::time::{DurationMs, HostTime, TimestampMs};

use crate::op::loaded::load;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::{HOLD, Patience};
use crate::op::query::Query;

/// How long an entry may be due before it seems that no timekeeper runs: 60 s.
pub const OVERDUE: DurationMs = DurationMs::from_secs(60);

/// A fault of one entry or one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// The record wants an entry, and there is none.
    Missing {
        /// Where.
        index: IndexName,
    },
    /// The entry stands at another place than the record wants.
    Misplaced {
        /// Where.
        index: IndexName,
        /// Its place.
        found: Score,
        /// The place that the record wants.
        expected: Score,
    },
    /// There is an entry that the record does not want.
    Stray {
        /// Where.
        index: IndexName,
    },
    /// There is an entry, and no record.
    Orphan {
        /// Where.
        index: IndexName,
    },
    /// Its queue is not in the list of queues, or at too high a score.
    Unlisted {
        /// The queue.
        index: IndexName,
    },
    /// The record does not decode though its format is known.
    Unreadable {
        /// Whether it is in quarantine.
        quarantined: bool,
        /// The decoder's error.
        detail: String,
    },
    /// The record under this key is of another execution, or of another partition.
    OtherExecution {
        /// The execution that the record is of.
        found: ExecutionId,
    },
}

impl Fault {
    /// The kind of fault, in a few words; the same for each fault of the kind.
    pub fn title(&self) -> String {
        match self {
            Self::Missing { index } => format!("not in {}", words(index)),
            Self::Misplaced { index, .. } => format!("at a wrong place in {}", words(index)),
            Self::Stray { index } => format!("in {} against its record", words(index)),
            Self::Orphan { index } => format!("in {} without a record", words(index)),
            Self::Unlisted { index } => format!("in {}, which is not listed", words(index)),
            Self::Unreadable { quarantined: true, .. } => "unreadable, in quarantine".to_owned(),
            Self::Unreadable { .. } => "unreadable, not yet in quarantine".to_owned(),
            Self::OtherExecution { .. } => "under the key of another".to_owned(),
        }
    }

    /// How to fix it; the same for each fault of the kind.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Missing { index: IndexName::Eligible { .. } } => {
                "no worker is offered it: ff cancel it, then ff replay it"
            }
            Self::Missing { index: IndexName::Due }
            | Self::Misplaced { index: IndexName::Due, .. } => {
                "nothing happens to it when its time comes: ff cancel it, then ff replay it"
            }
            Self::Missing { index: IndexName::BlockedRoute { .. } } => {
                "no new worker lets it go on: ff cancel it, then ff replay it"
            }
            Self::Missing { index: IndexName::Retention }
            | Self::Misplaced { index: IndexName::Retention, .. } => {
                "it is kept too long: ff replay it, then ff cancel it"
            }
            Self::Missing { .. } => "lists do not show it; it runs all the same",
            Self::Misplaced { .. } => {
                "its order is wrong; the next change of the execution fixes it"
            }
            Self::Stray {
                index: IndexName::Eligible { .. } | IndexName::Due | IndexName::Retention,
            } => "the next worker or timekeeper that takes it fixes it: run one",
            Self::Stray { .. } => "harmless by itself; something has written the store by hand",
            Self::Orphan { .. } => {
                "its record was evicted or removed by hand: look at maxmemory-policy, and at who \
                 else writes to this server"
            }
            Self::Unlisted { .. } => {
                "no worker finds its queue: submit or replay another execution of its lane and kind"
            }
            Self::Unreadable { quarantined: true, .. } => {
                "no worker can run it: restore the record from a backup, or submit the work again"
            }
            Self::Unreadable { .. } => {
                "the next worker or timekeeper that takes it puts it in quarantine; restore the \
                 record from a backup, or submit the work again"
            }
            Self::OtherExecution { .. } => {
                "the record was copied by hand, or the partitions were changed: restore the store"
            }
        }
    }

    /// Whether it is what an earlier look has found.
    fn is_again(&self, earlier: &Self) -> bool {
        let unreadable = |fault: &Self| matches!(fault, Self::Unreadable { .. });
        self == earlier || unreadable(self) && unreadable(earlier)
    }
}

fn words(index: &IndexName) -> String {
    match index {
        IndexName::Eligible { lane, kind, .. } => format!("the lane {lane} as {kind}"),
        IndexName::Due => "the timer".to_owned(),
        IndexName::Retention => "retention".to_owned(),
        IndexName::BlockedRoute { .. } => "those that no worker fits".to_owned(),
        IndexName::AwaitsSlot { .. } => "those that wait for a quota".to_owned(),
        IndexName::All { .. } => "the list".to_owned(),
        IndexName::Quarantine => "quarantine".to_owned(),
        IndexName::Signals { .. } => "its signals".to_owned(),
        IndexName::Resources { kind, .. } | IndexName::Expiry(kind) => format!("{kind:?}"),
    }
}

/// Something that looked wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suspect {
    /// The execution, by the place where its record is kept.
    pub execution: ExecutionId,
    /// The version of its record; [`Version::ABSENT`] without one.
    pub version: Version,
    /// The fault that was seen.
    pub fault: Fault,
}

/// A lane and a kind: a queue of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueName {
    /// The lane.
    pub lane: LaneId,
    /// The kind.
    pub kind: ExecutionKind,
}

/// The findings of one look at a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditLook {
    /// Executions of the namespace that were looked at.
    pub executions: u64,
    /// Whether an index had more entries than the look may read.
    pub partial: bool,
    /// Records of a newer format; they were left alone.
    pub newer_format: u64,
    /// Entries, of any namespace, that have been due for longer than [`OVERDUE`].
    pub overdue: u64,
    /// Executions of the namespace that wait for a worker that fits.
    pub unroutable: u64,
    /// The queues that were looked at.
    pub queues: BTreeSet<QueueName>,
    /// The faults that were seen.
    pub suspects: BTreeSet<Suspect>,
}

impl AuditLook {
    /// The suspects that an earlier look found as well, at the same versions: these are faults.
    pub fn confirms(&self, earlier: &Self) -> Vec<Suspect> {
        let again = |suspect: &&Suspect| {
            let of_the_same = earlier.suspects.iter().filter(|other| {
                other.execution == suspect.execution && other.version == suspect.version
            });
            of_the_same.into_iter().any(|other| suspect.fault.is_again(&other.fault))
        };
        self.suspects.iter().filter(again).cloned().collect()
    }
}

/// One look at one partition for a namespace: at most `limit` entries of each index, page by page.
#[derive(Clone, Debug)]
pub struct AuditPartition {
    partition: Partition,
    namespace: Namespace,
    limit: usize,
    patience: Patience,
    /// The indexes to look at, the next one last.
    pending: Vec<IndexName>,
    /// Reads the list of queues, before everything else.
    list: Option<Query<Vec<FirstOf>>>,
    /// The list of queues.
    listed: BTreeMap<IndexName, Score>,
    query: Option<(IndexName, Query<(Scanned, TimestampMs)>)>,
    /// Entries of the present index that were read.
    read: usize,
    reached: BTreeMap<IndexName, Reach>,
    seen: BTreeMap<Uuid, Seen>,
    corrupt: BTreeMap<Uuid, (Version, String)>,
    quarantined: BTreeSet<Uuid>,
    newer: BTreeSet<Uuid>,
    at: TimestampMs,
    look: AuditLook,
}

/// How much of an index was read.
#[derive(Clone, Copy, Debug)]
enum Reach {
    Until(Score),
    End,
}

/// Where an execution of the namespace stands.
#[derive(Clone, Debug)]
struct Seen {
    version: Version,
    /// Whether it was seen at two versions.
    changed: bool,
    entries: IndexEntries,
    queue: QueueName,
    due: Option<Score>,
    in_retention: bool,
    in_lane: bool,
    in_list: bool,
    in_blocked: bool,
}

impl AuditPartition {
    /// A look at a partition, and at these queues beside those that its records and its list name.
    pub fn new(
        partition: Partition,
        namespace: Namespace,
        queues: impl IntoIterator<Item = QueueName>,
        limit: usize,
        patience: Patience,
    ) -> Self {
        let of_all = || namespace.clone();
        let pending = vec![
            IndexName::Quarantine,
            IndexName::BlockedRoute { namespace: of_all() },
            IndexName::Due,
            IndexName::Retention,
            IndexName::All { namespace: of_all() },
        ];
        let mut new = Self {
            partition,
            limit: limit.max(1),
            patience,
            pending,
            list: None,
            listed: BTreeMap::new(),
            query: None,
            read: 0,
            reached: BTreeMap::new(),
            seen: BTreeMap::new(),
            corrupt: BTreeMap::new(),
            quarantined: BTreeSet::new(),
            newer: BTreeSet::new(),
            at: TimestampMs::ZERO,
            look: AuditLook::default(),
            namespace,
        };
        queues.into_iter().for_each(|queue| new.learn(&queue));
        new
    }

    /// Notes a queue, to be looked at after every index that can name queues.
    fn learn(&mut self, queue: &QueueName) {
        if self.look.queues.insert(queue.clone()) {
            self.pending.insert(0, self.queue(queue));
        }
    }

    fn queue(&self, QueueName { lane, kind }: &QueueName) -> IndexName {
        let (namespace, lane, kind) = (self.namespace.clone(), lane.clone(), kind.clone());
        IndexName::Eligible { namespace, lane, kind }
    }

    /// Notes the list of queues.
    fn listed(&mut self, list: Vec<FirstOf>, now: HostTime) -> Step<<Self as Operation>::Output> {
        for FirstOf { index, score } in list {
            if let IndexName::Eligible { lane, kind, .. } = &index {
                self.learn(&QueueName { lane: lane.clone(), kind: kind.clone() });
            }
            self.listed.insert(index, score);
        }
        self.next(now)
    }

    /// Compares the first entry of an index with the list of queues.
    fn check_list(&mut self, index: &IndexName, entry: &ScanEntry) {
        let listed = self.listed.get(index).is_some_and(|score| *score <= entry.position.score);
        // A full page of the list shows only a part of it.
        if index.listed_in().is_none() || listed || self.listed.len() >= MAX_PAGE {
            return;
        }
        let version = entry.record.as_ref().map_or(Version::ABSENT, |stored| stored.version);
        self.suspect(entry.position.member, version, Fault::Unlisted { index: index.clone() });
    }

    fn next(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        match self.pending.pop() {
            Some(index) => {
                self.read = 0;
                self.page(index, None, now)
            }
            None => Step::Done(Ok(self.settle())),
        }
    }

    fn page(
        &mut self,
        index: IndexName,
        after: Option<ScanPosition>,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        let (limit, bytes) = ((self.limit - self.read).min(MAX_PAGE) as u32, MAX_PAGE_BYTES);
        let scan = Scan {
            partition: self.partition,
            index: index.clone(),
            order: ScanOrder::Ascending,
            after,
            limit,
            bytes,
        };
        let (_, query) = self.query.insert((index, Query::scan(scan, self.patience.clone())));
        query.resume(Event::Start, now).then_ok(|(scanned, at)| self.scanned(&scanned, at, now))
    }

    fn scanned(
        &mut self,
        scanned: &Scanned,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        let Some((index, _)) = self.query.take() else { return self.next(now) };
        self.at = at;
        if let (0, Some(first)) = (self.read, scanned.entries.first()) {
            self.check_list(&index, first);
        }
        self.read += scanned.entries.len();
        for entry in &scanned.entries {
            self.visit(&index, entry);
        }
        match scanned.next {
            Some(after) if self.read < self.limit => self.page(index, Some(after), now),
            Some(after) => {
                self.look.partial = true;
                self.reached.insert(index, Reach::Until(after.score));
                self.next(now)
            }
            None => {
                self.reached.insert(index, Reach::End);
                self.next(now)
            }
        }
    }

    fn visit(&mut self, index: &IndexName, entry: &ScanEntry) {
        let member = entry.position.member;
        let Some(stored) = &entry.record else {
            let fault = Fault::Orphan { index: index.clone() };
            return self.suspect(member, Version::ABSENT, fault);
        };
        if *index == IndexName::Due && self.at.since(entry.position.score.instant()) >= OVERDUE {
            self.look.overdue += 1;
        }
        match load(stored, self.patience.codec()) {
            Ok(loaded) => self.judge(index, entry.position, stored, &loaded.execution),
            Err(EngineError::Bug(Bug::NewerFormat { .. })) => {
                self.newer.insert(member);
            }
            Err(error) => {
                if *index == IndexName::Quarantine {
                    self.quarantined.insert(member);
                }
                let detail = match error {
                    EngineError::Bug(Bug::CorruptRecord { detail }) => detail,
                    other => other.to_string(),
                };
                self.corrupt.insert(member, (stored.version, detail));
            }
        }
    }

    /// Compares an entry with its record, which arrived in the same reply.
    fn judge(
        &mut self,
        index: &IndexName,
        ScanPosition { score, member }: ScanPosition,
        stored: &Stored,
        execution: &Execution,
    ) {
        let found = execution.id;
        if found != ExecutionId::from_parts(self.partition.index, member) {
            return self.suspect(member, stored.version, Fault::OtherExecution { found });
        }
        let own = execution.namespace == self.namespace;
        if !own && matches!(index, IndexName::Due | IndexName::Retention) {
            return;
        }
        let entries = index_entries(execution);
        let expected = match index {
            _ if !own => None,
            IndexName::Eligible { lane, kind, .. }
                if (lane, kind) != (&execution.lane, &execution.kind) =>
            {
                None
            }
            IndexName::Eligible { .. } => entries.eligible,
            IndexName::Due => entries.due,
            IndexName::Retention => entries.retention,
            IndexName::BlockedRoute { .. } => entries.blocked_route,
            IndexName::AwaitsSlot { usage } if awaited_use(execution) != Some(*usage) => None,
            IndexName::AwaitsSlot { .. } => entries.awaits_slot,
            IndexName::All { .. } => Some(entries.all),
            IndexName::Quarantine
            | IndexName::Signals { .. }
            | IndexName::Resources { .. }
            | IndexName::Expiry(_) => None,
        };
        let held = *index == IndexName::Due && score <= self.held_until();
        match expected {
            Some(expected) if expected == score => {}
            _ if held => {}
            Some(expected) => {
                let (index, found) = (index.clone(), score);
                let fault = Fault::Misplaced { index, found, expected };
                self.suspect(member, stored.version, fault);
            }
            None => {
                let fault = Fault::Stray { index: index.clone() };
                self.suspect(member, stored.version, fault);
            }
        }
        if own {
            self.stands(index, score, member, stored.version, execution, entries);
        }
    }

    /// Notes where an execution of the namespace stands.
    fn stands(
        &mut self,
        index: &IndexName,
        score: Score,
        member: Uuid,
        version: Version,
        execution: &Execution,
        entries: IndexEntries,
    ) {
        let queue = QueueName { lane: execution.lane.clone(), kind: execution.kind.clone() };
        self.learn(&queue);
        let seen = self.seen.entry(member).or_insert_with(|| Seen {
            version,
            changed: false,
            entries,
            queue,
            due: None,
            in_retention: false,
            in_lane: false,
            in_list: false,
            in_blocked: false,
        });
        seen.changed |= seen.version != version;
        match index {
            IndexName::Eligible { lane, kind, .. } => {
                seen.in_lane |= (lane, kind) == (&execution.lane, &execution.kind);
            }
            IndexName::Due => seen.due = Some(score),
            IndexName::Retention => seen.in_retention = true,
            IndexName::BlockedRoute { .. } => {
                seen.in_blocked = true;
                self.look.unroutable += 1;
            }
            IndexName::All { .. } => seen.in_list = true,
            // Only indexes of executions are looked at.
            IndexName::Quarantine
            | IndexName::AwaitsSlot { .. }
            | IndexName::Signals { .. }
            | IndexName::Resources { .. }
            | IndexName::Expiry(_) => {}
        }
    }

    /// Up to where an entry of `due` may be that of a taker.
    fn held_until(&self) -> Score {
        Score::at(self.at.plus(HOLD))
    }

    fn suspect(&mut self, member: Uuid, version: Version, fault: Fault) {
        let execution = ExecutionId::from_parts(self.partition.index, member);
        self.look.suspects.insert(Suspect { execution, version, fault });
    }

    /// Whether everything of an index up to a score was read.
    fn covers(&self, index: &IndexName, score: Score) -> bool {
        match self.reached.get(index) {
            Some(Reach::End) => true,
            Some(Reach::Until(reached)) => score < *reached,
            None => false,
        }
    }

    /// All pages are read: which entries are missing?
    fn settle(&mut self) -> AuditLook {
        let seen = std::mem::take(&mut self.seen);
        for (member, seen) in seen.iter().filter(|(_, seen)| !seen.changed) {
            for index in self.missing(seen) {
                self.suspect(*member, seen.version, Fault::Missing { index });
            }
        }
        let whole = self.covers(&IndexName::Quarantine, Score::MAX);
        for (member, (version, detail)) in std::mem::take(&mut self.corrupt) {
            let quarantined = self.quarantined.contains(&member) || !whole;
            self.suspect(member, version, Fault::Unreadable { quarantined, detail });
        }
        self.look.executions = seen.len() as u64;
        self.look.newer_format = self.newer.len() as u64;
        std::mem::take(&mut self.look)
    }

    fn missing(&self, seen: &Seen) -> Vec<IndexName> {
        let namespace = || self.namespace.clone();
        let lane = self.queue(&seen.queue);
        let (hold, entries) = (self.held_until(), &seen.entries);
        let held = seen.due.is_some_and(|due| due <= hold);
        let knows_held = self.covers(&IndexName::Due, hold);
        let list = IndexName::All { namespace: namespace() };
        let blocked = IndexName::BlockedRoute { namespace: namespace() };
        let wanted = [
            (lane, entries.eligible, seen.in_lane || held || !knows_held),
            (IndexName::Due, entries.due, seen.due.is_some() || !knows_held),
            (IndexName::Retention, entries.retention, seen.in_retention || held || !knows_held),
            (blocked, entries.blocked_route, seen.in_blocked),
            (list, Some(entries.all), seen.in_list),
        ];
        let absent = |(index, expected, there): (IndexName, Option<Score>, bool)| {
            let known = expected.is_some_and(|expected| self.covers(&index, expected));
            (known && !there).then_some(index)
        };
        wanted.into_iter().filter_map(absent).collect()
    }
}

impl Operation for AuditPartition {
    type Output = Result<AuditLook, EngineError>;

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        if let Some(list) = &mut self.list
            && self.query.is_none()
        {
            return list.resume(event, now).then_ok(|list| self.listed(list, now));
        }
        match &mut self.query {
            None => {
                self.patience.begin(now);
                let of = PollOf::Queues { namespace: self.namespace.clone(), skip: 0 };
                let list = Query::poll(of, self.partition, self.patience.clone());
                self.list.insert(list).resume(event, now).then_ok(|list| self.listed(list, now))
            }
            Some((_, query)) => {
                query.resume(event, now).then_ok(|(scanned, at)| self.scanned(&scanned, at, now))
            }
        }
    }
}
