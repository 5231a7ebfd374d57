//! An operation sends nothing after its deadline, and then reports whether it may have been applied
//! (`docs/spec.md`, Stores).

use ff_core::error::{Applied, EngineError};
use ff_core::execution::{Complete, DeliverSignal, EventKind, SignalOutcome};
use ff_core::id::Nonce;
use ff_core::op::{ActivateFormat, CarryCommand, EnsureMeta, RotateSecret};
use ff_core::partition::PartitionConfig;
use ff_core::store::StoreMeta;
use ff_core::token::Secret;
use ff_sim::scripted::{Fate, Scripted};

use super::{change_priority, kid, leased, with_waitpoint};
use crate::common::suspending::{deliver, signal_id};
use crate::common::{Submission, complete, grant, ms};

/// A world in which another caller changes the record before each call of the host.
fn contended(latency: u64) -> (Scripted, Complete) {
    let mut world = Scripted::new();
    let fence = leased(&mut world);
    world.script.latency = latency;
    let mut number = 0;
    world.script.intervene = Some(Box::new(move |world| {
        number += 1;
        change_priority(world, number);
    }));
    (world, complete(fence, None))
}

#[test]
fn conflicts_end_at_the_deadline() {
    for deadline in [30, 100, 200, 300] {
        let (mut world, complete) = contended(20);
        let started = world.now();
        let error = world.run(CarryCommand::new(complete, Scripted::patience(deadline)));
        let error = error.expect_err("it never wins");
        assert!(matches!(error, EngineError::Timeout { applied: Applied::No, .. }), "{error:?}");
        // The last call was sent before the deadline.
        let took = world.now().since(started).get();
        assert!(took < deadline + 20, "it took {took} ms of {deadline}");
    }
}

#[test]
fn a_commit_that_the_store_refuses_for_time_at_the_deadline_is_the_last() {
    let mut world = Scripted::new();
    world.transact(Submission::new().0).expect("it is created");
    let before = world.script.calls.len();
    // The commit's window closes at the deadline, and the commit arrives after it.
    world.script.latency = 600;
    let error = world.run(CarryCommand::new(grant(1), Scripted::patience(1_000)));
    let error = error.expect_err("it is too late");
    assert!(matches!(error, EngineError::Timeout { applied: Applied::No, .. }), "{error:?}");
    assert_eq!(world.script.calls.len() - before, 2, "a read and a commit");
}

#[test]
fn nothing_is_sent_after_a_reply_that_came_too_late() {
    let mut world = Scripted::new();
    let fence = leased(&mut world);
    world.script.latency = 2_000;
    let before = world.script.calls.len();
    let operation = CarryCommand::new(complete(fence, None), Scripted::patience(1_000));
    let error = world.run(operation).expect_err("it is too late");
    assert!(matches!(error, EngineError::Timeout { applied: Applied::No, .. }), "{error:?}");
    let secret = Secret::from_hex("00ff").expect("a secret");
    let patience = Scripted::patience(1_000);
    let error = world.drive(RotateSecret::new(kid("k2"), secret, ms(5), patience));
    assert!(matches!(error, Err(EngineError::Timeout { applied: Applied::No, .. })), "{error:?}");
    let meta = StoreMeta { partitions: PartitionConfig::default(), format: 1, counts: true };
    let error = world.drive(EnsureMeta::new(meta, Scripted::patience(1_000)));
    assert!(matches!(error, Err(EngineError::Timeout { .. })), "{error:?}");
    assert_eq!(world.script.calls.len() - before, 3, "one read each");
    let error = world.drive(ActivateFormat::new(1, Scripted::patience(0)));
    assert!(matches!(error, Err(EngineError::Timeout { .. })), "{error:?}");
    assert_eq!(world.script.calls.len() - before, 3, "no time, no call");
}

#[test]
fn an_operation_that_gives_up_after_a_lost_reply_may_be_applied() {
    for deadline in [300, 10_000] {
        let (mut world, complete) = contended(1);
        world.script.fates = [Fate::Answered, Fate::Late].into();
        let error = world.run(CarryCommand::new(complete, Scripted::patience(deadline)));
        let error = error.expect_err("it never wins");
        assert!(error.may_be_applied(), "{error:?}");
    }
}

/// A sender that gives up after conflicts reports the copy of its signal that another caller has
/// sent meanwhile, at whichever call that happens, also if the secrets that it has read are too old
/// by then.
#[test]
fn a_sender_that_gives_up_reports_the_copy_that_was_taken() {
    for (turn, later) in (1..40).flat_map(|turn| [(turn, 0), (turn, 5_000)]) {
        let (mut world, context) = (Scripted::new(), Scripted::context());
        let (_, waitpoint) = with_waitpoint(&mut world, &context);
        let signal = deliver(9, &waitpoint.token, 1, "go");
        let copy = DeliverSignal { creator: Nonce(77), ..signal.clone() };
        let mut number = 0;
        world.script.intervene = Some(Box::new(move |world| {
            number += 1;
            change_priority(world, number);
            if number == turn {
                world.carry(&Scripted::context(), copy.clone()).expect("it is taken");
                world.set(world.host().store.get() + later);
            }
        }));
        let result = world.carry(&context, signal).map(|committed| committed.outcome);
        let existing_signal_id = signal_id(1);
        match (world.count(EventKind::SignalTaken), result) {
            (1, Ok(outcome)) => {
                assert_eq!(outcome, SignalOutcome::Duplicate { existing_signal_id })
            }
            (0, Err(EngineError::Contention { tries: 16, .. })) => assert!(turn > 16),
            (taken, other) => panic!("{taken} signals before call {turn}, and {other:?}"),
        }
    }
}
