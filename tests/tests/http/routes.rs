//! Every route: its success, and what is refused before it has an effect.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::service::{Call, DOCUMENT, NAMESPACE, Service};

/// The permission that a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    NoToken,
    Read,
    Submit,
    Work,
    Operate,
    /// The role admin in a token for all namespaces.
    Root,
}

use Needs::{NoToken, Operate, Read, Root, Submit, Work};

/// Every route, the permission that it needs, and the most bytes of its body.
const ROUTES: [(&str, Needs, usize); 50] = [
    ("POST /v1/executions", Submit, 2 << 20),
    ("GET /v1/executions", Read, 0),
    ("POST /v1/executions/batch", Submit, 16 << 20),
    ("GET /v1/executions/{id}", Read, 0),
    ("GET /v1/executions/{id}/state", Read, 0),
    ("GET /v1/executions/{id}/result", Read, 0),
    ("GET /v1/executions/{id}/history", Read, 0),
    ("GET /v1/executions/{id}/why", Read, 0),
    ("GET /v1/executions/{id}/pending-waitpoints", Read, 0),
    ("GET /v1/executions/{id}/attempts/{attempt}/stream", Read, 0),
    ("GET /v1/executions/{id}/attempts/{attempt}/stream/tail", Read, 0),
    ("POST /v1/executions/{id}/cancel", Operate, 64 << 10),
    ("POST /v1/executions/{id}/resume", Operate, 0),
    ("POST /v1/executions/{id}/replay", Operate, 0),
    ("POST /v1/executions/{id}/revoke-lease", Operate, 0),
    ("POST /v1/executions/{id}/reclaim", Work, 64 << 10),
    ("PUT /v1/executions/{id}/priority", Operate, 64 << 10),
    ("POST /v1/executions/{id}/signal", Submit, 384 << 10),
    ("GET /v1/workers", Read, 0),
    ("POST /v1/workers/{worker}/claim", Work, 64 << 10),
    ("POST /v1/workers/{worker}/claims", Work, 64 << 10),
    ("POST /v1/workers/{worker}/drain", Operate, 0),
    ("POST /v1/workers/{worker}/dead", Operate, 0),
    ("POST /v1/leases/{lease_id}/renew", Work, 64 << 10),
    ("POST /v1/leases/{lease_id}/complete", Work, 2 << 20),
    ("POST /v1/leases/{lease_id}/fail", Work, 64 << 10),
    ("POST /v1/leases/{lease_id}/delay", Work, 64 << 10),
    ("POST /v1/leases/{lease_id}/suspend", Work, 64 << 10),
    ("POST /v1/leases/{lease_id}/progress", Work, 64 << 10),
    ("POST /v1/leases/{lease_id}/frames", Work, 2 << 20),
    ("POST /v1/leases/{lease_id}/usage", Work, 64 << 10),
    ("GET /v1/lanes", Read, 0),
    ("PUT /v1/lanes/{lane}", Operate, 64 << 10),
    ("GET /v1/stats", Read, 0),
    ("GET /v1/quotas", Read, 0),
    ("GET /v1/quotas/{quota}", Read, 0),
    ("PUT /v1/quotas/{quota}", Operate, 64 << 10),
    ("DELETE /v1/quotas/{quota}", Operate, 0),
    ("GET /v1/budgets", Read, 0),
    ("GET /v1/budgets/{budget}", Read, 0),
    ("PUT /v1/budgets/{budget}", Operate, 64 << 10),
    ("PATCH /v1/budgets/{budget}", Operate, 64 << 10),
    ("DELETE /v1/budgets/{budget}", Operate, 0),
    ("POST /v1/budgets/{budget}/reset", Operate, 0),
    ("GET /v1/completions", Read, 0),
    ("POST /v1/admin/rotate-waitpoint-secret", Root, 64 << 10),
    ("GET /v1/admin/waitpoint-secrets", Root, 0),
    ("GET /healthz", NoToken, 0),
    ("GET /readyz", NoToken, 0),
    ("GET /openapi.json", NoToken, 0),
];

/// The routes whose body may be absent, since all its fields may.
const MAY_BE_EMPTY: [&str; 1] = ["POST /v1/executions/{id}/cancel"];

/// A token that may call a route, and none that may do more than needed.
const fn token(needs: Needs) -> &'static str {
    match needs {
        NoToken | Root => "root",
        Read | Work => "work",
        Submit => "submit",
        Operate => "operate",
    }
}

