//! Operations against a store that loses replies, is late, or is changed by others: the answer to a
//! caller is true (`docs/architecture.md`, Operations and Identity).

use ff_core::error::{Applied, EngineError, Rejection};
use ff_core::execution::{
    Cancel, CancelledBy, ChangePriority, Complete, CreateOutcome, EventKind, Replay,
};
use ff_core::id::ExecutionId;
use ff_core::op::{Batch, CarryCommand, Event, Known, Operation, Step};
use ff_core::policy::Priority;
use ff_core::store::{Failure, Polled, Reply, ReplyBody, Request, UnitReply, Values};
use ff_core::time::DurationMs;
use ff_sim::scripted::{Fate, Scripted};
use uuid::Uuid;

use super::{assert_in_doubt, before_call, call, change_priority, leased, record};
use crate::common::{
    LEASE, START, Submission, at, complete, execution_id, grant, on_due, reclaim_grant, renew,
};

#[test]
fn a_conflict_is_decided_again_on_what_came_back_without_a_read() {
    let mut world = Scripted::new();
    let fence = leased(&mut world);
    let before = world.script.calls.len();
    world.script.intervene = before_call(2, |world| change_priority(world, 5));
    world.transact(complete(fence, None)).expect("it is completed");
    let kinds: Vec<bool> = world.script.calls[before..].iter().map(Request::is_read_only).collect();
    assert_eq!(kinds, [true, false, false], "one read, a conflict, a commit");
    assert_eq!(
        record(&mut world).execution.priority,
        Priority::clamped(5),
        "nothing is overwritten"
    );
}

/// Execution B is not a duplicate because a reply shows the record of A. The call counts as one
/// whose reply was lost: the operation reads, and creates B.
#[test]
fn the_record_of_another_execution_is_not_an_answer() {
    let mut world = Scripted::new();
    let mut first = Submission::new().0;
    first.execution_id = ExecutionId::from_parts(execution_id().partition().index, Uuid::max());
    world.transact(first).expect("A is created");
    let records: Vec<_> = world.store().records(execution_id().partition()).collect();
    let (_, a) = records.into_iter().next().expect("the record of A");
    let current = vec![Some(a.clone())];
    let conflict = ReplyBody::Commit(vec![UnitReply::Conflict { current: current.clone() }]);
    let values = Values { records: current, values: Vec::new() };
    for (known, body, is_doubtful) in [
        (Known::Absent, conflict, true),
        (Known::Nothing, ReplyBody::Read(values), false),
        // A reply of another form.
        (Known::Absent, ReplyBody::Commit(Vec::new()), true),
        (Known::Absent, ReplyBody::Poll(Polled::default()), true),
    ] {
        let begin = || {
            let patience = Scripted::patience(10_000);
            CarryCommand::knowing(Submission::new().0, known.clone(), patience)
        };
        let (now, at) = (world.host(), world.now());
        let mut create = begin();
        let sent = create.resume(Event::Start, now);
        assert!(matches!(sent, Step::Send(_)), "{sent:?}");
        let step = create.resume(Event::Reply(Reply { at, body: body.clone() }), now);
        assert!(matches!(step, Step::Wait(_)), "{step:?}");
        let read = create.resume(Event::Wake, now);
        assert!(matches!(read, Step::Send(Request::Read(_))), "{read:?}");
        // At the deadline the error says whether the call may have been applied.
        let mut late = now;
        late.local = now.local.plus(DurationMs::from_secs(20));
        let mut create = begin();
        let _ = create.resume(Event::Start, now);
        let ended = create.resume(Event::Reply(Reply { at, body }), late);
        let Step::Done(Err(error)) = ended else { panic!("{ended:?}") };
        let unknown = matches!(error, EngineError::Timeout { applied: Applied::Unknown, .. });
        assert_eq!(unknown, is_doubtful, "{error:?}");
    }
    let created = world.transact(Submission::new().0).expect("B is created").outcome;
    assert!(matches!(created, CreateOutcome::Created(_)), "{created:?}");
}

#[test]
fn a_record_that_others_change_for_ever_is_contention_in_the_end() {
    let mut world = Scripted::new();
    world.transact(Submission::new().0).expect("it is created");
    let mut number = 0;
    world.script.intervene = Some(Box::new(move |world| {
        number += 1;
        change_priority(world, number);
    }));
    let error = world.transact(grant(1)).expect_err("it never wins");
    assert!(matches!(error, EngineError::Contention { tries: 16, .. }), "{error:?}");
}

#[test]
fn a_wrong_clock_is_refused_with_the_right_time_and_then_right() {
    for wrong_by in [3_600_000, -3_600_000] {
        let mut world = Scripted::new();
        let fence = leased(&mut world);
        let known = Known::Stale(record(&mut world));
        world.script.wrong_by = wrong_by;
        let complete: Complete = complete(fence, None);
        let done = world.run(CarryCommand::knowing(complete, known, Scripted::patience(10_000)));
        assert!(!done.expect("it is completed").repeat, "by {wrong_by}");
        assert_eq!(world.count(EventKind::Ended), 1);
    }
}

