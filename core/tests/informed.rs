//! Operations that need more than a record: secrets, buffered signals, output, and the retention of
//! all of it. Against a store that loses replies and programs that race, what a caller is told is
//! true (`docs/spec.md`, 5 and 6).

use std::sync::Arc;

use crate::common::suspending::{
    any_at, append, deliver, named, pending, signal_id, suspend, suspend_on, suspension_id, timeout,
};
use crate::common::world::{Fate, World, inform, others, patience, terms};
use crate::common::{
    Submission, at, complete, execution_id, fail, grant, ms, offer, on_due, take_resumed,
};
use ff_core::condition::TimeoutBehaviour;
use ff_core::entropy::Entropy;
use ff_core::error::{EngineError, Rejection, RejectionKind};
use ff_core::execution::{
    DeliverSignal, DueKind, EventKind, Fence, IssuedWaitpoint, Offered, SignalEffect,
    SignalOutcome, Suspend, SuspendOutcome,
};
use ff_core::id::{AttemptIndex, Nonce};
use ff_core::op::{
    ApplyDue, Informed, Known, ListSecrets, OperationContext, ReadSignals, RotateSecret,
};
use ff_core::partition::{Partition, PartitionConfig};
use ff_core::policy::Backoff;
use ff_core::store::codec::Codec;
use ff_core::store::{Cursor, IndexName, RecordKey, ReplyBody, Request, StreamName, StreamPage};
use ff_core::token::{Kid, Rotation, Secret, WaitpointToken};

/// How often the secrets were read and written.
fn secret_calls(calls: &[Request]) -> (usize, usize) {
    let reads = |call: &&Request| match call {
        Request::Read(read) => read.records == [RecordKey::Secrets],
        _ => false,
    };
    let writes = |call: &&Request| match call {
        Request::Commit(commit) => commit.partition == Partition::META,
        _ => false,
    };
    (calls.iter().filter(reads).count(), calls.iter().filter(writes).count())
}

/// An execution that is leased, and waitpoint 9 open in it.
fn with_waitpoint(world: &mut World, terms: &OperationContext) -> (Fence, IssuedWaitpoint) {
    let fence = world.leased();
    let opened = inform(world, terms, pending(fence, 9, "b")).expect("it is opened");
    (fence, opened.outcome)
}

fn is_invalid_token(error: &EngineError) -> bool {
    matches!(error, EngineError::Validation { kind: RejectionKind::InvalidToken, .. })
}

fn count(world: &mut World, kind: EventKind) -> usize {
    world.events().iter().filter(|event| event.kind() == kind).count()
}

fn kid(text: &str) -> Kid {
    Kid::try_new(text).expect("a kid")
}

fn secret(hex: &str) -> Secret {
    Secret::from_hex(hex).expect("a secret")
}

fn rotate(world: &mut World, to: &str, hex: &str, grace: u64) -> Result<Rotation, EngineError> {
    world.drive(RotateSecret::new(kid(to), secret(hex), ms(grace), patience(10_000)))
}

fn kids(world: &mut World) -> Vec<String> {
    let listed = world.drive(ListSecrets::new(patience(10_000))).expect("they are listed");
    listed.into_iter().map(|info| info.kid.as_str().to_owned()).collect()
}

#[test]
fn secrets_are_made_once_and_read_once_a_second() {
    let (mut world, terms) = (World::new(), terms());
    let (fence, _) = with_waitpoint(&mut world, &terms);
    assert_eq!(secret_calls(&world.calls), (2, 1), "looked for, made, and read");
    let before = world.calls.len();
    inform(&mut world, &terms, pending(fence, 10, "c")).expect("it is opened");
    assert_eq!(secret_calls(&world.calls[before..]), (0, 0), "known still");
    world.true_now += 1_000;
    inform(&mut world, &terms, pending(fence, 11, "d")).expect("it is opened");
    assert_eq!(secret_calls(&world.calls[before..]), (1, 0), "a second is over");
    assert_eq!(kids(&mut world), ["k1"]);
}

#[test]
fn a_command_without_tokens_reads_no_secrets() {
    let (mut world, terms) = (World::new(), terms());
    let (fence, _) = with_waitpoint(&mut world, &terms);
    let before = world.calls.len();
    inform(&mut world, &self::terms(), complete(fence, None)).expect("it is completed");
    assert_eq!(secret_calls(&world.calls[before..]), (0, 0));
}

