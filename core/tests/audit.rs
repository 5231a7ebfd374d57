//! The audit finds each thing that can be wrong with a partition, and nothing else: neither in
//! what takers hold nor in what changes while it looks.

use crate::common::steps::{Clock, Step as Random, sequences, submissions};
use crate::common::suspending::known_secret;
use crate::common::{Bench, START, Submission, at, call, cancel, execution_id, grant, ms, offer};
use ff_core::entropy::Entropy;
use ff_core::execution::{AnyCommand, Decide, OnDue, Purpose, index_entries};
use ff_core::id::{ExecutionId, LaneId, Namespace};
use ff_core::op::{
    ApplyDue, AuditLook, AuditPartition, Event, Fault, FindOutside, HOLD, Informed, Known,
    Operation, OperationContext, Patience, RotateSecret, Step, Transact, load,
};
use ff_core::partition::{Partition, PartitionConfig};
use ff_core::score::Score;
use ff_core::store::codec::Codec;
use ff_core::store::{
    Commit, IndexName, IndexWrite, MemoryStore, RecordKey, Request, Stored, Take, TakeUntil, Unit,
    Version,
};
use ff_core::time::HostTime;
use proptest::prelude::*;

/// Longer than any taker holds what it took.
const PAUSE: u64 = HOLD.get() + 1_000;
const LIMIT: usize = 1_000;

/// A store that always answers, at a time that a test sets.
struct World {
    store: MemoryStore,
    now: u64,
}

impl World {
    fn new() -> Self {
        Self { store: MemoryStore::new(1), now: START }
    }

    /// A store with this execution.
    fn with(submission: Submission) -> Self {
        let mut world = Self::new();
        world.apply(submission.0);
        world
    }

    fn host(&self) -> HostTime {
        HostTime { local: at(self.now), store: at(self.now) }
    }

    fn handle(&mut self, request: Request) {
        self.store.handle(request, at(self.now));
    }

    /// Carries an operation to its end; something happens to the store before each request.
    fn drive<O: Operation>(
        &mut self,
        mut operation: O,
        mut meanwhile: impl FnMut(&mut Self),
    ) -> O::Output {
        let mut step = operation.resume(Event::Start, self.host());
        loop {
            step = match step {
                Step::Done(output) => return output,
                Step::Wait(wait) => {
                    self.now += wait.get();
                    operation.resume(Event::Wake, self.host())
                }
                Step::Send(request) => {
                    meanwhile(self);
                    let reply = self.store.handle(request, at(self.now));
                    operation.resume(Event::Reply(reply), self.host())
                }
            };
        }
    }

    /// Carries a command to its execution, whatever comes of it.
    fn apply<C: Decide>(&mut self, command: C) {
        let _ = self.drive(Transact::new(command, patience()), |_| {});
    }

    /// The same for a command that may need the secrets and signals.
    fn inform<C: Decide>(&mut self, command: C) {
        let entropy = Entropy::from_u64(self.now);
        let _ = self.drive(Informed::new(command, Known::Nothing, terms(), entropy), |_| {});
    }

    /// Makes the secret that random steps sign with the one of the store.
    fn rotate_to_known_secret(&mut self) {
        let (kid, secret) = known_secret();
        let rotation = self.drive(RotateSecret::new(kid, secret, ms(0), patience()), |_| {});
        rotation.expect("the store answers");
    }

    fn take(&mut self, index: IndexName, until: TakeUntil) {
        let (partition, count, hold) = (partition(), 10, HOLD);
        self.handle(Request::Take(Take { partition, index, count, until, hold, ring_rest: false }));
    }

    fn tick(&mut self) {
        let tick =
            ApplyDue::new(config(partition().index + 1), terms(), Entropy::from_u64(self.now));
        self.drive(tick, |_| {}).expect("the store answers");
    }

    fn look_while(&mut self, limit: usize, meanwhile: impl FnMut(&mut Self)) -> AuditLook {
        let audit = AuditPartition::new(partition(), namespace(), [lane()], limit, patience());
        self.drive(audit, meanwhile).expect("the store answers")
    }

    fn look(&mut self) -> AuditLook {
        self.look_while(LIMIT, |_| {})
    }

    /// What two looks with a pause between them agree on.
    fn faults(&mut self) -> Vec<Fault> {
        let first = self.look();
        self.now += PAUSE;
        let confirmed = self.look().confirms(&first);
        confirmed.into_iter().map(|suspect| suspect.fault).collect()
    }

    fn stored(&self) -> Option<Stored> {
        let mut records = self.store.records(partition());
        let key = RecordKey::of(&execution_id());
        records.find(|(held, _)| **held == key).map(|(_, stored)| stored.clone())
    }

    fn record(&self) -> Option<ff_core::execution::Execution> {
        let loaded = load(&self.stored()?, &Codec::default()).expect("it decodes");
        Some(std::sync::Arc::unwrap_or_clone(loaded.execution))
    }

