//! A cluster of three primaries on loopback.

use redis::Value;

use super::{Server, free_port, text, wait_for};

/// The number of slots of a cluster.
const SLOTS: u16 = 16_384;
/// The number of keys that one command moves.
const CHUNK: &str = "64";

/// Three primaries that share the slots evenly. They are killed when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
    ids: Vec<String>,
}

impl Cluster {
    /// Starts three primaries and waits until each of them knows the whole cluster.
    pub fn three() -> Self {
        Self::three_with(&[])
    }

    /// The same with additional options for each node.
    pub fn three_with(options: &[&str]) -> Self {
        let nodes: Vec<Server> = (0..3).map(|_| node(options)).collect();
        let ids = nodes.iter().map(|node| node.expect(&["CLUSTER", "MYID"]));
        let ids = ids.map(|id| text(&id).expect("an id is a text")).collect();
        let cluster = Self { nodes, ids };
        cluster.assign_slots();
        cluster.introduce();
        cluster
    }

    /// Its store URL.
    pub fn url(&self) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(Server::address).collect();
        format!("valkey-cluster://{}", addresses.join(","))
    }

    /// Its primaries.
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// Kills a primary.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// Starts a killed primary again.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].restart();
    }

    /// Keeps the folders of its nodes on disk when it is dropped, as evidence.
    pub fn keep_folders(&mut self) {
        self.nodes.iter_mut().for_each(Server::keep_folder);
    }

    /// The slot of a key.
    pub fn slot_of(&self, key: &[u8]) -> u16 {
        let answer = self.nodes[0].expect(&[b"CLUSTER".as_slice(), b"KEYSLOT", key]);
        let Value::Int(slot) = answer else { panic!("a slot is a number: {answer:?}") };
        u16::try_from(slot).expect("slots are small")
    }

    /// The number of the node that serves a slot.
    pub fn owner_of(&self, slot: u16) -> usize {
        let found = self.nodes.iter().position(|node| self.serves(node, slot));
        found.expect("every slot has an owner")
    }

    /// Moves a slot with its keys to another node, while clients use it.
    ///
    /// # Panics
    ///
    /// When a node refuses a step, or the keys do not move in time.
    pub fn move_slot(&self, slot: u16, to: usize) {
        let from = self.owner_of(slot);
        if from == to {
            return;
        }
        let (source, target, slot) = (&self.nodes[from], &self.nodes[to], slot.to_string());
        target.expect(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.ids[from]]);
        source.expect(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.ids[to]]);
        let port = target.port().to_string();
        wait_for(&format!("the keys of slot {slot} to move"), || {
            let answer = source.expect(&["CLUSTER", "GETKEYSINSLOT", &slot, CHUNK]);
            let Value::Array(keys) = answer else { panic!("keys are a list: {answer:?}") };
            if keys.is_empty() {
                return Some(());
            }
            let head = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            let keys = keys.iter().map(|key| match key {
                Value::BulkString(key) => key.as_slice(),
                other => panic!("a key is a string: {other:?}"),
            });
            let args: Vec<&[u8]> = head.iter().map(|arg| arg.as_bytes()).chain(keys).collect();
            source.expect(&args);
            None
        });
        // The target first, so that at any time one node serves the slot.
        for node in [target, source].into_iter().chain(&self.nodes) {
            node.expect(&["CLUSTER", "SETSLOT", &slot, "NODE", &self.ids[to]]);
        }
    }

    fn assign_slots(&self) {
        let share = SLOTS.div_ceil(3);
        for (number, node) in (0_u16..).zip(&self.nodes) {
            let (first, last) = (number * share, ((number + 1) * share).min(SLOTS) - 1);
            let (first, last) = (first.to_string(), last.to_string());
            node.expect(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            // Different from the start, so that the nodes need not resolve a conflict.
            let epoch = (number + 1).to_string();
            node.expect(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
        }
    }

    /// Introduces all nodes to each other, and waits until each knows the whole cluster.
    fn introduce(&self) {
        for (number, node) in self.nodes.iter().enumerate() {
            for other in &self.nodes[number + 1..] {
                let port = other.port().to_string();
                let bus = other.info_bus_port();
                node.expect(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
            }
        }
        for node in &self.nodes {
            wait_for("the cluster to be complete", || {
                let info = text(&node.expect(&["CLUSTER", "INFO"]))?;
                let is_ok = info.contains("cluster_state:ok");
                let is_complete = info.contains("cluster_known_nodes:3")
                    && info.contains("cluster_slots_ok:16384")
                    && info.contains("cluster_size:3");
                (is_ok && is_complete).then_some(())
            });
        }
    }

    /// Whether a node serves a slot, according to itself.
    fn serves(&self, node: &Server, slot: u16) -> bool {
        let answer = node.expect(&["CLUSTER", "NODES"]);
        let nodes = text(&answer).expect("the nodes are a text");
        let own = nodes.lines().find(|line| line.contains("myself")).unwrap_or_default();
        own.split_whitespace().skip(8).any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let bounds = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
            bounds.is_some_and(|(first, last)| (first..=last).contains(&slot))
        })
    }
}