#[test]
fn secrets_are_not_read_again_because_the_clock_was_wrong() {
    let (mut world, terms) = (World::new(), terms());
    let (fence, _) = with_waitpoint(&mut world, &terms);
    world.learns = true;
    for (number, wrong_by) in [(10, 3_600_000), (11, -3_600_000)] {
        // By the host's estimate they are from the future, or too old.
        world.wrong_by = wrong_by;
        let before = world.calls.len();
        let name = format!("w{number}");
        inform(&mut world, &terms, pending(fence, number, &name)).expect("it is opened");
        assert_eq!(secret_calls(&world.calls[before..]), (0, 0), "by {wrong_by}");
    }
}

#[test]
fn the_first_secret_is_made_once_by_two_who_race() {
    for turn in [2, 3] {
        let (mut world, terms) = (World::new(), terms());
        let fence = world.leased();
        let mut turns = 0;
        // Another program makes the first secret before this one's is written, or after.
        world.meddle = Box::new(move |store, now| {
            turns += 1;
            if turns == turn {
                others(store, now, |other| {
                    let fresh = OperationContext::new(ms(10_000), Codec::default());
                    inform(other, &fresh, pending(fence, 20, "theirs")).expect("it is opened");
                });
            }
        });
        let own = inform(&mut world, &terms, pending(fence, 10, "own")).expect("it is opened");
        world.meddle = Box::new(|_, _| {});
        assert_eq!(kids(&mut world), ["k1"]);
        let theirs = inform(&mut world, &terms, pending(fence, 20, "theirs")).expect("a repeat");
        for (number, token) in [(10, own.outcome.token), (20, theirs.outcome.token)] {
            let taken = inform(&mut world, &terms, deliver(number, &token, number, "x"));
            let effect = SignalEffect::Buffered;
            assert_eq!(taken.expect("taken").outcome, SignalOutcome::Accepted { effect });
        }
    }
}

#[test]
fn a_lost_reply_to_the_first_secret_makes_no_second_one() {
    let (mut world, terms) = (World::new(), terms());
    let fence = world.leased();
    world.fates = vec![Fate::Answered, Fate::ReplyLost];
    let opened = inform(&mut world, &terms, pending(fence, 9, "b")).expect("it is opened");
    assert_eq!(secret_calls(&world.calls).1, 1);
    let taken = inform(&mut world, &self::terms(), deliver(9, &opened.outcome.token, 1, "x"));
    assert!(taken.is_ok(), "signed with what is kept: {taken:?}");
}

#[test]
fn a_kid_that_is_not_known_is_looked_for_once() {
    let (mut world, terms) = (World::new(), terms());
    let (fence, _) = with_waitpoint(&mut world, &terms);
    // Another program rotates, and hands a token out, within the second.
    assert_eq!(rotate(&mut world, "k2", "00ff", 60_000).expect("rotated"), Rotation::Rotated);
    let fresh = self::terms();
    let opened = inform(&mut world, &fresh, pending(fence, 10, "c")).expect("it is opened");
    let token = opened.outcome.token;
    assert_eq!(token.kid(), Some(kid("k2")));
    let before = world.calls.len();
    let taken = inform(&mut world, &terms, deliver(10, &token, 1, "x"));
    assert!(taken.is_ok(), "{taken:?}");
    assert_eq!(secret_calls(&world.calls[before..]), (1, 0));

    let before = world.calls.len();
    let forged = WaitpointToken::new(token.expose().replace("k2:", "k9:"));
    let refused = inform(&mut world, &terms, deliver(10, &forged, 2, "x")).expect_err("forged");
    assert!(is_invalid_token(&refused), "{refused:?}");
    assert_eq!(secret_calls(&world.calls[before..]), (1, 0));
}

#[test]
fn three_thousand_buffered_signals_are_heard() {
    let (mut world, terms) = (World::new(), terms());
    let (fence, waitpoint) = with_waitpoint(&mut world, &terms);
    for number in 0..3_000 {
        let said = if number == 2_999 { "last" } else { "not-yet" };
        let signal = deliver(9, &waitpoint.token, number, said);
        inform(&mut world, &terms, signal).expect("it is taken");
    }
    let before = world.calls.len();
    let command = suspend_on(fence, 1, named("b", "last"), &[9]);
    let done = inform(&mut world, &terms, command).expect("it is answered");
    let satisfied = SuspendOutcome::AlreadySatisfied {
        suspension_id: suspension_id(1),
        signals: vec![signal_id(2_999)],
    };
    assert_eq!(done.outcome, satisfied);
    let scans = world.calls[before..].iter().filter(|call| {
        matches!(call, Request::Scan(scan) if matches!(scan.index, IndexName::Signals { .. }))
    });
    assert_eq!(scans.count(), 3, "as few pages as there can be");
}

