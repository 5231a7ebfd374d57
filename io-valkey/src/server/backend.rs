//! The backend: sends the requests of the store contract to the nodes that hold their partitions.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use ff_core::backend::{BackendReport, BoxFuture, EngineBackend, Finding, FindingLevel, WakeUps};
use ff_core::partition::{Partition, PartitionConfig, PartitionFamily};
use ff_core::store::{
    Failure, Poll, Polled, Read, RecordKey, Reply, ReplyBody, Request, StoreMeta, Stored,
    StreamName, Topic, codec,
};
use ff_core::time::TimestampMs;
use futures_util::future::{join_all, try_join_all};
use redis::{Cmd, Pipeline, Value, cmd};

use super::failure::{Remedy, classify, is_passing};
use super::hub::Hub;
use super::info::ServerInfo;
use super::node::{Node, connect_error};
use super::polls::{NodePoll, Polls, time_of};
use super::target::{ConnectError, Target};
use super::topology::Topology;
use super::writes;
use crate::redaction::Form;
use crate::wire::{self, Answer, Call, Function, Library, Tag};

/// A store on a Valkey or Redis server, or on a cluster. Clones share its connections.
#[derive(Clone)]
pub struct ValkeyBackend(Arc<Inner>);

struct Inner {
    topology: Arc<Topology>,
    library: Library,
    /// The names of the functions, indexed by their number.
    functions: [String; 6],
    allow_eviction: bool,
    form: Form,
    cluster: bool,
    calls: AtomicU64,
    /// The number of the next call's tag.
    tags: AtomicU64,
    hub: OnceLock<Hub>,
    polls: Polls,
}

/// How long connecting waits for a node of a cluster that is not needed for it.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How long reports and examinations wait for each node, so that they end within two seconds.
const REPORT_LIMIT: Duration = Duration::from_millis(900);

/// The most redirections that one call follows; then it fails, and its operation waits.
const MAX_REDIRECTIONS: u32 = 5;

impl ValkeyBackend {
    /// Connects to the store at a URL ([`Target::parse`]): checks every primary, and loads the
    /// function library into it. One that does not answer within two seconds is left out, unless it
    /// holds the store's configuration. Needs a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`] when the URL is invalid, [`ConnectError::Unreachable`] when the server
    /// or the node of the configuration does not answer, and [`ConnectError::Unfit`] when one is
    /// too old or a replica, may evict keys, or refuses access.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::open(Target::parse(url)?).await
    }

    /// Connects to a store like [`ValkeyBackend::connect`], by a parsed URL. Cancel safe.
    ///
    /// # Errors
    ///
    /// As for [`ValkeyBackend::connect`].
    pub async fn open(target: Target) -> Result<Self, ConnectError> {
        let (library, is_open) = (target.library.clone(), target.is_open.clone());
        let (allow_eviction, form) = (target.allow_eviction, target.form);
        let (polls, url) = (Polls::new(target.poll_grace), target.url.clone());
        let topology = Arc::new(Topology::new(target));
        let mut cluster = form == Form::Cluster;
        if form == Form::Server {
            let node = &topology.primaries()[0];
            let info = ServerInfo::of(node).await.map_err(|failure| node.unreachable(&failure))?;
            cluster = info.is_cluster();
        }
        if cluster || form == Form::Sentinel {
            let refreshed = topology.refresh(None).ended().await;
            refreshed.map_err(|failure| connect_error(url, &failure))?;
        }
        let functions = Function::ALL.map(|function| library.function(function));
        let (calls, hub, tags) = (0.into(), OnceLock::new(), first_tag().into());
        let inner = Inner {
            topology,
            library,
            functions,
            allow_eviction,
            form,
            cluster,
            calls,
            tags,
            hub,
            polls,
        };
        inner.check_all().await?;
        is_open.store(true, Ordering::Release);
        Ok(Self(Arc::new(inner)))
    }
}

impl std::fmt::Debug for ValkeyBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValkeyBackend").finish_non_exhaustive()
    }
}

