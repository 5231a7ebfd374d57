//! Operations that need more than a record: secrets, buffered signals, output, and the retention of
//! all of it. Against a store that loses replies and programs that race, the answer to a caller is
//! true (`docs/spec.md`, 5 and 6).

use std::sync::Arc;

use ff_core::condition::{CountKind, TimeoutBehaviour};
use ff_core::entropy::Entropy;
use ff_core::error::{EngineError, Rejection, RejectionKind};
use ff_core::execution::{
    AnyCommand, AnyOutcome, DeliverSignal, DueKind, EventKind, Offered, Purpose, SignalEffect,
    SignalOutcome, Suspend, SuspendOutcome,
};
use ff_core::id::{AttemptIndex, Nonce};
use ff_core::op::{ApplyDue, Batch, CarryCommand, Known, Patience, ReadSignals};
use ff_core::partition::{Partition, PartitionConfig};
use ff_core::policy::{Backoff, ExecutionPolicy};
use ff_core::score::Score;
use ff_core::store::{
    Commit, Cursor, IndexName, IndexWrite, RecordKey, ReplyBody, Request, Scan, ScanOrder, Scanned,
    StreamName, StreamPage, Unit,
};
use ff_core::token::{Rotation, WaitpointToken};
use ff_sim::scripted::{Fate, Scripted};

use super::{before_call, kid, kids, leased, rotate, with_waitpoint};
use crate::common::suspending::{
    any_at, append, count, deliver, named, pending, signal_id, suspend, suspend_on, suspension_id,
    timeout,
};
use crate::common::{
    Submission, complete, execution_id, fail, grant, ms, offer, on_due, take_resumed,
};

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

fn is_invalid_token(error: &EngineError) -> bool {
    matches!(error, EngineError::Validation { kind: RejectionKind::InvalidToken, .. })
}

#[test]
fn secrets_are_made_once_and_read_once_a_second() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let (fence, _) = with_waitpoint(&mut world, &context);
    assert_eq!(secret_calls(&world.script.calls), (2, 1), "looked for, made, and read");
    let before = world.script.calls.len();
    world.carry(&context, pending(fence, 10, "c")).expect("it is opened");
    assert_eq!(secret_calls(&world.script.calls[before..]), (0, 0), "known still");
    world.pass(1_000);
    world.carry(&context, pending(fence, 11, "d")).expect("it is opened");
    assert_eq!(secret_calls(&world.script.calls[before..]), (1, 0), "a second is over");
    assert_eq!(kids(&mut world), ["k1"]);
}

#[test]
fn a_command_without_tokens_reads_no_secrets() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let (fence, _) = with_waitpoint(&mut world, &context);
    let before = world.script.calls.len();
    world.carry(&Scripted::context(), complete(fence, None)).expect("it is completed");
    assert_eq!(secret_calls(&world.script.calls[before..]), (0, 0));
}

#[test]
fn secrets_are_not_read_again_because_the_clock_was_wrong() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let (fence, _) = with_waitpoint(&mut world, &context);
    world.script.learns = true;
    for (number, wrong_by) in [(10, 3_600_000), (11, -3_600_000)] {
        // By the host's estimate they are from the future, or too old.
        world.script.wrong_by = wrong_by;
        let before = world.script.calls.len();
        let name = format!("w{number}");
        world.carry(&context, pending(fence, number, &name)).expect("it is opened");
        assert_eq!(secret_calls(&world.script.calls[before..]), (0, 0), "by {wrong_by}");
    }
}

#[test]
fn the_first_secret_is_made_once_by_two_who_race() {
    for turn in [2, 3] {
        let (mut world, context) = (Scripted::new(), Scripted::context());
        let fence = leased(&mut world);
        // Another program makes the first secret before this one's is written, or after.
        world.script.intervene = before_call(turn, move |other| {
            let open = pending(fence, 20, "theirs");
            other.carry(&Scripted::context(), open).expect("it is opened");
        });
        let own = world.carry(&context, pending(fence, 10, "own")).expect("it is opened");
        world.script.intervene = None;
        assert_eq!(kids(&mut world), ["k1"]);
        let theirs = world.carry(&context, pending(fence, 20, "theirs")).expect("a repeat");
        for (number, token) in [(10, own.outcome.token), (20, theirs.outcome.token)] {
            let taken = world.carry(&context, deliver(number, &token, number, "x"));
            let buffered = SignalOutcome::taken(signal_id(number), SignalEffect::Buffered);
            assert_eq!(taken.expect("taken").outcome, buffered);
        }
    }
}