#[test]
fn a_command_that_may_still_arrive_is_not_called_refused() {
    let mut world = Scripted::new();
    leased(&mut world);
    let leased = record(&mut world);
    // By the host's clock the lease is over. The commit that reclaims it is lost on its way, and
    // would be good later; the store, asked again, says that it is too early.
    world.script.wrong_by = LEASE as i64;
    world.script.fates = [Fate::Late].into();
    let operation =
        CarryCommand::knowing(reclaim_grant(2), Known::Stale(leased), Scripted::patience(10_000));
    let error = world.run(operation).expect_err("it is too early");
    assert_in_doubt(error);
}

#[test]
fn a_store_that_does_not_answer_is_given_up_at_the_deadline() {
    let mut world = Scripted::new();
    let started = world.now();
    world.script.fates = vec![Fate::NotSent; 1_000].into();
    let error =
        world.run(CarryCommand::new(grant(1), Scripted::patience(5_000))).expect_err("no store");
    assert!(matches!(error, EngineError::Unreachable { .. }), "{error:?}");
    let took = world.now().since(started).get();
    assert!(took <= 5_000, "it took {took}");
    assert!(world.script.calls.len() < 40, "{} calls are a storm", world.script.calls.len());

    let mut world = Scripted::new();
    world.script.fates = vec![Fate::Refused; 1_000].into();
    let error =
        world.run(CarryCommand::new(grant(1), Scripted::patience(5_000))).expect_err("it is full");
    assert!(matches!(error, EngineError::Transport { .. }), "{error:?}");

    let mut world = Scripted::new();
    let fence = leased(&mut world);
    world.script.fates =
        [vec![Fate::Answered, Fate::Late], vec![Fate::NotSent; 1_000]].concat().into();
    let error = world.run(CarryCommand::new(complete(fence, None), Scripted::patience(5_000)));
    let error = error.expect_err("no store");
    assert!(matches!(error, EngineError::Timeout { applied: Applied::Unknown, .. }), "{error:?}");
}

#[test]
fn an_operator_who_meant_another_life_is_told_so() {
    let mut world = Scripted::new();
    let fence = leased(&mut world);
    // The cancellation sees the first life; the execution is replayed before it commits.
    world.script.intervene = before_call(2, move |world| {
        world.transact(complete(fence, None)).expect("completed");
        world.transact(replay_by("again")).expect("replayed");
    });
    let error =
        world.transact(cancel_by("late-cancel")).expect_err("it was meant for the first life");
    let superseded = Rejection::Superseded { asked: 0, current: 1 };
    assert_eq!(error.rejection(), Some(&superseded), "{error:?}");
}

#[test]
fn a_batch_travels_in_few_calls_and_each_command_has_its_own_outcome() {
    let mut world = Scripted::new();
    let partition = execution_id().partition();
    let create = |number: u128, creator: u64| {
        let mut create = Submission::new().creator(creator).0;
        create.execution_id = ExecutionId::from_parts(partition.index, Uuid::from_u128(number));
        CarryCommand::knowing(create, Known::Absent, Scripted::patience(10_000))
    };
    let mut operations: Vec<_> = (0..70).map(|number| create(number, number as u64)).collect();
    // The same execution again, by another creator.
    operations.push(create(3, 1_000));
    let results = world.drive(Batch::new(partition, operations));
    let duplicates = results.iter().filter(|result| {
        let outcome = &result.as_ref().expect("a success").outcome;
        matches!(outcome, CreateOutcome::Duplicate(_))
    });
    assert_eq!((results.len(), duplicates.count()), (71, 1));
    assert_eq!(world.script.calls.len(), 2, "64 units and then the rest");
}

#[test]
fn a_window_never_begins_later_than_it_must_nor_lasts_longer_than_it_may() {
    let mut world = Scripted::new();
    let fence = leased(&mut world);
    world.transact(renew(fence, 3_000)).expect("it is renewed");
    let Some(Request::Commit(commit)) = world.script.calls.last() else { panic!("a commit") };
    let window = commit.units[0].window;
    // Decided for the time of the read, a millisecond before the commit.
    let decided = world.now().get() - 1;
    assert_eq!(window.not_before, at(decided - 1_000));
    assert_eq!(window.not_after, at(decided + 1_000));
    // The store refuses a commit after its window.
    let commit = commit.clone();
    let late = world.store().handle(Request::Commit(commit), at(decided + 1_000));
    let ReplyBody::Commit(replies) = late.body else { panic!("a reply") };
    assert!(!matches!(replies[0], UnitReply::Committed { .. }));
}