    /// Writes an entry, or removes it, behind everybody's back.
    fn write(&mut self, index: IndexName, score: Option<Score>) {
        let member = execution_id().uuid();
        self.unit(Vec::new(), Vec::new(), vec![IndexWrite { index, member, score }]);
    }

    /// Writes a record, or removes it, behind everybody's back.
    fn put(&mut self, key: RecordKey, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.unit(vec![(key, bytes.into())], Vec::new(), Vec::new()),
            None => self.unit(Vec::new(), vec![key], Vec::new()),
        }
    }

    fn unit(
        &mut self,
        put: Vec<(RecordKey, ff_core::store::Bytes)>,
        remove: Vec<RecordKey>,
        index: Vec<IndexWrite>,
    ) {
        let keys = put.iter().map(|(key, _)| key).chain(&remove);
        let version = |key: &RecordKey| {
            let mut records = self.store.records(partition());
            let found = records.find(|(held, _)| *held == key);
            (key.clone(), found.map_or(Version::ABSENT, |(_, stored)| stored.version))
        };
        let unit = Unit {
            expect: keys.map(version).collect(),
            put,
            remove,
            index,
            ..Unit::new(Purpose::Admit, 1)
        };
        let commit = Commit { partition: partition(), units: vec![unit] };
        self.handle(Request::Commit(commit));
    }
}

fn terms() -> OperationContext {
    OperationContext::new(ms(10_000), Codec::default())
}

fn patience() -> Patience {
    Patience::new(terms(), Entropy::from_u64(1))
}

fn partition() -> Partition {
    execution_id().partition()
}

fn config(count: u16) -> PartitionConfig {
    PartitionConfig { num_flow_partitions: count, ..Default::default() }
}

fn namespace() -> Namespace {
    Submission::new().0.namespace
}

fn lane() -> LaneId {
    Submission::new().0.lane
}

fn eligible() -> IndexName {
    IndexName::Eligible { namespace: namespace(), lane: lane() }
}

fn all() -> IndexName {
    IndexName::All { namespace: namespace() }
}

fn blocked() -> IndexName {
    IndexName::BlockedRoute { namespace: namespace() }
}

/// An execution that waits in its lane and has a deadline, in half an hour.
fn waiting() -> World {
    World::with(Submission::new().deadline(START + 1_800_000))
}

#[test]
fn what_is_missing_is_found() {
    for index in [eligible(), IndexName::Due, all()] {
        let mut world = waiting();
        assert_eq!(world.faults(), []);
        world.write(index.clone(), None);
        assert_eq!(world.faults(), [Fault::Missing { index }]);
    }
    let mut world = World::with(Submission::new().requires(&["gpu"]));
    let mut incapable = offer(1);
    incapable.capabilities = Default::default();
    world.apply(incapable);
    let look = world.look();
    assert_eq!((look.unroutable, look.suspects.len()), (1, 0));
    world.write(blocked(), None);
    assert_eq!(world.faults(), [Fault::Missing { index: blocked() }]);
}

#[test]
fn what_stands_at_a_wrong_place_is_found() {
    let expected = index_entries(&waiting().record().expect("it is there"));
    let due = expected.due.expect("it has a deadline");
    let place = expected.eligible.expect("it waits");
    for (index, expected) in [(eligible(), place), (IndexName::Due, due), (all(), expected.all)] {
        let mut world = waiting();
        let found = Score::new(expected.get() + 1);
        world.write(index.clone(), Some(found));
        assert_eq!(world.faults(), [Fault::Misplaced { index, found, expected }]);
    }
}

#[test]
fn what_its_record_does_not_want_is_found() {
    let far = Score::at(at(START + 10_000_000));
    for index in [eligible(), blocked(), IndexName::Quarantine] {
        let mut world = waiting();
        world.apply(cancel(call(1)));
        assert_eq!(world.faults(), []);
        world.write(index.clone(), Some(far));
        assert_eq!(world.faults(), [Fault::Stray { index }]);
    }
    let mut world = World::with(Submission::new());
    world.write(IndexName::Due, Some(far));
    assert_eq!(world.faults(), [Fault::Stray { index: IndexName::Due }]);
}

#[test]
fn entries_without_a_record_are_found() {
    let mut world = waiting();
    world.put(RecordKey::of(&execution_id()), None);
    let mut expected = [eligible(), IndexName::Due, all()].map(|index| Fault::Orphan { index });
    expected.sort();
    assert_eq!(world.faults(), expected);
}

#[test]
fn records_that_do_not_decode_are_found_before_and_after_they_are_in_quarantine() {
    let mut world = waiting();
    world.put(RecordKey::of(&execution_id()), Some(&[1, 2, 3]));
    let quarantined = |faults: &[Fault]| match faults {
        [Fault::Unreadable { quarantined, .. }] => *quarantined,
        other => panic!("{other:?}"),
    };
    assert!(!quarantined(&world.faults()));
    world.now = START + 1_800_000;
    world.tick();
    world.write(eligible(), None);
    assert!(quarantined(&world.faults()));
}

