//! Calls that the state of their object refuses.

use serde_json::json;
use uuid::Uuid;

use super::service::Service;

#[tokio::test]
async fn a_lease_that_ended_permits_nothing() {
    let service = Service::start().await;
    let lane = Uuid::new_v4().to_string();
    let old = service.held(&lane).await;
    let revoke = service.call("POST /v1/executions/{id}/revoke-lease").path("id", old.id());
    service.done(revoke).await;
    let calls = |held| {
        [
            ("renew", json!({"lease_ttl_ms": 1_000})),
            ("complete", json!({})),
            ("fail", json!({"reason": "no luck"})),
            ("delay", json!({"delay_ms": 0})),
            ("suspend", json!({"suspension_id": Uuid::new_v4(), "condition": "operator_only"})),
            ("progress", json!({"percent": 1})),
            ("frames", json!({"sequence": 1, "frame_type": "log", "text": "late"})),
        ]
        .map(|(action, fields)| service.by_holder(held, action, fields))
    };
    for call in calls(&old) {
        let is_frame = call.template.ends_with("/frames");
        let kind = if is_frame { "stale_owner_cannot_append" } else { "lease_revoked" };
        call.refused(409, kind).await;
    }
    let new = service.claim(&lane).await;
    assert_eq!((new.id(), &new.0["attempt"]), (old.id(), &json!(1)));
    for call in calls(&old) {
        let is_frame = call.template.ends_with("/frames");
        let kind = if is_frame { "stale_owner_cannot_append" } else { "stale_lease" };
        call.refused(409, kind).await;
    }
    let complete = service.by_holder(&new, "complete", json!({"result": [1]}));
    service.done(complete.clone()).await;
    service.done(complete).await;
    let other = service.by_holder(&new, "fail", json!({"reason": "no luck"}));
    let answer = other.send().await;
    assert_eq!(answer.status, 409, "{}", answer.text);
    let result = service.call("GET /v1/executions/{id}/result").path("id", new.id());
    assert_eq!(service.done(result).await["result"], json!([1]));
    service.stop().await;
}

#[tokio::test]
async fn operators_cannot_change_what_has_another_state() {
    let service = Service::start().await;
    let id = service.submit("a").await;
    let on = |action: &str| {
        let call = service.call(&format!("POST /v1/executions/{{id}}/{action}")).path("id", &id);
        if action == "cancel" { call.body(json!({})) } else { call }
    };
    on("replay").refused(409, "execution_not_terminal").await;
    on("resume").refused(409, "execution_not_suspended").await;
    on("revoke-lease").refused(409, "execution_not_active").await;
    let reclaim = on("reclaim").body(json!({
        "worker_id": "w", "worker_instance_id": "w-1", "lane_id": "a", "grant_ttl_ms": 1_000,
    }));
    reclaim.refused(409, "execution_not_reclaimable").await;
    service.done(on("cancel")).await;
    on("cancel").refused(409, "execution_not_active").await;
    let priority = service.call("PUT /v1/executions/{id}/priority").path("id", &id);
    priority.body(json!({"priority": 1})).refused(409, "execution_not_active").await;
    on("reclaim")
        .body(json!({
            "worker_id": "w", "worker_instance_id": "w-1", "lane_id": "a", "grant_ttl_ms": 1_000,
        }))
        .refused(409, "execution_not_reclaimable")
        .await;
    service.stop().await;
}

#[tokio::test]
async fn submissions_and_limits_that_contradict_others_are_refused() {
    let service = Service::start().await;
    let submit = |body| service.call("POST /v1/executions").body(body);
    let first = submit(json!({"kind": "work", "idempotency_key": "k", "payload": 1}));
    assert_eq!(first.send().await.status, 201);
    let repeat = first.send().await;
    assert_eq!((repeat.status, &repeat.json["created"]), (200, &json!(false)));
    let other = json!({"kind": "work", "idempotency_key": "k", "payload": 2});
    submit(other.clone()).refused(409, "idempotency_mismatch").await;
    let batch = service.call("POST /v1/executions/batch");
    let batch = batch.body(json!({"executions": [{"kind": "work"}, other]}));
    let results = service.done(batch).await;
    assert_eq!(results["results"][0]["created"], json!(true));
    assert_eq!(results["results"][1]["error"]["kind"], json!("idempotency_mismatch"));
    let batch = service.call("POST /v1/executions/batch").body(json!({"executions": []}));
    batch.refused(400, "invalid_request").await;

    let big = json!({"kind": "work", "payload": "x".repeat(1 << 20)});
    submit(big).refused(413, "payload_too_large").await;

    let lane = service.call("PUT /v1/lanes/{lane}").path("lane", "closed");
    service.done(lane.body(json!({"state": "draining"}))).await;
    let late = submit(json!({"kind": "work", "lane": "closed"})).send().await;
    assert_eq!(late.status, 409, "{}", late.text);

    let budget = service.call("PUT /v1/budgets/{budget}").path("budget", "b");
    let budget = budget.body(json!({"limits": {"tokens": {"hard": 5}}}));
    service.done(budget.clone()).await;
    budget.refused(409, "budget_exists").await;
    let held = service.held("usage").await;
    let usage = service.by_holder(&held, "usage", json!({}));
    let usage = usage.body(json!({"budget": "b", "amounts": {"tokens": 6}}));
    let refused = service.done(usage).await;
    assert_eq!((&refused["applied"], &refused["breach"]["limit"]), (&json!(false), &json!(5)));
    service.stop().await;
}

#[tokio::test]
async fn a_signal_needs_the_token_of_its_waitpoint() {
    let service = Service::start().await;
    let held = service.held("a").await;
    let suspend = service.by_holder(
        &held,
        "suspend",
        json!({
            "suspension_id": Uuid::new_v4(),
            "waitpoints": [{"new": {"id": Uuid::new_v4(), "key": "approval"}}],
            "condition": {"single": {"waitpoint": "approval"}},
        }),
    );
    let suspended = service.done(suspend.clone()).await;
    assert_eq!(service.done(suspend).await, suspended, "a repeat has the same tokens");
    let waitpoint = &suspended["waitpoints"][0];
    let signal = |token: &str| {
        let call = service.call("POST /v1/executions/{id}/signal").path("id", held.id());
        call.body(json!({
            "waitpoint_id": waitpoint["waitpoint_id"], "token": token, "name": "yes",
            "idempotency_key": "once", "payload_base64": "AP8=",
        }))
    };
    let shown = service.call("GET /v1/executions/{id}/pending-waitpoints").path("id", held.id());
    let token = waitpoint["token"].as_str().expect("a token");
    assert!(!service.done(shown).await.to_string().contains(token), "tokens are not shown");
    signal("k1:00").refused(403, "invalid_token").await;
    let right = signal(token).send().await;
    assert_eq!(right.status, 200, "{}", right.text);
    let next = service.claim("a").await;
    assert_eq!((next.id(), &next.0["attempt"]), (held.id(), &json!(0)));
    service.stop().await;
}
