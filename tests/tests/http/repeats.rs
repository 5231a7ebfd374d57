//! Calls that are repeated, ids in both forms, and limits of tokens.

use serde_json::{Value, json};

use super::service::{Call, Service};

#[tokio::test]
async fn a_repeat_with_the_same_key_has_the_first_outcome() {
    let service = Service::start().await;
    let id = service.submit("a").await;
    let with = |route: &str, key| {
        service.call(route).path("id", &id).path("budget", "b").header("idempotency-key", key)
    };
    let cancel = |key| with("POST /v1/executions/{id}/cancel", key).body(json!({}));
    let replay = |key| with("POST /v1/executions/{id}/replay", key);
    service.done(cancel("c1")).await;
    service.done(cancel("c1")).await;
    cancel("c2").refused(409, "execution_not_active").await;
    assert_eq!(service.done(replay("r1")).await, json!({"life": 1}));
    assert_eq!(service.done(replay("r1")).await, json!({"life": 1}));
    replay("r2").refused(409, "execution_not_terminal").await;

    let create = |key| {
        let limits = json!({"limits": {"tokens": {"hard": 5}}});
        with("PUT /v1/budgets/{budget}", key).body(limits)
    };
    let reset = |key| with("POST /v1/budgets/{budget}/reset", key);
    for (call, repeated) in [
        (create("b1"), false),
        (create("b1"), true),
        (reset("b2"), false),
        (reset("b2"), true),
        (reset("b3"), false),
    ] {
        assert_eq!(service.done(call).await["repeated"], json!(repeated));
    }
    for wrong in ["", "\u{e4}", &"x".repeat(1_000)] {
        cancel(wrong).refused(400, "invalid_request").await;
    }
    service.stop().await;
}

#[tokio::test]
async fn a_reclaim_grant_follows_from_its_key_for_every_token() {
    let service = Service::start().await;
    for token in ["root", "admin"] {
        let held = service.held(token).await;
        let about = |route: &str| service.call(route).path("id", held.id()).token(token);
        service.done(about("POST /v1/executions/{id}/revoke-lease")).await;
        let reclaim = |key| {
            let call = about("POST /v1/executions/{id}/reclaim").body(json!({
                "worker_id": "w", "worker_instance_id": "w-1", "lane_id": token,
                "grant_ttl_ms": 60_000, "admission_summary": "a test",
            }));
            call.header("idempotency-key", key)
        };
        let first = service.done(reclaim("k1")).await;
        assert_eq!(service.done(reclaim("k1")).await, first);
        assert_eq!(first["status"], json!("granted"));
        reclaim("k2").refused(409, "grant_already_exists").await;
    }
    service.stop().await;
}

#[tokio::test]
async fn both_forms_of_an_id_are_understood() {
    let service = Service::start().await;
    let made = service.done(service.call("POST /v1/executions").body(json!({"kind": "work"})));
    let made = made.await;
    let (id, url_id) = (&made["execution_id"], &made["url_id"]);
    let text = |id: &Value| id.as_str().expect("an id").to_owned();
    let read = |call: Call| service.done(call);
    for call in ["", "/state", "/history", "/why", "/pending-waitpoints"] {
        let call = service.call(&format!("GET /v1/executions/{{id}}{call}"));
        let encoded = read(call.clone().path("id", &text(id))).await;
        let plain = read(call.raw_path("id", &text(url_id))).await;
        // The explanation has the time of the store.
        let fields = ["execution_id", "state", "events", "attempts", "lane"];
        assert!(fields.iter().all(|name| encoded[name] == plain[name]), "{encoded} {plain}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_list_is_read_in_pages() {
    let service = Service::start().await;
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    for number in 0..7 {
        let tags = json!({"shop.order": number.to_string(), "shop.kind": "test"});
        let body = json!({"kind": "work", "tags": tags});
        let made = service.done(service.call("POST /v1/executions").body(body)).await;
        expected.push(made["execution_id"].clone());
    }
    let list = service.call("GET /v1/executions").query("tag=shop.kind%3Dtest&limit=2");
    let mut next = list.clone();
    loop {
        let page = service.done(next).await;
        let executions = page["executions"].as_array().expect("executions");
        assert!(executions.len() <= 2);
        found.extend(executions.iter().map(|one| one["execution_id"].clone()));
        match page["next"].as_str() {
            Some(cursor) => next = list.clone().query(&format!("cursor={cursor}")),
            None => break,
        }
    }
    let sorted = |mut ids: Vec<Value>| {
        ids.sort_by_key(Value::to_string);
        ids
    };
    assert_eq!(sorted(found), sorted(expected));
    for (query, count) in [
        ("tag=shop.order%3D3", 1),
        ("tag=shop.order%3D3,shop.kind%3Dtest", 1),
        ("tag=shop.order%3D9", 0),
        ("state=waiting,delayed", 7),
        ("state=completed", 0),
        ("kind=other", 0),
        ("lane=default&kind=work", 7),
        ("created_from=0&created_before=9999999999999", 7),
        ("created_before=1", 0),
    ] {
        let page = service.done(service.call("GET /v1/executions").query(query)).await;
        let executions = page["executions"].as_array().expect("executions");
        assert_eq!(executions.len(), count, "{query}");
    }
    for wrong in [
        "limit=0",
        "limit=501",
        "limit=x",
        "cursor=x",
        "state=x",
        "tag=x",
        "lane=",
        "created_from=-1",
        "created_before=99999999999999999999",
        "unknown=1",
    ] {
        let call = service.call("GET /v1/executions").query(wrong);
        let answer = call.refused(400, "invalid_request").await;
        let field = wrong.split('=').next().expect("a name");
        assert!(answer.text.contains(field), "{wrong}: {}", answer.text);
    }
    service.stop().await;
}

#[tokio::test]
async fn a_token_with_a_limit_learns_when_to_call_again() {
    let service = Service::start().await;
    let list = service.call("GET /v1/executions").token("slow");
    assert_eq!(list.send().await.status, 200);
    for route in ["GET /v1/executions", "GET /v1/workers", "GET /v1/completions"] {
        let call = service.call(route).token("slow");
        let answer = call.refused(429, "too_many_requests").await;
        assert_eq!(answer.headers["retry-after"], "1");
        assert_eq!(answer.json["error"]["retryable"], json!(true));
    }
    assert_eq!(service.call("GET /healthz").token("slow").send().await.status, 200);
    assert_eq!(service.call("GET /v1/executions").token("admin").send().await.status, 200);
    service.stop().await;
}
