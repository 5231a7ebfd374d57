//! Quotas, and budgets that hold executions back (`docs/spec.md`, 7).

use std::time::Duration;

use ff_sdk::core::error::RejectionKind;
use ff_sdk::core::execution::Command;
use ff_sdk::core::id::{ExecutionId, QuotaKey};
use ff_sdk::core::state::PublicState;
use ff_sdk::core::time::TimestampMs;
use ff_sdk::{
    BudgetId, BudgetSettings, ClaimedTask, Client, FlowFabricWorker, LimitState, QuotaId,
    QuotaLimits, Reason, Submission, SuspendOutcome, Suspension,
};

use crate::faulty_backend::any;
use crate::fixture::Fixture;
use crate::kit::{
    ask, claim, claim_of, describe, grant, grant_request, is_idle, kind, ms, rejection, secs,
    state, submit, work,
};

fn quota() -> QuotaId {
    QuotaId::new("q")
}

fn at_most(concurrency: u32) -> QuotaLimits {
    QuotaLimits::new().concurrency(concurrency)
}

fn limited() -> Submission {
    work().quota("q")
}

/// The executions that take slots under no key.
async fn holders(client: &Client) -> Vec<ExecutionId> {
    let usage = client.quota_use(&quota(), None).await.unwrap();
    usage.holders.iter().map(|holder| holder.execution).collect()
}

/// Submits limited executions to one partition, which have the order of their submission.
async fn submit_limited(fixture: &Fixture, client: &Client, count: usize) -> Vec<ExecutionId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(submit(client, limited().id(fixture.id_in(0))).await);
    }
    ids
}

/// Claims what each worker gets now.
async fn claim_all(workers: &[FlowFabricWorker]) -> Vec<ClaimedTask> {
    let mut tasks = Vec::new();
    for worker in workers {
        tasks.extend(worker.claim_next().await.unwrap());
    }
    tasks
}

async fn workers(fixture: &Fixture, count: usize) -> Vec<FlowFabricWorker> {
    let mut workers = Vec::new();
    for number in 0..count {
        workers.push(fixture.worker(&format!("w{number}")).await);
    }
    workers
}

/// Of many workers, as many get work at a time as the quota allows. A slot that is free goes to the
/// execution that waits first, without a wait of the clock. \[INV-QUOTA-1\]
pub async fn a_quota_limits_how_many_run_and_hands_its_slots_over(fixture: &Fixture) {
    let client = fixture.client().await;
    let created = client.set_quota(&quota(), at_most(2)).await.unwrap();
    assert_eq!((created.before, created.quota.limits), (None, at_most(2)));
    let same = client.set_quota(&quota(), at_most(2)).await.unwrap();
    assert_eq!(same.before, Some(at_most(2)));
    let ids = submit_limited(fixture, &client, 6).await;
    let workers = workers(fixture, 6).await;
    let mut running = claim_all(&workers).await;
    let mut begun: Vec<ExecutionId> = running.iter().map(ClaimedTask::execution_id).collect();
    assert_eq!(begun, ids[..2]);
    assert_eq!(holders(&client).await, ids[..2]);
    let began = fixture.now().await;
    while let Some(task) = running.pop() {
        task.complete(None).await.unwrap();
        workers[0].settle().await;
        let next = claim_all(&workers).await;
        assert!(running.len() + next.len() <= 2, "more than two run");
        begun.extend(next.iter().map(ClaimedTask::execution_id));
        running.extend(next);
    }
    assert_eq!(begun, ids);
    assert!(fixture.now().await.since(began) < ff_sdk::DurationMs::from_secs(1));
    assert!(holders(&client).await.is_empty());
}

/// The limits hold for each key by itself, and for the executions without a key together.
pub async fn each_key_of_a_quota_has_its_own_slots(fixture: &Fixture) {
    let client = fixture.client().await;
    client.set_quota(&quota(), at_most(1)).await.unwrap();
    let keyed = |key| work().quota_key("q", key).id(fixture.id_in(0));
    let first_a = submit(&client, keyed("a")).await;
    let second_a = submit(&client, keyed("a")).await;
    let first_b = submit(&client, keyed("b")).await;
    let plain = submit(&client, limited().id(fixture.id_in(0))).await;
    let workers = workers(fixture, 4).await;
    let tasks = claim_all(&workers).await;
    let begun: Vec<_> = tasks.iter().map(ClaimedTask::execution_id).collect();
    assert_eq!(begun, [first_a, first_b, plain]);
    let usage = client.quota_use(&quota(), Some(&QuotaKey::new("a"))).await.unwrap();
    assert_eq!(usage.holders.len(), 1);
    assert_eq!(usage.holders[0].execution, first_a);
    assert_eq!(state(&client, &second_a).await, PublicState::RateLimited);
    for task in tasks {
        task.complete(None).await.unwrap();
    }
    workers[0].settle().await;
    assert_eq!(claim(&workers[0]).await.execution_id(), second_a);
}

