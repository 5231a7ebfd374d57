//! Operations against a store that loses replies, is late, or is changed by others: what a caller
//! is told is true (`docs/architecture.md`, Operations and Identity).

use crate::common::world::{Fate, World, change, change_priority, found, loaded, patience};
use crate::common::{
    LEASE, START, Submission, at, claim, complete, execution_id, grant, reclaim_grant, renew,
    take_new,
};
use ff_core::error::{Applied, EngineError, Rejection};
use ff_core::execution::{
    Cancel, CancelledBy, ChangePriority, Complete, CreateOutcome, OnDue, OperatorCall, Replay,
};
use ff_core::id::{ExecutionId, RequestId};
use ff_core::op::{Batch, CarryCommand, Known};
use ff_core::policy::Priority;
use ff_core::store::{ReplyBody, Request, UnitReply};
use ff_core::time::DurationMs;
use uuid::Uuid;

#[test]
fn a_lost_reply_to_a_submission_is_recognised_as_ones_own() {
    let mut world = World::new();
    let create = Submission::new().0;
    world.fates = vec![Fate::ReplyLost];
    let done = world.drive(CarryCommand::knowing(create, Known::Absent, patience(10_000)));
    let done = done.expect("it is created");
    assert_eq!((done.outcome, done.repeat), (CreateOutcome::Created(execution_id()), true));
    // Another creator's is a duplicate.
    let other = Submission::new().creator(99).0;
    let done = world.drive(CarryCommand::knowing(other, Known::Absent, patience(10_000)));
    assert_eq!(done.expect("a success").outcome, CreateOutcome::Duplicate(execution_id()));
}

#[test]
fn a_lost_reply_to_a_completion_has_one_effect() {
    let mut world = World::new();
    let fence = world.leased();
    world.fates = vec![Fate::Answered, Fate::ReplyLost, Fate::NotSent, Fate::Answered];
    let done = world.transact(complete(fence, Some(b"done"))).expect("it is completed");
    assert!(done.repeat);
    assert_eq!(world.ended(), 1);
}

#[test]
fn a_commit_that_arrives_after_its_repeat_has_no_second_effect() {
    let mut world = World::new();
    let fence = world.leased();
    // Read, a commit that is late, a read; then the late one arrives, and the second commit after.
    world.fates = vec![Fate::Answered, Fate::Late, Fate::Answered, Fate::Answered];
    world.transact(complete(fence, None)).expect("it is completed");
    assert_eq!(world.ended(), 1);
    assert_eq!(world.record().version.count, 4, "created, granted, claimed, completed once");
}

#[test]
fn a_conflict_is_decided_again_on_what_came_back_without_a_read() {
    let mut world = World::new();
    let fence = world.leased();
    let before = world.calls.len();
    let mut turns = 0;
    world.meddle = Box::new(move |store, now| {
        turns += 1;
        if turns == 2 {
            change_priority(store, now, 5);
        }
    });
    world.transact(complete(fence, None)).expect("it is completed");
    let kinds: Vec<bool> = world.calls[before..].iter().map(Request::is_read_only).collect();
    assert_eq!(kinds, [true, false, false], "one read, a conflict, a commit");
    assert_eq!(world.record().execution.priority, Priority::clamped(5), "nothing is overwritten");
}

#[test]
fn a_record_that_others_change_for_ever_is_contention_in_the_end() {
    let mut world = World::new();
    world.transact(Submission::new().0).expect("it is created");
    let mut number = 0;
    world.meddle = Box::new(move |store, now| {
        number += 1;
        change_priority(store, now, number);
    });
    let error = world.transact(grant(1)).expect_err("it never wins");
    assert!(matches!(error, EngineError::Contention { tries: 16, .. }), "{error:?}");
}

