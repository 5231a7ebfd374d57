//! Load for a running `ff serve` on loopback, which ends by itself.
//!
//! ```text
//! load ADDRESS pairs CONNECTIONS TASKS
//!     claims and completes tasks, one at a time on each connection
//! load ADDRESS crowd CONNECTIONS SECONDS
//!     measures calls alone, then beside idle, slow and wrong callers, and responses that follow
//!     something
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, what, connections, amount] = &arguments[..] else {
        return Err("usage: load ADDRESS pairs|crowd CONNECTIONS TASKS|SECONDS".into());
    };
    let address: SocketAddr = address.parse()?;
    if !address.ip().is_loopback() {
        return Err("the load goes to loopback only".into());
    }
    let (connections, amount): (u64, u64) = (connections.parse()?, amount.parse()?);
    match what.as_str() {
        "pairs" => pairs(address, connections, amount).await,
        "crowd" => crowd(address, connections, amount).await,
        _ => Err("give pairs or crowd".into()),
    }
}

/// A connection that is kept alive.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a request and returns the status and the body of its answer.
    async fn call(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<(u16, Vec<u8>), Failure> {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await?;
        loop {
            if let Some(answer) = self.answer()? {
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the connection was closed".into());
            }
        }
    }

    /// Takes an answer from the buffer, if it is complete.
    fn answer(&mut self) -> Result<Option<(u16, Vec<u8>)>, Failure> {
        let Some(head) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&self.buffer[..head])?;
        let status = text.get(9..12).ok_or("not an answer")?.parse()?;
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(Ok(0), str::parse)?;
        if self.buffer.len() < head + 4 + length {
            return Ok(None);
        }
        let body = self.buffer[head + 4..head + 4 + length].to_vec();
        self.buffer.drain(..head + 4 + length);
        Ok(Some((status, body)))
    }

    async fn json(&mut self, path: &str, body: &Value) -> Result<Value, Failure> {
        let (status, answer) = self.call("POST", path, &body.to_string()).await?;
        match status {
            204 => Ok(Value::Null),
            200 | 201 => Ok(serde_json::from_slice(&answer)?),
            _ => Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&answer)).into()),
        }
    }
}

async fn pairs(address: SocketAddr, connections: u64, tasks: u64) -> Result<(), Failure> {
    let mut connection = Connection::open(address).await?;
    let mut left = tasks;
    while left > 0 {
        let count = left.min(1_000);
        let one = json!({"kind": "load", "payload": {"text": "x".repeat(64)}});
        let batch = json!({"executions": vec![one; usize::try_from(count)?]});
        connection.json("/v1/executions/batch", &batch).await?;
        left -= count;
    }
    let done = Arc::new(AtomicU64::new(0));
    let (mut workers, begun) = (JoinSet::new(), Instant::now());
    for number in 0..connections {
        workers.spawn(work(address, number, tasks, done.clone()));
    }
    let mut times = Vec::new();
    while let Some(worked) = workers.join_next().await {
        times.extend(worked??);
    }
    let took = begun.elapsed();
    let rate = times.len() as f64 / took.as_secs_f64();
    println!(
        "{} pairs on {connections} connections in {took:.2?}: {rate:.0} a second",
        times.len()
    );
    println!("a pair takes {}", percentiles(&mut times));
    Ok(())
}

