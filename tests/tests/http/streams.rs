//! Server-Sent Events: the output of attempts, and completions.

use std::sync::Arc;

use axum::body::BodyDataStream;
use ff_sdk::MemoryBackend;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::service::{Call, Held, Service};

/// The events of an answer.
struct Events {
    body: BodyDataStream,
    text: String,
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    id: String,
    name: String,
    data: Value,
}

impl Events {
    async fn open(call: Call) -> Self {
        let response = call.open().await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                };
                let found = field("event").map(|name| Event {
                    id: field("id").unwrap_or_default().to_owned(),
                    name: name.to_owned(),
                    data: serde_json::from_str(field("data").expect("data")).expect("JSON"),
                });
                self.text = rest.to_owned();
                if found.is_some() {
                    return found;
                }
                continue;
            }
            let chunk = self.body.next().await?.ok()?;
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }
}

async fn append(service: &Service, held: &Held, sequence: u64) {
    let text = format!("line {sequence}");
    let frame = json!({"sequence": sequence, "frame_type": "log", "text": text});
    service.done(service.by_holder(held, "frames", frame)).await;
}

fn tail(service: &Service, held: &Held) -> Call {
    let call = service.call("GET /v1/executions/{id}/attempts/{attempt}/stream/tail");
    call.path("id", held.id()).path("attempt", "0")
}

#[tokio::test]
async fn a_tail_goes_on_after_the_last_event_also_on_another_service() {
    let backend = Arc::new(MemoryBackend::new());
    let first = Service::on(backend.clone(), |_| {}).await;
    let held = first.held("a").await;
    append(&first, &held, 1).await;
    append(&first, &held, 2).await;
    let mut events = Events::open(tail(&first, &held)).await;
    let mut last = String::new();
    for sequence in 1..=2 {
        let event = events.next().await.expect("an event");
        assert_eq!((&*event.name, &event.data["sequence"]), ("frame", &json!(sequence)));
        last = event.id;
    }
    append(&first, &held, 3).await;
    assert_eq!(events.next().await.expect("an event").data["payload"], json!("line 3"));
    first.stop().await;
    assert_eq!(events.next().await, None, "shutdown ends it");

    let second = Service::on(backend, |_| {}).await;
    let mut events = Events::open(tail(&second, &held).header("last-event-id", &last)).await;
    assert_eq!(events.next().await.expect("an event").data["sequence"], json!(3));
    second.done(second.by_holder(&held, "complete", json!({}))).await;
    let closed = events.next().await.expect("an event");
    assert_eq!(closed.name, "closed");
    assert_eq!(events.next().await, None);

    // The header takes precedence over the query, and a browser that got the end gets it again.
    let again = tail(&second, &held).query("cursor=x").header("last-event-id", &closed.id);
    assert_eq!(Events::open(again).await.next().await.expect("an event").name, "closed");
    tail(&second, &held).header("last-event-id", "x").refused(400, "invalid_request").await;

    let page = second.call("GET /v1/executions/{id}/attempts/{attempt}/stream");
    let page = page.path("id", held.id()).path("attempt", "0");
    let read = second.done(page.clone().query("limit=2")).await;
    assert_eq!(read["frames"].as_array().map(Vec::len), Some(2));
    let next = read["next"].as_str().expect("a cursor");
    let rest = second.done(page.clone().query(&format!("cursor={next}"))).await;
    assert_eq!(rest["frames"][0]["sequence"], json!(3));
    for wrong in ["limit=0", "limit=257", "cursor=x", "frame_type=%00", "wait=1"] {
        page.clone().query(wrong).refused(400, "invalid_request").await;
    }
    let later = second.done(page.replaced("attempt", "9")).await;
    assert_eq!(later["frames"], json!([]));
    second.stop().await;
}

#[tokio::test]
async fn completions_go_on_after_the_last_event_also_on_another_service() {
    let backend = Arc::new(MemoryBackend::new());
    let first = Service::on(backend.clone(), |_| {}).await;
    let complete = async |service: &Service, lane: &str| {
        let held = service.held(lane).await;
        service.done(service.by_holder(&held, "complete", json!({}))).await;
        json!(held.id())
    };
    let follow = |service: &Service, query: &str| {
        Events::open(service.call("GET /v1/completions").query(query))
    };
    let old = complete(&first, "a").await;
    let mut from_end = follow(&first, "lane=a").await;
    let mut from_start = follow(&first, "cursor=start").await;
    let seen = from_start.next().await.expect("an event");
    assert_eq!((&*seen.name, &seen.data["execution_id"]), ("completed", &old));
    let new = complete(&first, "a").await;
    for events in [&mut from_end, &mut from_start] {
        assert_eq!(events.next().await.expect("an event").data["execution_id"], new);
    }
    first.stop().await;

    let second = Service::on(backend, |_| {}).await;
    let resumed = second.call("GET /v1/completions").query("cursor=end");
    let mut resumed = Events::open(resumed.header("last-event-id", &seen.id)).await;
    assert_eq!(resumed.next().await.expect("an event").data["execution_id"], new);
    let mut other = Events::open(
        second.call("GET /v1/completions").token("other").without_namespace().query("cursor=start"),
    )
    .await;
    let unseen = second.call("POST /v1/executions").token("other").without_namespace();
    let unseen = unseen.body(json!({"kind": "work"})).send().await;
    let cancel = second.call("POST /v1/executions/{id}/cancel").token("other").body(json!({}));
    let id = unseen.json["url_id"].as_str().expect("an id");
    second.done(cancel.without_namespace().path("id", id)).await;
    let own = other.next().await.expect("an event");
    assert_eq!(own.data["execution_id"], unseen.json["execution_id"], "nothing of others");
    for wrong in ["cursor=x", "tag=x", "lane=", "unknown=1"] {
        let call = second.call("GET /v1/completions").query(wrong);
        call.refused(400, "invalid_request").await;
    }
    second.stop().await;
}
