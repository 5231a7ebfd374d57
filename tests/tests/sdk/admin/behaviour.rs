//! The behaviour of the admin client that does not depend on its transport.

use ff_sdk::{
    AttemptIndex, BudgetId, BudgetSettings, Capabilities, DurationMs, ExecutionId, ExecutionKind,
    ExecutionPolicy, FlowFabricAdminClient, GrantAudit, Interrupted, IssueReclaimGrantRequest,
    IssueReclaimGrantResponse, Kinds, LaneId, LaneState, Namespace, Outcome, PublicState, QuotaId,
    QuotaKey, QuotaLimits, Reason, RejectionKind, Rotation, SdkError, TimestampMs, WhyView,
    WorkerInstanceId, WorkerState,
};
use ff_server::{Server, Settings};
use ff_tests::Fixture;
use ff_tests::fixture::{lane, namespace};
use ff_tests::kit::{
    ask, ask_to_reclaim, claim, describe, endings, kind, ms, nth_epoch, rotate, state, submit, work,
};
use tokio::time::Instant;

/// The client under test, and the store behind it.
struct Subject {
    fixture: Fixture,
    admin: FlowFabricAdminClient,
}

/// A client that works in this process.
async fn in_process() -> Subject {
    let fixture = Fixture::memory();
    // The first program sets the store up, with few partitions.
    fixture.client().await;
    let admin = fixture.admin().await;
    Subject { fixture, admin }
}

/// A client of a server over the same kind of store.
async fn over_http() -> Subject {
    let Subject { fixture, .. } = in_process().await;
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(address, fixture.backend(), Settings::default()).await.unwrap();
    let admin = FlowFabricAdminClient::new(server.url()).unwrap();
    tokio::spawn(server.run_until(std::future::pending()));
    Subject { fixture, admin }
}

/// Makes a test of each behaviour for each transport. Those over HTTP run in real time, since time
/// that is paused goes on while a program waits for a socket.
macro_rules! behaviours {
    ($($name:ident;)+) => {
        mod in_process {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name(super::in_process().await).await;
            })+
        }

        mod over_http {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::over_http().await).await;
            })+
        }
    };
}

behaviours! {
    a_worker_gets_new_resumed_and_reclaimed_work;
    a_request_waits_for_work;
    a_request_names_the_kinds_and_the_lane;
    the_data_for_audit_are_stored_with_the_grant;
    an_execution_with_a_lost_lease_can_be_reclaimed;
    a_repeat_of_a_request_gets_the_same_grant;
    a_request_that_cannot_be_granted_is_refused;
    an_execution_that_was_reclaimed_too_often_fails;
    the_secret_of_tokens_is_rotated;
    a_lane_is_paused_drained_disabled_and_resumed;
    quotas_and_budgets_are_listed_and_read;
    workers_are_listed;
    the_reasons_are_those_of_the_client;
}

async fn a_worker_gets_new_resumed_and_reclaimed_work(subject: Subject) {
    let Subject { fixture, admin } = subject;
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let via = async || worker.claim_via_server(&admin, &lane(), 10_000).await.unwrap();
    assert!(via().await.is_none());
    let id = submit(&client, work().payload("in")).await;
    let task = via().await.unwrap();
    assert_eq!((task.execution_id(), task.input_payload()), (id, Some(&b"in"[..])));
    let full = worker.claim_via_server(&admin, &lane(), 10_000).await.unwrap_err();
    assert!(matches!(full, SdkError::WorkerAtCapacity { slots: 1 }), "{full:?}");
    task.delay_execution(TimestampMs::ZERO).await.unwrap();
    let task = via().await.unwrap();
    let epoch = nth_epoch(&client, &id, 2).await;
    assert_eq!((task.attempt_index(), task.lease_epoch()), (AttemptIndex(0), epoch));
    client.revoke_lease(&id).await.unwrap();
    drop(task);
    let task = via().await.unwrap();
    let epoch = nth_epoch(&client, &id, 3).await;
    assert_eq!((task.attempt_index(), task.lease_epoch()), (AttemptIndex(1), epoch));
    assert_eq!(task.input_payload(), Some(&b"in"[..]));
    task.complete(None).await.unwrap();
    assert!(via().await.is_none());
    for ttl in [0, 60_001] {
        let refused = worker.claim_via_server(&admin, &lane(), ttl).await.unwrap_err();
        assert!(matches!(refused, SdkError::Config { field: "grant_ttl_ms", .. }), "{refused:?}");
    }
}