#[test]
fn a_signal_that_comes_while_others_are_heard_is_not_missed() {
    let (mut world, terms) = (World::new(), terms());
    let (fence, waitpoint) = with_waitpoint(&mut world, &terms);
    inform(&mut world, &terms, deliver(9, &waitpoint.token, 1, "first")).expect("taken");
    let mut turns = 0;
    let token = waitpoint.token;
    world.meddle = Box::new(move |store, now| {
        turns += 1;
        // Read, scan, and then the commit that would suspend.
        if turns == 3 {
            others(store, now, |other| {
                let fresh = OperationContext::new(ms(10_000), Codec::default());
                inform(other, &fresh, deliver(9, &token, 2, "last")).expect("taken");
            });
        }
    });
    let command = suspend_on(fence, 1, named("b", "last"), &[9]);
    let done = inform(&mut world, &terms, command).expect("it is answered");
    assert!(matches!(done.outcome, SuspendOutcome::AlreadySatisfied { .. }), "{done:?}");
}

/// The two ways in which a reply is lost: at once, and so late that the secrets are too old.
const PAUSES: [u64; 2] = [0, 2_000];

#[test]
fn a_lost_reply_to_a_suspension_is_recognised_with_its_tokens() {
    for pause in PAUSES {
        let (mut world, terms) = (World::new(), terms());
        let (fence, _) = with_waitpoint(&mut world, &terms);
        (world.fates, world.pause) = (vec![Fate::Answered, Fate::ReplyLost], pause);
        let done = inform(&mut world, &terms, suspend(fence, 1, any_at("a"))).expect("suspended");
        assert!(done.repeat, "after {pause} ms");
        let SuspendOutcome::Suspended { waitpoints, .. } = done.outcome else {
            panic!("not suspended")
        };
        assert_eq!(count(&mut world, EventKind::Suspended), 1);
        let signal = deliver(100, &waitpoints[0].token, 1, "x");
        let taken = inform(&mut world, &terms, signal).expect("the token is good");
        assert_eq!(taken.outcome, SignalOutcome::TriggeredResume);
    }
}

#[test]
fn a_lost_reply_to_a_waitpoint_is_recognised_with_its_token() {
    for pause in PAUSES {
        let (mut world, terms) = (World::new(), terms());
        let (fence, _) = with_waitpoint(&mut world, &terms);
        (world.fates, world.pause) = (vec![Fate::Answered, Fate::ReplyLost], pause);
        let done = inform(&mut world, &terms, pending(fence, 10, "c")).expect("opened");
        assert!(done.repeat, "after {pause} ms");
        assert_eq!(count(&mut world, EventKind::WaitpointCreated), 2);
        let signal = deliver(10, &done.outcome.token, 1, "x");
        inform(&mut world, &terms, signal).expect("the token is good");
    }
}

#[test]
fn a_lost_reply_to_a_signal_is_recognised_as_ones_own() {
    for pause in PAUSES {
        for fate in [Fate::ReplyLost, Fate::SentTwice, Fate::Late] {
            let (mut world, terms) = (World::new(), terms());
            let (fence, waitpoint) = with_waitpoint(&mut world, &terms);
            let command = suspend_on(fence, 1, any_at("b"), &[9]);
            inform(&mut world, &terms, command).expect("suspended");
            (world.fates, world.pause) = (vec![Fate::Answered, fate], pause);
            let signal = deliver(9, &waitpoint.token, 1, "x");
            let done = inform(&mut world, &terms, signal.clone()).expect("taken");
            assert_eq!(done.outcome, SignalOutcome::TriggeredResume, "{fate:?}, {pause} ms");
            assert_eq!(count(&mut world, EventKind::SignalTaken), 1);
            let other = DeliverSignal { creator: Nonce(77), ..signal };
            let done = inform(&mut world, &terms, other).expect("a success");
            let existing_signal_id = signal_id(1);
            assert_eq!(done.outcome, SignalOutcome::Duplicate { existing_signal_id });
        }
    }
}

#[test]
fn a_rotation_is_made_once_whatever_is_lost() {
    use Fate::{Late, NotSent, ReplyLost, SentTwice, SentTwiceThenRefused};
    for fate in [ReplyLost, SentTwice, SentTwiceThenRefused, NotSent, Late] {
        let (mut world, terms) = (World::new(), terms());
        with_waitpoint(&mut world, &terms);
        world.fates = vec![Fate::Answered, fate];
        let rotated = rotate(&mut world, "k2", "00ff", 60_000).expect("rotated");
        assert_eq!(rotated, Rotation::Rotated, "{fate:?}");
        assert_eq!(rotate(&mut world, "k2", "00FF", 5).expect("again"), Rotation::Noop);
        assert_eq!(kids(&mut world), ["k1", "k2"], "{fate:?}");
    }
}