#[test]
fn records_of_a_newer_format_are_counted_and_are_no_fault() {
    let mut world = waiting();
    world.put(RecordKey::of(&execution_id()), Some(&[255, 2, 3]));
    let look = world.look();
    assert_eq!((look.newer_format, look.executions, look.suspects.len()), (1, 0, 0));
}

#[test]
fn a_record_under_the_key_of_another_is_found() {
    let mut world = waiting();
    let bytes = world.stored().expect("it is there").bytes;
    let other = ExecutionId::from_parts(partition().index, uuid::Uuid::from_u128(99));
    world.put(RecordKey::of(&other), Some(&bytes));
    let (index, score) = (all(), Some(Score::at(at(START))));
    world.unit(Vec::new(), Vec::new(), vec![IndexWrite { index, member: other.uuid(), score }]);
    assert_eq!(world.faults(), [Fault::OtherExecution { found: execution_id() }]);
}

#[test]
fn executions_outside_of_the_partitions_are_found() {
    let mut world = waiting();
    let outside = |world: &mut World, count| {
        let find = FindOutside::new(&config(count), namespace(), patience());
        world.drive(find, |_| {}).expect("the store answers")
    };
    let index = partition().index;
    assert_eq!(outside(&mut world, index), [partition()]);
    assert_eq!(outside(&mut world, index + 1), []);
    assert_eq!(outside(&mut world, u16::MAX), []);
}

#[test]
fn what_is_due_for_long_is_counted() {
    let mut world = waiting();
    world.now = START + 1_800_000 + 59_999;
    assert_eq!(world.look().overdue, 0);
    world.now += 1;
    let look = world.look();
    assert_eq!((look.overdue, look.suspects.len()), (1, 0));
}

#[test]
fn a_look_reads_no_more_than_it_may_and_judges_only_what_it_has_read() {
    let mut world = World::new();
    for number in 0..40_u64 {
        let mut create = Submission::new().deadline(START + 1_000_000 - number).0;
        create.execution_id =
            ExecutionId::from_parts(partition().index, uuid::Uuid::from_u128(number.into()));
        create.position = number as u16;
        world.apply(create);
    }
    let mut pages = 0;
    let look = world.look_while(7, |_| pages += 1);
    assert!(look.partial && look.executions <= 21, "{look:?}");
    assert_eq!((look.suspects.len(), pages), (0, 5));
    let look = world.look_while(40, |_| {});
    assert_eq!((look.partial, look.executions, look.suspects.len()), (false, 40, 0));
}

#[test]
fn what_changes_during_each_look_is_not_confirmed() {
    let mut world = waiting();
    // Each time it is granted to somebody after its record was read and before its lane is.
    let mut look = |number| {
        let mut pages = 0;
        let look = world.look_while(LIMIT, |world| {
            pages += 1;
            if pages == 4 {
                world.apply(grant(number));
            }
        });
        world.now += PAUSE + 20_000;
        world.apply(OnDue { execution_id: execution_id() });
        look
    };
    let (first, second) = (look(1), look(2));
    assert_eq!((first.suspects.len(), second.suspects.len()), (1, 1));
    assert_eq!(second.confirms(&first), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is done to an execution, by commands and by takers who die, its partition is clean.
    #[test]
    fn a_store_that_only_commands_have_changed_is_clean(
        submission in submissions(),
        steps in sequences(),
        takes in prop::collection::vec(0..6_u8, 100),
    ) {
        let mut world = World::new();
        world.rotate_to_known_secret();
        let create = submission.clone().0;
        let operation = Transact::knowing(create, Known::Absent, patience());
        let _ = world.drive(operation, |_| {});
        let mut sent = Vec::new();
        for (Random { clock, action }, take) in steps.iter().zip(takes) {
            let record = world.record();
            if !matches!(clock, Clock::Back(_)) {
                world.now = clock.moved(record.as_ref(), at(world.now)).get();
            }
            let bench = Bench { record, ..Bench::default() };
            let command = action.command(&submission, &bench, &sent, at(world.now));
            sent.push(command.clone());
            match command {
                // What signals there are, only the store knows here.
                AnyCommand::ForgetSignals(_) => world.tick(),
                command => world.inform(command),
            }
            match take {
                0 => world.take(eligible(), TakeUntil::End),
                1 => world.take(IndexName::Due, TakeUntil::Now),
                2 => world.tick(),
                _ => {}
            }
            let look = world.look();
            prop_assert!(look.suspects.is_empty(), "{:?}", look.suspects);
            prop_assert_eq!(look.executions, u64::from(world.record().is_some()));
        }
    }
}
