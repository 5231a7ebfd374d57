//! The faults of crash tests, and the fixture of each.

use std::time::Duration;

use ff_sdk::core::entropy::Entropy;
use ff_sdk::core::partition::{Partition, PartitionConfig};

use tempfile::TempDir;

use super::fleet::Fleet;
use crate::server::{Cluster, Proxy, ProxyFault, Server, Spoilage};

/// Few partitions, so that many executions share one; enough for each node of a cluster.
pub const PARTITIONS: PartitionConfig =
    PartitionConfig { num_flow_partitions: 16, num_budget_partitions: 1, num_quota_partitions: 1 };

/// A fault that is injected again and again during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A worker is killed and replaced.
    WorkerKilled,
    /// A worker is stopped for longer than its lease, and continued.
    WorkerStopped,
    /// The server is killed and restarted with all acknowledged writes.
    ServerKilled,
    /// The server closes all connections.
    ClientsKilled,
    /// The server loses all functions.
    FunctionsFlushed,
    /// The network drops, refuses and cuts connections.
    NetworkDrops,
    /// The network is slow, and now and then slower than a lease.
    NetworkDelays,
    /// Replies are lost after their commands were applied.
    RepliesSwallowed,
    /// Replies are spoilt: preceded by one of no call, cut, swapped or repeated.
    RepliesSpoilt,
    /// The server's memory is full for some time.
    MemoryFull,
    /// Slots of the cluster move between its nodes.
    SlotsMoved,
    /// A worker is killed that shares a file with the others, and replaced.
    FileWorkerKilled,
    /// A worker is stopped for longer than its lease, perhaps while the others wait for it to write
    /// into the file that they share, and continued.
    FileWorkerStopped,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::WorkerKilled,
        Self::WorkerStopped,
        Self::ServerKilled,
        Self::ClientsKilled,
        Self::FunctionsFlushed,
        Self::NetworkDrops,
        Self::NetworkDelays,
        Self::RepliesSwallowed,
        Self::RepliesSpoilt,
        Self::MemoryFull,
        Self::SlotsMoved,
        Self::FileWorkerKilled,
        Self::FileWorkerStopped,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WorkerKilled => "worker-killed",
            Self::WorkerStopped => "worker-stopped",
            Self::ServerKilled => "server-killed",
            Self::ClientsKilled => "clients-killed",
            Self::FunctionsFlushed => "functions-flushed",
            Self::NetworkDrops => "network-drops",
            Self::NetworkDelays => "network-delays",
            Self::RepliesSwallowed => "replies-swallowed",
            Self::RepliesSpoilt => "replies-spoilt",
            Self::MemoryFull => "memory-full",
            Self::SlotsMoved => "slots-moved",
            Self::FileWorkerKilled => "file-worker-killed",
            Self::FileWorkerStopped => "file-worker-stopped",
        }
    }

    /// The time limit for every worker to start a command again after the last fault, if there is
    /// one.
    pub const fn recovers_within(self) -> Option<Duration> {
        match self {
            Self::RepliesSpoilt => Some(Duration::from_secs(2)),
            _ => None,
        }
    }

    /// Starts the store that it needs, with a proxy if it needs one.
    pub fn fixture(self) -> Fixture {
        let durable = ["--appendonly", "yes", "--appendfsync", "always"];
        match self {
            Self::SlotsMoved => Fixture::Cluster(Cluster::three()),
            Self::FileWorkerKilled | Self::FileWorkerStopped => {
                let folder = tempfile::Builder::new().prefix("ff-file-").tempdir();
                Fixture::File(folder.expect("a temporary folder can be made"))
            }
            Self::ServerKilled => Fixture::Server(Server::valkey_with(&durable)),
            Self::NetworkDrops
            | Self::NetworkDelays
            | Self::RepliesSwallowed
            | Self::RepliesSpoilt => {
                let server = Server::valkey();
                let proxy = Proxy::before(&server.address());
                Fixture::Proxied(server, proxy)
            }
            _ => Fixture::Server(Server::valkey()),
        }
    }
}

/// The store of a run.
pub enum Fixture {
    /// A server.
    Server(Server),
    /// A server behind a proxy.
    Proxied(Server, Proxy),
    /// A cluster.
    Cluster(Cluster),
    /// A SQLite file in this folder.
    File(TempDir),
}

impl Fixture {
    /// The store URL of the processes under test.
    pub fn url(&self) -> String {
        match self {
            Self::Proxied(_, proxy) => proxy.url(),
            other => other.direct_url(),
        }
    }

    /// The store URL for checks, without the proxy.
    pub fn direct_url(&self) -> String {
        match self {
            Self::Server(server) | Self::Proxied(server, _) => server.url(),
            Self::Cluster(cluster) => cluster.url(),
            Self::File(folder) => format!("sqlite:{}", folder.path().join("store.db").display()),
        }
    }

