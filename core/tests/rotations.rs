//! Rotations of secrets whose replies are lost, among others (`docs/spec.md`, 5).

mod common;

use common::ms;
use common::world::{World, patience};
use ff_core::error::EngineError;
use ff_core::op::{ListSecrets, Operation, RotateSecret, Step};
use ff_core::store::Failure;
use ff_core::token::{Kid, Rotation, Secret};

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

/// A rotation whose reply was lost does not take the place of one that came after it.
#[test]
fn a_rotation_whose_reply_was_lost_is_not_made_again_after_another() {
    let mut world = World::new();
    rotate(&mut world, "k1", "00aa", 60_000).expect("rotated");
    for (to, known) in [("k2", false), ("k1", true)] {
        let hex = if known { "00aa" } else { "00bb" };
        let mut lost = RotateSecret::new(kid(to), secret(hex), ms(60_000), patience(10_000));
        let Step::Send(read) = lost.start(world.now()) else { panic!("it reads first") };
        let found = world.call(read).expect("a reply");
        let Step::Send(commit) = lost.on_reply(found, world.now()) else { panic!("it writes") };
        world.call(commit).expect("a reply");
        let failure = Failure::MaybeApplied("the reply was lost".to_owned());
        let Step::Wait(_) = lost.on_failure(&failure, world.now()) else { panic!("it waits") };
        let after = if known { "k4" } else { "k3" };
        rotate(&mut world, after, "00cc", 60_000).expect("rotated since");
        let Step::Send(read) = lost.on_wake(world.now()) else { panic!("it reads again") };
        let found = world.call(read).expect("a reply");
        match (lost.on_reply(found, world.now()), known) {
            (Step::Done(Ok(Rotation::Rotated)), false) => {}
            (Step::Done(Err(error)), true) => assert_eq!(error.http_status(), 504, "{error}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(kids(&mut world).last().map(String::as_str), Some(after));
    }
}
