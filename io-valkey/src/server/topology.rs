//! The topology of a store: which node holds which partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crc16::{State, XMODEM};
use ff_core::partition::Partition;
use ff_core::store::Failure;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use redis::{Value, cmd};
use tokio::sync::watch;
use tokio::time::Instant;

use super::failure::is_access_refused;
use super::node::Node;
use super::target::Target;

const SLOTS: usize = 16_384;
/// The shortest time between two refreshes of the slots, however many calls find them outdated.
const LEAST_AGE: Duration = Duration::from_millis(50);
/// The same after a refresh that failed: no node has answered, so that another try at the same time
/// is useless.
const LEAST_AGE_OF_FAILURE: Duration = Duration::from_millis(200);
/// The time that a refresh gives to one node before it asks the next one too. A healthy node
/// answers within it, so that a refresh usually asks one node.
const HEAD_START: Duration = Duration::from_millis(50);
/// The age at which sentinels are asked again while the store is used. A failover is known about
/// this long after the sentinels know it, also if the old primary still answers.
const SENTINELS_EVERY: Duration = Duration::from_secs(1);
/// How long a call waits for the sentinels of a store that was not used for a while.
const SENTINELS_WITHIN: Duration = Duration::from_millis(250);
/// The time limit of a refresh.
const REFRESH_LIMIT: Duration = Duration::from_secs(2);

/// The nodes of a store and the slots that each holds.
pub(super) struct Topology {
    target: Target,
    /// The names of the nodes of the URL, which are never removed.
    seeds: BTreeSet<String>,
    /// The sentinels that name the primary; empty if the URL names servers.
    sentinels: Vec<Arc<Node>>,
    map: RwLock<Arc<Map>>,
    /// The latest refresh, which may be running.
    latest: Mutex<Option<Refresh>>,
    /// The end of the latest refresh that has ended.
    ended: Mutex<Option<Instant>>,
}

/// A refresh, with its end and its result once it has ended. All callers that want one while it
/// runs, or shortly after, share its result, also if it fails.
pub(super) struct Refresh(watch::Receiver<Option<(Instant, Result<(), Failure>)>>);

impl Refresh {
    /// Waits for the end. Cancel safe: the refresh goes on.
    pub(super) async fn ended(mut self) -> Result<(), Failure> {
        match self.0.wait_for(Option::is_some).await {
            Ok(ended) => ended.as_ref().map_or(Ok(()), |(_, result)| result.clone()),
            Err(_) => Err(Failure::NotSent("the runtime of the backend has ended".to_owned())),
        }
    }

    /// Whether a caller that wants a refresh now shares this one.
    fn is_current(&self) -> bool {
        match &*self.0.borrow() {
            Some((at, Ok(()))) => at.elapsed() < LEAST_AGE,
            Some((at, Err(_))) => at.elapsed() < LEAST_AGE_OF_FAILURE,
            // Without a result and without a task, its runtime has ended.
            None => self.0.has_changed().is_ok(),
        }
    }
}

#[derive(Clone, Default)]
struct Map {
    nodes: BTreeMap<String, Arc<Node>>,
    /// The primaries, each once; a standalone server is one.
    primaries: Vec<Arc<Node>>,
    /// For each slot the number of its primary; empty if one server holds all slots.
    slots: Vec<Option<u16>>,
}

impl Topology {
    /// Creates the topology with the nodes of the URL, before the first refresh. With sentinels it
    /// has no primary before it.
    pub(super) fn new(target: Target) -> Self {
        let sentinels: Vec<Arc<Node>> = (target.sentinels().into_iter())
            .map(|sentinel| Arc::new(Node::sentinel(sentinel, &target)))
            .collect();
        let mut map = Map::default();
        for seed in target.seeds.iter().filter(|_| sentinels.is_empty()) {
            let node = Arc::new(Node::new(seed.clone(), &target));
            map.primaries.push(node.clone());
            map.nodes.insert(node.name.clone(), node);
        }
        let seeds = map.nodes.keys().cloned().collect();
        let (map, latest) = (RwLock::new(Arc::new(map)), Mutex::new(None));
        Self { target, seeds, sentinels, map, latest, ended: Mutex::default() }
    }