/// No window has more starts than the rate allows, and those that wait start in time.
/// \[INV-QUOTA-2\]
pub async fn a_rate_is_never_exceeded(fixture: &Fixture) {
    let client = fixture.client().await;
    client.set_quota(&quota(), QuotaLimits::new().rate(5, secs(1))).await.unwrap();
    let ids = submit_limited(fixture, &client, 20).await;
    let worker = fixture.worker("w").await;
    let began = fixture.now().await;
    let mut started: Vec<TimestampMs> = Vec::new();
    while started.len() < ids.len() {
        while let Some(task) = worker.claim_next().await.unwrap() {
            let seen = describe(&client, &task.execution_id()).await;
            started.push(seen.lease.expect("it runs").acquired_at);
            task.complete(None).await.unwrap();
        }
        fixture.advance(ms(20)).await;
        fixture.tick().await;
        assert!(fixture.now().await.since(began) < ff_sdk::DurationMs::from_secs(8));
    }
    for window in started.windows(6) {
        let took = window[5].since(window[0]);
        assert!(took >= ff_sdk::DurationMs::from_secs(1), "six starts in {took}: {started:?}");
    }
    let usage = client.quota_use(&quota(), None).await.unwrap();
    assert!(usage.holders.is_empty() && (1..=5).contains(&usage.admitted), "{usage:?}");
}

/// A suspended execution gives its slot back, and takes one again when it goes on.
pub async fn a_suspended_execution_has_no_slot(fixture: &Fixture) {
    let client = fixture.client().await;
    client.set_quota(&quota(), at_most(1)).await.unwrap();
    let ids = submit_limited(fixture, &client, 2).await;
    let workers = workers(fixture, 2).await;
    let suspended = claim(&workers[0]).await.suspend(Suspension::until_operator()).await.unwrap();
    assert!(matches!(suspended, SuspendOutcome::Suspended { .. }));
    workers[0].settle().await;
    let second = claim(&workers[1]).await;
    assert_eq!(second.execution_id(), ids[1]);
    let (execution_id, request_id) = (ids[0], "go-on".to_owned());
    client.execute(Command::Resume { execution_id, request_id }).await.unwrap();
    assert!(is_idle(&workers[0]).await);
    second.complete(None).await.unwrap();
    workers[1].settle().await;
    let first = claim(&workers[0]).await;
    assert_eq!((first.execution_id(), holders(&client).await), (ids[0], vec![ids[0]]));
    first.complete(None).await.unwrap();
    workers[0].settle().await;
    assert!(holders(&client).await.is_empty());
}

/// A running execution that fails and waits for its retry, or is cancelled, has no slot.
pub async fn an_execution_that_ends_or_waits_frees_its_slot(fixture: &Fixture) {
    let client = fixture.client().await;
    client.set_quota(&quota(), at_most(1)).await.unwrap();
    let ids = submit_limited(fixture, &client, 3).await;
    let workers = workers(fixture, 3).await;
    claim(&workers[0]).await.fail("it broke", "io").await.unwrap();
    workers[0].settle().await;
    assert_eq!(state(&client, &ids[0]).await, PublicState::Delayed);
    let second = claim(&workers[1]).await;
    assert_eq!(second.execution_id(), ids[1]);
    client.cancel(&ids[1], "not needed").await.unwrap();
    client.settle().await;
    assert_eq!(claim(&workers[2]).await.execution_id(), ids[2]);
    assert_eq!(holders(&client).await, [ids[2]]);
}

