//! The behaviour of the admin client that does not depend on its transport.

use ff_sdk::{
    AttemptIndex, Capabilities, ExecutionKind, ExecutionPolicy, FlowFabricAdminClient, GrantAudit,
    IssueReclaimGrantRequest, IssueReclaimGrantResponse, LaneId, PublicState, RejectionKind,
    Rotation, SdkError, TimestampMs, WorkerInstanceId,
};
use ff_server::{Server, Settings};
use ff_tests::Fixture;
use ff_tests::fixture::lane;
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
