//! The backend: requests of the contract to the nodes that hold their partitions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use ff_core::backend::{BackendReport, BoxFuture, EngineBackend, Finding, FindingLevel, WakeUps};
use ff_core::partition::{Partition, PartitionConfig};
use ff_core::store::{
    Failure, Poll, Read, RecordKey, Reply, ReplyBody, Request, StoreMeta, StreamName, Topic, codec,
};
use ff_core::time::TimestampMs;
use redis::{Cmd, Pipeline, Value, cmd};

use super::failure::{Remedy, sort};
use super::hub::Hub;
use super::info::ServerInfo;
use super::node::Node;
use super::target::{ConnectError, Target};
use super::topology::Topology;
use crate::wire::{self, Answer, Call, Function, Library};

/// A store on a Valkey or Redis server, or on a cluster. Cloning gives another handle to the same
/// connections.
#[derive(Clone)]
pub struct ValkeyBackend(Arc<Inner>);

struct Inner {
    topology: Arc<Topology>,
    library: Library,
    /// The names of the functions, by number.
    functions: [String; 6],
    allow_eviction: bool,
    cluster: bool,
    calls: AtomicU64,
    hub: OnceLock<Hub>,
}

/// How often a call follows a slot that moves before its operation is told to wait.
const MAX_REDIRECTIONS: u32 = 5;

impl ValkeyBackend {
    /// Connects to the store of a URL; see [`Target::parse`] for its forms. Loads the function
    /// library on every primary.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]: the URL is none, a server cannot be reached, or it would lose work.
    ///
    /// Cancel safe. It needs a tokio runtime with I/O and time enabled.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::open(Target::parse(url)?).await
    }

    /// Connects to a store; as [`ValkeyBackend::connect`].
    ///
    /// # Errors
    ///
    /// As for [`ValkeyBackend::connect`].
    pub async fn open(target: Target) -> Result<Self, ConnectError> {
        if target.uses_tls() {
            // Without a word, rustls panics. A program that has made its choice keeps it.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let library = target.library.clone();
        let (allow_eviction, mut cluster) = (target.allow_eviction, target.cluster);
        let topology = Arc::new(Topology::new(target).map_err(|error| ConnectError::Url {
            url: String::new(),
            problem: error.to_string(),
        })?);
        let mut answered = None;
        for node in topology.primaries() {
            match ServerInfo::of(&node).await {
                Ok(info) => {
                    cluster |= info.is_cluster();
                    answered = Some(Ok(()));
                    break;
                }
                Err(failure) => {
                    answered.get_or_insert(Err(node.unreachable(&failure)));
                }
            }
        }
        answered.unwrap_or(Ok(()))?;
        if cluster {
            let first = topology.primaries()[0].clone();
            topology.refresh().await.map_err(|failure| first.unreachable(&failure))?;
        }
        let functions = Function::ALL.map(|function| library.function(function));
        let (calls, hub) = (AtomicU64::new(0), OnceLock::new());
        let inner = Inner { topology, library, functions, allow_eviction, cluster, calls, hub };
        for node in inner.topology.primaries() {
            inner.check(&node).await?;
        }
        Ok(Self(Arc::new(inner)))
    }
}

impl std::fmt::Debug for ValkeyBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValkeyBackend").finish_non_exhaustive()
    }
}

impl Inner {
    /// Checks that a server is fit to hold executions, and gives it the library.
    async fn check(&self, node: &Node) -> Result<(), ConnectError> {
        let info = ServerInfo::of(node).await.map_err(|failure| node.unreachable(&failure))?;
        for found in info.findings(&node.name, self.allow_eviction) {
            if found.level == FindingLevel::Problem {
                let advice = found.advice.unwrap_or_default();
                let problem = format!("{} is {}; {advice}", found.subject, found.detail);
                return Err(ConnectError::Unfit { node: node.name.clone(), problem });
            }
        }
        self.load(node).await.map_err(|failure| {
            let problem = format!("the function library cannot be loaded: {failure}");
            ConnectError::Unfit { node: node.name.clone(), problem }
        })
    }

    /// Loads the library where it is missing.
    async fn load(&self, node: &Node) -> Result<(), Failure> {
        let mut load = cmd("FUNCTION");
        load.arg("LOAD").arg(self.library.text());
        match node.send(&load).await? {
            Value::ServerError(error) => {
                // A server whose memory is full refuses to load what it has, too.
                let there = error.details().is_some_and(|text| text.contains("already exists"));
                if there || self.is_loaded(node).await.unwrap_or(false) {
                    return Ok(());
                }
                Err(sort(&error, &node.name).0)
            }
            _ => {
                tracing::debug!(node = node.name, library = self.library.name(), "library loaded");
                Ok(())
            }
        }
    }

