//! Workers that speak HTTP: long polls, registration, and what happens when they go away.

use std::sync::Arc;
use std::time::Duration;

use ff_sdk::MemoryBackend;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::service::{Call, Service};

/// A claim that waits for work.
fn waiting(service: &Service, instance: &str, lane: &str) -> Call {
    let body = json!({"instance": instance, "lanes": [lane], "wait_ms": 30_000, "count": 2});
    service.call("POST /v1/workers/{worker}/claims").path("worker", "w").body(body)
}

/// Waits until a worker is registered.
async fn registered(service: &Service, instance: &str) -> Value {
    loop {
        let list = service.done(service.call("GET /v1/workers")).await;
        let workers = list["workers"].as_array().expect("workers");
        if let Some(worker) = workers.iter().find(|worker| worker["instance"] == instance) {
            return worker.clone();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_claim_waits_until_work_arrives() {
    let service = Service::start().await;
    let call = waiting(&service, "w-1", "a");
    let claim = tokio::spawn(async move { call.send().await });
    registered(&service, "w-1").await;
    let begin = Instant::now();
    let id = service.submit("a").await;
    let claims = claim.await.expect("an answer");
    assert!(begin.elapsed() < Duration::from_secs(15), "it does not wait for its time");
    let tasks = claims.json["tasks"].as_array().expect("tasks");
    let task = tasks.first().expect("a task");
    assert_eq!((tasks.len(), &task["payload"], &task["retries"]), (1, &json!({"n": 1}), &json!(0)));
    assert_eq!(service.state(&id).await, "active");

    let grant = service.call("POST /v1/workers/{worker}/claim").path("worker", "w");
    let grant = |wait_ms: u64| {
        grant.clone().body(json!({
            "worker_id": "w", "worker_instance_id": "w-1", "lane_id": "b", "namespace": "demo",
            "grant_ttl_ms": 1_000, "wait_ms": wait_ms,
        }))
    };
    assert_eq!(grant(0).send().await.status, 204);
    let call = grant(30_000);
    let granted = tokio::spawn(async move { call.send().await });
    service.submit("b").await;
    assert_eq!(granted.await.expect("an answer").status, 200);
    let answer = grant(0).replaced("worker", "another").send().await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    service.stop().await;
}

#[tokio::test]
async fn work_for_a_client_that_went_away_is_given_back() {
    let service = Service::start().await;
    for number in 0..20 {
        let (lane, instance) = (format!("l{number}"), format!("w-{number}"));
        let call = waiting(&service, &instance, &lane);
        let gone = tokio::spawn(async move { call.send().await });
        registered(&service, &instance).await;
        if number % 2 == 0 {
            gone.abort();
            assert!(gone.await.is_err());
            service.submit(&lane).await;
        } else {
            let submit = service.submit(&lane);
            gone.abort();
            submit.await;
        }
        let begin = Instant::now();
        let held = service.claim(&lane).await;
        assert!(begin.elapsed() < Duration::from_secs(15), "nothing waits for a lease to expire");
        assert_eq!((&held.0["attempt"], &held.0["retries"]), (&json!(0), &json!(0)));
    }
    service.stop().await;
}

#[tokio::test]
async fn claims_end_at_shutdown_and_readyz_fails_before() {
    let backend = Arc::new(MemoryBackend::new());
    let mut service =
        Service::on(backend, |settings| settings.drain_delay = Duration::from_millis(500)).await;
    let (claim, result) = (waiting(&service, "w-1", "a"), service.submit("b").await);
    let result = service.call("GET /v1/executions/{id}/result").path("id", &result);
    let result = result.query("wait_ms=30000");
    let claim = tokio::spawn(async move { claim.send().await });
    let result = tokio::spawn(async move { result.send().await });
    registered(&service, "w-1").await;
    let ready = service.call("GET /readyz");
    assert_eq!(ready.send().await.status, 200);
    let begin = Instant::now();
    service.request_stop();
    assert_eq!(claim.await.expect("an answer").json, json!({"tasks": []}));
    assert_eq!(result.await.expect("an answer").status, 202);
    ready.refused(503, "shutting_down").await;
    let late = waiting(&service, "w-2", "b").refused(503, "shutting_down").await;
    assert_eq!(late.headers["retry-after"], "1");
    service.ended().await;
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_worker_is_listed_and_can_be_drained_or_replaced() {
    let service = Service::start().await;
    let claim = |instance| {
        let body = json!({
            "instance": instance, "lanes": ["a"], "kinds": ["work"], "capabilities": ["gpu"],
            "count": 3,
        });
        service.call("POST /v1/workers/{worker}/claims").path("worker", "w").body(body)
    };
    let order = |instance: &str, action: &str| {
        let route = format!("POST /v1/workers/{{worker}}/{action}");
        service.call(&route).path("worker", instance)
    };
    service.submit("a").await;
    assert_eq!(service.done(claim("w-1")).await["tasks"][0]["kind"], json!("work"));
    let worker = registered(&service, "w-1").await;
    for (name, value) in [
        ("worker", json!("w")),
        ("lanes", json!(["a"])),
        ("kinds", json!(["work"])),
        ("capabilities", json!(["gpu"])),
        ("slots", json!(3)),
        ("version", json!("http")),
    ] {
        assert_eq!(worker[name], value, "{worker}");
    }
    service.submit("a").await;
    service.done(order("w-1", "drain")).await;
    assert_eq!(registered(&service, "w-1").await["state"], json!("draining"));
    service.done(claim("w-2")).await;
    service.done(order("w-2", "dead")).await;
    service.stop().await;
}

#[tokio::test]
async fn a_drained_or_dead_worker_claims_nothing() {
    let backend = Arc::new(MemoryBackend::new());
    let first = Service::on(backend.clone(), |_| {}).await;
    for instance in ["drained", "dead"] {
        first.done(waiting_without_time(&first, instance)).await;
    }
    first.done(first.call("POST /v1/workers/{worker}/drain").path("worker", "drained")).await;
    first.done(first.call("POST /v1/workers/{worker}/dead").path("worker", "dead")).await;
    first.submit("a").await;
    first.stop().await;
    // A service that has not seen the workers learns of it from the store.
    let second = Service::on(backend, |_| {}).await;
    let drained = waiting_without_time(&second, "drained");
    assert_eq!(second.done(drained).await, json!({"tasks": []}));
    let dead = waiting_without_time(&second, "dead");
    dead.refused(409, "worker_superseded").await;
    let claims = second.done(waiting_without_time(&second, "fresh")).await;
    assert_eq!(claims["tasks"].as_array().map(Vec::len), Some(1));
    second.stop().await;
}

fn waiting_without_time(service: &Service, instance: &str) -> Call {
    let body = json!({"instance": instance, "lanes": ["a"]});
    service.call("POST /v1/workers/{worker}/claims").path("worker", "w").body(body)
}

#[tokio::test]
async fn a_claim_has_bounds() {
    let service = Service::start().await;
    let claim = |body: Value| {
        let mut body = body;
        body["instance"] = json!("w-1");
        service.call("POST /v1/workers/{worker}/claims").path("worker", "w").body(body)
    };
    for wrong in [
        json!({"count": 0}),
        json!({"count": 65}),
        json!({"wait_ms": 30_001}),
        json!({"lease_ttl_ms": 0}),
        json!({"lease_ttl_ms": 86_400_001}),
        json!({"lanes": []}),
        json!({"lanes": ["a b"]}),
        json!({"kinds": ["\u{0}"]}),
        json!({"instance": 7, "lanes": null, "count": -1}),
    ] {
        claim(wrong).refused(400, "invalid_request").await;
    }
    service.done(claim(json!({"lanes": null, "kinds": null, "capabilities": null}))).await;
    service.stop().await;
}