impl Inner {
    /// Checks the primaries together. One that cannot be reached or loads its data is left out,
    /// unless it is needed: executions in its slots wait until it is back.
    async fn check_all(&self) -> Result<(), ConnectError> {
        let nodes = self.topology.primaries();
        let needed = self.topology.number_of(Partition::META);
        let check = async |(number, node): (usize, &Arc<Node>)| {
            let limit = if number == needed { Duration::MAX } else { CONNECT_LIMIT };
            let checked = match node.within(limit, ServerInfo::of(node)).await {
                Err(failure) => Err(node.unreachable(&failure)),
                Ok(info) => self.check(node, &info).await,
            };
            match checked {
                Err(error) if number != needed && error.is_retryable() => {
                    let slots = self.topology.slots_of(node);
                    tracing::warn!(%error, slots, "executions in these slots have to wait");
                    Ok(())
                }
                Err(ConnectError::Unreachable { node, problem }) if self.cluster => {
                    let needed = "it holds the configuration of the store, which programs need";
                    Err(ConnectError::Unreachable { node, problem: format!("{problem}; {needed}") })
                }
                checked => checked,
            }
        };
        try_join_all(nodes.iter().enumerate().map(check)).await.map(drop)
    }

    /// Checks that a server is fit to hold executions, and loads the library into it.
    async fn check(&self, node: &Node, info: &ServerInfo) -> Result<(), ConnectError> {
        let unfit = |problem| ConnectError::Unfit { node: node.name.clone(), problem };
        let mut findings = info.findings(&node.name, self.allow_eviction).into_iter();
        if let Some(found) = findings.find(|found| found.level == FindingLevel::Problem) {
            let advice = found.advice.unwrap_or_default();
            return Err(unfit(format!("{} is {}: {advice}", found.subject, found.detail)));
        }
        self.load(node).await.map_err(|failure| match failure {
            Failure::Refused(refused) if !is_passing(&refused) => {
                unfit(format!("cannot load the function library: {refused}"))
            }
            failure => node.unreachable(&failure),
        })?;
        match node.ask(&self.rights()).await.map(redis::from_redis_value::<Vec<String>>) {
            // The last element is the empty tag of the call.
            Ok(Ok(missing)) if missing.len() > 1 => {
                let missing = missing.iter().filter(|command| !command.is_empty());
                let missing: BTreeSet<String> =
                    missing.map(|command| format!("+{}", command.to_lowercase())).collect();
                let missing = missing.into_iter().collect::<Vec<_>>().join(" ");
                Err(unfit(format!(
                    "its user lacks the rights {missing}, or the keys or channels for them: \
                     grant all rights of docs/valkey.md, Access"
                )))
            }
            Err(Failure::Refused(refused)) if refused.contains(" NOPERM ") => Err(unfit(refused)),
            // A server that cannot report its rights fails when a missing one is used.
            _ => Ok(()),
        }
    }

    /// The call that returns the missing rights of the user. They are checked in advance, since a
    /// function that is refused midway may have written.
    fn rights(&self) -> Cmd {
        use PartitionFamily::{Budget, Flow, Meta, Quota, Worker};
        let mut rights = cmd("FCALL");
        rights.arg(self.library.rights()).arg(0);
        for command in self.library.commands().into_iter().chain(["ECHO"]) {
            if command == "PUBLISH" {
                rights.arg(command).arg(Topic::Journal(Partition::META).channel());
                continue;
            }
            for family in [Flow, Budget, Quota, Worker, Meta] {
                let partition = Partition { family, index: 0 };
                rights.arg(command).arg(partition.to_string());
            }
        }
        rights.arg("");
        rights
    }

    /// Loads the library into a server that lacks it.
    async fn load(&self, node: &Node) -> Result<(), Failure> {
        let mut load = cmd("FUNCTION");
        load.arg("LOAD").arg(self.library.text());
        match node.ask(&load).await {
            // The library is there already. A full server refuses to load it again, too.
            Err(Failure::Refused(_)) if self.is_loaded(node).await.unwrap_or(false) => Ok(()),
            loaded => loaded.map(|_| tracing::debug!(node = node.name, "library loaded")),
        }
    }

    async fn is_loaded(&self, node: &Node) -> Result<bool, Failure> {
        let mut list = cmd("FUNCTION");
        list.arg("LIST").arg("LIBRARYNAME").arg(self.library.name());
        Ok(matches!(node.ask(&list).await?, Value::Array(found) if !found.is_empty()))
    }

