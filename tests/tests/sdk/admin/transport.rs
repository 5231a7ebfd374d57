//! The client's side of HTTP: what it repeats, and what it makes of each kind of answer.

use std::time::{Duration, Instant};

use ff_sdk::core::error::TABLE;
use ff_sdk::{
    Applied, ClaimForWorkerRequest, ClaimForWorkerResponse, ErrorClass, FlowFabricAdminClient,
    LaneId, LaneNote, LaneState, Namespace, QuotaId, QuotaKey, RejectionKind,
    RotateWaitpointSecretRequest, SdkError, WorkerConfig, WorkerGrant, WorkerId, WorkerInstanceId,
};
use ff_tests::kit::ms;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::stub::{Act, Received, Stub, error};

const ID: &str = "{fp:7}:0190f3a1-7b5c-4d2e-8f00-112233445566";
const KEY: &str = "idempotency-key";

fn claim() -> ClaimForWorkerRequest {
    ClaimForWorkerRequest::new(
        WorkerId::new("w"),
        WorkerInstanceId::new("w-1"),
        Namespace::new("demo"),
        LaneId::new("default"),
        5_000,
    )
}

fn rotation() -> RotateWaitpointSecretRequest {
    RotateWaitpointSecretRequest::new("k2", "c0ffee", 60_000)
}

fn granted() -> Value {
    json!({
        "kind": "claim", "execution_id": ID, "partition_key": "{fp:7}", "grant_key": "g",
        "expires_at_ms": 5,
    })
}

fn rotated() -> Value {
    json!({ "outcome": "rotated", "new_kid": "k2" })
}

/// A client that gives up after three seconds.
fn client(url: &str) -> FlowFabricAdminClient {
    FlowFabricAdminClient::new(url).unwrap().call_timeout(ms(3_000))
}

/// Asks a server with this script for a grant. Returns the result and the requests.
async fn ask(
    script: impl IntoIterator<Item = Act>,
) -> (Result<Option<ClaimForWorkerResponse>, SdkError>, Vec<Received>) {
    let stub = Stub::start(script).await;
    let result = client(&stub.url).claim_for_worker(claim()).await;
    (result, stub.received())
}

/// Asks a server that refuses. Returns the error and the number of requests.
async fn refused(act: Act) -> (SdkError, usize) {
    let (result, received) = ask([act]).await;
    (result.expect_err("the server refuses"), received.len())
}

#[tokio::test]
async fn a_call_has_the_path_the_body_and_the_headers_of_the_api() {
    let granted = granted();
    let reclaim = json!({
        "status": "granted", "execution_id": ID, "partition_key": "{fp:7}", "grant_key": "g",
        "expires_at_ms": 5, "lane_id": "default",
    });
    let answers = [&granted, &reclaim, &rotated()].map(|answer| Act::json(200, answer));
    let stub = Stub::start(answers).await;
    let admin = client(&format!("{}/prefix/", stub.url)).token("sesame").unwrap();
    let mut request = claim();
    request.worker_id = WorkerId::new("a/b?c%");
    let grant = admin.claim_for_worker(request).await.unwrap().unwrap().into_grant();
    let WorkerGrant::Claim(grant) = grant else { panic!("{grant:?}") };
    assert_eq!(grant.execution_id.to_string(), ID);

    let config = WorkerConfig::new("w", "w-1", "demo").unwrap();
    let reclaim = config.reclaim_request(LaneId::new("default"), 1_000);
    let named = admin.with_request_id("call-1".parse().unwrap());
    named.issue_reclaim_grant(ID, reclaim).await.unwrap().into_grant().unwrap();
    admin.rotate_waitpoint_secret(rotation()).await.unwrap();

    let received = stub.received();
    let paths = [
        "workers/a%2Fb%3Fc%25/claim",
        "executions/7.0190f3a1-7b5c-4d2e-8f00-112233445566/reclaim",
        "admin/rotate-waitpoint-secret",
    ];
    for (received, path) in received.iter().zip(paths) {
        let first = format!("POST /prefix/v1/{path} HTTP/1.1\r\n");
        assert!(received.head.starts_with(&first), "{}", received.head);
        assert_eq!(received.header("authorization"), Some("Bearer sesame"));
        assert_eq!(received.header("content-type"), Some("application/json"));
    }
    assert_eq!(received[0].body["worker_id"], json!("a/b?c%"));
    assert_eq!(received[1].header(KEY), Some("call-1"));
    assert_eq!(received[2].body["new_secret_hex"], json!("c0ffee"));
    assert_ne!(received[0].header(KEY), received[2].header(KEY), "each call has its own ID");
    assert!(!format!("{admin:?}").contains("sesame"));
}