    /// Keeps the folders of its servers on disk, as evidence; returns their paths.
    pub fn keep(&mut self) -> Vec<std::path::PathBuf> {
        match self {
            Self::Server(server) | Self::Proxied(server, _) => {
                server.keep_folder();
                vec![server.folder().to_owned()]
            }
            Self::Cluster(cluster) => {
                cluster.keep_folders();
                cluster.nodes().iter().map(|node| node.folder().to_owned()).collect()
            }
            Self::File(folder) => {
                folder.disable_cleanup(true);
                vec![folder.path().to_owned()]
            }
        }
    }

    /// Injects the fault once, and repairs what does not recover by itself. Returns `false` when it
    /// had no effect.
    pub fn inject(&mut self, scenario: Scenario, fleet: &mut Fleet, entropy: &mut Entropy) -> bool {
        match (scenario, self) {
            (Scenario::WorkerKilled | Scenario::FileWorkerKilled, _) => fleet.kill_one(entropy),
            (Scenario::WorkerStopped | Scenario::FileWorkerStopped, _) => {
                let pause = between(entropy, 1_100, 1_800);
                return fleet.stop_one(entropy, pause);
            }
            (Scenario::ServerKilled, Self::Server(server)) => {
                server.kill();
                std::thread::sleep(between(entropy, 0, 300));
                server.restart();
            }
            (Scenario::ClientsKilled, Self::Server(server)) => kill_clients(server, entropy),
            (Scenario::FunctionsFlushed, Self::Server(server)) => {
                server.expect(&["FUNCTION", "FLUSH"]);
            }
            (Scenario::MemoryFull, Self::Server(server)) => {
                server.expect(&["CONFIG", "SET", "maxmemory", "1"]);
                std::thread::sleep(between(entropy, 50, 500));
                server.expect(&["CONFIG", "SET", "maxmemory", "0"]);
            }
            (scenario, Self::Proxied(_, proxy)) => return inject_network(scenario, proxy, entropy),
            (Scenario::SlotsMoved, Self::Cluster(cluster)) => move_slot(cluster, entropy),
            (scenario, _) => unreachable!("{} has another fixture", scenario.name()),
        }
        true
    }
}

/// A random duration.
pub fn between(entropy: &mut Entropy, least_ms: u64, most_ms: u64) -> Duration {
    Duration::from_millis(least_ms + entropy.below(most_ms - least_ms + 1))
}

/// Closes all connections several times, so that new ones are closed too.
fn kill_clients(server: &Server, entropy: &mut Entropy) {
    for _ in 0..=entropy.below(5) {
        for kind in ["normal", "pubsub"] {
            server.expect(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
        }
        std::thread::sleep(between(entropy, 0, 30));
    }
}

fn inject_network(scenario: Scenario, proxy: &Proxy, entropy: &mut Entropy) -> bool {
    let before = proxy.effects();
    let (fault, lasting) = match (scenario, entropy.below(4)) {
        (Scenario::NetworkDrops, 0) => (ProxyFault::Refuse, between(entropy, 50, 400)),
        (Scenario::NetworkDrops, 1) => (ProxyFault::CutReply, between(entropy, 10, 100)),
        (Scenario::NetworkDrops, 2) => (ProxyFault::CutRequest, between(entropy, 10, 100)),
        (Scenario::NetworkDrops, _) => (ProxyFault::Pass, Duration::ZERO),
        (Scenario::NetworkDelays, 0) => {
            (ProxyFault::Delay(between(entropy, 1_000, 1_500)), between(entropy, 10, 50))
        }
        (Scenario::NetworkDelays, _) => {
            (ProxyFault::Delay(between(entropy, 1, 200)), between(entropy, 200, 600))
        }
        (Scenario::RepliesSpoilt, _) => {
            let spoilages = Spoilage::ALL;
            let spoilage = spoilages[entropy.below(spoilages.len() as u64) as usize];
            (ProxyFault::Spoil(spoilage), between(entropy, 10, 200))
        }
        (_, close) => {
            // A connection that stays open costs its client a whole timeout: a few are enough.
            let close = close > 0 || entropy.below(2) > 0;
            (ProxyFault::Swallow { close }, between(entropy, 10, 200))
        }
    };
    proxy.set(fault);
    if matches!(fault, ProxyFault::Pass | ProxyFault::Refuse) {
        proxy.drop_connections();
    }
    std::thread::sleep(lasting);
    proxy.set(ProxyFault::Pass);
    fault == ProxyFault::Pass || proxy.effects() > before
}

fn move_slot(cluster: &Cluster, entropy: &mut Entropy) {
    let partitions = u64::from(PARTITIONS.num_flow_partitions);
    let tag = Partition::flow(entropy.below(partitions) as u16).to_string();
    let slot = cluster.slot_of(tag.as_bytes());
    let others = 1 + entropy.below(2) as usize;
    cluster.move_slot(slot, (cluster.owner_of(slot) + others) % 3);
}