#[test]
fn a_wrong_clock_is_refused_with_the_right_time_and_then_right() {
    for wrong_by in [3_600_000, -3_600_000] {
        let mut world = World::new();
        let fence = world.leased();
        let known = Known::Stale(world.record());
        world.wrong_by = wrong_by;
        let complete: Complete = complete(fence, None);
        let done = world.drive(CarryCommand::knowing(complete, known, patience(10_000)));
        assert!(!done.expect("it is completed").repeat, "by {wrong_by}");
        assert_eq!(world.ended(), 1);
    }
}

#[test]
fn a_rejection_on_stale_knowledge_reads_first() {
    let mut world = World::new();
    let before = {
        world.transact(Submission::new().0).expect("it is created");
        world.record()
    };
    world.transact(grant(1)).expect("it is granted");
    // By the old record there is no such grant.
    let operation = CarryCommand::knowing(take_new(1), Known::Stale(before), patience(10_000));
    let claimed = world.drive(operation).expect("it is claimed");
    assert_eq!(claimed.outcome.fence(), world.record().execution.last_fence.expect("a lease"));
}

#[test]
fn a_command_that_may_be_applied_is_never_called_refused() {
    let mut world = World::new();
    let fence = world.leased();
    // The completion is applied and nobody hears of it; before the operation can look, the
    // execution is replayed, taken and given back by another, which forgets the first release.
    world.fates = vec![Fate::Answered, Fate::ReplyLost];
    let mut moved = false;
    world.meddle = Box::new(move |store, now| {
        let over = loaded(store, now).execution.terminal_outcome();
        if !moved && over != ff_core::state::TerminalOutcome::None {
            moved = true;
            let mut other = World::new();
            std::mem::swap(&mut other.store, store);
            other.true_now = now;
            let call = OperatorCall::new(RequestId::try_new("again").expect("an id"));
            other.transact(Replay { execution_id: execution_id(), call }).expect("replayed");
            other.transact(grant(2)).expect("granted");
            let next = other.transact(ff_core::execution::TakeNew(claim(2))).expect("claimed");
            other.transact(complete(next.outcome.fence(), None)).expect("completed");
            std::mem::swap(&mut other.store, store);
        }
    });
    let error = world.transact(complete(fence, None)).expect_err("nobody can say");
    let EngineError::Contextual { source, .. } = error else { panic!("{error:?}") };
    assert!(matches!(*source, EngineError::Timeout { applied: Applied::Unknown, .. }));
}

#[test]
fn a_command_that_may_still_arrive_is_not_called_refused() {
    let mut world = World::new();
    world.leased();
    let leased = world.record();
    // By the host's clock the lease is over. The commit that reclaims it is lost on its way, and
    // would be good later; the store, asked again, says that it is too early.
    world.wrong_by = LEASE as i64;
    world.fates = vec![Fate::Late];
    let operation = CarryCommand::knowing(reclaim_grant(2), Known::Stale(leased), patience(10_000));
    let error = world.drive(operation).expect_err("it is too early");
    let EngineError::Contextual { source, .. } = error else { panic!("{error:?}") };
    assert!(matches!(*source, EngineError::Timeout { applied: Applied::Unknown, .. }));
}

#[test]
fn a_store_that_does_not_answer_is_given_up_at_the_deadline() {
    let mut world = World::new();
    let started = world.true_now;
    world.fates = vec![Fate::NotSent; 1_000];
    let error = world.drive(CarryCommand::new(grant(1), patience(5_000))).expect_err("no store");
    assert!(matches!(error, EngineError::Unavailable { .. }), "{error:?}");
    assert!(world.true_now - started <= 5_000, "it took {}", world.true_now - started);
    assert!(world.calls.len() < 40, "{} calls are a storm", world.calls.len());

    let mut world = World::new();
    world.fates = vec![Fate::Refused; 1_000];
    let error = world.drive(CarryCommand::new(grant(1), patience(5_000))).expect_err("it is full");
    assert!(matches!(error, EngineError::Transport { .. }), "{error:?}");

    let mut world = World::new();
    let fence = world.leased();
    world.fates = [vec![Fate::Answered, Fate::Late], vec![Fate::NotSent; 1_000]].concat();
    let error = world.drive(CarryCommand::new(complete(fence, None), patience(5_000)));
    let error = error.expect_err("no store");
    assert!(matches!(error, EngineError::Timeout { applied: Applied::Unknown, .. }), "{error:?}");
}

