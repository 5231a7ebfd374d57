//! A server that answers as its script says, one connection for each request.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The reaction of the server to a request that it has read.
#[derive(Clone)]
pub enum Act {
    /// Answers with this status, these further lines of the head, and this body.
    Answer(u16, &'static str, String),
    /// Closes the connection without an answer.
    Close,
    /// Keeps the connection open without an answer.
    Hang,
}

impl Act {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::Answer(status, "", body.to_string())
    }

    /// An error of the API.
    pub fn error(status: u16, kind: &str, retryable: bool) -> Self {
        Self::json(status, &error(kind, retryable, Value::Null))
    }
}

/// The body of an error.
pub fn error(kind: &str, retryable: bool, details: Value) -> Value {
    json!({ "error": {
        "kind": kind, "message": "the reason", "retryable": retryable, "details": details,
    } })
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The first line and the headers; their names are in lower case.
    pub head: String,
    pub body: Value,
}

impl Received {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find_map(|(found, value)| (found == name).then_some(value))
    }
}

pub struct Stub {
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
    serving: JoinHandle<()>,
}

impl Stub {
    /// Starts a server that does the last act again and again once it has done the others.
    pub async fn start(script: impl IntoIterator<Item = Act>) -> Self {
        let script: Vec<Act> = script.into_iter().collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let received = Arc::new(Mutex::new(Vec::new()));
        let all = received.clone();
        let serving = tokio::spawn(async move {
            let mut kept = Vec::new();
            for number in 0.. {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let request = read(&mut stream).await;
                all.lock().expect("no test panics with it").push(request);
                match &script[number.min(script.len() - 1)] {
                    Act::Close => {}
                    Act::Hang => kept.push(stream),
                    Act::Answer(status, lines, body) => {
                        let length = body.len();
                        let answer = format!(
                            "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\
                             connection: close\r\n{lines}\r\n{body}"
                        );
                        // A client that has given up closes its end.
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                }
            }
        });
        Self { url, received, serving }
    }

    /// The requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().expect("no test panics with it").clone()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Reads one request.
async fn read(stream: &mut TcpStream) -> Received {
    let (mut bytes, mut length) = (Vec::new(), None);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let wanted = *length.get_or_insert_with(|| content_length(head));
            if body.len() >= wanted {
                let body = match wanted {
                    0 => Value::Null,
                    _ => serde_json::from_str(body).expect("a body of JSON"),
                };
                return Received { head: head.to_owned(), body };
            }
        }
        let mut chunk = [0; 4_096];
        let count = stream.read(&mut chunk).await.expect("the client sends");
        assert!(count > 0, "the client closed the connection within a request");
        bytes.extend_from_slice(&chunk[..count]);
    }
}

fn content_length(head: &str) -> usize {
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.map_or(0, |length| length.parse().expect("a number"))
}
