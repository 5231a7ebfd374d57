//! The protocol between the driver and a peer written in Rust.
//!
//! The driver starts a peer as two processes: a client that submits, and a worker that handles. It
//! writes one JSON object a line to the standard input of each, and reads one a line from the
//! standard output. Times are nanoseconds of the machine's monotonic clock, which all processes
//! share. The folder's README describes the requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use nix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// How many submissions are in flight in mode `pipelined`.
const IN_FLIGHT: usize = 256;
/// How many submissions one call of the bulk API has.
const BULK: u32 = 1_000;
/// The digits of a task's number at the start of its payload.
const DIGITS: usize = 8;

/// The arguments of a peer.
#[derive(Debug)]
pub struct Arguments {
    pub system: String,
    pub port: u16,
    pub workers: usize,
    pub slots: usize,
}

impl Arguments {
    /// Parses `SYSTEM PORT WORKERS SLOTS`.
    pub fn parse() -> Result<Self> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [system, port, workers, slots] = &arguments[..] else {
            bail!("usage: SYSTEM PORT WORKERS SLOTS; benches/peers/run starts this program");
        };
        let number = |text: &str| {
            text.parse::<u16>().with_context(|| format!("`{text}` is not a number below 65536"))
        };
        let (workers, slots) = (number(workers)?.into(), number(slots)?.into());
        Ok(Self { system: system.clone(), port: number(port)?, workers, slots })
    }
}

/// A system to measure.
pub trait Peer: Send + Sync + 'static {
    /// Submits one task. Returns after the store has acknowledged it.
    fn submit(&self, payload: Vec<u8>) -> impl Future<Output = Result<()>> + Send;

    /// Submits tasks with the bulk API.
    fn submit_bulk(&self, payloads: Vec<Vec<u8>>) -> impl Future<Output = Result<()>> + Send;

    /// Connects the workers, then starts them. Returns the time of their start.
    fn start(&self, recorder: Arc<Recorder>) -> impl Future<Output = Result<u64>> + Send;

    /// Stops the workers after their running handlers.
    fn stop(&self) -> impl Future<Output = Result<()>> + Send;
}

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Request {
    Submit { mode: Mode, first: u32, count: u32, bytes: usize },
    Paced { first: u32, count: u32, bytes: usize, per_second: f64 },
    Start { expect: u64, notify: bool },
    Stop,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Single,
    Pipelined,
    Bulk,
}

/// Answers the requests on the standard input until it ends.
pub async fn serve<P: Peer>(peer: P) -> Result<()> {
    let peer = Arc::new(peer);
    let mut recorder = Arc::new(Recorder::default());
    let mut started_ns = 0;
    reply(&json!({ "ready": true }));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let request = serde_json::from_str(&line).with_context(|| format!("request `{line}`"))?;
        let answer = match request {
            Request::Submit { mode, first, count, bytes } => {
                submit(&peer, mode, first..first + count, bytes).await?
            }
            Request::Paced { first, count, bytes, per_second } => {
                paced(&peer, first..first + count, bytes, per_second).await?
            }
            Request::Start { expect, notify } => {
                recorder = Arc::new(Recorder { expect, notify, ..Recorder::default() });
                started_ns = peer.start(recorder.clone()).await?;
                json!({ "started_ns": started_ns })
            }
            Request::Stop => {
                peer.stop().await?;
                recorder.report(started_ns)
            }
        };
        reply(&answer);
    }
    Ok(())
}

async fn submit<P: Peer>(
    peer: &Arc<P>,
    mode: Mode,
    numbers: std::ops::Range<u32>,
    bytes: usize,
) -> Result<Value> {
    // Payloads are made before the clock starts.
    let payloads: Vec<Vec<u8>> = numbers.map(|number| payload(number, bytes)).collect();
    let mut sent_ns = Vec::new();
    let began = Instant::now();
    match mode {
        Mode::Single => {
            for payload in payloads {
                sent_ns.push(now_ns());
                peer.submit(payload).await?;
            }
        }
        Mode::Pipelined => {
            let submit = |payload| {
                let peer = peer.clone();
                tokio::spawn(async move { peer.submit(payload).await })
            };
            let mut running = stream::iter(payloads).map(submit).buffer_unordered(IN_FLIGHT);
            while let Some(submitted) = running.try_next().await? {
                submitted?;
            }
        }
        Mode::Bulk => {
            let mut payloads = payloads.into_iter().peekable();
            while payloads.peek().is_some() {
                peer.submit_bulk(payloads.by_ref().take(BULK as usize).collect()).await?;
            }
        }
    }
    Ok(json!({ "seconds": began.elapsed().as_secs_f64(), "sent_ns": sent_ns }))
}

