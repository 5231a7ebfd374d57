//! Calls whose reply is lost, and what others do before they are made again (`docs/spec.md`, 5).

use crate::common::ms;
use crate::common::suspending::{any_at, deliver, pending, suspend_on};
use crate::common::world::{World, inform, patience, terms};
use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::execution::{Decide, Fence, IssuedWaitpoint, Suspend, SuspendOutcome};
use ff_core::op::{
    Event, Informed, Known, ListSecrets, Operation, OperationContext, Patience, RotateSecret, Step,
};
use ff_core::store::{Failure, Request};
use ff_core::token::{Kid, Rotation, Secret};

fn informed<C: Decide>(world: &World, terms: &OperationContext, command: C) -> Informed<C> {
    Informed::new(command, Known::Nothing, terms.clone(), Entropy::from_u64(world.true_now))
}

/// An execution that is leased, and waitpoint 9 open in it, with a signal.
fn with_signal(world: &mut World, terms: &OperationContext) -> (Fence, IssuedWaitpoint) {
    let fence = world.leased();
    let opened = inform(world, terms, pending(fence, 9, "b")).expect("it is opened").outcome;
    inform(world, terms, deliver(9, &opened.token, 1, "go")).expect("it is taken");
    (fence, opened)
}

/// A suspension that was satisfied at once and whose reply was lost is not carried out again once
/// another one came after it, which the record remembers in its place.
#[test]
fn a_suspension_that_was_forgotten_is_not_carried_out_again() {
    let terms = terms();
    let mut world = World::new();
    let (fence, _) = with_signal(&mut world, &terms);
    let again = |number| {
        let mut command: Suspend = suspend_on(fence, number, any_at("b"), &[9]);
        (command.policy.close_waitpoints, command.policy.consume_signals) = (false, false);
        command
    };
    let mut lost = informed(&world, &terms, again(1));
    let mut step = lost.resume(Event::Start, world.now());
    let commit = loop {
        match step {
            Step::Send(request @ Request::Commit(_)) => break request,
            Step::Send(request) => {
                let reply = world.call(request).expect("a reply");
                step = lost.resume(Event::Reply(reply), world.now());
            }
            other => panic!("it goes on to its commit, not {other:?}"),
        }
    };
    world.call(commit).expect("a reply");
    let failure = Failure::MaybeApplied("the reply was lost".to_owned());
    let Step::Wait(_) = lost.resume(Event::Failure(failure), world.now()) else {
        panic!("it waits")
    };
    let second = inform(&mut world, &terms, again(2)).expect("satisfied too").outcome;
    assert!(matches!(second, SuspendOutcome::AlreadySatisfied { .. }), "{second:?}");
    let mut step = lost.resume(Event::Wake, world.now());
    let error = loop {
        match step {
            Step::Send(Request::Commit(commit)) => panic!("it is carried out again: {commit:?}"),
            Step::Send(request) => {
                let reply = world.call(request).expect("a reply");
                step = lost.resume(Event::Reply(reply), world.now());
            }
            Step::Done(done) => break done.expect_err("nobody can say"),
            Step::Wait(_) => step = lost.resume(Event::Wake, world.now()),
        }
    };
    assert_eq!(error.http_status(), 504, "{error}");
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

/// A rotation that is applied, and whose reply was lost.
fn lost_rotation(world: &mut World, to: &str, hex: &str) -> RotateSecret {
    let mut lost = RotateSecret::new(kid(to), secret(hex), ms(60_000), patience(10_000));
    let Step::Send(read) = lost.resume(Event::Start, world.now()) else { panic!("it reads first") };
    let found = world.call(read).expect("a reply");
    let Step::Send(commit) = lost.resume(Event::Reply(found), world.now()) else {
        panic!("it writes")
    };
    world.call(commit).expect("a reply");
    let failure = Failure::MaybeApplied("the reply was lost".to_owned());
    let Step::Wait(_) = lost.resume(Event::Failure(failure), world.now()) else {
        panic!("it waits")
    };
    lost
}

/// A rotation whose reply was lost does not take the place of one that came after it.
#[test]
fn a_rotation_whose_reply_was_lost_is_not_made_again_after_another() {
    let mut world = World::new();
    rotate(&mut world, "k1", "00aa", 60_000).expect("rotated");
    for (to, known) in [("k2", false), ("k1", true)] {
        let hex = if known { "00aa" } else { "00bb" };
        let mut lost = lost_rotation(&mut world, to, hex);
        let after = if known { "k4" } else { "k3" };
        rotate(&mut world, after, "00cc", 60_000).expect("rotated since");
        let Step::Send(read) = lost.resume(Event::Wake, world.now()) else {
            panic!("it reads again")
        };
        let found = world.call(read).expect("a reply");
        match (lost.resume(Event::Reply(found), world.now()), known) {
            (Step::Done(Ok(Rotation::Rotated)), false) => {}
            (Step::Done(Err(error)), true) => assert_eq!(error.http_status(), 504, "{error}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(kids(&mut world).last().map(String::as_str), Some(after));
    }
}

/// A rotation that may have been applied does not bring back a secret that was taken away since.
#[test]
fn a_rotation_whose_reply_was_lost_does_not_bring_back_what_was_taken_away() {
    let mut world = World::new();
    rotate(&mut world, "k1", "00aa", 60_000).expect("rotated");
    let mut lost = lost_rotation(&mut world, "k2", "00bb");
    // Without any grace: it is known to have leaked.
    rotate(&mut world, "k3", "00cc", 0).expect("rotated since");
    let Step::Send(read) = lost.resume(Event::Wake, world.now()) else { panic!("it reads again") };
    let found = world.call(read).expect("a reply");
    let Step::Done(Err(error)) = lost.resume(Event::Reply(found), world.now()) else {
        panic!("nobody can say whether it was made")
    };
    assert_eq!(error.http_status(), 504, "{error}");
    assert_eq!(kids(&mut world), ["k1", "k3"]);
}

/// A rotation that another one came before is made on top of it, and nobody is left in doubt.
#[test]
fn a_rotation_that_met_another_one_is_made_after_it() {
    let mut world = World::new();
    rotate(&mut world, "k1", "00aa", 60_000).expect("rotated");
    rotate(&mut world, "k2", "00bb", 60_000).expect("rotated");
    let own = Patience::new(self::terms(), Entropy::from_u64(7));
    let mut back = RotateSecret::new(kid("k1"), secret("00aa"), ms(60_000), own);
    let Step::Send(read) = back.resume(Event::Start, world.now()) else { panic!("it reads first") };
    let found = world.call(read).expect("a reply");
    let Step::Send(commit) = back.resume(Event::Reply(found), world.now()) else {
        panic!("it writes")
    };
    rotate(&mut world, "k3", "00cc", 60_000).expect("rotated before");
    let refused = world.call(commit).expect("a reply");
    let Step::Wait(_) = back.resume(Event::Reply(refused), world.now()) else { panic!("it waits") };
    let mut step = back.resume(Event::Wake, world.now());
    let done = loop {
        match step {
            Step::Send(request) => {
                let reply = world.call(request).expect("a reply");
                step = back.resume(Event::Reply(reply), world.now());
            }
            Step::Done(done) => break done,
            Step::Wait(_) => step = back.resume(Event::Wake, world.now()),
        }
    };
    assert_eq!(done.expect("it is made"), Rotation::Rotated);
    assert_eq!(kids(&mut world).last().map(String::as_str), Some("k1"));
}
