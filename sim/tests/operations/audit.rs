//! The audit finds each thing that can be wrong with a partition, and nothing else: neither in
//! what takers hold nor in what changes while it looks.

use ff_core::execution::{Purpose, index_entries};
use ff_core::id::{ExecutionId, LaneId, Namespace};
use ff_core::op::{AuditLook, AuditPartition, Fault, FindOutside, HOLD};
use ff_core::partition::Partition;
use ff_core::score::Score;
use ff_core::store::codec::checksummed;
use ff_core::store::{Commit, IndexName, IndexWrite, RecordKey, Request, Stored, Unit, Version};
use ff_sim::scripted::Scripted;

use super::carried::tick;
use super::{before_call, record};
use crate::common::{START, Submission, at, call, cancel, execution_id, grant, offer, on_due};

/// Longer than any taker holds what it took.
const PAUSE: u64 = HOLD.get() + 1_000;

/// A store that always answers, at a time that a test sets.
fn empty() -> Scripted {
    let mut world = Scripted::new();
    world.script.latency = 0;
    world
}

/// A store with this execution.
fn with(submission: Submission) -> Scripted {
    let mut world = empty();
    world.transact(submission.0).expect("it is created");
    world
}

fn look_at_most(world: &mut Scripted, limit: usize) -> AuditLook {
    let patience = Scripted::patience(10_000);
    let audit = AuditPartition::new(partition(), namespace(), [], limit, patience);
    world.drive(audit).expect("the store answers")
}

pub fn look(world: &mut Scripted) -> AuditLook {
    look_at_most(world, 1_000)
}

/// The faults that two looks with a pause between them agree on.
fn faults(world: &mut Scripted) -> Vec<Fault> {
    let first = look(world);
    world.pass(PAUSE);
    let confirmed = look(world).confirms(&first);
    confirmed.into_iter().map(|suspect| suspect.fault).collect()
}

fn stored(world: &mut Scripted, key: &RecordKey) -> Option<Stored> {
    let mut records = world.store().records(partition());
    records.find(|(held, _)| *held == key).map(|(_, stored)| stored.clone())
}

/// Writes an entry, or removes it, past all rules.
fn write(world: &mut Scripted, index: IndexName, score: Option<Score>) {
    let member = execution_id().uuid();
    let index = vec![IndexWrite { index, member, score }];
    spoil(world, Unit { index, ..Unit::new(Purpose::Admit, 1) });
}

/// Writes a record, or removes it, past all rules.
fn put(world: &mut Scripted, key: RecordKey, bytes: Option<&[u8]>) {
    let version = stored(world, &key).map_or(Version::ABSENT, |stored| stored.version);
    let mut unit = Unit { expect: vec![(key.clone(), version)], ..Unit::new(Purpose::Admit, 1) };
    match bytes {
        Some(bytes) => unit.put.push((key, bytes.into())),
        None => unit.remove.push(key),
    }
    spoil(world, unit);
}

fn spoil(world: &mut Scripted, unit: Unit) {
    let commit = Commit { partition: partition(), units: vec![unit] };
    world.spoil(Request::Commit(commit));
}

pub fn partition() -> Partition {
    execution_id().partition()
}

fn namespace() -> Namespace {
    Submission::new().0.namespace
}

fn lane() -> LaneId {
    Submission::new().0.lane
}

pub fn eligible() -> IndexName {
    IndexName::Eligible { namespace: namespace(), lane: lane(), kind: Submission::new().0.kind }
}

fn all() -> IndexName {
    IndexName::All { namespace: namespace() }
}

fn blocked() -> IndexName {
    IndexName::BlockedRoute { namespace: namespace() }
}

/// An execution that waits in its lane and has a deadline, in half an hour.
fn waiting() -> Scripted {
    with(Submission::new().deadline(START + 1_800_000))
}

#[test]
fn what_is_missing_is_found() {
    for index in [eligible(), IndexName::Due, all()] {
        let mut world = waiting();
        assert_eq!(faults(&mut world), []);
        write(&mut world, index.clone(), None);
        assert_eq!(faults(&mut world), [Fault::Missing { index }]);
    }
    let mut world = with(Submission::new().requires(&["gpu"]));
    let mut incapable = offer(1);
    incapable.capabilities = Default::default();
    world.transact(incapable).expect("applied");
    let look = look(&mut world);
    assert_eq!((look.unroutable, look.suspects.len()), (1, 0));
    write(&mut world, blocked(), None);
    assert_eq!(faults(&mut world), [Fault::Missing { index: blocked() }]);
}

#[test]
fn what_stands_at_a_wrong_place_is_found() {
    let expected = index_entries(&record(&mut waiting()).execution);
    let due = expected.due.expect("it has a deadline");
    let place = expected.eligible.expect("it waits");
    for (index, expected) in [(eligible(), place), (IndexName::Due, due), (all(), expected.all)] {
        let mut world = waiting();
        let found = Score::new(expected.get() + 1);
        write(&mut world, index.clone(), Some(found));
        assert_eq!(faults(&mut world), [Fault::Misplaced { index, found, expected }]);
    }
}