/// Submits at a constant rate, whether or not the store has acknowledged the earlier ones.
async fn paced<P: Peer>(
    peer: &Arc<P>,
    numbers: std::ops::Range<u32>,
    bytes: usize,
    per_second: f64,
) -> Result<Value> {
    let payloads: Vec<Vec<u8>> = numbers.map(|number| payload(number, bytes)).collect();
    let (mut sent_ns, mut running) = (Vec::new(), tokio::task::JoinSet::new());
    let began = Instant::now();
    for (number, payload) in payloads.into_iter().enumerate() {
        let due = began + Duration::from_secs_f64(number as f64 / per_second);
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        sent_ns.push(now_ns());
        let peer = peer.clone();
        running.spawn(async move { peer.submit(payload).await });
    }
    while let Some(submitted) = running.join_next().await {
        submitted??;
    }
    Ok(json!({ "seconds": began.elapsed().as_secs_f64(), "sent_ns": sent_ns }))
}

/// Records which tasks were handled, and when the last expected one was completed.
#[derive(Debug, Default)]
pub struct Recorder {
    expect: u64,
    notify: bool,
    handled: Mutex<(Vec<u32>, Vec<u64>)>,
    completed: AtomicU64,
    finished_ns: AtomicU64,
}

impl Recorder {
    /// A handler has started with this payload.
    pub fn handled(&self, payload: &[u8]) -> Result<()> {
        let now = now_ns();
        let number = number(payload)?;
        let mut handled = self.handled.lock().expect("no holder of the lock panics");
        handled.0.push(number);
        handled.1.push(now);
        Ok(())
    }

    /// The store has acknowledged the completion of one task.
    pub fn completed(&self) {
        self.completed_in_all(self.completed.fetch_add(1, Ordering::AcqRel) + 1);
    }

    /// The store has acknowledged this number of completions since the start.
    pub fn completed_in_all(&self, count: u64) {
        let enough = count >= self.expect && self.expect > 0;
        let (order, or) = (Ordering::AcqRel, Ordering::Acquire);
        let last = enough && self.finished_ns.compare_exchange(0, now_ns(), order, or).is_ok();
        if last || self.notify {
            reply(&json!({ "done": count }));
        }
    }

    fn report(&self, started_ns: u64) -> Value {
        let handled = self.handled.lock().expect("no holder of the lock panics");
        json!({
            "started_ns": started_ns,
            "finished_ns": self.finished_ns.load(Ordering::Acquire),
            "numbers": handled.0,
            "handled_ns": handled.1,
        })
    }
}

/// The payload of a task: its number, then filler up to the size.
fn payload(number: u32, bytes: usize) -> Vec<u8> {
    let mut payload = format!("{number:0DIGITS$}").into_bytes();
    payload.resize(bytes.max(DIGITS), b'x');
    payload
}

fn number(payload: &[u8]) -> Result<u32> {
    let digits = payload.get(..DIGITS).context("the payload is shorter than a number")?;
    Ok(std::str::from_utf8(digits)?.parse()?)
}

/// The time of the machine's monotonic clock.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the machine has a monotonic clock");
    u64::try_from(Duration::from(now).as_nanos()).expect("the machine is younger than 500 years")
}

/// Writes one line to the driver.
fn reply(value: &Value) {
    println!("{value}");
}

/// Ends the process after an error in a background task. The driver reports the message.
pub fn fail(error: &dyn std::fmt::Display) -> ! {
    eprintln!("{error}");
    std::process::exit(1);
}
