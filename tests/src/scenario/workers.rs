//! The registry of workers: instance ids, draining, and work that no worker serves
//! (`docs/spec.md`, 7).

use ff_sdk::core::error::RejectionKind;
use ff_sdk::core::state::PublicState;
use ff_sdk::{
    Capabilities, Client, ExecutionKind, FlowFabricWorker, Reason, SdkError, Worker, WorkerConfig,
    WorkerInstanceId, WorkerState,
};

use crate::fixture::{Fixture, lane};
use crate::kit::{claim, is_idle, kind, secs, state, submit, work};

/// Longer than the time between two heartbeats of a worker with leases of 30 s.
const A_HEARTBEAT: std::time::Duration = secs(21);

/// Another program: workers with a seed share nothing with others.
async fn program(
    fixture: &Fixture,
    seed: u64,
    set_up: impl FnOnce(&mut WorkerConfig),
) -> Result<FlowFabricWorker, SdkError> {
    let mut config = fixture.worker_config("w");
    config.seed = Some(seed);
    set_up(&mut config);
    FlowFabricWorker::connect_with(config, fixture.backend(), None).await
}

/// All workers that the registry shows, page by page, with their states now.
async fn registered(client: &Client) -> Vec<(Worker, WorkerState)> {
    let (mut workers, mut next) = (Vec::new(), None);
    loop {
        let page = client.workers(next).await.unwrap();
        workers.extend(page.workers.into_iter().map(|worker| {
            let state = worker.state_at(page.at);
            (worker, state)
        }));
        next = page.next;
        if next.is_none() {
            return workers;
        }
    }
}

/// A second process with the same instance id is refused while the first one lives, and the first
/// one claims nothing more after its next heartbeat once the second has taken over.
/// \[INV-REGISTRY-1\]
pub async fn one_process_holds_an_instance_id(fixture: &Fixture) {
    let client = fixture.client().await;
    let first = program(fixture, 1, |_| {}).await.unwrap();
    fixture.advance(secs(300)).await;
    let refused = program(fixture, 2, |_| {}).await;
    assert_eq!(kind(refused.map(drop)), RejectionKind::WorkerInstanceInUse);
    let second = program(fixture, 3, |config| config.take_over = true).await.unwrap();
    let workers = registered(&client).await;
    let [(worker, WorkerState::Live)] = &workers[..] else { panic!("one worker: {workers:?}") };
    assert_eq!(worker.info.instance.as_str(), "w-1");

    let id = submit(&client, work()).await;
    fixture.advance(A_HEARTBEAT).await;
    let superseded = first.claim_next().await;
    assert_eq!(kind(superseded.map(drop)), RejectionKind::WorkerSuperseded);
    claim(&second).await.complete(None).await.unwrap();
    assert_eq!(state(&client, &id).await, PublicState::Completed);

    first.deregister().await.unwrap();
    assert_eq!(registered(&client).await.len(), 1, "it gives up only its own registration");
    second.deregister().await.unwrap();
    assert!(registered(&client).await.is_empty());
    assert!(is_idle(&second).await, "it has ended");
    program(fixture, 4, |_| {}).await.unwrap();
}

/// A process is never refused because of its own registration, and the last of its workers with an
/// instance id gives it up.
pub async fn workers_of_one_process_can_share_an_instance_id(fixture: &Fixture) {
    let (client, first) = (fixture.client().await, fixture.worker("w").await);
    let second = fixture.worker("w").await;
    first.deregister().await.unwrap();
    drop(first);
    fixture.advance(A_HEARTBEAT).await;
    assert_eq!(registered(&client).await.len(), 1);
    submit(&client, work()).await;
    claim(&second).await.complete(None).await.unwrap();
    drop(second);
    fixture.advance(secs(1)).await;
    assert!(registered(&client).await.is_empty());
}

/// A worker that an operator drains finishes its task and claims nothing more. One that is marked
/// as dead frees its instance id. Both learn of it with their next heartbeat.
pub async fn operators_drain_workers_and_mark_them_as_dead(fixture: &Fixture) {
    let client = fixture.client().await;
    let instance = WorkerInstanceId::new("w-1");
    assert_eq!(kind(client.drain_worker(&instance).await), RejectionKind::WorkerNotFound);
    assert_eq!(kind(client.mark_worker_dead(&instance).await), RejectionKind::WorkerNotFound);
    let worker = program(fixture, 1, |config| config.max_concurrent_tasks = 2).await.unwrap();
    let first = submit(&client, work()).await;
    let task = claim(&worker).await;
    submit(&client, work()).await;
    client.drain_worker(&instance).await.unwrap();
    client.drain_worker(&instance).await.unwrap();
    fixture.advance(A_HEARTBEAT).await;
    assert!(is_idle(&worker).await);
    let workers = registered(&client).await;
    let [(shown, WorkerState::Draining)] = &workers[..] else { panic!("{workers:?}") };
    assert_eq!((shown.active, shown.info.slots), (1, 2));
    let unserved = client.unserved().await.unwrap();
    let [unserved] = &unserved[..] else { panic!("the second one: {unserved:?}") };
    assert_eq!((unserved.draining.as_ref(), &unserved.nearest), (Some(&instance), &None));
    task.complete(None).await.unwrap();
    assert_eq!(state(&client, &first).await, PublicState::Completed);

    client.mark_worker_dead(&instance).await.unwrap();
    assert_eq!(registered(&client).await[0].1, WorkerState::Dead);
    let next = program(fixture, 2, |_| {}).await.unwrap();
    claim(&next).await.complete(None).await.unwrap();
    fixture.advance(A_HEARTBEAT).await;
    let superseded = worker.claim_next().await;
    assert_eq!(kind(superseded.map(drop)), RejectionKind::WorkerSuperseded);
}

/// `why` and `unserved` name work that no live worker serves, and the worker that lacks the least.
pub async fn work_that_no_worker_serves_is_named_with_the_nearest_worker(fixture: &Fixture) {
    let client = fixture.client().await;
    let id = submit(&client, work().requires(["gpu"])).await;
    let why = client.why(&id).await.unwrap().expect("it exists");
    let [Reason::NotServed { nearest: None, .. }] = &why.reasons[..] else { panic!("{why:?}") };
    let far = Some(ExecutionKind::new("other")).into_iter().collect();
    let other = fixture.worker_with("other", |config| config.kinds = far).await;
    let near = fixture.worker("near").await;
    assert!(is_idle(&near).await && is_idle(&other).await);
    let why = client.why(&id).await.unwrap().expect("it exists");
    let [Reason::NoCapableWorker { .. }, Reason::NotServed { nearest: Some(nearest), .. }] =
        &why.reasons[..]
    else {
        panic!("{why:?}");
    };
    assert_eq!(nearest.to_string(), "worker near-1 lacks only capability gpu");
    let unserved = client.unserved().await.unwrap();
    let [unserved] = &unserved[..] else { panic!("{unserved:?}") };
    assert_eq!((&unserved.lane, unserved.nearest.as_ref()), (&lane(), Some(nearest)));

    let fits = Capabilities::try_new(["gpu"]).unwrap();
    let capable = fixture.worker_with("gpu", |config| config.capabilities = fits).await;
    assert!(client.unserved().await.unwrap().is_empty());
    let why = client.why(&id).await.unwrap().expect("it exists");
    assert!(matches!(&why.reasons[..], [Reason::NoCapableWorker { .. }]), "{why:?}");
    claim(&capable).await.complete(None).await.unwrap();
}