    fn map(&self) -> Arc<Map> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The primaries.
    pub(super) fn primaries(&self) -> Vec<Arc<Node>> {
        self.map().primaries.clone()
    }

    /// The number of the partition's primary, which may change when the slots do.
    pub(super) fn number_of(&self, partition: Partition) -> usize {
        self.map().number_of(partition).unwrap_or(0)
    }

    /// The partition's primary.
    pub(super) fn node_of(&self, partition: Partition) -> Result<Arc<Node>, Failure> {
        let map = self.map();
        let node = map.number_of(partition).map(|number| map.primaries[number].clone());
        let missing = || format!("no node of the cluster holds the slot of {partition}");
        node.ok_or_else(|| Failure::NotSent(missing()))
    }

    /// The slots of a primary, such as `0-5461, 5463`; empty if one server holds all slots.
    pub(super) fn slots_of(&self, node: &Node) -> String {
        let map = self.map();
        let number = map.primaries.iter().position(|primary| primary.name == node.name);
        let number = number.and_then(|number| u16::try_from(number).ok());
        let ranges = map.slots.chunk_by(|one, next| one == next);
        let (mut first, mut held) = (0, Vec::new());
        for range in ranges {
            if range[0].is_some() && range[0] == number {
                held.push(match range.len() {
                    1 => first.to_string(),
                    len => format!("{first}-{}", first + len - 1),
                });
            }
            first += range.len();
        }
        held.join(", ")
    }