#[test]
fn a_lost_reply_to_the_first_secret_makes_no_second_one() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let fence = leased(&mut world);
    world.script.fates = [Fate::Answered, Fate::ReplyLost].into();
    let opened = world.carry(&context, pending(fence, 9, "b")).expect("it is opened");
    assert_eq!(secret_calls(&world.script.calls).1, 1);
    let taken = world.carry(&Scripted::context(), deliver(9, &opened.outcome.token, 1, "x"));
    assert!(taken.is_ok(), "signed with what is kept: {taken:?}");
}

#[test]
fn a_kid_that_is_not_known_is_looked_for_once() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let (fence, _) = with_waitpoint(&mut world, &context);
    // Another program rotates, and hands a token out, within the second.
    assert_eq!(rotate(&mut world, "k2", "00ff", 60_000).expect("rotated"), Rotation::Rotated);
    let fresh = Scripted::context();
    let opened = world.carry(&fresh, pending(fence, 10, "c")).expect("it is opened");
    let token = opened.outcome.token;
    assert_eq!(token.kid(), Some(kid("k2")));
    let before = world.script.calls.len();
    let taken = world.carry(&context, deliver(10, &token, 1, "x"));
    assert!(taken.is_ok(), "{taken:?}");
    assert_eq!(secret_calls(&world.script.calls[before..]), (1, 0));

    let before = world.script.calls.len();
    let forged = WaitpointToken::new(token.expose().replace("k2:", "k9:"));
    let refused = world.carry(&context, deliver(10, &forged, 2, "x")).expect_err("forged");
    assert!(is_invalid_token(&refused), "{refused:?}");
    assert_eq!(secret_calls(&world.script.calls[before..]), (1, 0));
}

#[test]
fn three_thousand_buffered_signals_are_heard() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let (fence, waitpoint) = with_waitpoint(&mut world, &context);
    for number in 0..3_000 {
        let said = if number == 2_999 { "last" } else { "not-yet" };
        let signal = deliver(9, &waitpoint.token, number, said);
        world.carry(&context, signal).expect("it is taken");
    }
    let before = world.script.calls.len();
    let command = suspend_on(fence, 1, named("b", "last"), &[9]);
    let done = world.carry(&context, command).expect("it is answered");
    let satisfied = SuspendOutcome::AlreadySatisfied {
        suspension_id: suspension_id(1),
        signals: vec![signal_id(2_999)],
    };
    assert_eq!(done.outcome, satisfied);
    let scans = world.script.calls[before..].iter().filter(|call| {
        matches!(call, Request::Scan(scan) if matches!(scan.index, IndexName::Signals { .. }))
    });
    assert_eq!(scans.count(), 3, "as few pages as there can be");
}

#[test]
fn a_signal_that_comes_while_others_are_heard_is_not_missed() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let (fence, waitpoint) = with_waitpoint(&mut world, &context);
    world.carry(&context, deliver(9, &waitpoint.token, 1, "first")).expect("taken");
    let token = waitpoint.token;
    // Read, scan, and then the commit that would suspend.
    world.script.intervene = before_call(3, move |other| {
        other.carry(&Scripted::context(), deliver(9, &token, 2, "last")).expect("taken");
    });
    let command = suspend_on(fence, 1, named("b", "last"), &[9]);
    let done = world.carry(&context, command).expect("it is answered");
    assert!(matches!(done.outcome, SuspendOutcome::AlreadySatisfied { .. }), "{done:?}");
}

