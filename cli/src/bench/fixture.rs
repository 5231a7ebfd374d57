//! The store of a scenario: a new store, or a new namespace on a user's server.

use std::sync::Arc;
use std::time::SystemTime;

use ff_sdk::core::backend::{BackendReport, EngineBackend};
use ff_sdk::core::entropy::Entropy;
use ff_sdk::core::id::ExecutionKind;
use ff_sdk::core::op::{OperationContext, Patience, Query, load};
use ff_sdk::core::partition::PartitionConfig;
use ff_sdk::core::store::bounds::MAX_PAGE_BYTES;
use ff_sdk::core::store::codec::Codec;
use ff_sdk::core::store::{IndexName, Scan, ScanOrder};
use ff_sdk::{
    Auditor, Client, ClientConfig, DurationMs, FlowFabricWorker, HostClock, Kinds, Namespace,
    WorkerConfig, drive,
};
use indicatif::ProgressBar;

use super::BenchArgs;
use crate::backend::{self, OpenStore};
use crate::exit::CliError;
use crate::pool::NAMESPACE;
use crate::progress;

/// The kind of every execution; with several kinds, of the first one.
pub const KIND: &str = "bench";
/// The prefix of the namespaces of this command.
const PREFIX: &str = "ff-bench-";
/// The entries of each index that are searched for other executions.
const SAMPLE: u32 = 16;

/// A store to measure.
pub struct Fixture {
    /// The URL of the store, without credentials.
    pub url: String,
    /// A client in the namespace of the scenario.
    pub client: Client,
    namespace: String,
    /// Keeps a private server running.
    store: OpenStore,
}

impl Fixture {
    /// Opens the store. A store that is not shared is a new one.
    pub async fn open(args: &BenchArgs) -> Result<Self, CliError> {
        let store = backend::open(&args.backend, backend::Wait::Briefly).await?;
        let (backend, shared) = (store.backend.clone(), store.shared);
        let url = ff_sdk::redacted_url(&args.backend);
        let namespace = match shared {
            true => format!("{PREFIX}{}-{}", std::process::id(), now_ms()),
            false => NAMESPACE.to_owned(),
        };
        let known = Auditor::connect(backend.clone()).await?.meta().map(|meta| meta.partitions);
        if let Some(partitions) = &known
            && shared
            && !args.force
            && let Some(other) = other_namespace(&backend, partitions).await?
        {
            return Err(CliError::usage(format!(
                "{url} has executions in namespace {other}, and a benchmark would compete with \
                 them: use another server, or --force"
            )));
        }
        let mut config = ClientConfig::new(&namespace)?;
        config.keep_counts = !args.set_up.without_counts;
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
    pub async fn worker(
        &self,
        args: &BenchArgs,
        number: u32,
    ) -> Result<FlowFabricWorker, CliError> {
        let mut config = WorkerConfig::new("bench", format!("bench-{number}"), &self.namespace)?;
        config.max_concurrent_tasks = args.slots as usize;
        if args.kinds > 1 && number % 2 == 1 {
            let kind = ExecutionKind::try_new(kind(number / 2 % args.kinds));
            config.kinds = Kinds::Only([kind.map_err(CliError::runtime)?].into());
        }
        Ok(FlowFabricWorker::connect_with(config, self.store.backend.clone(), None).await?)
    }

    /// A client with a separate connection, like a reader in another process.
    pub async fn reader(&self) -> Result<Client, CliError> {
        let config = ClientConfig::new(&self.namespace)?;
        Ok(Client::connect(config, self.store.another_connection().await?).await?)
    }

    /// The figures of the store itself.
    pub async fn report(&self) -> Result<BackendReport, CliError> {
        Ok(self.client.report().await?)
    }

    /// The namespace whose executions stay on a user's server.
    pub fn remaining_namespace(&self) -> Option<String> {
        self.store.shared.then(|| self.namespace.clone())
    }
}

/// Searches for executions that this command has not created: among those that are due, and in the
/// default namespace of `ff`. Returns the namespace of the first one.
async fn other_namespace(
    backend: &Arc<dyn EngineBackend>,
    partitions: &PartitionConfig,
) -> Result<Option<String>, CliError> {
    let (clock, mut entropy) = (HostClock::new(), Entropy::from_u64(now_ms()));
    let codec = Codec::default();
    let namespace = Namespace::try_new(NAMESPACE).map_err(CliError::runtime)?;
    for partition in partitions.flow_partitions() {
        let all = IndexName::All { namespace: namespace.clone() };
        for index in [all, IndexName::Due, IndexName::Retention] {
            let (limit, bytes) = (SAMPLE, MAX_PAGE_BYTES);
            let scan =
                Scan { partition, index, order: ScanOrder::Ascending, after: None, limit, bytes };
            let context = OperationContext::new(DurationMs::from_secs(10), codec.clone());
            let patience = Patience::new(context, entropy.fork());
            let scanned = drive(&**backend, &clock, Query::scan(scan, patience)).await;
            let (scanned, _) = scanned.map_err(CliError::runtime)?;
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

/// The kind with this number.
pub fn kind(number: u32) -> String {
    match number {
        0 => KIND.to_owned(),
        number => format!("{KIND}-{number}"),
    }
}

/// A progress bar with this label.
pub fn bar(total: u64, label: &'static str) -> ProgressBar {
    let bar = progress::bar(total, "{msg:10} {bar:20.cyan/blue} {pos}/{len} {per_sec} eta {eta}");
    bar.set_message(label);
    bar
}
