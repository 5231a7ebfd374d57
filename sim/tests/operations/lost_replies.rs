//! Calls whose reply is lost, and what others do before they are made again (`docs/spec.md`, 5).

use ff_core::execution::SuspendOutcome;
use ff_core::token::Rotation;
use ff_sim::scripted::{Fate, Scripted};

use super::{before_call, kids, rotate, with_waitpoint};
use crate::common::suspending::{any_at, deliver, suspend_on};

/// A suspension that was satisfied immediately and whose reply was lost is not carried out again
/// once another one followed it, which the record remembers in its place.
#[test]
fn a_suspension_that_was_forgotten_is_not_carried_out_again() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let (fence, waitpoint) = with_waitpoint(&mut world, &context);
    world.carry(&context, deliver(9, &waitpoint.token, 1, "go")).expect("it is taken");
    let again = move |number| {
        let mut command = suspend_on(fence, number, any_at("b"), &[9]);
        (command.policy.close_waitpoints, command.policy.consume_signals) = (false, false);
        command
    };
    // It reads the record and the signals, and commits.
    world.script.fates = [Fate::Answered, Fate::Answered, Fate::ReplyLost].into();
    world.script.intervene = before_call(4, move |other| {
        let second = other.carry(&Scripted::context(), again(2)).expect("satisfied too").outcome;
        assert!(matches!(second, SuspendOutcome::AlreadySatisfied { .. }), "{second:?}");
    });
    let error = world.carry(&context, again(1)).expect_err("the record does not show it");
    assert_eq!(error.http_status(), 504, "{error}");
}

/// A rotation whose reply was lost does not take the place of a later one.
#[test]
fn a_rotation_whose_reply_was_lost_is_not_made_again_after_another() {
    let mut world = Scripted::new();
    rotate(&mut world, "k1", "00aa", 60_000).expect("rotated");
    for (to, hex, known, after) in [("k2", "00bb", false, "k3"), ("k1", "00aa", true, "k4")] {
        world.script.fates = [Fate::Answered, Fate::ReplyLost].into();
        world.script.intervene = before_call(3, move |other| {
            rotate(other, after, "00cc", 60_000).expect("rotated since");
        });
        match (rotate(&mut world, to, hex, 60_000), known) {
            (Ok(Rotation::Rotated), false) => {}
            (Err(error), true) => assert_eq!(error.http_status(), 504, "{error}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(kids(&mut world).last().map(String::as_str), Some(after));
    }
}

/// A rotation that may have been applied does not bring back a secret that was taken away since.
#[test]
fn a_rotation_whose_reply_was_lost_does_not_bring_back_what_was_taken_away() {
    let mut world = Scripted::new();
    rotate(&mut world, "k1", "00aa", 60_000).expect("rotated");
    world.script.fates = [Fate::Answered, Fate::ReplyLost].into();
    // Without any grace: it is known to have leaked.
    world.script.intervene = before_call(3, |other| {
        rotate(other, "k3", "00cc", 0).expect("rotated since");
    });
    let error = rotate(&mut world, "k2", "00bb", 60_000).expect_err("the store does not show it");
    assert_eq!(error.http_status(), 504, "{error}");
    assert_eq!(kids(&mut world), ["k1", "k3"]);
}

/// A rotation that another one precedes is made on top of it, and is not in doubt.
#[test]
fn a_rotation_that_met_another_one_is_made_after_it() {
    let mut world = Scripted::new();
    rotate(&mut world, "k1", "00aa", 60_000).expect("rotated");
    rotate(&mut world, "k2", "00bb", 60_000).expect("rotated");
    world.script.intervene = before_call(2, |other| {
        rotate(other, "k3", "00cc", 60_000).expect("rotated before");
    });
    assert_eq!(rotate(&mut world, "k1", "00aa", 60_000).expect("it is made"), Rotation::Rotated);
    assert_eq!(kids(&mut world).last().map(String::as_str), Some("k1"));
}
