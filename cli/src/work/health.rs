//! The health endpoint of a worker: `GET /healthz` asks whether the store answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ff_sdk::core::backend::EngineBackend;
use ff_sdk::core::partition::Partition;
use ff_sdk::core::store::{Read, RecordKey, Request};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::exit::{CliError, warn};

/// How long the store may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long a request may take, from the connection to the end of the reply.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// The longest head of a request, in bytes. What follows is not read.
const MAX_HEAD: u64 = 16_384;
/// The number of requests that are served at the same time. Others wait.
const MAX_REQUESTS: usize = 16;
/// The pause after a connection could not be accepted, for example without a free descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Begins to listen, and serves requests until the process ends.
pub async fn start(address: SocketAddr, store: Arc<dyn EngineBackend>) -> Result<(), CliError> {
    let failed = |error| CliError::usage(format!("cannot listen on --health {address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    warn(&format!("ff: health endpoint at http://{address}/healthz\n"));
    tokio::spawn(async move {
        let slots = Arc::new(Semaphore::new(MAX_REQUESTS));
        loop {
            // The semaphore is never closed.
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let store = store.clone();
            tokio::spawn(async move {
                // A client that is too slow gets no reply.
                let _ = tokio::time::timeout(REQUEST_WITHIN, serve(stream, &*store)).await;
                drop(slot);
            });
        }
    });
    Ok(())
}

async fn serve(mut stream: TcpStream, store: &dyn EngineBackend) -> std::io::Result<()> {
    // Read to its end: a connection that is closed before that can lose the reply.
    let mut head = Vec::new();
    let mut reader = BufReader::new((&mut stream).take(MAX_HEAD));
    while reader.read_until(b'\n', &mut head).await? > 0 && !head.ends_with(b"\n\r\n") {}
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, text) = match (method, path) {
        ("GET" | "HEAD", "/healthz") if answers(store).await => ("200 OK", "ok\n"),
        ("GET" | "HEAD", "/healthz") => ("503 Service Unavailable", "the store does not answer\n"),
        ("GET" | "HEAD", _) => ("404 Not Found", "the only path is /healthz\n"),
        _ => ("405 Method Not Allowed", "the only methods are GET and HEAD\n"),
    };
    let body = if method == "HEAD" { "" } else { text };
    let length = text.len();
    let reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await
}

/// Whether the store answers a read of its configuration.
async fn answers(store: &dyn EngineBackend) -> bool {
    let (partition, records) = (Partition::META, vec![RecordKey::Meta]);
    let read = Request::Read(Read { partition, records, values: Vec::new() });
    matches!(tokio::time::timeout(ANSWER_WITHIN, store.call(read)).await, Ok(Ok(_)))
}
