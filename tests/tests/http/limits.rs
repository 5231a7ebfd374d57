//! Bounds on connections, bodies and times, and a shutdown that lets requests end.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use ff_sdk::MemoryBackend;
use ff_server::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::service::Service;

async fn service(set_up: impl FnOnce(&mut Settings)) -> Service {
    let set_up = |settings: &mut Settings| {
        settings.tokens = None;
        set_up(settings);
    };
    Service::on(Arc::new(MemoryBackend::new()), set_up).await
}

/// A connection that sends what the test says.
struct Raw(TcpStream);

impl Raw {
    async fn open(service: &Service, text: &str) -> Self {
        let mut raw = Self(TcpStream::connect(service.address).await.expect("it listens"));
        raw.send(text).await;
        raw
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("it is sent");
    }

    /// Everything until the service closes the connection.
    async fn rest(mut self) -> String {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes).await {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        String::from_utf8(bytes).expect("text")
    }

    /// Reads an answer with a body of one line of JSON.
    async fn answer(&mut self) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"}") {
            bytes.push(self.0.read_u8().await.expect("an answer"));
        }
        String::from_utf8(bytes).expect("text")
    }
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn submit(length: usize) -> String {
    format!(
        "POST /v1/executions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_slow_head_and_an_idle_connection_are_closed() {
    let service = service(|settings| settings.head_timeout = Duration::from_millis(200)).await;
    for text in ["", "GET /healthz HTTP/1.1\r\nhost: te"] {
        let slow = Raw::open(&service, text).await;
        let answer = slow.rest().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    let mut idle = Raw::open(&service, HEALTH).await;
    assert!(idle.answer().await.starts_with("HTTP/1.1 200"));
    assert_eq!(idle.rest().await, "");
    // A client that sends a byte now and then does not prolong its time.
    let mut dripping = Raw::open(&service, "GET /healthz HTTP/1.1\r\n").await;
    let mut every = tokio::time::interval(Duration::from_millis(20));
    loop {
        every.tick().await;
        if dripping.0.write_all(b"x: y\r\n").await.is_err() {
            break;
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn a_slow_body_is_refused() {
    let service = service(|settings| settings.body_timeout = Duration::from_millis(200)).await;
    let mut slow = Raw::open(&service, &submit(100)).await;
    slow.send("{\"kind\":").await;
    let answer = slow.answer().await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_not_received"), "{answer}");
    slow.rest().await;
    service.stop().await;
}

#[tokio::test]
async fn more_connections_than_allowed_wait() {
    let service = service(|settings| settings.max_connections = 2).await;
    let mut first = Raw::open(&service, HEALTH).await;
    first.answer().await;
    let mut second = Raw::open(&service, HEALTH).await;
    second.answer().await;
    let mut third = Raw::open(&service, HEALTH).await;
    // The others are served meanwhile.
    for _ in 0..20 {
        first.send(HEALTH).await;
        first.answer().await;
    }
    let nothing = third.0.try_read(&mut [0]).expect_err("no answer");
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    drop(first);
    assert!(third.answer().await.starts_with("HTTP/1.1 200"));
    service.stop().await;
}

#[tokio::test]
async fn more_tails_than_allowed_are_refused() {
    let service =
        Service::on(Arc::new(MemoryBackend::new()), |settings| settings.max_tails = 1).await;
    let follow = service.call("GET /v1/completions");
    let first = follow.open().await;
    assert_eq!(first.status(), 200);
    let refused = follow.refused(503, "too_many_tails").await;
    assert_eq!(refused.headers["retry-after"], "5");
    assert_eq!(service.call("GET /v1/executions").send().await.status, 200);
    drop(first);
    while follow.send().await.status == 503 {
        tokio::task::yield_now().await;
    }
    service.stop().await;
}

#[tokio::test]
async fn shutdown_lets_a_request_end() {
    let mut service = service(|_| {}).await;
    let body = "{\"kind\": \"work\"}";
    let mut slow = Raw::open(&service, &submit(body.len())).await;
    slow.send(&body[..4]).await;
    let mut other = Raw::open(&service, HEALTH).await;
    other.answer().await;
    service.request_stop();
    assert_eq!(other.rest().await, "", "idle connections are closed");
    slow.send(&body[4..]).await;
    let answer = slow.rest().await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    service.ended().await;
}

#[tokio::test]
async fn shutdown_does_not_wait_longer_than_its_time() {
    let grace = Duration::from_millis(100);
    let mut service = service(|settings| settings.grace = grace).await;
    let slow = Raw::open(&service, &submit(100)).await;
    service.request_stop();
    service.ended().await;
    drop(slow);
}