#[test]
fn an_operators_call_that_the_record_has_forgotten_is_not_applied_twice() {
    let mut world = Scripted::new();
    world.transact(Submission::new().0).expect("it is created");
    let call = call("mine");
    let priority = Priority::clamped(5);
    let command = ChangePriority { execution_id: execution_id(), call, priority };
    // It is applied and the reply is lost; then eight others push it out of the record.
    world.script.fates = [Fate::Answered, Fate::ReplyLost].into();
    world.script.intervene = before_call(3, |world| {
        (100..108).for_each(|number| change_priority(world, number));
    });
    let error = world.transact(command).expect_err("it is in doubt");
    assert_in_doubt(error);
    assert_eq!(record(&mut world).execution.priority, Priority::clamped(107));
}

#[test]
fn a_grant_that_the_client_of_the_store_asks_for_twice_is_given_once() {
    for twice in [Fate::SentTwice, Fate::SentTwiceThenRefused] {
        let mut world = Scripted::new();
        world.transact(Submission::new().0).expect("it is created");
        // The first is given, and the execution is cancelled and replayed: nothing remembers it.
        world.script.fates = [Fate::Answered, twice].into();
        world.script.intervene = Some(Box::new(|world| {
            if record(world).execution.grant().is_some() {
                world.transact(cancel_by("somebody")).expect("cancelled");
                world.transact(replay_by("another")).expect("replayed");
            }
        }));
        assert_in_doubt(world.transact(grant(1)).expect_err("the record does not show it"));
        assert!(record(&mut world).execution.grant().is_none());
    }
}

#[test]
fn what_may_have_been_created_and_removed_is_not_created_again() {
    // The caller gets no reply. The execution ends and is removed before the call is made again.
    let submit = |pause: u64, deadline: u64| {
        let mut world = Scripted::new();
        world.script.fates = [Fate::Answered, Fate::ReplyLost].into();
        world.script.pause = pause;
        world.script.intervene = Some(Box::new(move |world| {
            if world.record(&execution_id()).is_some() {
                // Its values go first, then its record, and not before a minute has passed.
                let _ = world.transact(cancel_by("somebody"));
                let _ = world.transact(on_due());
                let _ = world.transact(on_due());
            }
        }));
        let mut submission = Submission::new().0;
        submission.policy.retention_ms = DurationMs::ZERO;
        submission.deadline = Some(at(START + deadline));
        world.run(CarryCommand::new(submission, Scripted::patience(100_000)))
    };
    // Later it could be created again, or it is too late for it.
    for deadline in [200_000, 5] {
        let error = submit(60_000, deadline).expect_err("it is in doubt");
        assert_in_doubt(error);
        let committed = submit(25_000, deadline).expect("it is still there");
        assert!(committed.repeat && matches!(committed.outcome, CreateOutcome::Created(_)));
    }
}

/// Retention runs by the store's clock: after a step of it, an execution may have been created and
/// removed within the time in which a submission is sent again.
#[test]
fn after_a_step_of_the_stores_clock_a_submission_is_in_doubt() {
    let mut world = Scripted::new();
    let mut submission = Submission::new().0;
    submission.policy.retention_ms = DurationMs::ZERO;
    let mut operation = CarryCommand::new(submission, Scripted::patience(100_000));
    let host = world.host();
    let sent = |step| match step {
        Step::Send(request) => request,
        other => panic!("{other:?}"),
    };
    let read = sent(operation.resume(Event::Start, host));
    let absent = world.call(read).expect("a reply");
    let commit = sent(operation.resume(Event::Reply(absent), host));
    world.call(commit).expect("a reply");
    let lost = Failure::MaybeApplied("no reply".to_owned());
    assert!(matches!(operation.resume(Event::Failure(lost), host), Step::Wait(_)));
    let read = sent(operation.resume(Event::Wake, host));
    world.transact(cancel_by("somebody")).expect("cancelled");
    world.set(START + 3_600_000);
    world.transact(on_due()).expect("retention is over");
    assert!(world.record(&execution_id()).is_none(), "it is removed");
    let absent = world.call(read).expect("a reply");
    match operation.resume(Event::Reply(absent), host) {
        Step::Done(Err(error)) => assert_in_doubt(error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_copy_of_a_submission_that_is_late_creates_nothing_again() {
    let mut world = Scripted::new();
    world.transact(Submission::new().0).expect("it is created");
    let mut windows = world.script.calls.iter().filter_map(|call| match call {
        Request::Commit(commit) => Some(commit.units[0].window),
        _ => None,
    });
    let closes = windows.next_back().expect("a commit").not_after;
    assert!(closes <= at(START + 30_001), "{closes}");
    world.transact(cancel_by("somebody")).expect("cancelled");
    world.set(START + 59_990);
    for _ in 0..2 {
        let _ = world.transact(on_due());
    }
    assert!(world.record(&execution_id()).is_some(), "it is kept for a minute");
}

fn cancel_by(request: &str) -> Cancel {
    let by = CancelledBy::Operator(call(request));
    Cancel { execution_id: execution_id(), by, reason: "not wanted".to_owned() }
}

fn replay_by(request: &str) -> Replay {
    Replay { execution_id: execution_id(), call: call(request) }
}