    async fn is_loaded(&self, node: &Node) -> Result<bool, Failure> {
        let mut list = cmd("FUNCTION");
        list.arg("LIST").arg("LIBRARYNAME").arg(self.library.name());
        Ok(matches!(node.ask(&list).await?, Value::Array(found) if !found.is_empty()))
    }

    async fn call(&self, request: Request) -> Result<Reply, Failure> {
        // What the time is has no place of its own; nothing is looked up by this.
        if let Err(over) = request.check() {
            let now = Request::Read(Read {
                partition: Partition::META,
                records: Vec::new(),
                values: Vec::new(),
            });
            let at = self.function(&now).await?.at;
            return Ok(Reply { at, body: ReplyBody::OverBound(over) });
        }
        match &request {
            Request::Poll(poll) => self.poll(poll).await,
            _ => self.function(&request).await,
        }
    }

    /// Calls the function for a request.
    async fn function(&self, request: &Request) -> Result<Reply, Failure> {
        let partition = partition_of(request);
        let Some(call) = wire::encode(request) else {
            return Err(Failure::Refused("a poll is no function".to_owned()));
        };
        let command = self.command(&call);
        let value = self.send(partition, &command).await?;
        let reply = wire::decode(request, answer(value));
        reply.map_err(|error| Failure::MaybeApplied(error.to_string()))
    }

    fn command(&self, call: &Call<'_>) -> Cmd {
        let bytes = call.keys.iter().map(Vec::len).sum::<usize>()
            + call.args.iter().map(|arg| arg.len()).sum::<usize>();
        let count = call.keys.len() + call.args.len() + 3;
        let mut command = Cmd::with_capacity(count, bytes + 64);
        command.arg("FCALL").arg(&self.functions[call.function.number()]).arg(call.keys.len());
        for key in &call.keys {
            command.arg(key);
        }
        for arg in &call.args {
            command.arg(&**arg);
        }
        command
    }

    /// Sends a command to the partition's node and follows where the node says.
    async fn send(&self, partition: Partition, command: &Cmd) -> Result<Value, Failure> {
        let mut loaded = false;
        let mut redirections = 0;
        let mut asked: Option<Arc<Node>> = None;
        loop {
            let (node, sent) = match asked.take() {
                Some(node) => {
                    self.calls.fetch_add(1, Ordering::Relaxed);
                    let mut asking = Pipeline::with_capacity(2);
                    asking.add_command(cmd("ASKING")).add_command(command.clone());
                    let sent = node.send_all(&asking).await;
                    let sent = sent.map(|mut replies| replies.pop().unwrap_or(Value::Nil));
                    (node, sent)
                }
                None => {
                    self.calls.fetch_add(1, Ordering::Relaxed);
                    let node = self.topology.node_of(partition)?;
                    let sent = node.send(command).await;
                    (node, sent)
                }
            };
            let value = match sent {
                Ok(value) => value,
                Err(failure) => {
                    // It may be gone for good, and another holds its slots.
                    self.mend(&node, Remedy::Refresh).await;
                    return Err(failure);
                }
            };
            let Value::ServerError(error) = value else { return Ok(value) };
            let (failure, remedy) = sort(&error, &node.name);
            let address = error.details().and_then(|details| details.rsplit(' ').next());
            match remedy {
                Remedy::Tell => return Err(failure),
                Remedy::Load if !loaded => {
                    self.load(&node).await?;
                    loaded = true;
                }
                Remedy::Ask if redirections < MAX_REDIRECTIONS => {
                    redirections += 1;
                    asked = Some(self.topology.node_at(address.unwrap_or_default(), &node)?);
                }
                Remedy::Moved if redirections < MAX_REDIRECTIONS => {
                    redirections += 1;
                    self.topology.refresh().await?;
                }
                Remedy::Load | Remedy::Ask => return Err(failure),
                Remedy::Reconnect | Remedy::Demoted | Remedy::Refresh | Remedy::Moved => {
                    self.mend(&node, remedy).await;
                    return Err(failure);
                }
            }
        }
    }

    /// Does what an error asks for before the operation tries again.
    async fn mend(&self, node: &Node, remedy: Remedy) {
        if matches!(remedy, Remedy::Reconnect | Remedy::Demoted) {
            node.reconnect();
        }
        if self.cluster && remedy != Remedy::Reconnect {
            // Where it fails, the next call finds out.
            let _ = self.topology.refresh().await;
        }
    }