#[tokio::test]
async fn a_call_about_a_namespace_escapes_its_names() {
    let read = json!({
        "quota": "x/y", "key": "k=1", "concurrency": 1, "rate": null, "window_ms": null,
        "holders": [], "started_in_window": 0, "at": 5, "from_a_later_version": {},
    });
    let changed = json!({ "lane": "a/b", "state": "paused", "before": "active" });
    let stub = Stub::start([Act::json(200, &read), Act::json(200, &changed)]).await;
    let (admin, namespace) = (client(&stub.url), Namespace::new("a&b"));
    let (quota, key) = (QuotaId::new("x/y"), QuotaKey::new("k=1"));
    let used = admin.quota_use(&namespace, &quota, Some(&key)).await.unwrap();
    assert_eq!((used.quota, used.key), (quota, Some(key)));
    let note = LaneNote::from("why").by("ada");
    let lane = LaneId::new("a/b");
    admin.set_lane(&namespace, &lane, LaneState::Paused, note).await.unwrap();
    let received = stub.received();
    let firsts = [
        "GET /v1/quotas/x%2Fy?namespace=a%26b&key=k%3D1 HTTP/1.1",
        "PUT /v1/lanes/a%2Fb?namespace=a%26b HTTP/1.1",
    ];
    for (received, first) in received.iter().zip(firsts) {
        assert_eq!(received.head.lines().next(), Some(first));
    }
    assert_eq!(received[0].header("content-type"), None);
    assert_eq!(received[1].body, json!({ "state": "paused", "reason": "why" }));
}

/// Another operator may have set the lane since.
#[tokio::test]
async fn a_change_of_a_lane_that_may_be_applied_is_not_repeated() {
    let changed = json!({ "lane": "mail", "state": "paused", "before": "active" });
    let stub = Stub::start([Act::Close, Act::json(200, &changed)]).await;
    let (admin, namespace) = (client(&stub.url), Namespace::new("demo"));
    let lane = LaneId::new("mail");
    let error = admin.set_lane(&namespace, &lane, LaneState::Paused, "").await.unwrap_err();
    assert!(error.is_retryable() && error.may_be_applied(), "{error:?}");
    assert_eq!(stub.received().len(), 1);
    admin.set_lane(&namespace, &lane, LaneState::Paused, "").await.unwrap();
}

#[tokio::test]
async fn a_list_can_be_longer_than_other_answers() {
    let lane = json!({
        "lane": "mail", "state": "paused", "since": 5, "by": null, "reason": "x".repeat(200),
        "has_waiting": false,
    });
    let lanes = json!({ "lanes": vec![lane; 5_000] });
    assert!(lanes.to_string().len() > 1 << 20);
    let stub = Stub::start([Act::Close, Act::json(200, &lanes)]).await;
    let found = client(&stub.url).lanes(&Namespace::new("demo")).await.unwrap();
    assert_eq!((found.len(), stub.received().len()), (5_000, 2), "a read is repeated");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_an_error_of_a_call_that_was_not_applied() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let admin = FlowFabricAdminClient::new(&url).unwrap().call_timeout(ms(300));
    let error = admin.rotate_waitpoint_secret(rotation()).await.unwrap_err();
    assert!(matches!(error, SdkError::Http { applied: Applied::No, .. }), "{error:?}");
    assert!(error.is_retryable() && !error.may_be_applied());
    assert!(error.to_string().contains("could not reach the server"), "{error}");
}