/// Without its quota an execution waits, and `why` says so; it starts within the time of a recheck
/// after the quota is set.
pub async fn a_missing_quota_holds_back_until_it_is_set(fixture: &Fixture) {
    let client = fixture.client().await;
    let id = submit(&client, limited()).await;
    let worker = fixture.worker("w").await;
    assert!(is_idle(&worker).await);
    let why = client.why(&id).await.unwrap().expect("it exists");
    let [Reason::BlockedByQuota { recheck_at: Some(recheck_at) }] = why.reasons[..] else {
        panic!("a quota: {why:?}");
    };
    let [LimitState::QuotaNotFound { of }] = &why.limits[..] else { panic!("none: {why:?}") };
    assert_eq!((&of.quota, &of.key), (&quota(), &None));
    assert_eq!(client.limits_that_hold().await.unwrap(), why.limits);
    let missing = client.quota(&quota()).await;
    assert_eq!(kind(missing), RejectionKind::QuotaNotFound);

    client.set_quota(&quota(), at_most(1)).await.unwrap();
    fixture.advance_to(recheck_at).await;
    fixture.tick().await;
    claim(&worker).await.complete(None).await.unwrap();

    assert!(client.delete_quota(&quota()).await.unwrap());
    assert!(!client.delete_quota(&quota()).await.unwrap());
    submit(&client, limited()).await;
    assert!(is_idle(&worker).await);
    client.set_quota(&quota(), at_most(1)).await.unwrap();
    starts_within(fixture, &worker, secs(60)).await.complete(None).await.unwrap();
    let [listed] = &client.quotas().await.unwrap()[..] else { panic!("one quota") };
    assert_eq!((&listed.id, listed.limits), (&quota(), at_most(1)));
}

/// A worker gets work within this time.
async fn starts_within(
    fixture: &Fixture,
    worker: &FlowFabricWorker,
    bound: Duration,
) -> ClaimedTask {
    let until = fixture.now().await.plus(bound.into());
    loop {
        if let Some(task) = worker.claim_next().await.unwrap() {
            return task;
        }
        assert!(fixture.now().await <= until, "nothing started within {bound:?}");
        fixture.advance(secs(1)).await;
        fixture.tick().await;
    }
}

/// A budget at its hard limit holds executions back until it is reset, and one that does not exist
/// until it is created. \[INV-BUDGET-2\]
pub async fn a_budget_at_its_hard_limit_holds_back_until_it_is_reset(fixture: &Fixture) {
    let (client, llm) = (fixture.client().await, BudgetId::new("llm"));
    let worker = fixture.worker("w").await;
    let id = submit(&client, work().budget("llm")).await;
    assert!(is_idle(&worker).await);
    let why = client.why(&id).await.unwrap().expect("it exists");
    assert_eq!(why.limits, [LimitState::BudgetNotFound { budget: llm.clone() }]);
    assert_eq!(client.limits_that_hold().await.unwrap(), why.limits);

    let settings = BudgetSettings::new().limit("tokens", 0, 10).unwrap();
    client.create_budget(&llm, settings).await.unwrap();
    let task = starts_within(fixture, &worker, secs(60)).await;
    task.report_usage(&llm, &[("tokens", 10)], None).await.unwrap();
    task.complete(None).await.unwrap();

    fixture.advance(ms(100)).await;
    let id = submit(&client, work().budget("llm")).await;
    let why = client.why(&id).await.unwrap().expect("it exists");
    assert_eq!(
        why.reasons,
        [Reason::BlockedByBudget { recheck_at: None }],
        "before a worker looks"
    );
    assert!(is_idle(&worker).await);
    let why = client.why(&id).await.unwrap().expect("it exists");
    assert!(
        matches!(why.reasons[..], [Reason::BlockedByBudget { recheck_at: Some(_) }]),
        "{why:?}"
    );
    let [LimitState::BudgetExhausted { limit: 10, resets_at: None, .. }] = &why.limits[..] else {
        panic!("at its limit: {why:?}");
    };
    assert_eq!(client.limits_that_hold().await.unwrap(), why.limits);
    client.reset_budget(&llm, None).await.unwrap();
    let why = client.why(&id).await.unwrap().expect("it exists");
    assert_eq!(why.limits, [LimitState::Budget { budget: llm }]);
    assert_eq!(client.limits_that_hold().await.unwrap(), []);
    let task = starts_within(fixture, &worker, secs(60)).await;
    assert_eq!(task.execution_id(), id);
}

