//! Workers and a submitter that speak HTTP to two services on one store, which are killed and
//! restarted again and again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ff_sdk::core::entropy::Entropy;
use ff_sdk::{Client, ExecutionId};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::check::{Problem, check};
use super::gather::{count_ended, gather};
use super::scenario::between;
use crate::fixture::lane;
use crate::server::{Process, Server};

const NAMESPACE: &str = "crash";
const WORKERS: u64 = 6;
/// The time limit of a run.
const LIMIT: Duration = Duration::from_secs(90);
/// The time limit of a request, and of its connection.
const CALL: Duration = Duration::from_secs(5);

/// The result of a run.
#[derive(Debug, Default)]
pub struct HttpReport {
    /// How often a service was killed.
    pub kills: usize,
    /// Requests without an answer.
    pub unanswered: usize,
    /// Claims beyond the first of each execution.
    pub restarts: usize,
    /// The problems that were found.
    pub problems: Vec<String>,
}

/// The state that the threads of a run share.
struct Run {
    services: [SocketAddr; 2],
    claimed: Mutex<Vec<(ExecutionId, u64)>>,
    acknowledged: Mutex<BTreeSet<ExecutionId>>,
    unanswered: Mutex<usize>,
    problems: Mutex<Vec<String>>,
    over: AtomicBool,
}

/// Submits executions and works on them over HTTP, while one of two services is killed every 50 to
/// 500 ms. Afterwards every execution must have ended exactly once, under a lease that one of the
/// workers got.
///
/// # Panics
///
/// When the processes of the run cannot be started.
pub fn services_are_killed(ff: &Path, executions: usize, seed: u64) -> HttpReport {
    let store = Server::valkey();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut services = [(); 2].map(|()| Service::new(ff, &store.url(), folder.path()));
    let run = Run {
        services: [services[0].address, services[1].address],
        claimed: Mutex::default(),
        acknowledged: Mutex::default(),
        unanswered: Mutex::default(),
        problems: Mutex::default(),
        over: AtomicBool::new(false),
    };
    let runtime = Runtime::new().expect("a runtime can be started");
    let client = runtime.block_on(async {
        let backend = super::open(&store.url()).await.expect("the store is there");
        Client::connect_with(backend, NAMESPACE).await.expect("the store can be used")
    });
    let (begin, mut kills) = (Instant::now(), 0);
    thread::scope(|scope| {
        scope.spawn(|| run.submit(executions, seed));
        for number in 0..WORKERS {
            let run = &run;
            scope.spawn(move || run.work(number, seed));
        }
        let mut entropy = Entropy::from_u64(seed);
        while runtime.block_on(count_ended(&client)).expect("the store answers") < executions {
            if begin.elapsed() > LIMIT {
                run.problem("the executions have not ended in time".to_owned());
                break;
            }
            thread::sleep(between(&mut entropy, 50, 500));
            services[entropy.below(2) as usize].restart();
            kills += 1;
        }
        run.over.store(true, Ordering::Release);
    });
    let mut evidence = runtime.block_on(gather(&client, &lane())).expect("the store answers");
    evidence.expected = executions;
    evidence.acknowledged = run.acknowledged.into_inner().unwrap_or_else(PoisonError::into_inner);
    evidence.started = run.claimed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut problems = run.problems.into_inner().unwrap_or_else(PoisonError::into_inner);
    problems.extend(check(&evidence).iter().take(20).map(Problem::to_string));
    if evidence.acknowledged.len() != executions {
        problems.push(format!("{} were acknowledged", evidence.acknowledged.len()));
    }
    let restarts = evidence.started.len().saturating_sub(executions);
    let unanswered = run.unanswered.into_inner().unwrap_or_else(PoisonError::into_inner);
    HttpReport { kills, unanswered, restarts, problems }
}

/// `ff serve`, always on the same port.
struct Service {
    ff: PathBuf,
    store: String,
    address: SocketAddr,
    log: PathBuf,
    process: Process,
}

impl Service {
    fn new(ff: &Path, store: &str, folder: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let address = free.expect("there is a free port");
        let log = folder.join(format!("serve-{}.log", address.port()));
        let process = start(ff, store, address, &log);
        Self { ff: ff.to_owned(), store: store.to_owned(), address, log, process }
    }