async fn a_request_waits_for_work(subject: Subject) {
    let Subject { fixture, admin } = subject;
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let mut request = worker.config().claim_request(lane(), 5_000);
    request.wait_ms = 50;
    assert_eq!(admin.claim_for_worker(request.clone()).await.unwrap(), None);
    request.wait_ms = 30_000;
    let begun = Instant::now();
    let (granted, id) = tokio::join!(admin.claim_for_worker(request), submit(&client, work()));
    assert_eq!(granted.unwrap().expect("there is work").grant().execution_id(), id);
    assert!(begun.elapsed() < ms(900), "the submission wakes it, before it would look again");
}

async fn a_request_names_the_kinds_and_the_lane(subject: Subject) {
    let Subject { fixture, admin } = subject;
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let id = submit(&client, work()).await;
    let mut request = worker.config().claim_request(lane(), 5_000);
    request.kinds = [ExecutionKind::new("other")].into_iter().collect();
    assert_eq!(admin.claim_for_worker(request.clone()).await.unwrap(), None);
    request.kinds = [ExecutionKind::new("work")].into_iter().collect();
    let mut elsewhere = request.clone();
    elsewhere.lane_id = LaneId::new("elsewhere");
    assert_eq!(admin.claim_for_worker(elsewhere).await.unwrap(), None);
    let granted = admin.claim_for_worker(request).await.unwrap().unwrap();
    assert_eq!(granted.grant().execution_id(), id);
    worker.release_grant(granted.into_grant()).await.unwrap();
}