/// A worker that knows its record from before any signal came suspends all the same.
#[test]
fn what_was_buffered_since_a_worker_looked_is_heard() {
    for signals in 1..=3_u64 {
        let (mut world, terms) = (World::new(), terms());
        let fence = world.leased();
        let opened = inform(&mut world, &terms, pending(fence, 9, "b")).expect("it is opened");
        let known = Known::Stale(opened.record.expect("it is there"));
        for number in 1..=signals {
            let signal = deliver(9, &opened.outcome.token, number, "go");
            inform(&mut world, &terms, signal).expect("it is buffered");
        }
        let entropy = Entropy::from_u64(world.true_now);
        let suspend = suspend_on(fence, 1, any_at("b"), &[9]);
        let before = world.calls.len();
        let suspended = world.drive(Informed::new(suspend, known, terms, entropy));
        let outcome = suspended.expect("every request was answered").outcome;
        let first = SuspendOutcome::AlreadySatisfied {
            suspension_id: suspension_id(1),
            signals: vec![signal_id(1)],
        };
        assert_eq!(outcome, first, "after {signals} signals");
        assert_eq!(world.calls.len() - before, 3, "a conflict, the signals, and the commit");
    }
}

#[test]
fn a_rotation_that_conflicts_writes_nothing() {
    let (mut world, terms) = (World::new(), terms());
    with_waitpoint(&mut world, &terms);
    let before = world.calls.len();
    let conflict = rotate(&mut world, "k1", "00ff", 0).expect_err("another secret");
    assert!(matches!(conflict.rejection(), Some(Rejection::RotationConflict { .. })));
    assert_eq!(secret_calls(&world.calls[before..]), (1, 0));
}

#[test]
fn a_token_of_a_replaced_secret_is_good_for_its_grace() {
    let (mut world, terms) = (World::new(), terms());
    let (_, waitpoint) = with_waitpoint(&mut world, &terms);
    rotate(&mut world, "k2", "00ff", 5_000).expect("rotated");
    let signal = |number| deliver(9, &waitpoint.token, number, "x");
    let fresh = self::terms;
    inform(&mut world, &fresh(), signal(1)).expect("within its grace");
    world.true_now += 5_000;
    let refused = inform(&mut world, &fresh(), signal(2)).expect_err("its grace is over");
    assert!(is_invalid_token(&refused), "{refused:?}");
    assert_eq!(kids(&mut world), ["k2"]);
}

#[test]
fn a_worker_reads_the_signals_that_resumed_in_their_order() {
    let (mut world, terms) = (World::new(), terms());
    let (fence, waitpoint) = with_waitpoint(&mut world, &terms);
    let mut command = suspend_on(fence, 1, any_at("b"), &[9]);
    command.condition =
        crate::common::suspending::count(2, ff_core::condition::CountKind::DistinctSignals, &["b"]);
    inform(&mut world, &terms, command).expect("suspended");
    for (number, payload) in [(5, Some(Arc::from(*b"yes"))), (3, None)] {
        let signal = DeliverSignal { payload, ..deliver(9, &waitpoint.token, number, "x") };
        inform(&mut world, &terms, signal).expect("taken");
    }
    world.transact(grant(2)).expect("granted");
    let claimed = world.transact(take_resumed(2)).expect("claimed").outcome;
    let resumption = claimed.resumption.expect("it was resumed");
    let read = ReadSignals::new(&execution_id(), resumption, patience(10_000));
    let signals = world.drive(read).expect("they are read");
    let ids: Vec<_> = signals.iter().filter_map(|signal| signal.signal_id).collect();
    assert_eq!(ids, [signal_id(5), signal_id(3)]);
    assert_eq!(signals[0].payload.as_deref(), Some(&b"yes"[..]));
    assert_eq!(signals[1].payload, None);
}

#[test]
fn a_timeout_that_signals_is_read_as_a_signal() {
    let (mut world, terms) = (World::new(), terms());
    let fence = world.leased();
    let timeout = timeout(5_000, TimeoutBehaviour::AutoResumeWithTimeoutSignal);
    let command = Suspend { timeout, ..suspend(fence, 1, any_at("a")) };
    inform(&mut world, &terms, command).expect("suspended");
    world.true_now += 5_000;
    world.transact(on_due()).expect("resumed");
    let offered = world.transact(offer(2)).expect("claimed").outcome;
    let Offered::Claimed(claimed) = offered else { panic!("not claimed") };
    let resumption = claimed.resumption.expect("it was resumed");
    let read = ReadSignals::new(&execution_id(), resumption, patience(10_000));
    let signals = world.drive(read).expect("they are read");
    let [signal] = &signals[..] else { panic!("one signal: {signals:?}") };
    assert_eq!((signal.name.as_str(), signal.signal_id), ("timeout", None));
}

