//! Lanes that an operator pauses, drains and disables, and why an execution waits
//! (`docs/spec.md`, 7).

use ff_sdk::core::error::RejectionKind;
use ff_sdk::core::state::PublicState;
use ff_sdk::{CreateOutcome, LaneState, Reason};

use crate::fixture::{Fixture, lane};
use crate::kit::{ask, claim, is_idle, kind, secs, state, submit, work};

/// A paused lane accepts submissions and starts nothing, from a second after the change on; a task
/// that runs goes on. When it is resumed, its work starts. \[INV-LANE-1\]
pub async fn a_paused_lane_starts_nothing_and_keeps_what_it_has(fixture: &Fixture) {
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let first = submit(&client, work()).await;
    let running = claim(&worker).await;
    let second = submit(&client, work()).await;
    let changed = client.set_lane(&lane(), LaneState::Paused, "a deploy").await.unwrap();
    assert_eq!((changed.before.state, changed.now.state), (LaneState::Active, LaneState::Paused));
    fixture.advance(secs(1)).await;

    assert!(is_idle(&worker).await);
    let third = submit(&client, work()).await;
    running.complete(None).await.unwrap();
    assert_eq!(state(&client, &first).await, PublicState::Completed);
    assert!(is_idle(&worker).await);
    let admin = fixture.admin().await;
    let granted = ask(&admin, &worker, 5_000).await.unwrap();
    assert!(granted.is_none(), "{granted:?}");

    let again = client.set_lane(&lane(), LaneState::Paused, "a deploy").await.unwrap();
    assert!(!again.is_change());
    let shown = client.lanes().await.unwrap();
    let [shown] = &shown[..] else { panic!("one lane: {shown:?}") };
    assert_eq!(shown.setting, changed.now);
    assert!(shown.has_waiting);

    client.set_lane(&lane(), LaneState::Active, "done").await.unwrap();
    fixture.advance(secs(1)).await;
    for id in [second, third] {
        let task = claim(&worker).await;
        task.complete(None).await.unwrap();
        assert_eq!(state(&client, &id).await, PublicState::Completed);
    }
    assert!(client.lanes().await.unwrap().is_empty());
}

/// A draining lane refuses new submissions, recognises those that it has, and starts its work. A
/// disabled one starts nothing either.
pub async fn a_draining_lane_refuses_submissions_and_starts_its_work(fixture: &Fixture) {
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let keyed = || work().idempotency_key("once");
    let first = client.submit(keyed()).await.unwrap().id();
    let second = submit(&client, work()).await;
    client.set_lane(&lane(), LaneState::Draining, "closing").await.unwrap();
    fixture.advance(secs(1)).await;

    assert_eq!(kind(client.submit(work()).await), RejectionKind::LaneDraining);
    let again = client.submit(keyed()).await.unwrap();
    assert_eq!(again, CreateOutcome::Duplicate(first));
    claim(&worker).await.complete(None).await.unwrap();
    assert_eq!(state(&client, &first).await, PublicState::Completed);

    client.set_lane(&lane(), LaneState::Disabled, "closed").await.unwrap();
    fixture.advance(secs(1)).await;
    assert_eq!(kind(client.submit(work()).await), RejectionKind::LaneDisabled);
    assert!(is_idle(&worker).await);
    assert_eq!(state(&client, &second).await, PublicState::Waiting);
}

/// `why` names every reason that holds an execution back, and none for one that a worker may start.
pub async fn why_names_every_reason_and_none_for_an_eligible_execution(fixture: &Fixture) {
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let id = submit(&client, work().delay(secs(60))).await;
    client.set_lane(&lane(), LaneState::Paused, "an incident").await.unwrap();
    fixture.advance(secs(1)).await;
    let why = client.why(&id).await.unwrap().expect("it exists");
    let [Reason::Delayed { .. }, Reason::LaneHeld { state, why: reason, .. }] = &why.reasons[..]
    else {
        panic!("a delay and a paused lane: {why:?}");
    };
    assert_eq!((*state, reason.as_deref()), (LaneState::Paused, Some("an incident")));

    client.set_lane(&lane(), LaneState::Active, "").await.unwrap();
    fixture.advance(secs(60)).await;
    fixture.tick().await;
    let ahead = submit(&client, work()).await;
    client.change_priority(&ahead, 9_000).await.unwrap();
    let why = client.why(&id).await.unwrap().expect("it exists");
    assert!(why.reasons.is_empty() && why.turn.is_some(), "{why:?}");
    let (first, second) = (claim(&worker).await, fixture.worker("v").await);
    assert_eq!(first.execution_id(), ahead);
    let task = claim(&second).await;
    assert_eq!(task.execution_id(), id);
    let why = client.why(&id).await.unwrap().expect("it exists");
    assert!(matches!(&why.reasons[..], [Reason::Running { .. }]), "{why:?}");
    task.complete(None).await.unwrap();
    let why = client.why(&id).await.unwrap().expect("it exists");
    assert!(matches!(&why.reasons[..], [Reason::Ended { .. }]), "{why:?}");
    assert_eq!(client.why(&fixture.id_in(0)).await.unwrap(), None);
}