    async fn call(&self, request: Request) -> Result<Reply, Failure> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.topology.keep_current().await;
        if let Err(over) = request.check() {
            let node = self.topology.node_of(request.partition())?;
            let at = time_of(&node, self.tag()).await?;
            return Ok(Reply { at, body: ReplyBody::OverBound(over) });
        }
        match &request {
            Request::Poll(poll) => self.poll(poll).await,
            _ => self.function(&request).await,
        }
    }

    /// Calls the function for a request.
    async fn function(&self, request: &Request) -> Result<Reply, Failure> {
        let Some(call) = wire::encode(request) else {
            return Err(Failure::Refused("a poll is not a function call".to_owned()));
        };
        let tag = self.tag();
        let command = self.command(&call, tag);
        let (node, answer) =
            self.send(request.partition(), &command, tag, request.is_read_only()).await?;
        wire::decode(request, answer).map_err(|error| node.close(&error.to_string()))
    }

    /// A new tag.
    fn tag(&self) -> Tag {
        Tag::new(self.tags.fetch_add(1, Ordering::Relaxed))
    }

    fn command(&self, call: &Call<'_>, tag: Tag) -> Cmd {
        let bytes = call.keys.iter().map(Vec::len).sum::<usize>()
            + call.args.iter().map(|arg| arg.len()).sum::<usize>();
        let count = call.keys.len() + call.args.len() + 4;
        let mut command = Cmd::with_capacity(count, bytes + 72);
        command.arg("FCALL").arg(&self.functions[call.function.number()]);
        command.arg(call.keys.len()).arg(&call.keys);
        for arg in &call.args {
            command.arg(&**arg);
        }
        command.arg(tag.as_bytes());
        command
    }

    /// Sends a command to the partition's node, and follows its redirections.
    async fn send(
        &self,
        partition: Partition,
        command: &Cmd,
        tag: Tag,
        only_reads: bool,
    ) -> Result<(Arc<Node>, Answer), Failure> {
        let (mut loaded, mut redirections) = (false, 0);
        let mut asked: Option<Arc<Node>> = None;
        loop {
            let asking = asked.is_some();
            let node = match asked.take() {
                Some(node) => node,
                None => match self.topology.node_of(partition) {
                    Err(_) if self.cluster => {
                        self.topology.refresh(None).ended().await?;
                        self.topology.node_of(partition)?
                    }
                    found => found?,
                },
            };
            let sent = node.call(command, tag, asking, only_reads).await;
            if sent.is_err() {
                // The node may be lost, and another may hold its slots.
                self.refresh();
            }
            let error = match sent? {
                Ok(answer) => return Ok((node, answer)),
                Err(error) => error,
            };
            let (failure, remedy) = classify(&error, &node.name, only_reads);
            if matches!((&failure, remedy), (Failure::MaybeApplied(_), Remedy::Return)) {
                // The operation cannot show the cause: it reports a call in doubt.
                tracing::warn!(%failure, "the server stopped a function midway");
            }
            let address = error.details().and_then(|details| details.rsplit(' ').next());
            match remedy {
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
                    let target = self.topology.node_at(address.unwrap_or_default(), &node)?;
                    self.topology.refresh(Some(target)).ended().await?;
                }
                Remedy::Return | Remedy::Load | Remedy::Ask => return Err(failure),
                Remedy::Refresh | Remedy::Moved => {
                    self.refresh();
                    return Err(failure);
                }
            }
        }
    }

    /// Begins to refresh the slots of a cluster, or to ask the sentinels. No caller waits for it:
    /// its next try finds the new nodes, or the old ones.
    fn refresh(&self) {
        if self.cluster || self.form == Form::Sentinel {
            drop(self.topology.refresh(None));
        }
    }

    /// Groups these partitions, by their position in the slice, by node. Partitions that no node
    /// holds are left out.
    fn by_node(&self, partitions: &[Partition]) -> Vec<(Arc<Node>, Vec<usize>)> {
        let mut by_node: Vec<(Arc<Node>, Vec<usize>)> = Vec::new();
        for (index, partition) in partitions.iter().enumerate() {
            let Ok(node) = self.topology.node_of(*partition) else { continue };
            match by_node.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &node)) {
                Some((_, indexes)) => indexes.push(index),
                None => by_node.push((node, vec![index])),
            }
        }
        by_node
    }

    /// Reads the first scores of each partition, with a pipeline for each node at the same time.
    /// The time of the reply is that of the first node that answers, in the order of the
    /// partitions. A node that is late does not hold up the answers of the others ([`Polls`]).
    async fn poll(&self, poll: &Poll) -> Result<Reply, Failure> {
        let mut by_node = self.by_node(&poll.partitions);
        if by_node.is_empty() {
            by_node.push((self.topology.node_of(Partition::META)?, Vec::new()));
        }
        let requests = by_node.iter().map(|(node, indexes)| {
            let partitions = indexes.iter().map(|index| poll.partitions[*index]).collect();
            let (of, listeners) = (poll.of.clone(), poll.listeners.clone());
            let poll = Poll { of, partitions, listeners };
            NodePoll { node: node.clone(), poll, tag: self.tag() }
        });
        let mut scores = vec![Err("no node holds its slot".to_owned()); poll.partitions.len()];
        let mut answered = Err(Failure::NotSent("no node was asked".to_owned()));
        let mut listeners = 0;
        let polled = self.polls.poll(requests.collect()).await;
        for (polled, (_, indexes)) in polled.into_iter().zip(by_node) {
            match polled {
                Ok(found) => {
                    answered = answered.or(Ok(found.at));
                    listeners += found.listeners;
                    let found = indexes.into_iter().zip(found.firsts);
                    found.for_each(|(index, found)| scores[index] = found);
                }
                Err(failure) => {
                    indexes.into_iter().for_each(|index| scores[index] = Err(failure.to_string()));
                    answered = answered.or(Err(failure));
                }
            }
        }
        if scores.iter().any(Result::is_err) {
            self.refresh();
        }
        let body = ReplyBody::Poll(Polled { firsts: scores, listeners });
        Ok(Reply { at: answered?, body })
    }

    async fn report(&self) -> Result<BackendReport, Failure> {
        let meta = self.configuration().await?;
        let meta =
            meta.and_then(|stored| codec::decode::<StoreMeta>(&stored.bytes, codec::FORMAT).ok());
        let config = meta.map_or(PartitionConfig::default(), |meta| meta.partitions);
        let partitions: Vec<Partition> = config.flow_partitions().collect();
        let (journals, nodes) = (self.by_node(&partitions), self.topology.primaries());
        let load = async |node: &Arc<Node>| {
            let held = journals.iter().filter(|(holder, _)| Arc::ptr_eq(holder, node));
            let mut usages = Pipeline::new();
            for index in held.flat_map(|(_, held)| held) {
                let key = StreamName::Journal.text(partitions[*index]);
                usages.cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(0);
            }
            let load = async { Ok((ServerInfo::of(node).await?, node.send_all(&usages).await?)) };
            node.within(REPORT_LIMIT, load).await
        };
        let loads = unless_all_failed(join_all(nodes.iter().map(load)).await)?;
        let mut report = BackendReport::new("", 0, 0, self.calls.load(Ordering::Relaxed));
        let (mut used, mut cpu, mut commands) = (0, 0, 0);
        for (node, load) in nodes.iter().zip(loads) {
            let Ok((info, usages)) = load else {
                report.silent_nodes.push(node.name.clone());
                continue;
            };
            used += info.number("used_memory");
            cpu += info.cpu_us();
            commands += info.number("total_commands_processed");
            let usages = usages.into_iter().flat_map(redis::from_redis_value::<u64>);
            report.stream_bytes += usages.sum::<u64>();
            report.store = info.version();
        }
        report.used_bytes = used.saturating_sub(report.stream_bytes);
        (report.cpu_us, report.commands) = (Some(cpu), Some(commands));
        Ok(report)
    }

    /// Reads the configuration of the store, if its node answers in time.
    async fn configuration(&self) -> Result<Option<Stored>, Failure> {
        let (partition, records) = (Partition::META, vec![RecordKey::Meta]);
        let read = Request::Read(Read { partition, records, values: Vec::new() });
        let node = self.topology.node_of(partition)?;
        Ok(match node.within(REPORT_LIMIT, self.function(&read)).await?.body {
            ReplyBody::Read(mut found) => found.records.pop().flatten(),
            _ => None,
        })
    }

    async fn examine(&self) -> Result<Vec<Finding>, Failure> {
        let nodes = self.topology.primaries();
        let partitions: Vec<Partition> = PartitionConfig::default().flow_partitions().collect();
        let held = self.by_node(&partitions);
        let partition_of = |node: &Arc<Node>| {
            let held = held.iter().find(|(holder, _)| Arc::ptr_eq(holder, node));
            held.map(|(_, indexes)| partitions[indexes[0]])
        };
        let examine = nodes
            .iter()
            .map(|node| node.within(REPORT_LIMIT, self.examine_node(node, partition_of(node))));
        let sentinels = self.topology.ask_sentinels(REPORT_LIMIT);
        let (configuration, examined, sentinels) =
            tokio::join!(self.configuration(), join_all(examine), sentinels);
        let sentinels = sentinels.into_iter();
        let mut findings: Vec<Finding> =
            sentinels.map(|(name, named)| examine_sentinel(&name, named)).collect();
        for (node, examined) in nodes.iter().zip(unless_all_failed(examined)?) {
            match examined {
                Ok((info, found)) => {
                    let is_missing = matches!(configuration, Ok(None));
                    findings.extend(info.check_programs(&node.name).filter(|_| is_missing));
                    findings.extend(found);
                }
                Err(failure) => {
                    let subject = format!("node {}", node.name);
                    let detail = match self.topology.slots_of(node) {
                        slots if slots.is_empty() => failure.to_string(),
                        slots => format!("{failure}; slots {slots} are not served"),
                    };
                    let advice = "look at the server and the network: work on this node waits";
                    let found = Finding::new(FindingLevel::Problem, &subject, detail);
                    findings.push(found.advise(advice));
                }
            }
        }
        Ok(findings)
    }

    /// Examines a node, which holds this partition, and returns its `INFO` too.
    async fn examine_node(
        &self,
        node: &Node,
        partition: Option<Partition>,
    ) -> Result<(ServerInfo, Vec<Finding>), Failure> {
        let mut info = ServerInfo::of(node).await?;
        let watched = node.ask(cmd("PUBSUB").arg("NUMSUB").arg("__sentinel__:hello")).await;
        let watched = watched.map(redis::from_redis_value::<(String, u64)>);
        info.has_sentinels = matches!(watched, Ok(Ok((_, sentinels))) if sentinels > 0);
        let mut findings = info.findings(&node.name, self.allow_eviction);
        let (subject, name) = (format!("function library of {}", node.name), self.library.name());
        findings.push(match self.is_loaded(node).await? {
            true => Finding::new(FindingLevel::Good, &subject, name),
            false => Finding::new(FindingLevel::Warning, &subject, format!("{name} is not loaded"))
                .advise("no action is needed: the next call loads it"),
        });
        let begun = tokio::time::Instant::now();
        let at = time_of(node, self.tag()).await?;
        findings.push(examine_clock(&node.name, at, begun.elapsed()));
        if let Some(partition) = partition {
            let outcome = self.function(&writes::probe(partition)).await.map(drop);
            findings.push(writes::finding(&node.name, outcome));
        }
        Ok((info, findings))
    }
}

