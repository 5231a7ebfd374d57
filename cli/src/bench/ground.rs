//! The store that a scenario runs on: a fresh one, or a namespace of its own on a user's server.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ff_sdk::core::backend::{BackendReport, EngineBackend};
use ff_sdk::core::entropy::Entropy;
use ff_sdk::core::op::{OperationContext, Patience, Query, load};
use ff_sdk::core::partition::PartitionConfig;
use ff_sdk::core::store::codec::Codec;
use ff_sdk::core::store::{IndexName, Scan};
use ff_sdk::{
    Auditor, Client, ClientConfig, DurationMs, FlowFabricWorker, HostClock, Namespace,
    WorkerConfig, drive,
};
use indicatif::{ProgressBar, ProgressStyle};

use super::BenchArgs;
use crate::backend::{self, Opened};
use crate::outcome::Failed;
use crate::pool::NAMESPACE;

/// What the namespaces of this command begin with.
const PREFIX: &str = "ff-bench-";
/// Entries of a partition that are looked at for executions of others.
const SAMPLE: u32 = 16;

/// A store to measure.
pub struct Ground {
    /// What the user named it.
    pub url: String,
    /// A client of the scenario's namespace.
    pub client: Client,
    namespace: String,
    /// Keeps a private server running.
    store: Opened,
}

impl Ground {
    /// Opens the store; where it is private it is a fresh one.
    pub async fn open(args: &BenchArgs) -> Result<Self, Failed> {
        let store = backend::open(&args.backend).await?;
        let (backend, shared) = (store.backend.clone(), store.shared);
        let url = backend::hidden(&args.backend);
        let namespace = match shared {
            true => format!("{PREFIX}{}-{}", std::process::id(), now_ms()),
            false => NAMESPACE.to_owned(),
        };
        let known = Auditor::connect(backend.clone()).await?.meta().map(|meta| meta.partitions);
        if let Some(partitions) = &known
            && shared
            && !args.force
            && let Some(other) = others(&backend, partitions).await?
        {
            return Err(Failed::usage(format!(
                "{url} holds executions of namespace {other}: a benchmark would compete with them; \
                 name another server, or --force"
            )));
        }
        let mut config = ClientConfig::new(&namespace)?;
        config.partition_config = match (args.partitions, known) {
            (Some(count), known) => {
                Some(PartitionConfig { num_flow_partitions: count, ..known.unwrap_or_default() })
            }
            (None, Some(_)) => None,
            (None, None) => Some(PartitionConfig::default()),
        };
        let client = Client::connect(config, backend.clone()).await?;
        Ok(Self { url, client, namespace, store })
    }

    /// Connects a worker.
    pub async fn worker(&self, args: &BenchArgs, number: u32) -> Result<FlowFabricWorker, Failed> {
        let mut config = WorkerConfig::new("bench", format!("bench-{number}"), &self.namespace)?;
        config.max_concurrent_tasks = args.slots as usize;
        Ok(FlowFabricWorker::connect_with(config, self.store.backend.clone(), None).await?)
    }

    /// A client with a connection of its own, as readers in other processes have.
    pub async fn reader(&self) -> Result<Client, Failed> {
        let config = ClientConfig::new(&self.namespace)?;
        Ok(Client::connect(config, self.store.another_connection().await?).await?)
    }

    /// The store's own figures.
    pub async fn report(&self) -> Result<BackendReport, Failed> {
        Ok(self.client.report().await?)
    }

    /// The namespace that stays behind on a user's server.
    pub fn left_behind(&self) -> Option<String> {
        self.store.shared.then(|| self.namespace.clone())
    }
}

/// A namespace that has executions on the store and is none of this command's, if there is one
/// among what is due and what the command `ff` has submitted.
async fn others(
    backend: &Arc<dyn EngineBackend>,
    partitions: &PartitionConfig,
) -> Result<Option<String>, Failed> {
    let (clock, mut entropy) = (HostClock::new(), Entropy::from_u64(now_ms()));
    let codec = Codec::default();
    let namespace = Namespace::try_new(NAMESPACE).map_err(Failed::runtime)?;
    for partition in partitions.flow_partitions() {
        for index in [IndexName::All { namespace: namespace.clone() }, IndexName::Due] {
            let scan = Scan { partition, index, after: None, limit: SAMPLE };
            let context = OperationContext::new(DurationMs::from_secs(10), codec.clone());
            let patience = Patience::new(context, entropy.fork());
            let scanned = drive(&**backend, &clock, Query::scan(scan, patience)).await;
            let (scanned, _) = scanned.map_err(Failed::runtime)?;
            let records = scanned.entries.iter().filter_map(|entry| entry.record.as_ref());
            let mut owners = records.filter_map(|stored| load(stored, &codec).ok());
            let other =
                owners.find(|loaded| !loaded.execution.namespace.as_str().starts_with(PREFIX));
            if let Some(other) = other {
                return Ok(Some(other.execution.namespace.to_string()));
            }
        }
    }
    Ok(None)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A bar on a terminal that tells what is done; nothing elsewhere.
pub fn bar(total: u64, what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    let style = "{msg:10} {bar:20.cyan/blue} {pos}/{len} {per_sec} eta {eta}";
    bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