fn tick(world: &mut World) -> Vec<DueKind> {
    let num_flow_partitions = execution_id().partition().index + 1;
    let config = PartitionConfig { num_flow_partitions, ..PartitionConfig::default() };
    let tick = ApplyDue::new(config, terms(), Entropy::from_u64(world.true_now));
    world.drive(tick).expect("the store answers").applied
}

fn frames_left(world: &mut World, attempt: u32) -> usize {
    let (execution, attempt) = (execution_id().uuid(), AttemptIndex(attempt));
    let stream = StreamName::Frames { execution, attempt };
    let partition = execution_id().partition();
    let page = StreamPage { partition, stream, from: Cursor::Start, limit: 1_000 };
    match world.store.handle(Request::Stream(page), at(world.true_now)).body {
        ReplyBody::Stream(page) => page.entries.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn retention_leaves_nothing_of_signals_and_output() {
    let (mut world, terms) = (World::new(), terms());
    rotate(&mut world, "k1", "c0ffee", 0).expect("there is a secret");
    let before = world.store.account().without_streams();
    let submission = Submission::new().payload(b"payload").policy(|policy| {
        policy.retry.max_retries = 5;
        policy.retry.backoff = Backoff::Fixed { delay_ms: ms(0) };
        policy.retention_ms = ms(100_000);
    });
    world.transact(submission.0).expect("created");
    let mut number = 0;
    for attempt in 1..=4 {
        let offered = world.transact(offer(attempt)).expect("claimed").outcome;
        let fence = offered.claimed().expect("claimed").fence();
        for sequence in 1..=attempt {
            world.transact(append(fence, sequence)).expect("appended");
        }
        let opened = inform(&mut world, &terms, pending(fence, attempt, "p")).expect("opened");
        for _ in 0..if attempt == 4 { 100 } else { 50 } {
            number += 1;
            let payload = Some(Arc::from(*b"yes"));
            let token = &opened.outcome.token;
            let signal = DeliverSignal { payload, ..deliver(attempt, token, number, "x") };
            inform(&mut world, &terms, signal).expect("taken");
        }
        match attempt {
            4 => drop(world.transact(complete(fence, Some(b"result"))).expect("completed")),
            _ => drop(world.transact(fail(fence, "broken")).expect("failed")),
        }
    }
    assert_eq!((number, frames_left(&mut world, 3)), (250, 4));
    world.true_now += 100_000;
    // Replies are lost meanwhile.
    world.fates = [Fate::Answered, Fate::Answered, Fate::ReplyLost].repeat(5);
    for _ in 0..20 {
        tick(&mut world);
        world.true_now += 40_000;
    }
    assert_eq!(world.store.account().without_streams(), before);
    assert_eq!(world.store.records(execution_id().partition()).count(), 0);
    for attempt in 0..4 {
        assert_eq!(frames_left(&mut world, attempt), 0, "of attempt {attempt}");
    }
    assert_eq!(count(&mut world, EventKind::Removed), 1);
    let gone = inform(&mut world, &terms, deliver(1, &WaitpointToken::new("k1:00"), 1, "x"));
    assert!(is_invalid_token(&gone.expect_err("it is gone")));
}

#[test]
fn a_tick_takes_two_hundred_and_fifty_signals_in_one_go() {
    let (mut world, terms) = (World::new(), terms());
    let submission = Submission::new().policy(|policy| policy.retention_ms = ms(100_000));
    world.transact(submission.0).expect("created");
    let offered = world.transact(offer(1)).expect("claimed").outcome;
    let fence = offered.claimed().expect("claimed").fence();
    let opened = inform(&mut world, &terms, pending(fence, 9, "p")).expect("opened").outcome;
    for number in 0..250 {
        let signal = deliver(9, &opened.token, number, "x");
        inform(&mut world, &terms, signal).expect("taken");
    }
    world.transact(complete(fence, None)).expect("completed");
    world.true_now += 100_000;
    assert_eq!(tick(&mut world)[0], DueKind::Retention);
    let partition = execution_id().partition();
    let is_signal = |key: &RecordKey| matches!(key, RecordKey::Signal { .. });
    let left = world.store.records(partition).filter(|(key, _)| is_signal(key)).count();
    assert_eq!(left, 0);
}