fn node(options: &[&str]) -> Server {
    // The default is the port plus 10,000, which may be in the range of outgoing connections.
    let bus = free_port().to_string();
    let fixed = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let options = [&fixed, ["--cluster-port", &bus].as_slice(), options].concat();
    Server::start("valkey-server", &options)
}

impl Server {
    /// The configured port of a node's cluster bus.
    fn info_bus_port(&self) -> String {
        let answer = self.expect(&["CONFIG", "GET", "cluster-port"]);
        let port = match &answer {
            Value::Array(pair) => pair.get(1).and_then(text),
            Value::Map(pairs) => pairs.first().and_then(|(_, port)| text(port)),
            _ => None,
        };
        port.unwrap_or_else(|| panic!("a port: {answer:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn get(cluster: &Cluster, key: &str) -> Option<String> {
        let owner = cluster.owner_of(cluster.slot_of(key.as_bytes()));
        text(&cluster.nodes[owner].expect(&["GET", key]))
    }

    #[test]
    fn every_slot_has_one_owner() {
        let cluster = Cluster::three();
        for slot in [0, 5_461, 5_462, 10_923, 10_924, 16_383] {
            let owners = cluster.nodes.iter().filter(|node| cluster.serves(node, slot));
            assert_eq!(owners.count(), 1);
        }
        let url = cluster.url();
        assert!(url.starts_with("valkey-cluster://127.0.0.1:") && url.split(',').count() == 3);
    }

    /// While a client writes, a slot moves through all nodes, and no key is lost.
    #[test]
    fn a_slot_moves_under_load() {
        let cluster = Cluster::three();
        let slot = cluster.slot_of(b"{tag}");
        let first = cluster.owner_of(slot);
        for number in 0..500 {
            cluster.nodes[first].expect(&["SET", &format!("{{tag}}{number}"), "here"]);
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let client = redis::cluster::ClusterClient::new(
                    cluster.nodes.iter().map(|node| format!("redis://{}", node.address())),
                );
                let mut connection = client.unwrap().get_connection().unwrap();
                let mut count = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    let grown: u64 =
                        redis::cmd("INCR").arg("{tag}count").query(&mut connection).unwrap();
                    count += 1;
                    assert_eq!(grown, count);
                }
                count
            });
            for step in 1..=3 {
                cluster.move_slot(slot, (first + step) % 3);
                assert_eq!(cluster.owner_of(slot), (first + step) % 3);
            }
            done.store(true, Ordering::Relaxed);
            let count = load.join().unwrap();
            assert!(count > 0);
            assert_eq!(get(&cluster, "{tag}count").unwrap(), count.to_string());
        });
        for number in 0..500 {
            assert_eq!(get(&cluster, &format!("{{tag}}{number}")).unwrap(), "here");
        }
    }
}