/// A repeat has the same request ID, so that the server recognises it.
#[tokio::test]
async fn an_overloaded_server_is_asked_again_with_the_same_request_id() {
    let overloaded = Act::error(503, "unreachable", true);
    let bare = Act::Answer(502, "", "<html>".to_owned());
    let (result, received) = ask([overloaded, bare, Act::json(200, &granted())]).await;
    assert!(result.unwrap().is_some());
    let keys: Vec<_> = received.iter().map(|request| request.header(KEY)).collect();
    assert_eq!((keys.len(), keys[0].is_some()), (3, true));
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_repeated() {
    let (result, received) = ask([Act::Close, Act::Answer(204, "", String::new())]).await;
    assert_eq!((result.unwrap(), received.len()), (None, 2));
}

/// Another operator may have rotated since.
#[tokio::test]
async fn a_rotation_that_may_be_applied_is_not_repeated() {
    for act in [Act::Close, Act::Answer(502, "", String::new())] {
        let stub = Stub::start([act, Act::json(200, &rotated())]).await;
        let error = client(&stub.url).rotate_waitpoint_secret(rotation()).await.unwrap_err();
        assert!(matches!(error, SdkError::Http { applied: Applied::Unknown, .. }), "{error:?}");
        assert!(error.is_retryable() && error.may_be_applied());
        assert_eq!(stub.received().len(), 1);
    }
    let refused = Act::error(503, "unreachable", true);
    let stub = Stub::start([refused, Act::json(200, &rotated())]).await;
    client(&stub.url).rotate_waitpoint_secret(rotation()).await.unwrap();
    assert_eq!(stub.received().len(), 2, "this one was surely not applied");
}

#[tokio::test]
async fn a_lost_answer_is_not_forgotten_when_later_tries_are_refused() {
    let stub = Stub::start([Act::Close, Act::error(503, "unreachable", true)]).await;
    let admin = FlowFabricAdminClient::new(&stub.url).unwrap().call_timeout(ms(400));
    let error = admin.claim_for_worker(claim()).await.unwrap_err();
    assert!(error.may_be_applied() && error.is_retryable(), "{error:?}");
    assert!(stub.received().len() > 1);
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_may_have_applied_the_call() {
    let stub = Stub::start([Act::Hang]).await;
    let admin = FlowFabricAdminClient::new(&stub.url).unwrap().call_timeout(ms(200));
    let error = admin.claim_for_worker(claim()).await.unwrap_err();
    assert!(matches!(error, SdkError::Http { applied: Applied::Unknown, .. }), "{error:?}");
    assert!(error.to_string().contains("no answer within 200ms"), "{error}");

    let begun = Instant::now();
    let mut waiting = claim();
    waiting.wait_ms = 300;
    admin.claim_for_worker(waiting).await.unwrap_err();
    assert!(begun.elapsed() >= ms(500), "the limit does not count the time of the wait");
}

#[tokio::test]
async fn the_wait_that_the_server_asks_for_is_kept() {
    let busy = error("too_many_requests", true, Value::Null).to_string();
    let after = |lines| Act::Answer(429, lines, busy.clone());
    let begun = Instant::now();
    let (result, received) =
        ask([after("retry-after: 1\r\n"), Act::Answer(204, "", String::new())]).await;
    assert_eq!((result.unwrap(), received.len()), (None, 2));
    assert!(begun.elapsed() >= Duration::from_secs(1));

    let (error, tries) = refused(after("retry-after: 60\r\n")).await;
    assert!(matches!(error, SdkError::AdminApi { status: 429, .. }), "{error:?}");
    assert!(error.is_retryable());
    assert_eq!(tries, 1, "the time of the call does not allow the wait");
}

/// An answer in which a rule decided is final, as in process.
#[tokio::test]
async fn a_decision_of_the_engine_is_not_repeated() {
    for row in TABLE.iter().filter(|row| row.class == ErrorClass::Retryable) {
        let name = row.kind.wire_name();
        let (error, tries) = refused(Act::error(row.http_status, &name, true)).await;
        assert_eq!((error.rejection_kind(), tries), (Some(row.kind), 1));
        assert!(error.is_retryable() && error.http_status() == row.http_status);
    }
    let details = json!({ "missing": ["gpu"] });
    let (refused, _) = refused(Act::json(409, &error("capability_mismatch", false, details))).await;
    assert_eq!(refused.rejection_kind(), Some(RejectionKind::CapabilityMismatch));
    let SdkError::AdminApi { details, message, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!((message.as_str(), &details["missing"][0]), ("the reason", &json!("gpu")));
}

#[tokio::test]
async fn the_details_of_a_timeout_say_whether_the_call_may_be_applied() {
    for (applied, unknown) in [("no", false), ("unknown", true)] {
        let body = error("timeout", true, json!({ "applied": applied }));
        let stub = Stub::start([Act::json(504, &body)]).await;
        let admin = FlowFabricAdminClient::new(&stub.url).unwrap().call_timeout(ms(50));
        let error = admin.rotate_waitpoint_secret(rotation()).await.unwrap_err();
        assert!(matches!(error, SdkError::AdminApi { status: 504, .. }), "{error:?}");
        assert_eq!(error.may_be_applied(), unknown);
    }
}

#[tokio::test]
async fn an_answer_of_another_server_is_an_error_that_says_so() {
    let (error, tries) = refused(Act::Answer(404, "", "<html>not found".to_owned())).await;
    let other = SdkError::Http { message: String::new(), applied: Applied::No, retryable: false };
    assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&other));
    assert!(error.to_string().contains("not by a FlowFabric server"), "{error}");
    assert!(!error.is_retryable() && !error.may_be_applied());
    assert_eq!(tries, 1);

    for body in ["<html>", "", "{}", "[1, 2"] {
        let (error, tries) = refused(Act::Answer(200, "", body.to_owned())).await;
        assert!(!error.is_retryable() && error.may_be_applied(), "{error:?}");
        assert_eq!(tries, 1);
    }
    let (error, _) = refused(Act::Answer(200, "", "x".repeat(2 << 20))).await;
    assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");

    let moved = "location: https://elsewhere.example.com/\r\n";
    let (error, tries) = refused(Act::Answer(302, moved, String::new())).await;
    assert!(error.to_string().contains("redirected to https://elsewhere"), "{error}");
    assert_eq!(tries, 1);
}

#[tokio::test]
async fn a_call_without_the_right_to_it_is_refused() {
    let (error, tries) = refused(Act::error(401, "unauthorized", false)).await;
    assert!(matches!(error, SdkError::AdminApi { status: 401, .. }), "{error:?}");
    assert_eq!((error.is_retryable(), error.rejection_kind(), tries), (false, None, 1));
}

#[test]
fn an_invalid_url_or_token_is_refused_without_showing_secrets() {
    for url in [
        "",
        "localhost:8080",
        "ff.example.com",
        "valkey://localhost:6379",
        "http://",
        "http://user:sesame@localhost",
        "http://localhost/?token=sesame",
        "http://localhost/#sesame",
    ] {
        let error = FlowFabricAdminClient::new(url).unwrap_err();
        assert!(matches!(error, SdkError::Config { field: "url", .. }), "{url}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("sesame"), "{error:?}");
    }
    for token in ["", "open sesame", "sesame\n", "sésame"] {
        let admin = FlowFabricAdminClient::new("http://localhost:1").unwrap();
        let error = admin.token(token).unwrap_err();
        assert!(matches!(error, SdkError::Config { field: "token", .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("same"), "{error:?}");
    }
}

#[tokio::test]
async fn an_invalid_request_is_not_sent() {
    let stub = Stub::start([Act::json(200, &granted())]).await;
    let admin = client(&stub.url);
    let mut request = claim();
    request.grant_ttl_ms = 0;
    let error = admin.claim_for_worker(request).await.unwrap_err();
    assert!(matches!(error, SdkError::Config { field: "grant_ttl_ms", .. }), "{error:?}");
    let bad = RotateWaitpointSecretRequest::new("k", "no hex", 0);
    let error = admin.rotate_waitpoint_secret(bad).await.unwrap_err();
    assert_eq!(error.rejection_kind(), Some(RejectionKind::InvalidSecretHex));
    let error = admin.activate_format(2).await.unwrap_err();
    assert!(matches!(error, SdkError::Config { field: "url", .. }), "{error:?}");
    assert!(stub.received().is_empty());
}