/// In a batch, the secrets and signals that a command needs are read by separate calls.
#[test]
fn a_batch_carries_commands_that_need_secrets_and_signals() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let (fence, waitpoint) = with_waitpoint(&mut world, &context);
    world.carry(&context, deliver(9, &waitpoint.token, 1, "go")).expect("taken");
    let commands: [AnyCommand; 3] = [
        pending(fence, 10, "c").into(),
        pending(fence, 11, "d").into(),
        suspend_on(fence, 1, named("b", "go"), &[9]).into(),
    ];
    let carry = |command| CarryCommand::new(command, Scripted::patience(10_000));
    let operations = commands.into_iter().map(carry).collect();
    let results = world.drive(Batch::new(execution_id().partition(), operations));
    let outcomes: Vec<_> =
        results.into_iter().map(|result| result.expect("a success").outcome).collect();
    let [
        AnyOutcome::CreatePendingWaitpoint(_),
        AnyOutcome::CreatePendingWaitpoint(_),
        AnyOutcome::Suspend(SuspendOutcome::AlreadySatisfied { .. }),
    ] = &outcomes[..]
    else {
        panic!("{outcomes:?}")
    };
    assert_eq!(world.count(EventKind::WaitpointCreated), 3);
}

/// The two ways in which a reply is lost: immediately, and so late that the secrets are too old.
const PAUSES: [u64; 2] = [0, 2_000];

#[test]
fn a_lost_reply_to_a_suspension_is_recognised_with_its_tokens() {
    for pause in PAUSES {
        let (mut world, context) = (Scripted::new(), Scripted::context());
        let (fence, _) = with_waitpoint(&mut world, &context);
        (world.script.fates, world.script.pause) =
            ([Fate::Answered, Fate::ReplyLost].into(), pause);
        let done = world.carry(&context, suspend(fence, 1, any_at("a"))).expect("suspended");
        assert!(done.repeat, "after {pause} ms");
        let SuspendOutcome::Suspended { waitpoints, .. } = done.outcome else {
            panic!("not suspended")
        };
        assert_eq!(world.count(EventKind::Suspended), 1);
        let signal = deliver(100, &waitpoints[0].token, 1, "x");
        let taken = world.carry(&context, signal).expect("the token is good");
        assert_eq!(taken.outcome, SignalOutcome::taken(signal_id(1), SignalEffect::Resumed));
    }
}

#[test]
fn a_lost_reply_to_a_waitpoint_is_recognised_with_its_token() {
    for pause in PAUSES {
        let (mut world, context) = (Scripted::new(), Scripted::context());
        let (fence, _) = with_waitpoint(&mut world, &context);
        (world.script.fates, world.script.pause) =
            ([Fate::Answered, Fate::ReplyLost].into(), pause);
        let done = world.carry(&context, pending(fence, 10, "c")).expect("opened");
        assert!(done.repeat, "after {pause} ms");
        assert_eq!(world.count(EventKind::WaitpointCreated), 2);
        let signal = deliver(10, &done.outcome.token, 1, "x");
        world.carry(&context, signal).expect("the token is good");
    }
}

#[test]
fn a_lost_reply_to_a_signal_is_recognised_as_ones_own() {
    for pause in PAUSES {
        for fate in [Fate::ReplyLost, Fate::SentTwice, Fate::Late] {
            let (mut world, context) = (Scripted::new(), Scripted::context());
            let (fence, waitpoint) = with_waitpoint(&mut world, &context);
            let command = suspend_on(fence, 1, any_at("b"), &[9]);
            world.carry(&context, command).expect("suspended");
            (world.script.fates, world.script.pause) = ([Fate::Answered, fate].into(), pause);
            let signal = deliver(9, &waitpoint.token, 1, "x");
            let done = world.carry(&context, signal.clone()).expect("taken");
            let resumed = SignalOutcome::taken(signal_id(1), SignalEffect::Resumed);
            assert_eq!(done.outcome, resumed, "{fate:?}, {pause} ms");
            assert_eq!(world.count(EventKind::SignalTaken), 1);
            let other = DeliverSignal { creator: Nonce(77), ..signal };
            let done = world.carry(&context, other).expect("a success");
            let existing_signal_id = signal_id(1);
            assert_eq!(done.outcome, SignalOutcome::Duplicate { existing_signal_id });
        }
    }
}

