//! The store does not answer.

use std::sync::Arc;
use std::time::Duration;

use ff_sdk::MemoryBackend;
use ff_tests::FaultyBackend;
use ff_tests::faulty_backend::{any, commits};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::service::{Call, Service};

/// Reads and writes of each part of the service.
fn calls(service: &Service) -> Vec<Call> {
    let id = format!("3.{}", uuid::Uuid::nil());
    let read = [
        "GET /v1/executions",
        "GET /v1/executions/{id}",
        "GET /v1/executions/{id}/state",
        "GET /v1/executions/{id}/result",
        "GET /v1/executions/{id}/history",
        "GET /v1/executions/{id}/why",
        "GET /v1/executions/{id}/pending-waitpoints",
        "GET /v1/executions/{id}/attempts/{attempt}/stream",
        "GET /v1/workers",
        "GET /v1/lanes",
        "GET /v1/stats",
        "GET /v1/quotas",
        "GET /v1/quotas/{quota}",
        "GET /v1/budgets",
        "GET /v1/budgets/{budget}",
        "GET /v1/admin/waitpoint-secrets",
    ];
    let fill = |call: Call| {
        call.path("id", &id).path("attempt", "0").path("quota", "q").path("budget", "b")
    };
    let mut calls: Vec<Call> = read.iter().map(|route| fill(service.call(route))).collect();
    calls.extend(writes(service));
    calls
}

fn writes(service: &Service) -> Vec<Call> {
    let write = |route: &str, body: Value| service.call(route).body(body);
    vec![
        write("POST /v1/executions", json!({"kind": "work"})),
        write("PUT /v1/quotas/{quota}", json!({"concurrency": 1})).path("quota", "q"),
        write("PUT /v1/budgets/{budget}", json!({"limits": {"x": {"hard": 1}}}))
            .path("budget", "b"),
        write("PUT /v1/lanes/{lane}", json!({"state": "paused"})).path("lane", "a"),
        write("POST /v1/workers/{worker}/claims", json!({"instance": "w-1"})).path("worker", "w"),
    ]
}

async fn faulty() -> (Arc<FaultyBackend>, Service) {
    let backend = Arc::new(FaultyBackend::new(Arc::new(MemoryBackend::new())));
    let service = Service::on(backend.clone(), |_| {}).await;
    (backend, service)
}

/// Sends all calls together, and returns their answers with the time that they took.
async fn all(calls: &[Call]) -> Vec<super::service::Answer> {
    join_all(calls.iter().map(Call::send)).await
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_reached_is_unavailable() {
    let (backend, service) = faulty().await;
    backend.disconnect();
    service.call("GET /readyz").refused(503, "store_unavailable").await;
    assert_eq!(service.call("GET /healthz").send().await.status, 200);
    let calls = calls(&service);
    for (call, answer) in calls.iter().zip(all(&calls).await) {
        let shown = format!("{} {}", call.template, answer.text);
        assert_eq!(answer.status, 503, "{shown}");
        assert_eq!(answer.headers["retry-after"], "1", "{shown}");
        assert_eq!(answer.json["error"]["retryable"], json!(true), "{shown}");
    }
    let batch = json!({"executions": [{"kind": "work"}, {"kind": "work"}]});
    let batch = service.done(service.call("POST /v1/executions/batch").body(batch)).await;
    assert_eq!(batch["results"][1]["error"]["kind"], json!("unreachable"));
    backend.heal();
    assert_eq!(service.call("GET /readyz").send().await.status, 200);
    service.submit("a").await;
    service.claim("a").await;
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_in_time_is_a_timeout() {
    let (backend, service) = faulty().await;
    backend.slow_replies(Duration::from_secs(600), any);
    service.call("GET /readyz").refused(503, "store_unavailable").await;
    let calls = calls(&service);
    for (call, answer) in calls.iter().zip(all(&calls).await) {
        let shown = format!("{} {}", call.template, answer.text);
        let kind = answer.json["error"]["kind"].as_str().unwrap_or_default();
        let expected = match (answer.status, kind) {
            // Without an effect, or the same in each repeat, so it is never in doubt.
            (503, "unreachable") => call.template != "/v1/executions" || call.method == "GET",
            (504, "timeout") => call.method != "GET",
            _ => false,
        };
        assert!(expected, "{shown}");
    }
    backend.heal();
    // The replies to writes are lost: whether they were applied is unknown.
    backend.lose_replies(u32::MAX, commits);
    for (call, answer) in writes(&service).iter().zip(all(&writes(&service)).await) {
        let shown = format!("{} {}", call.template, answer.text);
        assert!(answer.status == 504 || answer.status < 300, "{shown}");
    }
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_calls_is_unavailable() {
    let (backend, service) = faulty().await;
    backend.refuse();
    service.call("GET /readyz").refused(503, "store_unavailable").await;
    let calls = calls(&service);
    for (call, answer) in calls.iter().zip(all(&calls).await) {
        assert_eq!(answer.status, 503, "{} {}", call.template, answer.text);
    }
    backend.heal();
    service.stop().await;
}
