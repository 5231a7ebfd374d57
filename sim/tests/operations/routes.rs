//! Executions that need capabilities: one that no worker fitted is set aside, and claimed by a
//! worker that fits (`docs/spec.md`, 4 and 7).

use std::ops::RangeInclusive;

use ff_core::agent::{Scheduler, WorkerAgent, WorkerRequest};
use ff_core::entropy::Entropy;
use ff_core::execution::{Block, BlockKind, Situation, Unblock};
use ff_core::id::{LaneId, WorkerId};
use ff_core::partition::Partition;
use ff_core::score::Score;
use ff_core::store::{Commit, IndexName, IndexWrite, Request, Topic, Unit, Wake};
use ff_core::time::DurationMs;
use ff_sim::scripted::Scripted;
use uuid::Uuid;

use super::agents::{World, id, namespace, numbers, served};
use crate::common::Submission;

/// Submits executions that need a capability, and lets a worker without it set them aside.
fn block(world: &mut World, range: RangeInclusive<u128>) {
    for number in range {
        world.submit_one(number, Submission::new().requires(&["gpu"]));
    }
    let mut unable = world.worker(1, &[]);
    assert_eq!(numbers(&world.claim(&mut unable, 8)), [0_u128; 0]);
}

fn with_blocked(range: RangeInclusive<u128>) -> World {
    let mut world = World::new(1);
    block(&mut world, range);
    world
}

#[test]
fn an_execution_that_the_worker_cannot_run_is_set_aside_and_the_next_one_served() {
    let mut world = World::new(1);
    world.submit_one(1, Submission::new().requires(&["gpu", "eu"]));
    world.submit([2]);
    let (mut gpu, mut eu) = (world.worker(1, &["gpu"]), world.worker(2, &["eu"]));
    assert_eq!(numbers(&world.claim(&mut gpu, 1)), [2]);
    assert_eq!(world.situation(1), Situation::Blocked);
    // Two workers that only together have what it needs do not claim it.
    for worker in [&mut gpu, &mut eu] {
        assert_eq!(numbers(&world.claim(worker, 1)), [0_u128; 0]);
        assert_eq!(world.situation(1), Situation::Blocked);
    }
    let mut able = world.worker(3, &["gpu", "eu", "more"]);
    assert_eq!(numbers(&world.claim(&mut able, 1)), [1]);
}

#[test]
fn a_scheduler_grants_what_no_worker_fitted_before_to_one_that_fits() {
    let mut world = World::new(2);
    world.submit_one(1, Submission::new().requires(&["gpu"]));
    let mut scheduler = Scheduler::new(world.config, Scripted::context(), Entropy::from_u64(1));
    let mut granted = |world: &mut World, tokens: &[&str]| {
        let request = WorkerRequest {
            served: served(tokens),
            worker: WorkerId::try_new("worker").expect("a worker"),
            audit: Default::default(),
            grant_ttl: DurationMs::new(1_000),
        };
        let drawn = world.drive(scheduler.claim_for_worker(request)).expect("answered");
        scheduler.admitted(served(tokens), drawn).is_some()
    };
    assert!(!granted(&mut world, &[]));
    assert_eq!(world.situation(1), Situation::Blocked);
    // The scheduler receives no wake-ups: it reads again after each look, at most once a second.
    assert!(!granted(&mut world, &[]));
    world.store.pass(1_001);
    assert!(granted(&mut world, &["gpu"]));
}

#[test]
fn a_worker_claims_as_many_blocked_executions_as_it_asks_for_and_the_rest_later() {
    let mut world = with_blocked(1..=6);
    let mut profile = world.worker(2, &["gpu"]).profile().clone();
    profile.lanes = vec![LaneId::try_new("elsewhere").expect("a lane")];
    let mut other = WorkerAgent::new(profile, Entropy::from_u64(3));
    assert_eq!(numbers(&world.claim(&mut other, 4)), [0_u128; 0], "it never claims from this lane");

    let mut able = world.worker(2, &["gpu"]);
    assert_eq!(numbers(&world.claim(&mut able, 4)), [1, 2, 3, 4], "in their order");
    let before = world.calls();
    assert_eq!(numbers(&world.claim(&mut able, 4)), [5, 6]);
    assert_eq!(world.calls() - before, 2, "without a look: it reads a page and claims");
    for number in 1..=6 {
        assert_eq!(world.situation(number), Situation::Leased);
    }
}

#[test]
fn blocked_executions_take_turns_with_those_of_the_lane() {
    let mut world = with_blocked(1..=4);
    world.submit([11, 12]);
    let mut able = world.worker(2, &["gpu"]);
    let claimed: Vec<u128> = (0..6).flat_map(|_| numbers(&world.claim(&mut able, 1))).collect();
    assert_eq!(claimed, [1, 11, 2, 12, 3, 4]);
}

#[test]
fn a_worker_learns_of_a_blocked_execution_by_the_wake_up() {
    let mut world = World::new(4);
    let mut able = world.worker(2, &["gpu"]);
    able.wake(None);
    for _ in 0..2 {
        assert_eq!(numbers(&world.claim(&mut able, 1)), [0_u128; 0]);
    }
    block(&mut world, 1..=1);
    let (topic, partition) = (Topic::Routes { namespace: namespace() }, Partition::flow(0));
    able.wake(Some(&Wake { topic, partition, first: None }));
    let before = world.calls();
    assert_eq!(numbers(&world.claim(&mut able, 1)), [1]);
    assert_eq!(world.calls() - before, 2, "a page, and the claim in the commit that unblocks it");
    assert_eq!(world.entries(&IndexName::BlockedRoute { namespace: namespace() }), []);
}

#[test]
fn an_entry_that_was_left_behind_takes_the_place_of_no_blocked_execution() {
    let mut world = with_blocked(1..=5);
    let blocked = IndexName::BlockedRoute { namespace: namespace() };
    let entries = world.entries(&blocked);
    let mut able = world.worker(2, &["gpu"]);
    assert_eq!(numbers(&world.claim(&mut able, 4)), [1, 2, 3, 4]);
    // Four entries are there again, before the one that waits.
    let index = entries[..4].iter().map(|(score, member)| IndexWrite {
        index: blocked.clone(),
        member: Uuid::from_u128(*member),
        score: Some(Score::new(*score)),
    });
    let unit = Unit { index: index.collect(), ..Unit::new(ff_core::execution::Purpose::Finish, 0) };
    let commit = Commit { partition: Partition::flow(0), units: vec![unit] };
    world.store.spoil(Request::Commit(commit));
    assert_eq!(numbers(&world.claim(&mut able, 4)), [5], "the one that waits");
}

#[test]
fn an_operator_holds_back_also_what_no_worker_fitted() {
    let mut world = with_blocked(1..=1);
    let kind = BlockKind::Operator;
    let block = Block { execution_id: id(1), kind, recheck_at: None };
    world.store.transact(block).expect("it is held back");
    let mut able = world.worker(2, &["gpu"]);
    assert_eq!(numbers(&world.claim(&mut able, 1)), [0_u128; 0]);
    assert_eq!(world.situation(1), Situation::Blocked);
    world.store.transact(Unblock { execution_id: id(1), kind }).expect("it goes on");
    able.wake(None);
    assert_eq!(numbers(&world.claim(&mut able, 1)), [1]);
}