#[test]
fn a_rotation_is_made_once_whatever_is_lost() {
    use Fate::{Late, NotSent, ReplyLost, SentTwice, SentTwiceThenRefused};
    for fate in [ReplyLost, SentTwice, SentTwiceThenRefused, NotSent, Late] {
        let (mut world, context) = (Scripted::new(), Scripted::context());
        with_waitpoint(&mut world, &context);
        world.script.fates = [Fate::Answered, fate].into();
        let rotated = rotate(&mut world, "k2", "00ff", 60_000).expect("rotated");
        assert_eq!(rotated, Rotation::Rotated, "{fate:?}");
        assert_eq!(rotate(&mut world, "k2", "00FF", 5).expect("again"), Rotation::Noop);
        assert_eq!(kids(&mut world), ["k1", "k2"], "{fate:?}");
    }
}

/// A worker that knows its record from before the first signal suspends all the same.
#[test]
fn what_was_buffered_since_a_worker_looked_is_heard() {
    for signals in 1..=3_u64 {
        let (mut world, context) = (Scripted::new(), Scripted::context());
        let fence = leased(&mut world);
        let opened = world.carry(&context, pending(fence, 9, "b")).expect("it is opened");
        let known = Known::Stale(opened.record.expect("it is there"));
        for number in 1..=signals {
            let signal = deliver(9, &opened.outcome.token, number, "go");
            world.carry(&context, signal).expect("it is buffered");
        }
        let suspend = suspend_on(fence, 1, any_at("b"), &[9]);
        let patience = Patience::new(context, Entropy::from_u64(world.now().get()));
        let before = world.script.calls.len();
        let suspended = world.run(CarryCommand::knowing(suspend, known, patience));
        let outcome = suspended.expect("every request was answered").outcome;
        let first = SuspendOutcome::AlreadySatisfied {
            suspension_id: suspension_id(1),
            signals: vec![signal_id(1)],
        };
        assert_eq!(outcome, first, "after {signals} signals");
        assert_eq!(world.script.calls.len() - before, 3, "a conflict, the signals, and the commit");
    }
}

#[test]
fn a_rotation_that_conflicts_writes_nothing() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    with_waitpoint(&mut world, &context);
    let before = world.script.calls.len();
    let conflict = rotate(&mut world, "k1", "00ff", 0).expect_err("another secret");
    assert!(matches!(conflict.rejection(), Some(Rejection::RotationConflict { .. })));
    assert_eq!(secret_calls(&world.script.calls[before..]), (1, 0));
}

#[test]
fn a_token_of_a_replaced_secret_is_good_for_its_grace() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let (_, waitpoint) = with_waitpoint(&mut world, &context);
    rotate(&mut world, "k2", "00ff", 5_000).expect("rotated");
    let signal = |number| deliver(9, &waitpoint.token, number, "x");
    let fresh = Scripted::context;
    world.carry(&fresh(), signal(1)).expect("within its grace");
    world.pass(5_000);
    let refused = world.carry(&fresh(), signal(2)).expect_err("its grace is over");
    assert!(is_invalid_token(&refused), "{refused:?}");
    assert_eq!(kids(&mut world), ["k2"]);
}

#[test]
fn a_worker_reads_the_signals_that_resumed_in_their_order() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let (fence, waitpoint) = with_waitpoint(&mut world, &context);
    let mut command = suspend_on(fence, 1, any_at("b"), &[9]);
    command.condition = count(2, CountKind::DistinctSignals, &["b"]);
    world.carry(&context, command).expect("suspended");
    for (number, payload) in [(5, Some(Arc::from(*b"yes"))), (3, None)] {
        let signal = DeliverSignal { payload, ..deliver(9, &waitpoint.token, number, "x") };
        world.carry(&context, signal).expect("taken");
    }
    world.transact(grant(2)).expect("granted");
    let claimed = world.transact(take_resumed(2)).expect("claimed").outcome;
    let resumption = claimed.resumption.expect("it was resumed");
    let read = ReadSignals::new(&execution_id(), resumption, Scripted::patience(10_000));
    let signals = world.drive(read).expect("they are read");
    let ids: Vec<_> = signals.iter().filter_map(|signal| signal.signal_id).collect();
    assert_eq!(ids, [signal_id(5), signal_id(3)]);
    assert_eq!(signals[0].payload.as_deref(), Some(&b"yes"[..]));
    assert_eq!(signals[1].payload, None);
}