/// The answers of several nodes, unless none has answered.
fn unless_all_failed<T>(
    asked: Vec<Result<T, Failure>>,
) -> Result<Vec<Result<T, Failure>>, Failure> {
    match asked.first() {
        Some(Err(failure)) if asked.iter().all(Result::is_err) => Err(failure.clone()),
        _ => Ok(asked),
    }
}

/// The finding about a sentinel, by the primary that it names.
fn examine_sentinel(name: &str, named: Result<String, Failure>) -> Finding {
    let subject = format!("sentinel {name}");
    match named {
        Ok(primary) => Finding::new(FindingLevel::Good, &subject, format!("names {primary}")),
        Err(failure) => Finding::new(FindingLevel::Warning, &subject, failure.to_string())
            .advise("look at the sentinel: programs ask the others meanwhile"),
    }
}

/// The difference of clocks from which there is a warning.
const CLOCK_TOLERANCE_MS: u128 = 500;

fn examine_clock(node: &str, at: TimestampMs, took: Duration) -> Finding {
    let subject = format!("clock of {node}");
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let apart = u128::from(at.get()).abs_diff(wall.as_millis());
    if apart <= CLOCK_TOLERANCE_MS + took.as_millis() {
        return Finding::new(FindingLevel::Good, &subject, "agrees with this host's clock");
    }
    Finding::new(FindingLevel::Warning, &subject, format!("{apart} ms from this host's clock"))
        .advise(
            "synchronize the clocks with NTP; no work is at risk, since only the servers' \
                 clocks decide",
        )
}

/// The number of the first tag. Programs begin at different numbers, since a proxy may confuse the
/// connections of two.
fn first_tag() -> u64 {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    wall.as_nanos() as u64
}

impl EngineBackend for ValkeyBackend {
    fn name(&self) -> &'static str {
        "valkey"
    }

    fn clock_of(&self, partition: Partition) -> usize {
        self.0.topology.number_of(partition)
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(self.0.call(request))
    }

    fn subscribe(&self, topics: Vec<Topic>) -> Option<Box<dyn WakeUps>> {
        let hub = self.0.hub.get_or_init(|| Hub::new(self.0.topology.clone()));
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

    /// The listener accepts the connection and closes it.
    #[tokio::test]
    async fn tls_needs_no_setup_by_the_program() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("valkeys://{}", listener.local_addr().unwrap());
        let closing = tokio::task::spawn_blocking(move || drop(listener.accept()));
        let error = ValkeyBackend::connect(&url).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
        closing.await.unwrap();
    }
}
