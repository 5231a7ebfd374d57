//! Large steps back of the store's clock: an owner that died before the step loses its lease in
//! time, by the clock after it (`docs/spec.md`, 3).

use ff_core::agent::{Timekeeper, WorkerAgent};
use ff_core::op::{Event, Operation, Step};
use ff_core::store::{IndexName, Request};

use ff_sim::scripted::Scripted;

use super::agents::{World, eligible, id};
use crate::common::{START, Submission, execution_id, ms, offer, on_due};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A world whose clock can go back by more than a day.
fn world(partitions: u16) -> World {
    let mut world = World::new(partitions);
    world.store.pass(2 * DAY);
    world
}

fn step_back(world: &mut World, by: u64) {
    let now = world.store.now().get();
    world.store.set(now - by);
    world.store.script.local_ahead += by;
}

/// Runs rounds of the timekeeper, a second apart, until something holds; returns how long that
/// took, in milliseconds of the store's clock.
fn rounds(
    world: &mut World,
    timekeeper: &mut Timekeeper,
    holds: impl Fn(&mut World) -> bool,
) -> u64 {
    let begun = world.store.now();
    for _ in 0..200 {
        let report = {
            let now = world.host();
            world.drive(timekeeper.apply_due(now))
        };
        assert!(report.is_ok(), "{report:?}");
        timekeeper.applied(&report, world.host());
        if holds(world) {
            return world.store.now().since(begun).get();
        }
        world.store.pass(1_000);
    }
    panic!("it never holds");
}

fn can_be_claimed(world: &mut World) -> bool {
    !world.entries(&eligible()).is_empty()
}

/// A worker of agents.rs has leases of 3 s.
const TTL: u64 = 3_000;

fn claimed(world: &mut World) -> (WorkerAgent, Timekeeper) {
    world.submit([1]);
    let mut timekeeper = world.timekeeper();
    rounds(world, &mut timekeeper, |_| true);
    let mut worker = world.worker(1, &[]);
    assert_eq!(world.claim(&mut worker, 1).len(), 1);
    (worker, timekeeper)
}

#[test]
fn a_dead_owner_loses_its_lease_in_time_after_a_step_back() {
    for step in [MINUTE, HOUR, DAY] {
        let mut world = world(2);
        let (worker, mut timekeeper) = claimed(&mut world);
        drop(worker);
        step_back(&mut world, step);
        let took = rounds(&mut world, &mut timekeeper, can_be_claimed);
        assert!(took <= TTL + 61_000, "{step} ms back: {took} ms");
    }
}

/// A step while the timekeeper sleeps is noticed too, and so are several small steps.
#[test]
fn steps_between_rounds_add_up() {
    let mut world = world(2);
    let (worker, mut timekeeper) = claimed(&mut world);
    drop(worker);
    for _ in 0..20 {
        step_back(&mut world, 20_000);
        rounds(&mut world, &mut timekeeper, |_| true);
    }
    let took = rounds(&mut world, &mut timekeeper, can_be_claimed);
    assert!(took <= TTL + 61_000, "{took} ms");
}

/// A worker takes the entry of its lane, and dies as soon as its take is applied.
fn take_and_die(world: &mut World) {
    let mut worker = world.worker(1, &[]);
    let (mut claim, mut event) = (worker.claim(1), Event::Start);
    while !world.entries(&eligible()).is_empty() {
        let Step::Send(request) = claim.resume(event, world.host()) else { panic!("it waits") };
        let taken = matches!(request, Request::Take(_));
        event = Event::Reply(world.store.spoil(request));
        assert!(taken || !world.entries(&eligible()).is_empty());
    }
    assert!(!world.entries(&IndexName::Due).is_empty());
}

/// A world in which the store's clock stepped back by an hour, while a dead worker's `Take` held
/// the entry of an execution.
fn held_before_a_step_back() -> (World, Timekeeper) {
    let mut world = world(1);
    world.submit([1]);
    let mut timekeeper = world.timekeeper();
    rounds(&mut world, &mut timekeeper, |_| true);
    take_and_die(&mut world);
    step_back(&mut world, HOUR);
    (world, timekeeper)
}

/// The entry that a dead caller's `Take` left in `due` returns to its lane.
#[test]
fn a_held_entry_returns_in_time_after_a_step_back() {
    let (mut world, mut timekeeper) = held_before_a_step_back();
    let took = rounds(&mut world, &mut timekeeper, can_be_claimed);
    assert!(took <= 61_000, "{took} ms");
}

/// A failover after the step can lose what was corrected. Its clock shows no step.
#[test]
fn a_held_entry_returns_in_time_although_its_correction_was_lost() {
    let (mut world, mut timekeeper) = held_before_a_step_back();
    rounds(&mut world, &mut timekeeper, can_be_claimed);
    // The entry is again as it was before the step.
    let now = world.store.now().get();
    world.store.set(now + HOUR);
    take_and_die(&mut world);
    world.store.set(now);
    let took = rounds(&mut world, &mut timekeeper, can_be_claimed);
    assert!(took <= 61_000, "{took} ms");
}

/// Timers that have no time to live keep their time: a deadline is an instant of the clock.
#[test]
fn a_step_back_moves_no_deadline() {
    let mut world = world(1);
    let deadline = world.store.now().get() + 2 * HOUR;
    world.submit_one(1, Submission::new().deadline(deadline));
    let mut timekeeper = world.timekeeper();
    rounds(&mut world, &mut timekeeper, |_| true);
    let before = world.store.record(&id(1)).map(|loaded| loaded.version);
    step_back(&mut world, HOUR);
    for _ in 0..40 {
        world.store.pass(1_000);
        rounds(&mut world, &mut timekeeper, |_| true);
    }
    assert_eq!(world.store.record(&id(1)).map(|loaded| loaded.version), before);
}

/// Submits an execution under the same ID again, with a deadline, and leases it.
fn live(world: &mut Scripted, life: u64) {
    let deadline = world.now().get() + 60_000;
    let submission = Submission::new().policy(|policy| policy.retention_ms = ms(0)).creator(life);
    world.transact(submission.deadline(deadline).0).expect("it is created");
    world.transact(offer(life)).expect("it is leased");
}

/// The end of the life, with the first step of the removal: the values go, the record stays.
fn begin_removal(world: &mut Scripted) {
    world.pass(90_000);
    world.transact(on_due()).expect("its retention is over");
    assert!(world.record(&execution_id()).is_some());
}

fn end_removal(world: &mut Scripted) {
    world.transact(on_due()).expect("its removal has begun");
    assert!(world.record(&execution_id()).is_none());
}

/// Retention looks at the clock when a removal begins. After a step back between its first and its
/// last commit, the next execution with the ID may have lower epochs. \[INV-EPOCH-1\]
#[test]
fn a_step_back_within_a_removal_may_lower_the_epochs() {
    let mut world = Scripted::new();
    world.set(START + 2 * HOUR);
    live(&mut world, 1);
    begin_removal(&mut world);
    world.set(START + HOUR);
    end_removal(&mut world);
    live(&mut world, 2);
}

/// Until the clock has caught up with the time before a step back, this is so for each execution
/// with the ID, not only for the first one. \[INV-EPOCH-1\]
#[test]
fn a_step_back_may_lower_the_epochs_of_several_executions() {
    let mut world = Scripted::new();
    world.set(START + 2 * HOUR);
    for life in [1, 2, 3] {
        live(&mut world, life);
        begin_removal(&mut world);
        end_removal(&mut world);
        if life == 1 {
            world.set(START + HOUR);
        }
    }
}