#[test]
fn a_timeout_that_signals_is_read_as_a_signal() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let fence = leased(&mut world);
    let timeout = timeout(5_000, TimeoutBehaviour::AutoResumeWithTimeoutSignal);
    let command = Suspend { timeout, ..suspend(fence, 1, any_at("a")) };
    world.carry(&context, command).expect("suspended");
    world.pass(5_000);
    world.transact(on_due()).expect("resumed");
    let offered = world.transact(offer(2)).expect("claimed").outcome;
    let Offered::Claimed(claimed) = offered else { panic!("not claimed") };
    let resumption = claimed.resumption.expect("it was resumed");
    let read = ReadSignals::new(&execution_id(), resumption, Scripted::patience(10_000));
    let signals = world.drive(read).expect("they are read");
    let [signal] = &signals[..] else { panic!("one signal: {signals:?}") };
    assert_eq!((signal.name.as_str(), signal.signal_id), ("timeout", None));
}

fn tick(world: &mut Scripted) -> Vec<DueKind> {
    let num_flow_partitions = execution_id().partition().index + 1;
    let config = PartitionConfig { num_flow_partitions, ..PartitionConfig::default() };
    let tick = ApplyDue::new(config, Scripted::context(), Entropy::from_u64(world.now().get()));
    world.drive(tick).expect("the store answers").applied
}

fn frames_left(world: &mut Scripted, attempt: u32) -> usize {
    let (execution, attempt) = (execution_id().uuid(), AttemptIndex(attempt));
    let stream = StreamName::Frames { execution, attempt };
    let partition = execution_id().partition();
    let page = StreamPage { partition, stream, from: Cursor::Start, limit: 1_000 };
    let now = world.now();
    match world.store().handle(Request::Stream(page), now).body {
        ReplyBody::Stream(page) => page.entries.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn retention_leaves_nothing_of_signals_and_output() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    rotate(&mut world, "k1", "c0ffee", 0).expect("there is a secret");
    let before = world.store().account().without_streams();
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
        let opened = world.carry(&context, pending(fence, attempt, "p")).expect("opened");
        for _ in 0..if attempt == 4 { 100 } else { 50 } {
            number += 1;
            let payload = Some(Arc::from(*b"yes"));
            let token = &opened.outcome.token;
            let signal = DeliverSignal { payload, ..deliver(attempt, token, number, "x") };
            world.carry(&context, signal).expect("taken");
        }
        match attempt {
            4 => drop(world.transact(complete(fence, Some(b"result"))).expect("completed")),
            _ => drop(world.transact(fail(fence, "broken")).expect("failed")),
        }
    }
    assert_eq!((number, frames_left(&mut world, 3)), (250, 4));
    world.pass(100_000);
    // Replies are lost meanwhile.
    world.script.fates = [Fate::Answered, Fate::Answered, Fate::ReplyLost].repeat(5).into();
    for _ in 0..20 {
        tick(&mut world);
        world.pass(40_000);
    }
    assert_eq!(world.store().account().without_streams(), before);
    assert_eq!(world.store().records(execution_id().partition()).count(), 0);
    for attempt in 0..4 {
        assert_eq!(frames_left(&mut world, attempt), 0, "of attempt {attempt}");
    }
    assert_eq!(world.count(EventKind::Removed), 1);
    let gone = world.carry(&context, deliver(1, &WaitpointToken::new("k1:00"), 1, "x"));
    assert!(is_invalid_token(&gone.expect_err("it is gone")));
}