const fn may(role: &str, needs: Needs) -> bool {
    match needs {
        NoToken | Read => true,
        Submit => !matches!(role.as_bytes(), b"work"),
        Work => matches!(role.as_bytes(), b"work" | b"admin"),
        Operate => matches!(role.as_bytes(), b"operate" | b"admin"),
        Root => false,
    }
}

#[test]
fn every_route_of_the_document_is_in_the_table() {
    let mut documented = BTreeSet::from(["GET /openapi.json".to_owned()]);
    for (path, item) in DOCUMENT["paths"].as_object().expect("paths") {
        for method in ["get", "put", "post", "patch", "delete"] {
            if item[method].is_object() {
                documented.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    // The test below.
    assert!(documented.remove("GET /metrics"));
    let table: BTreeSet<String> = ROUTES.iter().map(|(route, ..)| (*route).to_owned()).collect();
    assert_eq!(table, documented);
}

#[tokio::test]
async fn metrics_need_a_token_for_all_namespaces_and_a_recorder() {
    let service = Service::start().await;
    let metrics = service.call("GET /metrics");
    metrics.clone().without_header("authorization").refused(401, "unauthorized").await;
    for token in ["admin", "other", "root"] {
        let call = metrics.clone().without_namespace().token(token);
        call.refused(404, "not_found").await;
    }
    service.stop().await;
}

/// A call that would succeed, about objects that were made for it.
async fn prepared(service: &Service, route: &str) -> Call {
    let call = service.call(route);
    let lane = Uuid::new_v4().to_string();
    let (_, path) = route.split_once(' ').expect("METHOD PATH");
    if path.starts_with("/v1/executions") {
        of_execution(service, route, call, &lane).await
    } else if path.starts_with("/v1/leases") {
        of_lease(service, route, call, &lane).await
    } else if path.starts_with("/v1/workers/") {
        of_worker(service, route, call, &lane).await
    } else {
        of_limits(service, route, call, &lane).await
    }
}

async fn of_execution(service: &Service, route: &str, call: Call, lane: &str) -> Call {
    let (method, path) = route.split_once(' ').expect("METHOD PATH");
    let action = path.strip_prefix("/v1/executions").expect("a route of executions");
    let about = |id: &str| call.clone().path("id", id).path("attempt", "0");
    match (method, action.trim_start_matches("/{id}")) {
        ("POST", "") => call.body(json!({"kind": "work", "lane": lane})),
        ("POST", "/batch") => call.body(json!({"executions": [{"kind": "work"}]})),
        ("GET", "/attempts/{attempt}/stream" | "/attempts/{attempt}/stream/tail" | "/result") => {
            let held = service.held(lane).await;
            let frame = json!({"sequence": 1, "frame_type": "log", "text": "a line"});
            service.done(service.by_holder(&held, "frames", frame)).await;
            service.done(service.by_holder(&held, "complete", json!({"result": 7}))).await;
            about(held.id())
        }
        ("GET", _) if !call.has("id") => call,
        ("GET", _) => about(&service.submit(lane).await),
        ("POST", "/cancel") => about(&service.submit(lane).await).body(json!({"reason": "over"})),
        ("PUT", "/priority") => about(&service.submit(lane).await).body(json!({"priority": 9})),
        ("POST", "/revoke-lease") => about(service.held(lane).await.id()),
        ("POST", "/replay") => {
            let held = service.held(lane).await;
            service.done(service.by_holder(&held, "complete", json!({}))).await;
            about(held.id())
        }
        ("POST", "/reclaim") => {
            let held = service.held(lane).await;
            let revoke = service.call("POST /v1/executions/{id}/revoke-lease");
            service.done(revoke.path("id", held.id())).await;
            about(held.id()).body(json!({
                "worker_id": "w", "worker_instance_id": "w-1", "lane_id": lane,
                "grant_ttl_ms": 1_000,
            }))
        }
        ("POST", "/resume" | "/signal") => {
            let held = service.held(lane).await;
            let suspended = service.done(service.by_holder(&held, "suspend", approval())).await;
            let waitpoint = &suspended["waitpoints"][0];
            match action.ends_with("/resume") {
                true => about(held.id()),
                false => about(held.id()).body(json!({
                    "waitpoint_id": waitpoint["waitpoint_id"], "token": waitpoint["token"],
                    "name": "approved", "payload": {"by": "a person"},
                })),
            }
        }
        _ => panic!("the route {route} has no test"),
    }
}

/// A suspension until a signal arrives.
fn approval() -> Value {
    json!({
        "suspension_id": Uuid::new_v4(),
        "waitpoints": [{"new": {"id": Uuid::new_v4(), "key": "approval"}}],
        "condition": {"single": {"waitpoint": "approval"}},
    })
}

async fn of_lease(service: &Service, route: &str, call: Call, lane: &str) -> Call {
    let held = service.held(lane).await;
    let call = call.path("lease_id", held.lease());
    let action = route.rsplit('/').next().expect("an action");
    let fields = match action {
        "renew" => json!({"lease_ttl_ms": 60_000}),
        "complete" => json!({"result_base64": "/w=="}),
        "fail" => json!({"reason": "no luck", "retry_after_ms": 1_000}),
        "delay" => json!({"delay_ms": 0}),
        "suspend" => approval(),
        "progress" => json!({"percent": 50, "message": "half of it"}),
        "frames" => json!({"sequence": 1, "frame_type": "log", "text": "a line"}),
        "usage" => {
            budget(service, lane).await;
            let body = json!({"budget": lane, "amounts": {"tokens": 1}, "dedup_key": "k"});
            return call.body(body);
        }
        _ => panic!("the route {route} has no test"),
    };
    call.body(held.fenced(fields))
}

async fn of_worker(service: &Service, route: &str, call: Call, lane: &str) -> Call {
    let claims = json!({"instance": lane, "lanes": [lane]});
    match route.rsplit('/').next().expect("an action") {
        "claims" => call.path("worker", "w").body(claims),
        "claim" => {
            service.submit(lane).await;
            call.path("worker", "w").body(json!({
                "worker_id": "w", "worker_instance_id": "w-1", "lane_id": lane,
                "namespace": NAMESPACE, "grant_ttl_ms": 1_000,
            }))
        }
        "drain" | "dead" => {
            let register = service.call("POST /v1/workers/{worker}/claims");
            service.done(register.path("worker", "w").body(claims)).await;
            call.path("worker", lane)
        }
        _ => panic!("the route {route} has no test"),
    }
}

/// Creates a budget.
async fn budget(service: &Service, name: &str) {
    let create = service.call("PUT /v1/budgets/{budget}").path("budget", name);
    let limits = json!({"limits": {"tokens": {"hard": 100}}});
    service.done(create.body(limits)).await;
}

async fn of_limits(service: &Service, route: &str, call: Call, name: &str) -> Call {
    let call = call.path("lane", name).path("quota", name).path("budget", name);
    let quota = json!({"concurrency": 2, "rate": 3, "window_ms": 1_000});
    match route {
        "PUT /v1/lanes/{lane}" => call.body(json!({"state": "paused", "reason": "a test"})),
        "PUT /v1/quotas/{quota}" => call.body(quota),
        "GET /v1/quotas/{quota}" | "DELETE /v1/quotas/{quota}" => {
            let set = service.call("PUT /v1/quotas/{quota}").path("quota", name);
            service.done(set.body(quota)).await;
            call
        }
        "PUT /v1/budgets/{budget}" => {
            call.body(json!({"limits": {"tokens": {"soft": 1}}, "reset_every_ms": 60_000}))
        }
        "PATCH /v1/budgets/{budget}" => {
            budget(service, name).await;
            call.body(json!({"limits": {"tokens": {"hard": 9}}}))
        }
        _ if call.has("budget") => {
            budget(service, name).await;
            call
        }
        "POST /v1/admin/rotate-waitpoint-secret" => {
            call.body(json!({"new_kid": name, "new_secret_hex": "00ff", "grace_ms": 1_000}))
        }
        _ if route.starts_with("GET ") => call,
        _ => panic!("the route {route} has no test"),
    }
}

#[tokio::test]
async fn every_route_succeeds_and_refuses_who_may_not_call_it() {
    let service = Service::start().await;
    for (route, needs, _) in ROUTES {
        let call = prepared(&service, route).await;
        if needs != NoToken {
            let without = call.clone().without_header("authorization");
            let answer = without.refused(401, "unauthorized").await;
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            for wrong in ["Bearer ff_0", "Bearer", "Basic eDp5", ""] {
                call.clone().header("authorization", wrong).refused(401, "unauthorized").await;
            }
        }
        for role in ["submit", "work", "operate", "admin"] {
            if !may(role, needs) {
                call.clone().token(role).refused(403, "forbidden").await;
            }
        }
        let answer = call.token(token(needs)).send().await;
        assert!(answer.status < 300, "{route}: {} {}", answer.status, answer.text);
    }
    service.stop().await;
}

/// The routes that also succeed in a namespace without anything, and the lists among them.
const IN_EMPTY: [(&str, Option<&str>); 15] = [
    ("GET /v1/executions", Some(r#"{"executions":[],"unreadable":0}"#)),
    ("GET /v1/workers", Some(r#"{"workers":[]}"#)),
    ("GET /v1/lanes", Some(r#"{"lanes":[]}"#)),
    ("GET /v1/stats", Some(r#"{"lanes":[]}"#)),
    ("GET /v1/quotas", Some(r#"{"quotas":[]}"#)),
    ("GET /v1/budgets", Some(r#"{"budgets":[]}"#)),
    ("GET /v1/completions", None),
    ("POST /v1/executions", None),
    ("POST /v1/executions/batch", None),
    ("POST /v1/workers/{worker}/claims", None),
    ("PUT /v1/lanes/{lane}", None),
    ("PUT /v1/quotas/{quota}", None),
    ("DELETE /v1/quotas/{quota}", None),
    ("PUT /v1/budgets/{budget}", None),
    ("DELETE /v1/budgets/{budget}", None),
];

/// Checks that the object of a call does not exist for its caller.
async fn is_missing(call: &Call) {
    let answer = call.send().await;
    let kind = answer.json["error"]["kind"].as_str().unwrap_or_default();
    let shown = format!("{} {}: {}", call.method, call.template, answer.text);
    assert!(answer.status == 404 && kind.ends_with("not_found"), "{shown}");
}

#[tokio::test]
async fn a_token_does_not_see_other_namespaces() {
    let service = Service::start().await;
    // Afterwards every list of the namespace has something.
    for (route, needs, _) in ROUTES {
        if needs == NoToken || needs == Root {
            continue;
        }
        let call = prepared(&service, route).await.token("other");
        call.refused(404, "not_found").await;
        let own = call.without_namespace();
        match IN_EMPTY.iter().find(|(of, _)| *of == route) {
            None => is_missing(&own).await,
            Some((_, Some(_))) | Some((_, None)) if own.method != "GET" => {}
            Some((_, expected)) => {
                let answer = own.send().await;
                assert_eq!((answer.status, &*answer.text), (200, expected.unwrap_or_default()));
            }
        }
    }
    for (route, list) in IN_EMPTY.iter().filter(|(_, list)| list.is_some()) {
        let full = service.call(route).token("admin").send().await;
        assert_ne!(Some(&*full.text), *list, "{route} shows its own namespace");
    }
    // A claim from all lanes that have work gets nothing of the other namespace.
    let lane = Uuid::new_v4().to_string();
    service.submit(&lane).await;
    let claims = service.call("POST /v1/workers/{worker}/claims").path("worker", "w");
    let claims = claims.body(json!({"instance": "o-1", "lanes": [lane], "count": 64}));
    let claims = claims.token("other").without_namespace().send().await;
    assert_eq!(claims.json, json!({"tasks": []}));
    service.stop().await;
}

/// Bodies that are refused, with the status and the kind.
fn wrong_bodies(call: &Call, most: usize) -> Vec<(Call, u16, &'static str)> {
    let body: Value = serde_json::from_slice(call.body.as_deref().expect("a body")).expect("JSON");
    let mut unknown = body.clone();
    unknown["a_new_field"] = json!(1);
    let mut nulls = body.clone();
    for value in nulls.as_object_mut().expect("an object").values_mut() {
        *value = json!([[]]);
    }
    let padded = |length: usize| {
        let text = body.to_string();
        let spaces = " ".repeat(length - text.len());
        call.clone().bytes(text + &spaces)
    };
    let own = call.clone();
    vec![
        (own.clone().bytes("{"), 400, "invalid_request"),
        (own.clone().bytes("{} {}"), 400, "invalid_request"),
        (own.clone().bytes("[]"), 400, "invalid_request"),
        (own.clone().bytes("\"\u{1}\""), 400, "invalid_request"),
        (own.clone().bytes([0xff, 0xfe]), 400, "invalid_request"),
        (own.clone().body(unknown), 400, "invalid_request"),
        (own.clone().body(nulls), 400, "invalid_request"),
        (own.clone().header("content-type", "text/plain"), 415, "unsupported_media_type"),
        (own.without_header("content-type"), 415, "unsupported_media_type"),
        (padded(most + 1), 413, "body_too_large"),
    ]
}

#[tokio::test]
async fn a_request_that_is_not_valid_has_no_effect() {
    let service = Service::start().await;
    for (route, needs, most) in ROUTES {
        let call = prepared(&service, route).await.token(token(needs));
        assert_eq!(most > 0, call.body.is_some(), "{route}");
        if most > 0 {
            for (wrong, status, kind) in wrong_bodies(&call, most) {
                wrong.refused(status, kind).await;
            }
            if !MAY_BE_EMPTY.contains(&route) {
                let answer = call.clone().bytes("").send().await;
                assert_eq!(answer.status, 400, "{route}: {}", answer.text);
            }
        }
        for part in ["id", "lease_id", "attempt", "worker", "lane", "quota", "budget"] {
            if call.has(part) {
                let wrong = call.replaced(part, "%FF").send().await;
                assert_eq!(wrong.status, 400, "{route}: {}", wrong.text);
            }
        }
        let path = &DOCUMENT["paths"][&call.template];
        let absent = ["GET", "PUT", "POST", "PATCH", "DELETE"].into_iter().find(|method| {
            path[method.to_lowercase()].is_null() && !(path.is_null() && *method == "GET")
        });
        let absent = call.clone().method(absent.expect("a method that it does not have"));
        absent.refused(405, "method_not_allowed").await;
        let answer = call.send().await;
        assert!(answer.status < 300, "{route}: {} {}", answer.status, answer.text);
    }
    service.stop().await;
}

#[tokio::test]
async fn an_id_that_is_not_one_is_refused() {
    let service = Service::start().await;
    for (route, needs, _) in ROUTES {
        let call = prepared(&service, route).await.token(token(needs));
        for (part, kind) in [
            ("id", "invalid_execution_id"),
            ("lease_id", "invalid_request"),
            ("attempt", "invalid_request"),
        ] {
            for wrong in ["7", "%7Bfp:1%7D:x", "1.", "-1", "%20", "x".repeat(300).as_str()] {
                if call.has(part) && !(part == "attempt" && wrong == "7") {
                    call.replaced(part, wrong).refused(400, kind).await;
                }
            }
        }
        if call.has("id") {
            let outside = format!("60000.{}", Uuid::new_v4());
            call.replaced("id", &outside).refused(400, "partition_out_of_range").await;
        }
        for query in ["namespace=", "namespace=a%20b", "namespace=%00"] {
            if needs != NoToken && needs != Root {
                let wrong = call.clone().without_namespace().query(query);
                wrong.refused(400, "invalid_request").await;
            }
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let service = Service::start().await;
    for (route, needs, _) in ROUTES {
        let call = prepared(&service, route).await.token(token(needs));
        let call = call.replaced("quota", "absent").replaced("budget", "absent");
        let call = match call.has("worker") && !route.contains("claim") {
            true => call.replaced("worker", "absent"),
            false => call,
        };
        let absent = Uuid::new_v4();
        let call = call.replaced("id", &format!("3.{absent}"));
        let absent = format!("{{fp:3}}:{absent}");
        let call = match call.body.clone() {
            Some(body) if call.has("lease_id") => {
                let mut body: Value = serde_json::from_slice(&body).expect("JSON");
                let field = if route.ends_with("usage") { "budget" } else { "execution_id" };
                body[field] = json!(if field == "budget" { "absent" } else { &absent });
                call.body(body)
            }
            _ => call,
        };
        let creates = ["PUT /v1/quotas/{quota}", "PUT /v1/budgets/{budget}"].contains(&route);
        let removes = route.starts_with("DELETE ");
        let names = ["id", "quota", "budget", "lease_id"].iter().any(|part| call.has(part))
            || route.ends_with("/drain")
            || route.ends_with("/dead");
        if names && !creates && !removes {
            is_missing(&call).await;
        }
    }
    let nowhere = service.call("GET /v1/nothing").send().await;
    assert_eq!((nowhere.status, &nowhere.json["error"]["kind"]), (404, &json!("not_found")));
    service.stop().await;
}