    /// The node at the address of a redirection; an empty host is that of the sender.
    pub(super) fn node_at(&self, address: &str, sender: &Node) -> Result<Arc<Node>, Failure> {
        let invalid = || Failure::Refused(format!("{}: redirected to `{address}`", sender.name));
        let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
        let port: u16 = port.parse().map_err(|_| invalid())?;
        let host = if host.is_empty() { host_of(&sender.name) } else { host };
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::make_mut(&mut map).node(host, port, &self.target))
    }

    /// Asks the sentinels again, if there are some and they were not asked a moment ago. A program
    /// that has used the store until now does not wait for them.
    pub(super) async fn keep_current(self: &Arc<Self>) {
        if self.sentinels.is_empty() {
            return;
        }
        let ended = *self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let age = ended.map_or(Duration::ZERO, |ended| ended.elapsed());
        if age < SENTINELS_EVERY {
            return;
        }
        let refresh = self.refresh(None);
        if age > 2 * SENTINELS_EVERY {
            let _ = tokio::time::timeout(SENTINELS_WITHIN, refresh.ended()).await;
        }
    }

    /// Reads the slots of a cluster, or asks the sentinels for the primary, in a task that all
    /// callers share, and that goes on if a caller does not wait for it. `best` is the node that
    /// should know the slots best.
    pub(super) fn refresh(self: &Arc<Self>, best: Option<Arc<Node>>) -> Refresh {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refresh) = latest.as_ref().filter(|refresh| refresh.is_current()) {
            return Refresh(refresh.0.clone());
        }
        let (sender, ended) = watch::channel(None);
        *latest = Some(Refresh(ended.clone()));
        let topology = self.clone();
        tokio::spawn(async move {
            let read = tokio::time::timeout(REFRESH_LIMIT, topology.read(best)).await;
            let late = || Failure::NotSent("no answer in time".to_owned());
            let result = read.unwrap_or_else(|_| Err(late())).map_err(|failure| match failure {
                Failure::Refused(refused) if is_access_refused(&refused) => {
                    Failure::Refused(refused)
                }
                failure => {
                    let what = topology.what_is_read();
                    Failure::NotSent(format!("cannot {what}: {failure}"))
                }
            });
            *topology.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            sender.send_replace(Some((Instant::now(), result)));
        });
        Refresh(ended)
    }

    /// The sentinels, and the primary that each names.
    pub(super) async fn ask_sentinels(
        &self,
        limit: Duration,
    ) -> Vec<(String, Result<String, Failure>)> {
        let ask = async |sentinel: &Arc<Node>| {
            let named = async { Ok(self.ask_sentinel(sentinel).await?.primaries[0].name.clone()) };
            (sentinel.name.clone(), sentinel.within(limit, named).await)
        };
        join_all(self.sentinels.iter().map(ask)).await
    }

    fn what_is_read(&self) -> String {
        match self.sentinels.is_empty() {
            true => "read the slots of the cluster".to_owned(),
            false => format!("find the primary of `{}`", self.target.sentinels.service),
        }
    }

    /// Reads the map from the first node that returns a valid one. The nodes are asked in the order
    /// of [`Self::in_turn`], each when the ones before it have failed or [`HEAD_START`] has passed.
    async fn read(&self, best: Option<Arc<Node>>) -> Result<(), Failure> {
        let mut nodes = self.in_turn(best).into_iter();
        let mut asked = FuturesUnordered::new();
        let mut last = Failure::NotSent("it has no nodes".to_owned());
        let ask = |node: Arc<Node>| async move {
            if !self.sentinels.is_empty() {
                return self.ask_sentinel(&node).await;
            }
            let slots = node.ask(cmd("CLUSTER").arg("SLOTS")).await?;
            self.parse(&slots, &node)
        };
        loop {
            asked.extend(nodes.next().map(ask));
            tokio::select! {
                biased;
                answer = asked.next() => match answer {
                    Some(Ok(map)) => {
                        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
                        return Ok(());
                    }
                    Some(Err(failure)) => last = failure,
                    None => return Err(last),
                },
                () = tokio::time::sleep(HEAD_START), if nodes.len() > 0 => {}
            }
        }
    }

    /// Asks a sentinel for the primary, which must be one: a sentinel that was cut off names the
    /// primary of before.
    async fn ask_sentinel(&self, sentinel: &Node) -> Result<Map, Failure> {
        let service = &self.target.sentinels.service;
        let mut ask = cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
        let named = sentinel.ask(&ask).await.map_err(|failure| match failure {
            Failure::Refused(refused) if refused.contains(": NOAUTH ") => {
                Failure::Refused(format!(
                    "{}: NOAUTH the sentinel wants a password: set the option sentinel_password",
                    sentinel.name
                ))
            }
            failure => failure,
        })?;
        let named = redis::from_redis_value(named);
        let named: Option<(String, u16)> =
            named.map_err(|_| sentinel.close("malformed SENTINEL GET-MASTER-ADDR-BY-NAME"))?;
        let Some((host, port)) = named else {
            let unknown = format!("{}: the sentinel knows no `{service}`", sentinel.name);
            return Err(Failure::Refused(unknown));
        };
        let mut map = (*self.map()).clone();
        let primary = map.node(&host, port, &self.target);
        primary.check().await?;
        if map.primaries.iter().all(|known| !Arc::ptr_eq(known, &primary)) {
            tracing::info!(primary = primary.name, sentinel = sentinel.name, "new primary");
        }
        map.nodes.retain(|name, _| *name == primary.name);
        map.primaries = vec![primary];
        Ok(map)
    }

    /// The nodes in the order of a refresh, each once: the sentinels, or first `best`, then the
    /// primaries, then the nodes of the URL.
    fn in_turn(&self, best: Option<Arc<Node>>) -> Vec<Arc<Node>> {
        if !self.sentinels.is_empty() {
            return self.sentinels.clone();
        }
        let map = self.map();
        let all = best.iter().chain(&map.primaries).chain(map.nodes.values());
        let mut seen = BTreeSet::new();
        all.filter(|node| seen.insert(node.name.clone())).cloned().collect()
    }

    /// Parses the reply to `CLUSTER SLOTS`: ranges, each with its primary first.
    fn parse(&self, value: &Value, sender: &Node) -> Result<Map, Failure> {
        let malformed = || sender.close("malformed CLUSTER SLOTS");
        let Value::Array(ranges) = value else { return Err(malformed()) };
        let mut map = Map { slots: vec![None; SLOTS], ..(*self.map()).clone() };
        map.primaries.clear();
        for range in ranges {
            let Some([Value::Int(from), Value::Int(to), primary, ..]) = range.as_sequence() else {
                return Err(malformed());
            };
            let Some([host, Value::Int(port), ..]) = primary.as_sequence() else {
                return Err(malformed());
            };
            let host = match host {
                Value::BulkString(host) if !host.is_empty() && host != b"?" => {
                    String::from_utf8_lossy(host)
                }
                _ => host_of(&sender.name).into(),
            };
            let port = u16::try_from(*port).map_err(|_| malformed())?;
            let node = map.node(&host, port, &self.target);
            let known = map.primaries.iter().position(|known| known.name == node.name);
            let number = known.unwrap_or_else(|| {
                map.primaries.push(node);
                map.primaries.len() - 1
            });
            let range = usize::try_from(*from).ok().zip(usize::try_from(*to).ok());
            let slots = range.and_then(|(from, to)| map.slots.get_mut(from..=to));
            slots.ok_or_else(malformed)?.fill(u16::try_from(number).ok());
        }
        if map.primaries.is_empty() {
            return Err(Failure::Refused(format!("{} knows no slots", sender.name)));
        }
        // Each node that has left the cluster would cost a timeout at every refresh.
        let primaries: BTreeSet<&String> = map.primaries.iter().map(|node| &node.name).collect();
        map.nodes.retain(|name, _| primaries.contains(name) || self.seeds.contains(name));
        Ok(map)
    }
}