#[test]
fn a_tick_takes_two_hundred_and_fifty_signals_in_one_go() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let submission = Submission::new().policy(|policy| policy.retention_ms = ms(100_000));
    world.transact(submission.0).expect("created");
    let offered = world.transact(offer(1)).expect("claimed").outcome;
    let fence = offered.claimed().expect("claimed").fence();
    let opened = world.carry(&context, pending(fence, 9, "p")).expect("opened").outcome;
    for number in 0..250 {
        let signal = deliver(9, &opened.token, number, "x");
        world.carry(&context, signal).expect("taken");
    }
    world.transact(complete(fence, None)).expect("completed");
    world.pass(100_000);
    assert_eq!(tick(&mut world)[0], DueKind::Retention);
    let partition = execution_id().partition();
    let is_signal = |key: &RecordKey| matches!(key, RecordKey::Signal { .. });
    let left = world.store().records(partition).filter(|(key, _)| is_signal(key)).count();
    assert_eq!(left, 0);
}

/// A program that read the secrets before they were rotated back and forth accepts a token that was
/// signed since.
#[test]
fn a_token_of_a_secret_that_signs_again_is_good_immediately() {
    let mut world = Scripted::new();
    let fence = leased(&mut world);
    rotate(&mut world, "a", "0a", 1).expect("rotated");
    let first = world.transact(pending(fence, 9, "b")).expect("opened").outcome;
    rotate(&mut world, "b", "0a", 10).expect("rotated");
    world.pass(20);
    let program = Scripted::context();
    let refused = world.carry(&program, deliver(9, &first.token, 1, "x"));
    assert!(is_invalid_token(&refused.expect_err("its grace is over")));
    rotate(&mut world, "a", "0a", 10_000).expect("rotated");
    let second = world.transact(pending(fence, 10, "c")).expect("opened").outcome;
    let taken = world.carry(&program, deliver(10, &second.token, 2, "x"));
    assert!(taken.is_ok(), "{taken:?}");
}

/// An error inside a function can leave the entry of a signal that was never taken: it is removed
/// with its execution.
#[test]
fn an_entry_without_its_signal_goes_with_its_execution() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let (fence, _) = with_waitpoint(&mut world, &context);
    world.transact(complete(fence, None)).expect("completed");
    let index = IndexName::Signals { execution: execution_id().uuid() };
    let (member, score) = (signal_id(9).uuid(), Some(Score::new(0)));
    let left = IndexWrite { index: index.clone(), member, score };
    let unit = Unit { index: vec![left], ..Unit::new(Purpose::Finish, 1) };
    let (partition, units) = (execution_id().partition(), vec![unit]);
    world.spoil(Request::Commit(Commit { partition, units }));
    world.pass(ExecutionPolicy::default().retention_ms.get() + 60_000);
    for _ in 0..8 {
        tick(&mut world);
        world.pass(10_000);
    }
    let (scan, now) = (
        Scan {
            partition,
            index,
            order: ScanOrder::Ascending,
            after: None,
            limit: 10,
            bytes: 1_000,
        },
        world.now(),
    );
    let reply = world.store().handle(Request::Scan(scan), now);
    assert_eq!(reply.body, ReplyBody::Scan(Scanned::default()));
}

/// Secrets that were just read are recent, whatever the host's estimate of the store's clock is and
/// however far the clocks of two nodes are apart.
#[test]
fn a_wrong_clock_does_not_make_secrets_old() {
    let apart = [(-10_000, 0), (0, 0), (10_000, 0), (0, -5_000), (0, 5_000), (9_000, 5_000)];
    for (wrong_by, ahead) in apart {
        let (mut world, context) = (Scripted::new(), Scripted::context());
        let fence = leased(&mut world);
        (world.script.wrong_by, world.script.secrets_ahead) = (wrong_by, ahead);
        for (number, key) in [(9, "b"), (10, "c")] {
            let opened = world.carry(&context, pending(fence, number, key));
            assert!(opened.is_ok(), "{wrong_by} ms, {ahead} ms: {opened:?}");
        }
    }
}
