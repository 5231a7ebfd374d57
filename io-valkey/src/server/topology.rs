//! Which node holds which partition.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crc16::{State, XMODEM};
use ff_core::partition::Partition;
use ff_core::store::Failure;
use redis::{Value, cmd};
use tokio::time::Instant;

use super::node::Node;
use super::target::Target;

const SLOTS: usize = 16_384;
/// Slots are asked for again at most this often, however many calls find them wrong.
const LEAST_AGE: Duration = Duration::from_millis(50);

/// The nodes of a store and what each holds.
pub(super) struct Topology {
    target: Target,
    map: RwLock<Arc<Map>>,
    /// Held while the slots are asked for; when they were.
    asking: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Clone, Default)]
struct Map {
    nodes: BTreeMap<String, Arc<Node>>,
    /// The primaries, each once; a standalone server is one.
    primaries: Vec<Arc<Node>>,
    /// For each slot the number of its primary; empty where one server holds all.
    slots: Vec<Option<u16>>,
}

impl Topology {
    /// The nodes that the target names; slots are not known yet.
    pub(super) fn new(target: Target) -> Result<Self, redis::RedisError> {
        let mut map = Map::default();
        for seed in &target.seeds {
            let node = Arc::new(Node::new(seed.clone(), &target)?);
            map.primaries.push(node.clone());
            map.nodes.insert(node.name.clone(), node);
        }
        let (map, asking) = (RwLock::new(Arc::new(map)), tokio::sync::Mutex::new(None));
        Ok(Self { target, map, asking })
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
        let lacks = || format!("no node of the cluster holds the slot of {partition}");
        node.ok_or_else(|| Failure::NotSent(lacks()))
    }

    /// The node at an address that a redirection names; a host left out is that of the sender.
    pub(super) fn node_at(&self, address: &str, sender: &Node) -> Result<Arc<Node>, Failure> {
        let wrong = || Failure::Refused(format!("{} redirects to {address:?}", sender.name));
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let host = if host.is_empty() { host_of(&sender.name) } else { host };
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut map).node(host, port, &self.target)
    }

    /// Asks the nodes, one after the other, for the slots. Whoever waits for it shares the outcome.
    pub(super) async fn refresh(&self) -> Result<(), Failure> {
        let asked = Instant::now();
        let mut latest = self.asking.lock().await;
        if latest.is_some_and(|at| at > asked || at.elapsed() < LEAST_AGE) {
            return Ok(());
        }
        let mut last = Failure::NotSent("the cluster has no node".to_owned());
        let nodes: Vec<Arc<Node>> = self.map().nodes.values().cloned().collect();
        for node in nodes {
            match node.ask(cmd("CLUSTER").arg("SLOTS")).await {
                Ok(slots) => {
                    let map = self.read(&slots, &node)?;
                    *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
                    *latest = Some(Instant::now());
                    return Ok(());
                }
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    /// A map of what `CLUSTER SLOTS` says: ranges, each with its primary first.
    fn read(&self, value: &Value, sender: &Node) -> Result<Map, Failure> {
        let wrong = || Failure::Refused(format!("{} gives no slots", sender.name));
        let Value::Array(ranges) = value else { return Err(wrong()) };
        let mut map = Map { slots: vec![None; SLOTS], ..(*self.map()).clone() };
        map.primaries.clear();
        for range in ranges {
            let Some([Value::Int(from), Value::Int(to), primary, ..]) = range.as_sequence() else {
                return Err(wrong());
            };
            let Some([host, Value::Int(port), ..]) = primary.as_sequence() else {
                return Err(wrong());
            };
            let host = match host {
                Value::BulkString(host) if !host.is_empty() && host != b"?" => {
                    String::from_utf8_lossy(host)
                }
                _ => host_of(&sender.name).into(),
            };
            let port = u16::try_from(*port).map_err(|_| wrong())?;
            let node = map.node(&host, port, &self.target)?;
            let known = map.primaries.iter().position(|known| known.name == node.name);
            let number = known.unwrap_or_else(|| {
                map.primaries.push(node);
                map.primaries.len() - 1
            });
            let range = usize::try_from(*from).ok().zip(usize::try_from(*to).ok());
            let slots = range.and_then(|(from, to)| map.slots.get_mut(from..=to));
            slots.ok_or_else(wrong)?.fill(u16::try_from(number).ok());
        }
        if map.primaries.is_empty() {
            return Err(Failure::Refused(format!("{} knows of no slot", sender.name)));
        }
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

    /// The node of an address, a new one where it is not known.
    fn node(&mut self, host: &str, port: u16, target: &Target) -> Result<Arc<Node>, Failure> {
        let info = target.node(host, port);
        let name = info.addr().to_string();
        if let Some(node) = self.nodes.get(&name) {
            return Ok(node.clone());
        }
        let node = Node::new(info, target)
            .map_err(|error| Failure::NotSent(format!("{name} is no address: {error}")))?;
        let node = Arc::new(node);
        self.nodes.insert(name, node.clone());
        Ok(node)
    }
}

fn host_of(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(host, _)| host)
}

/// The slot of a partition's keys: of the text within the braces of its tag.
fn slot_of(partition: Partition) -> usize {
    let tag = partition.to_string();
    let inner = tag.trim_start_matches('{').trim_end_matches('}');
    usize::from(State::<XMODEM>::calculate(inner.as_bytes())) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_core::partition::PartitionFamily;

    /// As `CLUSTER KEYSLOT` of Valkey 8.0 says.
    #[test]
    fn slots_are_those_of_the_server() {
        let worker = Partition { family: PartitionFamily::Worker, index: 7 };
        let found = [Partition::flow(0), Partition::flow(255), Partition::META, worker];
        assert_eq!(found.map(slot_of), [14_926, 15_470, 10_453, 12_658]);
    }
}