#[test]
fn what_its_record_does_not_want_is_found() {
    let far = Score::at(at(START + 10_000_000));
    for index in [eligible(), blocked(), IndexName::Quarantine] {
        let mut world = waiting();
        world.transact(cancel(call(1))).expect("applied");
        assert_eq!(faults(&mut world), []);
        write(&mut world, index.clone(), Some(far));
        assert_eq!(faults(&mut world), [Fault::Stray { index }]);
    }
    let mut world = with(Submission::new());
    write(&mut world, IndexName::Due, Some(far));
    assert_eq!(faults(&mut world), [Fault::Stray { index: IndexName::Due }]);
}

#[test]
fn entries_without_a_record_are_found() {
    let mut world = waiting();
    put(&mut world, RecordKey::of(&execution_id()), None);
    let mut expected = [eligible(), IndexName::Due, all()].map(|index| Fault::Orphan { index });
    expected.sort();
    assert_eq!(faults(&mut world), expected);
}

#[test]
fn records_that_do_not_decode_are_found_before_and_after_they_are_in_quarantine() {
    let mut world = waiting();
    put(&mut world, RecordKey::of(&execution_id()), Some(&[1, 2, 3]));
    let quarantined = |faults: &[Fault]| match faults {
        [Fault::Unreadable { quarantined, .. }] => *quarantined,
        other => panic!("{other:?}"),
    };
    assert!(!quarantined(&faults(&mut world)));
    world.set(START + 1_800_000);
    tick(&mut world);
    write(&mut world, eligible(), None);
    assert!(quarantined(&faults(&mut world)));
}

#[test]
fn records_of_a_newer_format_are_counted_and_are_no_fault() {
    let mut world = waiting();
    put(&mut world, RecordKey::of(&execution_id()), Some(&checksummed(vec![255, 2, 3])));
    let look = look(&mut world);
    assert_eq!((look.newer_format, look.executions, look.suspects.len()), (1, 0, 0));
}

#[test]
fn a_record_under_the_key_of_another_is_found() {
    let mut world = waiting();
    let bytes = stored(&mut world, &RecordKey::of(&execution_id())).expect("it is there").bytes;
    let other = ExecutionId::from_parts(partition().index, uuid::Uuid::from_u128(99));
    put(&mut world, RecordKey::of(&other), Some(&bytes));
    let (index, score) = (all(), Some(Score::at(at(START))));
    let index = vec![IndexWrite { index, member: other.uuid(), score }];
    spoil(&mut world, Unit { index, ..Unit::new(Purpose::Admit, 1) });
    assert_eq!(faults(&mut world), [Fault::OtherExecution { found: execution_id() }]);
}

#[test]
fn executions_outside_of_the_partitions_are_found() {
    let mut world = waiting();
    let outside = |world: &mut Scripted, count| {
        let find = FindOutside::new(count, namespace(), Scripted::patience(10_000));
        world.drive(find).expect("the store answers")
    };
    let index = partition().index;
    assert_eq!(outside(&mut world, index), [partition()]);
    assert_eq!(outside(&mut world, index + 1), []);
    assert_eq!(outside(&mut world, u16::MAX), []);
}

#[test]
fn what_is_due_for_long_is_counted() {
    let mut world = waiting();
    world.set(START + 1_800_000 + 59_999);
    assert_eq!(look(&mut world).overdue, 0);
    world.pass(1);
    let look = look(&mut world);
    assert_eq!((look.overdue, look.suspects.len()), (1, 0));
}

#[test]
fn a_look_reads_no_more_than_it_may_and_judges_only_what_it_has_read() {
    let mut world = empty();
    for number in 0..40_u64 {
        let mut create = Submission::new().deadline(START + 1_000_000 - number).0;
        create.execution_id =
            ExecutionId::from_parts(partition().index, uuid::Uuid::from_u128(number.into()));
        create.position = number as u16;
        world.transact(create).expect("applied");
    }
    let before = world.script.calls.len();
    let look = look_at_most(&mut world, 7);
    assert!(look.partial && look.executions <= 21, "{look:?}");
    assert_eq!((look.suspects.len(), world.script.calls.len() - before), (0, 7));
    let look = look_at_most(&mut world, 40);
    assert_eq!((look.partial, look.executions, look.suspects.len()), (false, 40, 0));
}

#[test]
fn what_changes_during_each_look_is_not_confirmed() {
    let mut world = waiting();
    // Each time it is granted to a worker after its record was read and before its lane is.
    let mut look = |number| {
        world.script.intervene = before_call(5, move |other| {
            other.transact(grant(number)).expect("granted");
        });
        let look = look(&mut world);
        world.script.intervene = None;
        world.pass(PAUSE + 20_000);
        world.transact(on_due()).expect("applied");
        look
    };
    let (first, second) = (look(1), look(2));
    assert_eq!((first.suspects.len(), second.suspects.len()), (1, 1));
    assert_eq!(second.confirms(&first), []);
}