impl Map {
    fn number_of(&self, partition: Partition) -> Option<usize> {
        if self.slots.is_empty() {
            return Some(0);
        }
        self.slots[slot_of(partition)].map(usize::from)
    }

    /// The node at an address; a new one if it is not known.
    fn node(&mut self, host: &str, port: u16, target: &Target) -> Arc<Node> {
        let info = target.node(host, port);
        let node = self.nodes.entry(info.addr().to_string());
        node.or_insert_with(|| Arc::new(Node::new(info, target))).clone()
    }
}

fn host_of(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(host, _)| host)
}

/// The slot of a partition's keys, which follows from the text between the braces of its tag.
fn slot_of(partition: Partition) -> usize {
    let tag = partition.to_string();
    let inner = tag.trim_start_matches('{').trim_end_matches('}');
    usize::from(State::<XMODEM>::calculate(inner.as_bytes())) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_core::partition::PartitionFamily;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    /// A fake node, which counts the requests for the slots and has one reply to them.
    struct FakeNode {
        address: String,
        asked: Arc<AtomicUsize>,
    }

    /// Starts fake nodes in the order of their addresses. A reply is built from the ports of all.
    async fn fake_nodes(replies: &[fn(&[u16]) -> String]) -> Vec<FakeNode> {
        let mut listeners = Vec::new();
        for _ in replies {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listeners.push((listener.local_addr().unwrap().port(), listener));
        }
        // Nodes are sorted by their address as text.
        listeners.sort_by_key(|(port, _)| port.to_string());
        let ports: Vec<u16> = listeners.iter().map(|(port, _)| *port).collect();
        let each = listeners.into_iter().zip(replies);
        each.map(|((port, listener), reply)| {
            let (asked, reply) = (Arc::new(AtomicUsize::new(0)), reply(&ports));
            let counted = asked.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer(stream, reply.clone(), counted.clone()));
                }
            });
            FakeNode { address: format!("127.0.0.1:{port}"), asked }
        })
        .collect()
    }

    /// Answers requests for the slots with the reply, and others with `OK`.
    async fn answer(stream: TcpStream, reply: String, asked: Arc<AtomicUsize>) {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(head)) = lines.next_line().await {
            let (arguments, mut is_slots) = (head[1..].parse::<usize>().unwrap(), false);
            for _ in 0..2 * arguments {
                is_slots |= lines.next_line().await.unwrap().unwrap() == "SLOTS";
            }
            asked.fetch_add(usize::from(is_slots), Ordering::SeqCst);
            let answer = if is_slots { reply.as_str() } else { "+OK\r\n" };
            write.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    /// The reply that the node at this port holds all slots.
    fn all_at(port: u16) -> String {
        format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n")
    }

    fn to_second(ports: &[u16]) -> String {
        all_at(ports[1])
    }

    fn to_third(ports: &[u16]) -> String {
        all_at(ports[2])
    }

    fn topology_of(seeds: &[&FakeNode]) -> Arc<Topology> {
        let addresses: Vec<&str> = seeds.iter().map(|seed| seed.address.as_str()).collect();
        let url = format!("valkey-cluster://{}", addresses.join(","));
        Arc::new(Topology::new(Target::parse(&url).unwrap()))
    }

    /// Makes the next refresh read the slots.
    fn forget_latest(topology: &Topology) {
        *topology.latest.lock().unwrap() = None;
    }

    fn asked(nodes: &[FakeNode]) -> Vec<usize> {
        nodes.iter().map(|node| node.asked.load(Ordering::SeqCst)).collect()
    }

    /// A refresh tries all nodes until one returns valid slots.
    #[tokio::test]
    async fn a_node_without_valid_slots_is_skipped() {
        let no_port = |_: &[u16]| "*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n$1\r\na\r\n:70000\r\n".to_owned();
        let nodes = fake_nodes(&[
            |_| "*0\r\n".to_owned(),
            |_| ":1\r\n".to_owned(),
            no_port,
            |_| "-ERR This instance has cluster support disabled\r\n".to_owned(),
            |ports| all_at(ports[4]),
        ])
        .await;
        let topology = topology_of(&nodes.iter().collect::<Vec<_>>());
        topology.refresh(None).ended().await.unwrap();
        assert_eq!(asked(&nodes), [1; 5]);
        assert_eq!(topology.primaries()[0].name, nodes[4].address);
        let alone = topology_of(&[&nodes[0]]);
        let failure = alone.refresh(None).ended().await.unwrap_err();
        assert!(failure.to_string().contains("knows no slots"), "{failure}");
    }

    /// The node of a redirection is asked first, then the primaries, then the nodes of the URL.
    #[tokio::test]
    async fn the_node_of_a_redirection_and_the_primaries_are_asked_first() {
        let nodes = fake_nodes(&[to_second, to_third, to_third]).await;
        let topology = topology_of(&[&nodes[0]]);
        topology.refresh(None).ended().await.unwrap();
        forget_latest(&topology);
        // By name, the seed is before the primary.
        topology.refresh(None).ended().await.unwrap();
        assert_eq!(asked(&nodes), [1, 1, 0]);
        forget_latest(&topology);
        let best = topology.node_at(&nodes[0].address, &topology.primaries()[0]).unwrap();
        topology.refresh(Some(best)).ended().await.unwrap();
        assert_eq!(asked(&nodes), [2, 1, 0]);
    }

    /// A node that has left the cluster is removed; a node of the URL is not.
    #[tokio::test]
    async fn nodes_without_slots_are_removed_except_for_seeds() {
        let nodes = fake_nodes(&[to_second, to_third, to_third]).await;
        let topology = topology_of(&[&nodes[0]]);
        for known in [[0, 1], [0, 2], [0, 2]] {
            topology.refresh(None).ended().await.unwrap();
            forget_latest(&topology);
            let names: Vec<String> = topology.map().nodes.keys().cloned().collect();
            assert_eq!(names, known.map(|number: usize| nodes[number].address.clone()));
        }
    }

    /// The numbers are those of `CLUSTER KEYSLOT` in Valkey 8.0.
    #[test]
    fn slots_are_computed_as_by_the_server() {
        let worker = Partition { family: PartitionFamily::Worker, index: 7 };
        let found = [Partition::flow(0), Partition::flow(255), Partition::META, worker];
        assert_eq!(found.map(slot_of), [14_926, 15_470, 10_453, 12_658]);
    }
}