    fn restart(&mut self) {
        self.process.kill();
        self.process = start(&self.ff, &self.store, self.address, &self.log);
    }
}

fn start(ff: &Path, store: &str, address: SocketAddr, log: &Path) -> Process {
    let log = File::options().create(true).append(true).open(log).expect("logs can be written");
    let mut serve = Command::new(ff);
    serve
        .args(["serve", "--backend", store, "--namespace", NAMESPACE])
        .args(["--listen", &address.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Process::start(&mut serve).expect("the program runs")
}

impl Run {
    fn problem(&self, problem: String) {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Calls one of the services until there is an answer that is not a failure of the service;
    /// `None` if the run is over before.
    fn call(&self, path: &str, body: &Value, entropy: &mut Entropy) -> Option<(u16, Value)> {
        while !self.is_over() {
            let service = self.services[entropy.below(2) as usize];
            match post(service, path, body) {
                Ok((status, answer)) if status < 500 => return Some((status, answer)),
                _ => *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner) += 1,
            }
            thread::sleep(between(entropy, 5, 50));
        }
        None
    }

    /// Submits the executions one by one, each under an idempotency key.
    fn submit(&self, executions: usize, seed: u64) {
        let mut entropy = Entropy::from_u64(seed ^ 1);
        for number in 0..executions {
            let body = json!({
                "kind": "crash",
                "payload": number,
                "idempotency_key": format!("key-{number}"),
                "lane": lane().as_str(),
            });
            let Some((status, answer)) = self.call("/v1/executions", &body, &mut entropy) else {
                return;
            };
            match answer["execution_id"].as_str().and_then(|id| id.parse().ok()) {
                Some(id) if status == 200 || status == 201 => {
                    self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
                }
                _ => self.problem(format!("submission {number}: {status} {answer}")),
            }
        }
    }

    /// Claims and completes until the run is over.
    fn work(&self, number: u64, seed: u64) {
        let mut entropy = Entropy::from_u64(seed ^ (number + 2));
        let path = format!("/v1/workers/w-{number}/claims");
        let body = json!({
            "instance": format!("w-{number}"), "lanes": [lane().as_str()], "count": 2,
            "lease_ttl_ms": 1_000, "wait_ms": 200,
        });
        while let Some((status, answer)) = self.call(&path, &body, &mut entropy) {
            let Some(tasks) = answer["tasks"].as_array().filter(|_| status == 200) else {
                self.problem(format!("claim: {status} {answer}"));
                return;
            };
            for task in tasks {
                self.complete(task, &mut entropy);
            }
        }
    }

    fn complete(&self, task: &Value, entropy: &mut Entropy) {
        let id = task["execution_id"].as_str().and_then(|id| id.parse().ok());
        let (Some(id), Some(epoch), Some(lease)) =
            (id, task["lease_epoch"].as_u64(), task["lease_id"].as_str())
        else {
            return self.problem(format!("not a task: {task}"));
        };
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner).push((id, epoch));
        // Some tasks outlive their leases, and another worker takes over.
        let takes = if entropy.below(20) == 0 { 1_200 } else { entropy.below(20) };
        thread::sleep(Duration::from_millis(takes));
        let body = json!({
            "execution_id": task["execution_id"],
            "lease_epoch": epoch,
            "attempt_id": task["attempt_id"],
            "result": { "epoch": epoch },
        });
        let path = format!("/v1/leases/{lease}/complete");
        match self.call(&path, &body, entropy) {
            // 409: the lease was lost.
            None | Some((204 | 409, _)) => {}
            Some((status, answer)) => self.problem(format!("complete: {status} {answer}")),
        }
    }
}

/// Posts JSON on a new connection.
fn post(service: SocketAddr, path: &str, body: &Value) -> io::Result<(u16, Value)> {
    let mut stream = TcpStream::connect_timeout(&service, CALL)?;
    stream.set_read_timeout(Some(CALL))?;
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {service}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut)?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(Ok(0), str::parse).map_err(|_| cut())?;
    if body.len() < length {
        return Err(cut());
    }
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}
