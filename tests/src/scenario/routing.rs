//! Capabilities, namespaces and blocks (`docs/spec.md`, 4 and 7).

use ff_sdk::core::capability::Capabilities;
use ff_sdk::core::error::{Rejection, RejectionKind};
use ff_sdk::core::execution::{AnyOutcome, Block, BlockKind, BlockOutcome, Command, Unblock};
use ff_sdk::core::id::{ExecutionId, Namespace};
use ff_sdk::core::state::{BlockingReason, EligibilityState, LifecyclePhase, PublicState};
use ff_sdk::core::store::IndexName;
use ff_sdk::{Client, FlowFabricWorker};

use crate::fixture::{Fixture, NAMESPACE, eligible, namespace};
use crate::kit::{
    ask, claim, describe, grant, grant_request, is_idle, kind, ms, nth_epoch, rejection, secs,
    state, submit, submitted, work,
};

async fn able(fixture: &Fixture, name: &str, tokens: &[&str]) -> FlowFabricWorker {
    let offered = Capabilities::try_new(tokens).unwrap();
    fixture.worker_with(name, |config| config.capabilities = offered).await
}

fn blocked() -> IndexName {
    IndexName::BlockedRoute { namespace: namespace() }
}

async fn is_blocked_by_route(fixture: &Fixture, client: &Client, id: &ExecutionId) -> bool {
    let seen = describe(client, id).await.state;
    let by_route = seen.blocking_reason == BlockingReason::WaitingForCapableWorker;
    let indexed = fixture.score(id, blocked()).await.is_some();
    assert_eq!(by_route, indexed, "the index matches the record");
    if seen.lifecycle_phase == LifecyclePhase::Runnable {
        assert_eq!(by_route, seen.eligibility_state == EligibilityState::BlockedByRoute);
    }
    by_route
}

/// A claimer that lacks a capability blocks the execution by route and gets the next one. A worker
/// with all capabilities claims the execution, which removes the block (`docs/spec.md`, 4).
pub async fn a_missing_capability_blocks_by_route_and_serves_the_next(fixture: &Fixture) {
    let client = fixture.client().await;
    let plain = fixture.worker("plain").await;
    let needy = submit(&client, work().id(fixture.id_in(2)).requires(["gpu", "eu"])).await;
    let easy = submit(&client, work().id(fixture.id_in(2))).await;
    let task = claim(&plain).await;
    assert_eq!(task.execution_id(), easy);
    task.complete(None).await.unwrap();
    assert!(is_blocked_by_route(fixture, &client, &needy).await);
    assert_eq!(fixture.score(&needy, eligible()).await, None);
    assert_eq!(state(&client, &needy).await, PublicState::Waiting);

    let asked =
        client.execute(Command::IssueClaimGrant(grant_request(fixture, needy, "plain"))).await;
    let missing = vec!["eu".into(), "gpu".into()];
    assert_eq!(rejection(asked), Rejection::CapabilityMismatch { missing });
    let capable = able(fixture, "capable", &["gpu", "eu", "x"]).await;
    let task = claim(&capable).await;
    assert_eq!(task.execution_id(), needy);
    assert!(!is_blocked_by_route(fixture, &client, &needy).await);
    task.complete(None).await.unwrap();
}

/// Checks that neither worker claims or unblocks an execution within five looks.
async fn stays_blocked(
    fixture: &Fixture,
    client: &Client,
    id: &ExecutionId,
    workers: [&FlowFabricWorker; 2],
) {
    for _ in 0..5 {
        assert!(is_idle(workers[0]).await && is_idle(workers[1]).await);
        assert!(is_blocked_by_route(fixture, client, id).await);
        fixture.advance(secs(1)).await;
    }
}

/// Two workers that have the capabilities only together never claim an execution; a worker with all
/// of them does (`docs/spec.md`, 7).
pub async fn two_workers_together_do_not_make_one_capable(fixture: &Fixture) {
    let client = fixture.client().await;
    let (gpu, eu) = (able(fixture, "gpu", &["gpu"]).await, able(fixture, "eu", &["eu"]).await);
    let id = submit(&client, work().requires(["gpu", "eu"])).await;
    stays_blocked(fixture, &client, &id, [&gpu, &eu]).await;
    let both = able(fixture, "both", &["eu", "gpu"]).await;
    let task = claim(&both).await;
    assert_eq!(task.execution_id(), id);

    // The same holds for an execution whose lease was lost.
    drop((task, both));
    client.revoke_lease(&id).await.unwrap();
    stays_blocked(fixture, &client, &id, [&gpu, &eu]).await;
    let both = able(fixture, "both", &["eu", "gpu"]).await;
    assert_eq!(claim(&both).await.lease_epoch(), nth_epoch(&client, &id, 2).await);
}