/// Claims and completes until all tasks are done. Returns how long each pair took.
async fn work(
    address: SocketAddr,
    number: u64,
    tasks: u64,
    done: Arc<AtomicU64>,
) -> Result<Vec<Duration>, Failure> {
    let mut connection = Connection::open(address).await?;
    let path = format!("/v1/workers/load-{number}/claims");
    let claim = json!({"instance": format!("load-{number}"), "wait_ms": 200});
    let mut times = Vec::new();
    while done.load(Ordering::Relaxed) < tasks {
        let begun = Instant::now();
        let claimed = connection.json(&path, &claim).await?;
        for task in claimed["tasks"].as_array().ok_or("no tasks")? {
            let lease = task["lease_id"].as_str().ok_or("no lease")?;
            let complete = json!({
                "execution_id": task["execution_id"],
                "lease_epoch": task["lease_epoch"],
                "attempt_id": task["attempt_id"],
                "result": 1,
            });
            connection.json(&format!("/v1/leases/{lease}/complete"), &complete).await?;
            times.push(begun.elapsed());
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(times)
}

/// Calls that read, beside a crowd.
async fn crowd(address: SocketAddr, connections: u64, seconds: u64) -> Result<(), Failure> {
    let lasts = Duration::from_secs(seconds);
    println!("quiet:          {}", percentiles(&mut quiet_calls(address, lasts).await?));
    let mut held = Vec::new();
    for _ in 0..connections {
        held.push(Connection::open(address).await?);
    }
    println!("{connections} connections are open");
    println!("beside them:    {}", percentiles(&mut quiet_calls(address, lasts).await?));
    let mut tails = Vec::new();
    for _ in 0..connections.min(1_000) {
        let mut connection = Connection::open(address).await?;
        let head = "GET /v1/completions HTTP/1.1\r\nhost: localhost\r\n\r\n";
        connection.stream.write_all(head.as_bytes()).await?;
        tails.push(connection);
    }
    println!(
        "beside {} tails: {}",
        tails.len(),
        percentiles(&mut quiet_calls(address, lasts).await?)
    );
    let mut slow = Vec::new();
    for _ in 0..connections.min(500) {
        let mut connection = Connection::open(address).await?;
        let head = "POST /v1/executions HTTP/1.1\r\nhost: localhost\r\n\
                    content-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
        connection.stream.write_all(head.as_bytes()).await?;
        slow.push(connection);
    }
    let mut wrong = JoinSet::new();
    for number in 0..4 {
        wrong.spawn(wrong_calls(address, number, lasts));
    }
    println!("beside misuse:  {}", percentiles(&mut quiet_calls(address, lasts).await?));
    while let Some(ended) = wrong.join_next().await {
        ended??;
    }
    Ok(())
}

/// Submits and reads an execution, again and again. Returns how long each call took.
async fn quiet_calls(address: SocketAddr, lasts: Duration) -> Result<Vec<Duration>, Failure> {
    let mut connection = Connection::open(address).await?;
    let (mut times, until) = (Vec::new(), Instant::now() + lasts);
    while Instant::now() < until {
        let begun = Instant::now();
        let submitted = connection.json("/v1/executions", &json!({"kind": "crowd"})).await?;
        times.push(begun.elapsed());
        let begun = Instant::now();
        let id = submitted["url_id"].as_str().ok_or("no id")?;
        connection.call("GET", &format!("/v1/executions/{id}/state"), "").await?;
        times.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(times)
}

/// Sends bodies that are too large, broken JSON and unknown paths.
async fn wrong_calls(address: SocketAddr, number: u64, lasts: Duration) -> Result<(), Failure> {
    let (until, large) = (Instant::now() + lasts, "x".repeat(3 << 20));
    while Instant::now() < until {
        let mut connection = Connection::open(address).await?;
        let (path, body) = match number {
            0 => ("/v1/executions", large.as_str()),
            1 => ("/v1/executions", "{\"kind\": "),
            2 => ("/v1/nothing", "{}"),
            _ => ("/v1/workers/w/claims", "{\"instance\": 7}"),
        };
        // A body that is too large is answered before it was read, so sending it may fail.
        match connection.call("POST", path, body).await {
            Ok((400..=499, _)) | Err(_) => {}
            Ok((status, _)) => return Err(format!("{path} was answered with {status}").into()),
        }
    }
    Ok(())
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort();
    let at =
        |part: f64| times.get((times.len() as f64 * part) as usize).copied().unwrap_or_default();
    format!("p50 {:.2?}, p99 {:.2?}, {} calls", at(0.5), at(0.99), times.len())
}