/// A worker that dies leaves its slot for a while: other programs find it, and the executions end.
pub async fn a_dead_worker_leaves_no_slot(fixture: &Fixture) {
    let client = fixture.client().await;
    client.set_quota(&quota(), at_most(1)).await.unwrap();
    let ids = submit_limited(fixture, &client, 3).await;
    // Its own handle to the store, which goes away with it: it does not tidy up.
    let faulty = fixture.faulty();
    let dead = fixture.worker_on(faulty.clone(), "dead", |_| {}).await;
    let task = claim(&dead).await;
    assert_eq!(task.execution_id(), ids[0]);
    faulty.disconnect_for(any);
    drop((task, dead));

    let _timekeeper = fixture.timekeeper().await;
    let worker = fixture.worker("w").await;
    let mut done = 0;
    let began = fixture.now().await;
    while done < ids.len() {
        match worker.claim_next().await.unwrap() {
            Some(task) => {
                task.complete(None).await.unwrap();
                done += 1;
            }
            None => fixture.advance(secs(1)).await,
        }
        assert!(fixture.now().await.since(began) < ff_sdk::DurationMs::from_secs(180));
    }
    worker.settle().await;
    assert!(holders(&client).await.is_empty());
}

/// Grants for workers count too: a grant takes a slot, and gives it back when it is not used.
pub async fn grants_take_slots_and_unused_ones_give_them_back(fixture: &Fixture) {
    let (client, admin) = (fixture.client().await, fixture.admin().await);
    client.set_quota(&quota(), at_most(1)).await.unwrap();
    let ids = submit_limited(fixture, &client, 2).await;
    let worker = fixture.worker("w").await;
    let granted = ask(&admin, &worker, 5_000).await.unwrap();
    let why = client.why(&ids[0]).await.unwrap();
    assert!(granted.is_some(), "{why:?}");
    assert_eq!(holders(&client).await, [ids[0]]);
    let second = ask(&admin, &worker, 5_000).await.unwrap();
    assert!(second.is_none(), "{second:?}");

    let timekeeper = fixture.timekeeper().await;
    fixture.advance(secs(8)).await;
    timekeeper.settle().await;
    let task = claim(&worker).await;
    assert_eq!(holders(&client).await, [task.execution_id()]);
    task.complete(None).await.unwrap();
}

/// A request for a grant names the limit that refuses it, and `why` names the holders.
pub async fn a_refused_grant_names_the_limit(fixture: &Fixture) {
    let client = fixture.client().await;
    client.set_quota(&quota(), at_most(1).rate(100, secs(60))).await.unwrap();
    let ids = submit_limited(fixture, &client, 2).await;
    let request = grant_request(fixture, ids[0], "w");
    grant(&client, &request).await;
    client.execute(Command::Claim(claim_of(fixture, &request))).await.unwrap();
    let other = grant_request(fixture, ids[1], "w");
    let refused = client.execute(Command::IssueClaimGrant(other)).await;
    assert_eq!(rejection(refused).kind(), RejectionKind::ConcurrencyLimitExceeded);
    let worker = fixture.worker("w").await;
    assert!(is_idle(&worker).await);
    let why = client.why(&ids[1]).await.unwrap().expect("it exists");
    let [LimitState::Quota(usage)] = &why.limits[..] else { panic!("its quota: {why:?}") };
    assert_eq!((usage.holders.len(), usage.admitted), (1, 1));
    assert_eq!(usage.holders[0].execution, ids[0]);
}

/// An execution without limits costs as many calls whether there are quotas or not.
pub async fn an_execution_without_limits_costs_no_call_more(fixture: &Fixture) {
    let faulty = fixture.faulty();
    let client = fixture.client_on(faulty.clone()).await;
    let worker = fixture.worker_on(faulty.clone(), "w", |_| {}).await;
    // A look of the worker may be among the calls of a round.
    let mut least = [u64::MAX; 2];
    for round in 0..12 {
        if round == 6 {
            client.set_quota(&quota(), at_most(1)).await.unwrap();
        }
        let before = faulty.calls();
        submit(&client, work()).await;
        claim(&worker).await.complete(None).await.unwrap();
        worker.settle().await;
        let costs = &mut least[round / 6];
        *costs = (*costs).min(faulty.calls() - before);
    }
    assert_eq!(least[0], least[1]);
}