/// A worker of another namespace neither claims, sees nor unblocks an execution, and clients of
/// that namespace do not find it (`docs/spec.md`, 2 and 7).
pub async fn another_namespace_neither_sees_nor_unblocks(fixture: &Fixture) {
    let client = fixture.client().await;
    let plain = fixture.worker("plain").await;
    let needy = submit(&client, work().requires(["gpu"])).await;
    assert!(is_idle(&plain).await);
    let easy = submit(&client, work()).await;
    let elsewhere = Namespace::try_new("elsewhere").unwrap();
    let stranger = fixture
        .worker_with("stranger", |config| {
            config.namespace = elsewhere;
            config.capabilities = Capabilities::try_new(["gpu"]).unwrap();
        })
        .await;
    let other = fixture.client_of("elsewhere", fixture.backend()).await;
    fixture.advance(ms(900)).await;
    assert!(is_idle(&stranger).await, "it sees nothing");
    assert!(is_blocked_by_route(fixture, &client, &needy).await, "it unblocks nothing");
    assert_eq!(stranger.describe_execution(&easy).await.unwrap(), None);
    assert_eq!(other.describe(&easy).await.unwrap(), None);
    assert_eq!(kind(other.result(&easy).await), RejectionKind::NotFound);
    assert_eq!(kind(other.history(&easy).await), RejectionKind::NotFound);
    assert!(other.list(Default::default(), None, 10).await.unwrap().executions.is_empty());
    let admin = fixture.admin().await;
    assert_eq!(ask(&admin, &stranger, 1_000).await.unwrap(), None);

    let theirs = submit(&other, work()).await;
    assert_eq!(claim(&stranger).await.execution_id(), theirs);
    assert_eq!(claim(&plain).await.execution_id(), easy);
    assert_eq!(client.namespace().as_str(), NAMESPACE);
}

/// Several reasons can block an execution: the first one in order is shown, and removing one never
/// removes another (`docs/spec.md`, 3 and 4).
pub async fn several_blocks_hold_until_the_last_is_removed(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    for kind in BlockKind::ALL.into_iter().rev() {
        let block = Command::Block(Block { execution_id: id, kind, recheck_at: None });
        let outcome = client.execute(block.clone()).await.unwrap();
        assert_eq!(outcome, AnyOutcome::Block(BlockOutcome { held_by: Some(kind) }));
        let record = fixture.stored(&id).await;
        assert_eq!(client.execute(block).await.unwrap(), outcome);
        assert_eq!(fixture.stored(&id).await, record, "a repeat changes nothing");
    }
    let shown = [
        (EligibilityState::BlockedByOperator, PublicState::Waiting),
        (EligibilityState::BlockedByLaneState, PublicState::Waiting),
        (EligibilityState::BlockedByDependencies, PublicState::WaitingChildren),
        (EligibilityState::BlockedByBudget, PublicState::RateLimited),
        (EligibilityState::BlockedByQuota, PublicState::RateLimited),
        (EligibilityState::BlockedByRoute, PublicState::Waiting),
    ];
    for (number, kind) in BlockKind::ALL.into_iter().enumerate() {
        let seen = describe(&client, &id).await.state;
        assert_eq!((seen.eligibility_state, seen.public_state), shown[number]);
        // Only this worker's capabilities are missing, and it has them: it would claim it.
        if kind != BlockKind::Route {
            assert!(is_idle(&worker).await);
        }
        let held_by = BlockKind::ALL.get(number + 1).copied();
        let unblock = Unblock { execution_id: id, kind };
        let outcome = client.execute(Command::Unblock(unblock)).await.unwrap();
        assert_eq!(outcome, AnyOutcome::Unblock(BlockOutcome { held_by }));
    }
    grant(&client, &grant_request(fixture, id, "w")).await;
    let held = Block { execution_id: id, kind: BlockKind::Operator, recheck_at: None };
    client.execute(Command::Block(held)).await.unwrap();
    assert!(is_idle(&worker).await);
}