    /// The first score in each partition: a pipeline for each node, all at once.
    async fn poll(&self, poll: &Poll) -> Result<Reply, Failure> {
        let mut by_node: Vec<(Arc<Node>, Vec<usize>)> = Vec::new();
        let mut scores = vec![Err(String::new()); poll.partitions.len()];
        for (place, partition) in poll.partitions.iter().enumerate() {
            match self.topology.node_of(*partition) {
                Err(failure) => scores[place] = Err(failure.to_string()),
                Ok(node) => match by_node.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &node)) {
                    Some((_, places)) => places.push(place),
                    None => by_node.push((node, vec![place])),
                },
            }
        }
        if by_node.is_empty() {
            by_node.push((self.topology.node_of(Partition::META)?, Vec::new()));
        }
        let mut running = tokio::task::JoinSet::new();
        let parts = by_node.into_iter().map(|(node, places)| {
            let keys = places.iter().map(|place| poll.index.text(poll.partitions[*place]));
            (node, keys.collect::<Vec<_>>(), places)
        });
        for (node, keys, places) in parts {
            self.calls.fetch_add(1, Ordering::Relaxed);
            running.spawn(async move { (poll_node(&node, &keys).await, places) });
        }
        let (mut at, mut failed) = (None, None);
        while let Some(joined) = running.join_next().await {
            let Ok((polled, places)) = joined else { continue };
            match polled {
                Ok((when, found)) => {
                    at = Some(when);
                    for (place, score) in places.into_iter().zip(found) {
                        scores[place] = score;
                    }
                }
                Err(failure) => {
                    for place in places {
                        scores[place] = Err(failure.to_string());
                    }
                    failed = Some(failure);
                }
            }
        }
        if self.cluster && scores.iter().any(Result::is_err) {
            let _ = self.topology.refresh().await;
        }
        match (at, failed) {
            (Some(at), _) => Ok(Reply { at, body: ReplyBody::Poll(scores) }),
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(Failure::NotSent("the poll was given up".to_owned())),
        }
    }

    async fn report(&self) -> Result<BackendReport, Failure> {
        let (mut used, mut cpu, mut commands, mut version) = (0, 0, 0, String::new());
        for node in self.topology.primaries() {
            let info = ServerInfo::of(&node).await?;
            used += info.used_memory();
            cpu += info.cpu_us();
            commands += info.commands();
            version = info.version();
        }
        let streams = self.stream_bytes().await?;
        let calls = self.calls.load(Ordering::Relaxed);
        let mut report = BackendReport::new(version, used.saturating_sub(streams), streams, calls);
        (report.cpu_us, report.commands) = (Some(cpu), Some(commands));
        Ok(report)
    }

    /// What the journals take.
    async fn stream_bytes(&self) -> Result<u64, Failure> {
        let (partition, records) = (Partition::META, vec![RecordKey::Meta]);
        let read = Request::Read(Read { partition, records, values: Vec::new() });
        let ReplyBody::Read(mut found) = self.function(&read).await?.body else { return Ok(0) };
        let stored = found.records.pop().flatten();
        let meta =
            stored.and_then(|stored| codec::decode::<StoreMeta>(&stored.bytes, codec::FORMAT).ok());
        let config = meta.map_or(PartitionConfig::default(), |meta| meta.partitions);
        let mut total = 0;
        for partition in config.flow_partitions() {
            let mut usage = cmd("MEMORY");
            usage.arg("USAGE").arg(StreamName::Journal.text(partition)).arg("SAMPLES").arg(0);
            if let Value::Int(bytes) = self.send(partition, &usage).await? {
                total += u64::try_from(bytes).unwrap_or(0);
            }
        }
        Ok(total)
    }

    async fn examine(&self) -> Result<Vec<Finding>, Failure> {
        let mut findings = Vec::new();
        let mut times = Vec::new();
        for node in self.topology.primaries() {
            let info = ServerInfo::of(&node).await?;
            findings.extend(info.findings(&node.name, self.allow_eviction));
            findings.push(self.examine_library(&node).await?);
            let begun = tokio::time::Instant::now();
            let (at, _) = poll_node(&node, &[]).await?;
            times.push((node.name.clone(), at, begun.elapsed().as_millis() as u64));
        }
        findings.push(examine_clocks(&times));
        Ok(findings)
    }

    async fn examine_library(&self, node: &Node) -> Result<Finding, Failure> {
        let subject = format!("function library of {}", node.name);
        if self.is_loaded(node).await? {
            return Ok(Finding::new(FindingLevel::Good, &subject, self.library.name()));
        }
        let detail = format!("{} is missing", self.library.name());
        Ok(Finding::new(FindingLevel::Warning, &subject, detail)
            .advise("the next call loads it again"))
    }
}

