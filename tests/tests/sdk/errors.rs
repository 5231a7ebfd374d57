//! Every kind of rejection can be reached through a public call (`docs/spec.md`, 10).

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use ff_sdk::core::error::{RejectionKind, TABLE};
use ff_sdk::core::execution::{Block, BlockKind, Command, FailOutcome, FenceParts};
use ff_sdk::core::id::ExecutionId;
use ff_sdk::core::policy::{Backoff, ExecutionPolicy, ReclaimMode};
use ff_sdk::core::store::IndexName;
use ff_sdk::core::store::codec::FORMAT;
use ff_sdk::core::time::{DurationMs, TimestampMs};
use ff_sdk::{
    BudgetId, BudgetSettings, Client, ClientConfig, Condition, FlowFabricWorker, LaneState,
    QuotaId, QuotaLimits, SdkError, Signal, WaitpointToken, WorkerConfig, WorkerInstanceId,
};
use ff_tests::Fixture;
use ff_tests::faulty_backend::any;
use ff_tests::fixture::{NAMESPACE, PARTITIONS, lane};
use ff_tests::kit::{
    append_frame, ask_to_reclaim, claim, claim_of, complete, fence_of, grant, grant_request,
    kind_of, ms, renew, rotate, secs, send, submit, suspend_command, work,
};

/// Rejections that no caller gets as an error. With `Unread` a rule asks its operation for facts,
/// which reads them and decides again. `OtherState` is an execution that a bulk operation skips.
const NEVER_RETURNED: [RejectionKind; 2] = [RejectionKind::Unread, RejectionKind::OtherState];

/// The kinds that were reached.
#[derive(Default)]
struct Reached(BTreeSet<RejectionKind>);