#[test]
fn an_operator_who_meant_another_life_is_told_so() {
    let mut world = World::new();
    let fence = world.leased();
    let call = OperatorCall::new(RequestId::try_new("late-cancel").expect("an id"));
    let by = CancelledBy::Operator(call);
    let cancel = Cancel { execution_id: execution_id(), by, reason: String::new() };
    // The cancellation sees the first life; the execution is replayed before it commits.
    let mut turns = 0;
    world.meddle = Box::new(move |store, now| {
        turns += 1;
        if turns == 2 {
            let mut other = World::new();
            std::mem::swap(&mut other.store, store);
            other.true_now = now;
            other.transact(complete(fence, None)).expect("completed");
            let call = OperatorCall::new(RequestId::try_new("again").expect("an id"));
            other.transact(Replay { execution_id: execution_id(), call }).expect("replayed");
            std::mem::swap(&mut other.store, store);
        }
    });
    let error = world.transact(cancel).expect_err("it was meant for the first life");
    let superseded = Rejection::Superseded { asked: 0, current: 1 };
    assert_eq!(error.rejection(), Some(&superseded), "{error:?}");
}

#[test]
fn a_batch_travels_in_few_calls_and_each_command_has_its_own_outcome() {
    let mut world = World::new();
    let partition = execution_id().partition();
    let create = |number: u128, creator: u64| {
        let mut create = Submission::new().creator(creator).0;
        create.execution_id = ExecutionId::from_parts(partition.index, Uuid::from_u128(number));
        CarryCommand::knowing(create, Known::Absent, patience(10_000))
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
    assert_eq!(world.calls.len(), 2, "64 units and then the rest");
}

#[test]
fn a_batch_whose_reply_is_lost_recognises_its_own_work() {
    let mut world = World::new();
    let fence = world.leased();
    world.fates = vec![Fate::Answered, Fate::ReplyLost];
    let operations = vec![CarryCommand::new(complete(fence, None), patience(10_000))];
    let results = world.drive(Batch::new(execution_id().partition(), operations));
    assert!(results[0].as_ref().expect("it is completed").repeat);
    assert_eq!(world.ended(), 1);
}

#[test]
fn a_window_never_begins_later_than_it_must_nor_lasts_longer_than_it_may() {
    let mut world = World::new();
    let fence = world.leased();
    world.transact(renew(fence, 3_000)).expect("it is renewed");
    let Some(Request::Commit(commit)) = world.calls.last() else { panic!("a commit") };
    let window = commit.units[0].window;
    // Decided for the time of the read, a millisecond before the commit.
    let decided = world.true_now - 1;
    assert_eq!(window.not_before, at(decided - 1_000));
    assert_eq!(window.not_after, at(decided + 1_000));
    // What came too late is refused by the store.
    let late = world.store.handle(Request::Commit(commit.clone()), at(decided + 1_000));
    let ReplyBody::Commit(replies) = late.body else { panic!("a reply") };
    assert!(!matches!(replies[0], UnitReply::Committed { .. }));
}

#[test]
fn an_operators_call_that_the_record_has_forgotten_is_not_applied_twice() {
    let mut world = World::new();
    world.transact(Submission::new().0).expect("it is created");
    let call = OperatorCall::new(RequestId::try_new("mine").expect("an id"));
    let priority = Priority::clamped(5);
    let command = ChangePriority { execution_id: execution_id(), call, priority };
    // It is applied and the reply is lost; then eight others push it out of the record.
    world.fates = vec![Fate::Answered, Fate::ReplyLost];
    let mut done = false;
    world.meddle = Box::new(move |store, now| {
        if !done && loaded(store, now).execution.priority == priority {
            done = true;
            (100..108).for_each(|number| change_priority(store, now, number));
        }
    });
    let error = world.transact(command).expect_err("nobody can say");
    let EngineError::Contextual { source, .. } = error else { panic!("{error:?}") };
    assert!(matches!(*source, EngineError::Timeout { applied: Applied::Unknown, .. }));
    assert_eq!(world.record().execution.priority, Priority::clamped(107));
}

#[test]
fn a_grant_that_the_client_of_the_store_asks_for_twice_is_given_once() {
    for twice in [Fate::SentTwice, Fate::SentTwiceThenRefused] {
        let mut world = World::new();
        world.transact(Submission::new().0).expect("it is created");
        // The first is given, and the execution is cancelled and replayed: nothing remembers it.
        world.fates = vec![Fate::Answered, twice];
        world.meddle = Box::new(|store, now| {
            if loaded(store, now).execution.grant().is_some() {
                change(store, now, cancel_by("somebody"));
                change(store, now, replay_by("another"));
            }
        });
        let error = world.transact(grant(1)).expect_err("nobody can say");
        let EngineError::Contextual { source, .. } = error else { panic!("{error:?}") };
        assert!(matches!(*source, EngineError::Timeout { applied: Applied::Unknown, .. }));
        assert!(world.record().execution.grant().is_none());
    }
}

#[test]
fn what_may_have_been_created_and_removed_is_not_created_again() {
    // Whoever submits it hears nothing; it is over, and removed, before he asks again.
    let submit = |pause: u64, deadline: u64| {
        let mut world = World::new();
        (world.fates, world.pause) = (vec![Fate::Answered, Fate::ReplyLost], pause);
        world.meddle = Box::new(move |store, now| {
            if found(store, now).is_some() {
                change(store, now, cancel_by("somebody"));
                // Its values go first, then its record, and not before a minute has passed.
                change(store, now, OnDue { execution_id: execution_id() });
                change(store, now, OnDue { execution_id: execution_id() });
            }
        });
        let mut submission = Submission::new().0;
        submission.policy.retention_ms = DurationMs::ZERO;
        submission.deadline = Some(at(START + deadline));
        world.drive(CarryCommand::new(submission, patience(100_000)))
    };
    // Later it could be created again, or it is too late for it.
    for deadline in [200_000, 5] {
        let error = submit(60_000, deadline).expect_err("nobody can say");
        let EngineError::Contextual { source, .. } = error else { panic!("{error:?}") };
        assert!(matches!(*source, EngineError::Timeout { applied: Applied::Unknown, .. }));
        let committed = submit(25_000, deadline).expect("it is still there");
        assert!(committed.repeat && matches!(committed.outcome, CreateOutcome::Created(_)));
    }
}

#[test]
fn a_copy_of_a_submission_that_is_late_creates_nothing_again() {
    let mut world = World::new();
    world.transact(Submission::new().0).expect("it is created");
    let mut windows = world.calls.iter().filter_map(|call| match call {
        Request::Commit(commit) => Some(commit.units[0].window),
        _ => None,
    });
    let closes = windows.next_back().expect("a commit").not_after;
    assert!(closes <= at(START + 30_001), "{closes}");
    let mut store = world.store;
    change(&mut store, START + 2, cancel_by("somebody"));
    for _ in 0..2 {
        change(&mut store, START + 59_999, OnDue { execution_id: execution_id() });
    }
    assert!(found(&mut store, START + 59_999).is_some(), "it is kept for a minute");
}

fn call(request: &str) -> OperatorCall {
    OperatorCall::new(RequestId::try_new(request).expect("a request id"))
}

fn cancel_by(request: &str) -> Cancel {
    let by = CancelledBy::Operator(call(request));
    Cancel { execution_id: execution_id(), by, reason: "not wanted".to_owned() }
}

fn replay_by(request: &str) -> Replay {
    Replay { execution_id: execution_id(), call: call(request) }
}