/// Clocks of nodes that differ cost refusals for time; this much is worth a word.
const CLOCK_TOLERANCE_MS: u64 = 500;

fn examine_clocks(times: &[(String, TimestampMs, u64)]) -> Finding {
    let subject = "clocks of the nodes";
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let wall = wall.map_or(0, |since| since.as_millis() as u64);
    let differs = |(_, at, took): &&(String, TimestampMs, u64)| {
        at.get().abs_diff(wall) > CLOCK_TOLERANCE_MS + took
    };
    let Some((node, at, _)) = times.iter().find(differs) else {
        return Finding::new(FindingLevel::Good, subject, "they agree with this host's");
    };
    let detail = format!("{node} differs from this host by {} ms", at.get().abs_diff(wall));
    Finding::new(FindingLevel::Warning, subject, detail)
        .advise("set the clocks by NTP; only the servers' clocks decide, so no work is at risk")
}

/// A node's time, and the first score of each of these indexes.
async fn poll_node(
    node: &Node,
    keys: &[Vec<u8>],
) -> Result<(TimestampMs, Vec<Result<Option<ff_core::score::Score>, String>>), Failure> {
    let mut pipeline = Pipeline::with_capacity(keys.len() + 1);
    pipeline.add_command(cmd("TIME"));
    for key in keys {
        pipeline.cmd("ZRANGE").arg(key).arg(0).arg(0).arg("WITHSCORES");
    }
    let mut replies = node.send_all(&pipeline).await?.into_iter();
    let at = match replies.next() {
        Some(Value::ServerError(error)) => return Err(sort(&error, &node.name).0),
        Some(Value::Array(parts)) => time(&parts),
        _ => None,
    };
    let at = at.ok_or_else(|| Failure::Refused(format!("{} tells no time", node.name)))?;
    let first = |value| match value {
        Value::ServerError(error) => Err(sort(&error, &node.name).0.to_string()),
        Value::Array(parts) => match parts.as_slice() {
            [] => Ok(None),
            [_, Value::BulkString(text)] => {
                wire::score(text).map(Some).map_err(|error| error.to_string())
            }
            _ => Err(format!("{} gives no score", node.name)),
        },
        _ => Err(format!("{} gives no score", node.name)),
    };
    Ok((at, replies.map(first).collect()))
}

fn time(parts: &[Value]) -> Option<TimestampMs> {
    let number = |part: &Value| match part {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse::<u64>().ok(),
        _ => None,
    };
    let [seconds, microseconds] = parts else { return None };
    Some(TimestampMs::new(number(seconds)? * 1_000 + number(microseconds)? / 1_000))
}

const fn partition_of(request: &Request) -> Partition {
    match request {
        Request::Commit(commit) => commit.partition,
        Request::Take(take) => take.partition,
        Request::Read(read) => read.partition,
        Request::Scan(scan) => scan.partition,
        Request::Stream(page) => page.partition,
        Request::Poll(_) => Partition::META,
    }
}

fn answer(value: Value) -> Answer {
    match value {
        Value::Int(number) => Answer::Number(number),
        Value::BulkString(bytes) => Answer::Data(bytes),
        Value::SimpleString(text) => Answer::Data(text.into_bytes()),
        Value::Array(items) => Answer::List(items.into_iter().map(answer).collect()),
        _ => Answer::Nil,
    }
}

impl EngineBackend for ValkeyBackend {
    fn name(&self) -> &'static str {
        "valkey"
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(self.0.call(request))
    }

    fn subscribe(&self, topics: Vec<Topic>) -> Option<Box<dyn WakeUps>> {
        let hub = self.0.hub.get_or_init(|| Hub::start(self.0.topology.clone()));
        Some(hub.subscribe(topics))
    }

    fn report(&self) -> BoxFuture<'_, Result<BackendReport, Failure>> {
        Box::pin(self.0.report())
    }

    fn examine(&self) -> BoxFuture<'_, Result<Vec<Finding>, Failure>> {
        Box::pin(self.0.examine())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other side takes the connection, and closes it without a word.
    #[tokio::test]
    async fn tls_needs_nothing_of_the_program() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("valkeys://{}", listener.local_addr().unwrap());
        let closing = std::thread::spawn(move || drop(listener.accept()));
        let error = ValkeyBackend::connect(&url).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
        closing.join().unwrap();
    }
}