impl Reached {
    /// Records the kind of rejection of a refused call.
    #[track_caller]
    fn by<T: Debug>(&mut self, result: Result<T, SdkError>) {
        let error = result.expect_err("the call is refused");
        let kind = kind_of(&error);
        let shown = error.engine().expect("the engine refused it");
        assert_eq!(shown.class(), kind.row().class);
        assert_eq!(shown.http_status(), kind.row().http_status);
        self.0.insert(kind);
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_rejection_is_reached() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let mut reached = Reached::default();
    by_arguments(&fixture, &client, &mut reached).await;
    by_grants(&fixture, &client, &mut reached).await;
    by_leases(&fixture, &client, &mut reached).await;
    by_phases(&fixture, &client, &mut reached).await;
    by_waiting(&fixture, &client, &mut reached).await;
    by_output(&fixture, &client, &mut reached).await;
    by_secrets(&fixture, &mut reached).await;
    by_lanes_and_budgets(&fixture, &client, &mut reached).await;
    by_workers(&fixture, &client, &mut reached).await;
    by_limits(&fixture, &client, &mut reached).await;
    reached.by(superseded(&fixture, &client).await);
    reached.by(fixture.admin().await.activate_format(FORMAT + 1).await);
    reached.by(fixture.admin().await.activate_format(0).await);
    let missing: Vec<_> = TABLE
        .iter()
        .filter(|row| !reached.0.contains(&row.kind) && !NEVER_RETURNED.contains(&row.kind))
        .map(|row| row.name)
        .collect();
    assert!(missing.is_empty(), "no public call reaches {missing:?}");
}

async fn by_arguments(fixture: &Fixture, client: &Client, reached: &mut Reached) {
    reached.by(client.result(&fixture.id_in(0)).await);
    reached.by(client.describe(&fixture.id_in(PARTITIONS.num_flow_partitions)).await);
    reached.by(client.submit(work().deadline(TimestampMs::ZERO)).await);
    reached.by(client.submit(work().payload(vec![0; (1 << 20) + 1])).await);
    reached.by(client.submit(work().attempt_timeout(secs(0))).await);
    reached.by(client.submit(work().requires([""])).await);
    reached.by(client.submit(work().tag("team", "red")).await);
    reached.by(client.submit(work().lane("no lane")).await);
    let parsed: Result<ExecutionId, SdkError> = "{fp:007}:x".parse().map_err(SdkError::from);
    reached.by(parsed);
    reached.by(client.submit(work().id(fixture.id_in(0)).idempotency_key("k")).await);
    let id = submit(client, work().idempotency_key("k")).await;
    reached.by(client.submit(work().idempotency_key("k").priority(1)).await);
    client.cancel(&id, "over").await.unwrap();
}

async fn by_lanes_and_budgets(fixture: &Fixture, client: &Client, reached: &mut Reached) {
    for state in [LaneState::Draining, LaneState::Disabled, LaneState::Active] {
        client.set_lane(&lane(), state, "a test").await.unwrap();
        fixture.advance(secs(1)).await;
        if state != LaneState::Active {
            reached.by(client.submit(work()).await);
        }
    }
    let (budget, settings) = (BudgetId::new("llm"), BudgetSettings::new());
    reached.by(client.report_usage(&budget, &[("tokens", 1)], None).await);
    let settings = settings.limit("tokens", 0, 100).unwrap();
    client.create_budget(&budget, settings.clone()).await.unwrap();
    reached.by(client.create_budget(&budget, settings).await);
    reached.by(client.report_usage(&budget, &[("cents", 1)], None).await);
}

async fn by_workers(fixture: &Fixture, client: &Client, reached: &mut Reached) {
    let program = async |seed| {
        let mut config = fixture.worker_config("registered");
        config.seed = Some(seed);
        FlowFabricWorker::connect_with(config, fixture.backend(), None).await
    };
    let worker = program(1).await.unwrap();
    reached.by(program(2).await.map(drop));
    let unknown = WorkerInstanceId::new("unknown");
    reached.by(client.drain_worker(&unknown).await);
    client.mark_worker_dead(&worker.config().worker_instance_id).await.unwrap();
    fixture.advance(secs(21)).await;
    reached.by(worker.claim_next().await.map(drop));
}

async fn by_limits(fixture: &Fixture, client: &Client, reached: &mut Reached) {
    let (slots, rate, spent) =
        (QuotaId::new("slots"), QuotaId::new("rate"), BudgetId::new("spent"));
    let granted = async |submission| {
        let request = grant_request(fixture, submit(client, submission).await, "w");
        client.execute(Command::IssueClaimGrant(request)).await
    };
    reached.by(client.quota(&slots).await);
    client.set_quota(&slots, QuotaLimits::new().concurrency(1)).await.unwrap();
    granted(work().quota("slots")).await.unwrap();
    reached.by(granted(work().quota("slots")).await);
    client.set_quota(&rate, QuotaLimits::new().rate(1, secs(60))).await.unwrap();
    granted(work().quota("rate")).await.unwrap();
    reached.by(granted(work().quota("rate")).await);
    let settings = BudgetSettings::new().limit("calls", 0, 1).unwrap();
    client.create_budget(&spent, settings).await.unwrap();
    client.report_usage(&spent, &[("calls", 1)], None).await.unwrap();
    reached.by(granted(work().budget("spent")).await);
}

async fn by_grants(fixture: &Fixture, client: &Client, reached: &mut Reached) {
    let id = submit(client, work()).await;
    let first = grant_request(fixture, id, "w");
    reached.by(client.execute(Command::Claim(claim_of(fixture, &first))).await);
    let mut worker = first.clone();
    worker.grant_ttl_ms = 0;
    reached.by(client.execute(Command::IssueClaimGrant(worker)).await);
    grant(client, &first).await;
    reached.by(client.execute(Command::IssueClaimGrant(grant_request(fixture, id, "w"))).await);
    reached.by(client.execute(Command::ClaimResumed(claim_of(fixture, &first))).await);
    let block = Block { execution_id: id, kind: BlockKind::Operator, recheck_at: None };
    client.execute(Command::Block(block)).await.unwrap();
    reached.by(client.execute(Command::Claim(claim_of(fixture, &first))).await);
    fixture.advance(secs(10)).await;
    reached.by(client.execute(Command::Claim(claim_of(fixture, &first))).await);
    reached.by(client.execute(Command::IssueClaimGrant(grant_request(fixture, id, "w"))).await);
    client.cancel(&id, "over").await.unwrap();

    let needy = submit(client, work().requires(["gpu"])).await;
    reached.by(client.execute(Command::IssueClaimGrant(grant_request(fixture, needy, "w"))).await);
    client.cancel(&needy, "over").await.unwrap();
    let worker = fixture.worker("w").await;
    let id = submit(client, work()).await;
    let task = claim(&worker).await;
    task.delay_execution(TimestampMs::ZERO).await.unwrap();
    let request = grant_request(fixture, id, "w");
    grant(client, &request).await;
    reached.by(client.execute(Command::Claim(claim_of(fixture, &request))).await);
    client.cancel(&id, "over").await.unwrap();
}

async fn by_leases(fixture: &Fixture, client: &Client, reached: &mut Reached) {
    let worker = fixture.worker("w").await;
    let admin = fixture.admin().await;
    let reclaim_mode = ReclaimMode::OnRequest;
    let policy = ExecutionPolicy { reclaim_mode, max_reclaim_count: 0, ..Default::default() };
    let id = submit(client, work().policy(policy)).await;
    let task = claim(&worker).await;
    let fence = fence_of(&task);
    reached.by(client.execute(complete(id, FenceParts::default())).await);
    reached.by(client.execute(complete(id, FenceParts { lease_id: None, ..fence })).await);
    let stale = FenceParts { lease_epoch: Some(task.lease_epoch().next()), ..fence };
    reached.by(client.execute(complete(id, stale)).await);
    reached.by(ask_to_reclaim(&admin, &worker, &id).await);
    drop(task);
    fixture.advance(secs(30)).await;
    reached.by(client.execute(renew(id, fence, 1_000)).await);
    reached.by(ask_to_reclaim(&admin, &worker, &id).await);

    let id = submit(client, work()).await;
    let task = claim(&worker).await;
    client.revoke_lease(&id).await.unwrap();
    reached.by(task.renew_lease().await);
    client.cancel(&id, "over").await.unwrap();
    reached.by(task.renew_lease().await);
}

async fn by_phases(fixture: &Fixture, client: &Client, reached: &mut Reached) {
    let policy = ExecutionPolicy { max_replay_count: 0, ..Default::default() };
    let id = submit(client, work().policy(policy)).await;
    reached.by(client.replay(&id).await);
    let worker = fixture.worker("w").await;
    let task = claim(&worker).await;
    let block = Block { execution_id: id, kind: BlockKind::Operator, recheck_at: None };
    reached.by(client.execute(Command::Block(block)).await);
    task.complete(None).await.unwrap();
    reached.by(client.replay(&id).await);
}

async fn by_waiting(fixture: &Fixture, client: &Client, reached: &mut Reached) {
    let worker = fixture.worker("w").await;
    let id = submit(client, work()).await;
    let task = claim(&worker).await;
    let inbox = task.create_pending_waitpoint("inbox", None).await.unwrap();
    let bad = Signal::new("data", WaitpointToken::new("k1:00")).unwrap();
    reached.by(client.deliver_signal(&id, &inbox.id, bad).await);
    for _ in 0..10_000 {
        send(client, &id, &inbox, "data").await.unwrap();
    }
    reached.by(send(client, &id, &inbox, "data").await);
    reached.by(client.resume(&id).await);
    let suspend = || suspend_command(fixture, id, fence_of(&task), Condition::OperatorOnly);
    client.execute(suspend()).await.unwrap();
    reached.by(client.execute(suspend()).await);
    client.cancel(&id, "over").await.unwrap();
    reached.by(send(client, &id, &inbox, "data").await);
}

async fn by_output(fixture: &Fixture, client: &Client, reached: &mut Reached) {
    let worker = fixture.worker("w").await;
    let id = submit(client, work()).await;
    let task = claim(&worker).await;
    let frame = |sequence| append_frame(id, fence_of(&task), sequence, "");
    reached.by(client.execute(frame(2)).await);
    client.revoke_lease(&id).await.unwrap();
    reached.by(client.execute(frame(1)).await);
    client.cancel(&id, "over").await.unwrap();
    reached.by(client.execute(frame(1)).await);
}

async fn by_secrets(fixture: &Fixture, reached: &mut Reached) {
    let admin = fixture.admin().await;
    reached.by(rotate(&admin, "", "00", 0).await);
    reached.by(rotate(&admin, "k2", "no hex", 0).await);
    reached.by(rotate(&admin, "k2", "00", u64::MAX).await);
    reached.by(rotate(&admin, "k1", "00", 0).await);
}

/// A call for a life that has ended: it read the first life, and before its commit arrived, the
/// execution was cancelled and replayed.
async fn superseded(fixture: &Fixture, client: &Client) -> Result<(), SdkError> {
    let faulty = fixture.faulty();
    let slow = fixture.client_on(faulty.clone()).await;
    let id = submit(client, work()).await;
    faulty.slow_requests(ms(100), any);
    let late = slow.cancel(&id, "meant for the first life");
    let meanwhile = async {
        fixture.advance(ms(150)).await;
        client.cancel(&id, "over").await.unwrap();
        client.replay(&id).await.unwrap();
    };
    let (late, ()) = tokio::join!(late, meanwhile);
    assert!(client.describe(&id).await?.is_some_and(|seen| seen.outcome.is_none()));
    late
}

/// An invalid configuration is refused at connect, with the field's name, before anything is sent.
#[tokio::test(start_paused = true)]
async fn an_invalid_configuration_names_its_field() {
    let fixture = Fixture::memory();
    let faulty = fixture.faulty();
    type Change<T> = fn(&mut T);
    let changes: [(&str, Change<WorkerConfig>); 6] = [
        ("lanes", |config| config.lanes.clear()),
        ("max_concurrent_tasks", |config| config.max_concurrent_tasks = 0),
        ("lease_ttl", |config| config.lease_ttl = Duration::ZERO),
        ("lease_ttl", |config| config.lease_ttl = Duration::from_millis(86_400_001)),
        ("claim_poll_interval", |config| config.claim_poll_interval = Duration::ZERO),
        ("known_format", |config| config.known_format = FORMAT + 1),
    ];
    for (field, change) in changes {
        let mut config = fixture.worker_config("w");
        change(&mut config);
        let refused = FlowFabricWorker::connect_with(config, faulty.clone(), None).await;
        let Err(SdkError::Config { field: named, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(named, field);
    }
    let changes: [(&str, Change<ClientConfig>); 3] = [
        ("payload_limit", |config| config.payload_limit = (1 << 24) + 1),
        ("max_in_flight", |config| config.max_in_flight = 0),
        ("known_format", |config| config.known_format = 0),
    ];
    for (field, change) in changes {
        let mut config = ClientConfig::new(NAMESPACE).unwrap();
        change(&mut config);
        let refused = Client::connect(config, faulty.clone()).await;
        let Err(SdkError::Config { field: named, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(named, field);
    }
    assert_eq!(faulty.calls(), 0);
    assert!(WorkerConfig::new("no worker", "w-1", NAMESPACE).is_err());
}

/// The longest retention saturates at the latest instant.
#[tokio::test(start_paused = true)]
async fn the_longest_durations_saturate() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let longest = DurationMs::new(u64::MAX);
    let mut policy = ExecutionPolicy { retention_ms: longest, ..Default::default() };
    policy.timeout.attempt_timeout_ms = Some(longest);
    policy.timeout.execution_deadline_ms = Some(longest);
    policy.retry.backoff = Backoff::Fixed { delay_ms: longest };
    let worker = fixture.worker("w").await;
    let id = submit(&client, work().policy(policy)).await;
    let outcome = claim(&worker).await.fail("it broke", "network").await.unwrap();
    let delay_until = TimestampMs::MAX;
    assert_eq!(outcome, FailOutcome::RetryScheduled { delay_until });
    client.cancel(&id, "over").await.unwrap();
    let retention = fixture.score(&id, IndexName::Retention).await.unwrap();
    assert_eq!(retention.instant(), TimestampMs::MAX);
    assert!(fixture.tick().await.applied.is_empty());
}