async fn the_data_for_audit_are_stored_with_the_grant(subject: Subject) {
    let Subject { fixture, admin } = subject;
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let audit = GrantAudit {
        instance: Some(WorkerInstanceId::new("w-1")),
        capability_hash: Some("00ff".to_owned()),
        route_snapshot_json: Some(r#"{"to":"w"}"#.to_owned()),
        admission_summary: Some("first of two".to_owned()),
    };
    let GrantAudit { capability_hash, route_snapshot_json, admission_summary, .. } = audit.clone();
    let id = submit(&client, work()).await;
    let mut request = worker.config().claim_request(lane(), 5_000);
    request.capability_hash = capability_hash.clone();
    request.route_snapshot_json = route_snapshot_json.clone();
    request.admission_summary = admission_summary.clone();
    let granted = admin.claim_for_worker(request).await.unwrap().unwrap();
    assert_eq!(describe(&client, &id).await.grant.unwrap().audit, audit);
    worker.release_grant(granted.into_grant()).await.unwrap();

    drop(claim(&worker).await);
    client.revoke_lease(&id).await.unwrap();
    let plain = worker.config().reclaim_request(lane(), 5_000);
    let request = IssueReclaimGrantRequest {
        capability_hash,
        route_snapshot_json,
        admission_summary,
        ..plain.clone()
    };
    admin.issue_reclaim_grant(&id.to_string(), request).await.unwrap();
    assert_eq!(describe(&client, &id).await.grant.unwrap().audit, audit);

    let admission_summary = Some("x".repeat(GrantAudit::ADMISSION_SUMMARY_MAX_BYTES + 1));
    let long = IssueReclaimGrantRequest { admission_summary, ..plain };
    let refused = admin.issue_reclaim_grant(&id.to_string(), long).await.unwrap_err();
    assert!(matches!(refused, SdkError::Config { field: "admission_summary", .. }), "{refused:?}");
}

async fn an_execution_with_a_lost_lease_can_be_reclaimed(subject: Subject) {
    let Subject { fixture, admin } = subject;
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    for url_safe in [false, true] {
        let id = submit(&client, work()).await;
        drop(claim(&worker).await);
        client.revoke_lease(&id).await.unwrap();
        let text = if url_safe { id.url_safe() } else { id.to_string() };
        let request = worker.config().reclaim_request(lane(), 5_000);
        let granted = admin.issue_reclaim_grant(&text, request).await.unwrap();
        let grant = granted.into_grant().unwrap();
        assert_eq!((grant.execution_id, &grant.lane_id), (id, &lane()));
        let outcome = worker.claim_from_reclaim_grant(grant, Default::default()).await.unwrap();
        let ff_sdk::ReclaimExecutionOutcome::Claimed(task) = outcome else { panic!("{outcome:?}") };
        task.complete(None).await.unwrap();
    }
}

async fn a_repeat_of_a_request_gets_the_same_grant(subject: Subject) {
    let Subject { fixture, admin } = subject;
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let id = submit(&client, work()).await;
    drop(claim(&worker).await);
    client.revoke_lease(&id).await.unwrap();
    let named = admin.with_request_id("call-1".parse().unwrap());
    let first = ask_to_reclaim(&named, &worker, &id).await.unwrap();
    assert_eq!(ask_to_reclaim(&named, &worker, &id).await.unwrap(), first);
    let other = ask_to_reclaim(&admin, &worker, &id).await;
    assert_eq!(kind(other), RejectionKind::GrantAlreadyExists);
}

async fn a_request_that_cannot_be_granted_is_refused(subject: Subject) {
    let Subject { fixture, admin } = subject;
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let able = Capabilities::try_new(["gpu"]).unwrap();
    let able = fixture.worker_with("able", |config| config.capabilities = able).await;
    let id = submit(&client, work().requires(["gpu"])).await;
    let live = claim(&able).await;
    let refused = ask_to_reclaim(&admin, &able, &id).await;
    assert_eq!(kind(refused), RejectionKind::ExecutionNotReclaimable);
    client.revoke_lease(&id).await.unwrap();
    drop(live);

    let refused = ask_to_reclaim(&admin, &worker, &id).await.unwrap_err();
    assert_eq!(refused.rejection_kind(), Some(RejectionKind::CapabilityMismatch));
    assert_eq!((refused.http_status(), refused.is_retryable()), (409, false));
    assert!(refused.to_string().contains("gpu") && !refused.may_be_applied());

    let mut elsewhere = able.config().reclaim_request(lane(), 1_000);
    elsewhere.lane_id = LaneId::new("elsewhere");
    let refused = admin.issue_reclaim_grant(&id.to_string(), elsewhere).await;
    assert_eq!(kind(refused), RejectionKind::InvalidInput);

    let absent = ff_sdk::ExecutionId::from_parts(0, uuid::Uuid::nil());
    let refused = ask_to_reclaim(&admin, &worker, &absent).await.unwrap_err();
    assert_eq!(refused.rejection_kind(), Some(RejectionKind::NotFound));
    assert_eq!(refused.http_status(), 404);
    let outside = ff_sdk::ExecutionId::from_parts(60_000, uuid::Uuid::nil());
    let refused = ask_to_reclaim(&admin, &worker, &outside).await;
    assert_eq!(kind(refused), RejectionKind::PartitionOutOfRange);
    let request = worker.config().reclaim_request(lane(), 1_000);
    let refused = admin.issue_reclaim_grant("7", request).await;
    assert_eq!(kind(refused), RejectionKind::InvalidExecutionId);

    let grant = ask_to_reclaim(&admin, &able, &id).await.unwrap();
    able.release_grant(grant).await.unwrap();
    assert!(ask(&admin, &worker, 1_000).await.unwrap().is_none());
    assert!(ask(&admin, &able, 1_000).await.unwrap().is_some());
}

async fn an_execution_that_was_reclaimed_too_often_fails(subject: Subject) {
    let Subject { fixture, admin } = subject;
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let policy = ExecutionPolicy { max_reclaim_count: 0, ..Default::default() };
    let id = submit(&client, work().policy(policy)).await;
    drop(claim(&worker).await);
    client.revoke_lease(&id).await.unwrap();
    for _ in 0..2 {
        let request = worker.config().reclaim_request(lane(), 1_000);
        let capped = admin.issue_reclaim_grant(&id.to_string(), request).await.unwrap();
        assert_eq!(capped, IssueReclaimGrantResponse::ReclaimCapExceeded { reclaims: 0 });
        assert_eq!(state(&client, &id).await, PublicState::Failed);
    }
    assert_eq!(endings(&client, &id).await, 1);
}

async fn the_secret_of_tokens_is_rotated(subject: Subject) {
    let Subject { admin, .. } = subject;
    assert_eq!(rotate(&admin, "k1", "c0ffee", 0).await.unwrap(), Rotation::Rotated);
    assert_eq!(rotate(&admin, "k1", "C0FFEE", 0).await.unwrap(), Rotation::Noop);
    for (kid, secret, grace, refused) in [
        ("k1", "c0ffef", 0, RejectionKind::RotationConflict),
        ("a:b", "00", 0, RejectionKind::InvalidKid),
        ("k2", "xyz", 0, RejectionKind::InvalidSecretHex),
        ("k2", "00", u64::MAX, RejectionKind::InvalidGraceMs),
    ] {
        let error = rotate(&admin, kid, secret, grace).await.unwrap_err();
        assert_eq!(error.rejection_kind(), Some(refused));
        assert!(!error.to_string().contains("c0ff"), "{error}");
    }
}

async fn a_lane_is_paused_drained_disabled_and_resumed(subject: Subject) {
    let Subject { fixture, admin } = subject;
    submit(&fixture.client().await, work()).await;
    let (namespace, mail) = (namespace(), LaneId::new("mail"));
    let set = async |state, reason: &str| admin.set_lane(&namespace, &mail, state, reason).await;
    let mut before = LaneState::Active;
    for state in [LaneState::Paused, LaneState::Draining, LaneState::Disabled, LaneState::Active] {
        let change = set(state, "a deploy").await.unwrap();
        assert_eq!((&change.lane, change.before, change.state), (&mail, before, state));
        let lanes = admin.lanes(&namespace).await.unwrap();
        let used = lanes.first().expect("the lane in which work waits");
        assert_eq!((&used.lane, used.state), (&lane(), LaneState::Active));
        assert_eq!((used.since, used.has_waiting), (None, true));
        match lanes.get(1) {
            None => assert_eq!(state, LaneState::Active),
            Some(found) => {
                assert_eq!((&found.lane, found.state, found.has_waiting), (&mail, state, false));
                assert_eq!(found.reason.as_deref(), Some("a deploy"));
                assert!(found.since.is_some());
            }
        }
        before = state;
    }
    assert_eq!(admin.lanes(&Namespace::new("elsewhere")).await.unwrap(), []);
    let refused = set(LaneState::Paused, &"x".repeat(257)).await;
    assert_eq!(kind(refused), RejectionKind::InvalidInput);
}

async fn quotas_and_budgets_are_listed_and_read(subject: Subject) {
    let Subject { fixture, admin } = subject;
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let (namespace, smtp, llm) = (namespace(), QuotaId::new("smtp"), BudgetId::new("llm"));
    let limits = QuotaLimits::new().concurrency(2).rate(10, ms(60_000));
    client.set_quota(&smtp, limits).await.unwrap();
    client.set_quota(&QuotaId::new("api"), QuotaLimits::new().concurrency(1)).await.unwrap();
    let settings = BudgetSettings::new().limit("tokens", 5, 10).unwrap();
    let settings = settings.resets_every(ms(3_600_000));
    client.create_budget(&llm, settings).await.unwrap();
    client.report_usage(&llm, &[("tokens", 3)], None).await.unwrap();

    let quotas = admin.quotas(&namespace).await.unwrap();
    let names: Vec<&str> = quotas.iter().map(|quota| quota.quota.as_str()).collect();
    assert_eq!(names, ["api", "smtp"]);
    let limits = quotas[1].limits;
    let (rate, window_ms) = (limits.rate, limits.window_ms);
    assert_eq!(
        (limits.concurrency, rate, window_ms),
        (Some(2), Some(10), Some(DurationMs::new(60_000)))
    );
    assert_eq!((quotas[0].limits.rate, quotas[0].limits.window_ms), (None, None));

    let id = submit(&client, work().quota_key("smtp", "ada")).await;
    let task = claim(&worker).await;
    let ada = QuotaKey::new("ada");
    let of_ada = admin.quota_use(&namespace, &smtp, Some(&ada)).await.unwrap();
    assert_eq!((&of_ada.quota, &of_ada.key, of_ada.limits), (&smtp, &Some(ada), limits));
    assert_eq!((of_ada.holders.len(), of_ada.holders[0].execution_id), (1, id));
    assert_eq!(of_ada.started_in_window, 1);
    task.complete(None).await.unwrap();
    let of_none = admin.quota_use(&namespace, &smtp, None).await.unwrap();
    assert_eq!((of_none.key, of_none.holders, of_none.started_in_window), (None, vec![], 0));
    let missing = admin.quota_use(&namespace, &QuotaId::new("none"), None).await;
    assert_eq!(kind(missing), RejectionKind::QuotaNotFound);

    let budgets = admin.budgets(&namespace).await.unwrap();
    assert_eq!(budgets, [admin.budget(&namespace, &llm).await.unwrap()]);
    let [tokens] = &budgets[0].dimensions[..] else { panic!("{budgets:?}") };
    assert_eq!((tokens.used, tokens.soft, tokens.hard), (3, 5, 10));
    assert_eq!(budgets[0].reset_every_ms, Some(DurationMs::new(3_600_000)));
    assert!(budgets[0].resets_at > Some(budgets[0].period_start));
    let missing = admin.budget(&namespace, &BudgetId::new("none")).await;
    assert_eq!(kind(missing), RejectionKind::BudgetNotFound);
    assert_eq!(admin.quotas(&Namespace::new("elsewhere")).await.unwrap(), []);
    assert_eq!(admin.budgets(&Namespace::new("elsewhere")).await.unwrap(), []);
}

async fn workers_are_listed(subject: Subject) {
    let Subject { fixture, admin } = subject;
    let second = fixture.worker("w").await;
    let first = fixture
        .worker_with("able", |config| {
            config.capabilities = Capabilities::try_new(["gpu"]).unwrap();
            config.kinds = [ExecutionKind::new("work")].into_iter().collect();
        })
        .await;
    let instance = |worker: &ff_sdk::FlowFabricWorker| worker.config().worker_instance_id.clone();
    fixture.client().await.drain_worker(&instance(&second)).await.unwrap();
    let workers = admin.workers(&namespace()).await.unwrap();
    let [able, draining] = &workers[..] else { panic!("{workers:?}") };
    assert_eq!((&able.instance, able.state), (&instance(&first), WorkerState::Live));
    assert_eq!(able.capabilities, first.config().capabilities);
    assert_eq!(able.kinds, first.config().kinds);
    assert_eq!((&draining.instance, draining.state), (&instance(&second), WorkerState::Draining));
    assert_eq!((&draining.kinds, &draining.lanes), (&Kinds::All, &second.config().lanes));
    assert_eq!((draining.active, draining.slots), (0, 1));
    assert!(draining.expires_at > draining.last_seen);
    assert_eq!(admin.workers(&Namespace::new("elsewhere")).await.unwrap(), []);
}

async fn the_reasons_are_those_of_the_client(subject: Subject) {
    let Subject { fixture, admin } = subject;
    let (client, namespace) = (fixture.client().await, namespace());
    let id = submit(&client, work()).await;
    let why = async || {
        let why = admin.why(&namespace, &id).await.unwrap().expect("the execution");
        // A client that has read the states of the lanes follows within a second.
        let expected = fixture.client().await.why(&id).await.unwrap().expect("the execution");
        let mut expected = WhyView::from(&expected);
        // The clock goes on between the two calls.
        expected.at = why.at;
        assert_eq!(why, expected);
        why
    };
    let unserved = why().await;
    assert_eq!((unserved.execution_id, unserved.state), (id, PublicState::Waiting));
    assert!(matches!(unserved.reasons[..], [Reason::NotServed { .. }]), "{unserved:?}");
    admin.set_lane(&namespace, &lane(), LaneState::Paused, "a deploy").await.unwrap();
    let paused = why().await;
    let is_held = |reason: &Reason| matches!(reason, Reason::LaneHeld { .. });
    assert!(paused.reasons.iter().any(is_held), "{paused:?}");
    admin.set_lane(&namespace, &lane(), LaneState::Active, "").await.unwrap();

    let worker = fixture.worker("w").await;
    let may_start = why().await;
    assert_eq!((may_start.reasons, may_start.turn.map(|turn| turn.ahead)), (vec![], Some(0)));
    let task = claim(&worker).await;
    let running = why().await;
    assert!(matches!(running.reasons[..], [Reason::Running { .. }]), "{running:?}");
    assert_eq!(running.workers[0].instance, worker.config().worker_instance_id);
    assert!(running.version > unserved.version);
    client.revoke_lease(&id).await.unwrap();
    drop(task);
    let revoked = why().await.interrupted;
    assert!(matches!(revoked, Some(Interrupted::LeaseRevoked { .. })), "{revoked:?}");
    claim(&worker).await.complete(None).await.unwrap();
    let ended = why().await;
    assert_eq!((ended.outcome, ended.attempt), (Some(Outcome::Success), Some(AttemptIndex(1))));

    let absent = ExecutionId::from_parts(0, uuid::Uuid::nil());
    assert_eq!(admin.why(&namespace, &absent).await.unwrap(), None);
    assert_eq!(admin.why(&Namespace::new("elsewhere"), &id).await.unwrap(), None);
    let outside = ExecutionId::from_parts(60_000, uuid::Uuid::nil());
    let refused = admin.why(&namespace, &outside).await;
    assert_eq!(kind(refused), RejectionKind::PartitionOutOfRange);
}
