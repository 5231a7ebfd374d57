//! The builder of a worker: collects settings, and reports an invalid one when it is used.

use std::sync::Arc;
use std::time::Duration;

use ff_core::backend::EngineBackend;
use ff_core::capability::Capabilities;
use ff_core::id::{ExecutionKind, LaneId, WorkerInstanceId};
use ff_core::kinds::Kinds;

use crate::config::WorkerConfig;
use crate::error::SdkError;
use crate::host::system_entropy;
use crate::journal::JournalBackend;
use crate::runtime::WorkerRuntime;
use crate::worker::FlowFabricWorker;

/// Builds a worker. [`FlowFabric::worker`](crate::FlowFabric::worker) and [`WorkerConfig::builder`]
/// begin one. Each setting has the default of the field of [`WorkerConfig`] with its name; an
/// invalid one is reported by the call that ends the builder.
///
/// ```
/// use std::time::Duration;
/// use ff_sdk::{FlowFabric, Json, Payload};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ff = FlowFabric::connect("memory:").namespace("media").await?;
/// let runtime = ff
///     .worker("resizer")
///     .lanes(["images", "thumbnails"])
///     .max_concurrent_tasks(8)
///     .lease_ttl(Duration::from_secs(10))
///     .runtime()
///     .await?
///     .handle("double", |Payload(n): Payload<u64>| async move { Json(2 * n) });
/// # drop(runtime);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct WorkerBuilder {
    /// The configuration so far, or the first error.
    config: Result<WorkerConfig, SdkError>,
    store: Option<Arc<dyn EngineBackend>>,
}

impl WorkerConfig {
    /// Begins a configuration with defaults: lane `default`, one slot, and an instance ID that no
    /// other process has. [`WorkerBuilder::build`] reports an invalid value.
    pub fn builder(worker_id: impl AsRef<str>, namespace: impl AsRef<str>) -> WorkerBuilder {
        WorkerBuilder::new(worker_id.as_ref(), namespace.as_ref())
    }
}

impl WorkerBuilder {
    pub(crate) fn new(worker: &str, namespace: &str) -> Self {
        Self { config: WorkerConfig::new(worker, unique_name(worker), namespace), store: None }
    }

    /// Uses this store, and not the one of the configured URL.
    pub(crate) fn on(mut self, store: Arc<dyn EngineBackend>) -> Self {
        self.store = Some(store);
        self
    }

    /// Sets the name of this process. Default: a name that no other process has.
    pub fn instance(self, instance: impl AsRef<str>) -> Self {
        self.try_set(|config| {
            config.worker_instance_id = WorkerInstanceId::try_new(instance)?;
            Ok(())
        })
    }

    /// Sets whether it takes its name over from another live process, which then claims nothing
    /// more after its next heartbeat. Default: `false`.
    pub fn take_over(self, takes_over: bool) -> Self {
        self.set(|config| config.take_over = takes_over)
    }

    /// Sets the lanes (named queues) that it claims from.
    pub fn lanes(self, lanes: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.try_set(|config| {
            config.lanes = lanes.into_iter().map(LaneId::try_new).collect::<Result<_, _>>()?;
            Ok(())
        })
    }

    /// Sets the kinds of executions that it serves.
    pub fn kinds(self, kinds: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.try_set(|config| {
            let kinds = kinds.into_iter().map(ExecutionKind::try_new);
            config.kinds = kinds.collect::<Result<Kinds, _>>()?;
            Ok(())
        })
    }

    /// Sets the capabilities it offers.
    pub fn capabilities(self, offered: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.try_set(|config| {
            config.capabilities = Capabilities::try_new(offered).map_err(|error| {
                SdkError::config("worker configuration", "capabilities", error.to_string())
            })?;
            Ok(())
        })
    }

    /// Sets the number of tasks that it holds at the same time. Default: 1.
    pub fn max_concurrent_tasks(self, slots: usize) -> Self {
        self.set(|config| config.max_concurrent_tasks = slots)
    }

    /// Sets the lifetime of its leases from their last renewal.
    pub fn lease_ttl(self, ttl: Duration) -> Self {
        self.set(|config| config.lease_ttl = ttl)
    }

    /// Sets the longest wait for a wake-up before it looks for work again.
    pub fn claim_poll_interval(self, interval: Duration) -> Self {
        self.set(|config| config.claim_poll_interval = interval)
    }

    /// Sets the time limit of one call while the store does not answer.
    pub fn call_timeout(self, timeout: Duration) -> Self {
        self.set(|config| config.call_timeout = timeout)
    }

    /// Sets whether this process runs a timekeeper.
    pub fn timekeeper(self, runs: bool) -> Self {
        self.set(|config| config.timekeeper = runs)
    }

    /// Changes any other field of the configuration.
    pub fn configure(self, change: impl FnOnce(&mut WorkerConfig)) -> Self {
        self.set(change)
    }

    /// Returns the configuration.
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] or [`SdkError::Engine`] with `Validation` for the first invalid value.
    pub fn build(self) -> Result<WorkerConfig, SdkError> {
        let config = self.config?;
        config.check()?;
        Ok(config)
    }

    /// Connects the worker. If it was begun with a [`FlowFabric`](crate::FlowFabric), it uses that
    /// connection; otherwise it opens the store of the configured URL.
    ///
    /// # Errors
    ///
    /// As for [`WorkerBuilder::build`] and [`FlowFabricWorker::connect`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect(self) -> Result<FlowFabricWorker, SdkError> {
        let store = self.store.clone();
        let config = self.build()?;
        match store {
            Some(store) => {
                let completions = JournalBackend::new(store.clone());
                FlowFabricWorker::connect_with(config, store, Some(Arc::new(completions))).await
            }
            None => FlowFabricWorker::connect(config).await,
        }
    }

    /// Connects the worker and returns a runtime for it, without handlers.
    ///
    /// # Errors
    ///
    /// As for [`WorkerBuilder::connect`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn runtime(self) -> Result<WorkerRuntime, SdkError> {
        self.connect().await.map(WorkerRuntime::new)
    }

    fn set(self, change: impl FnOnce(&mut WorkerConfig)) -> Self {
        self.try_set(|config| {
            change(config);
            Ok(())
        })
    }

    fn try_set(mut self, change: impl FnOnce(&mut WorkerConfig) -> Result<(), SdkError>) -> Self {
        self.config = self.config.and_then(|mut config| change(&mut config).map(|()| config));
        self
    }
}

impl std::fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The longest part of a worker's name in the name of its process.
const MAX_NAME: usize = 40;

/// Returns a name for a process of a worker that no other process has, at most 64 bytes. It has a
/// random part, because processes in different containers can have the same process ID.
/// [`WorkerBuilder`] uses it unless an instance is given.
pub fn unique_name(worker: &str) -> String {
    let worker: String = worker.chars().take(MAX_NAME).collect();
    format!("{worker}-{}-{:08x}", std::process::id(), system_entropy().next_u64() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_is_valid_and_its_own() {
        let name = "x".repeat(64);
        let [one, two] = [(); 2].map(|()| WorkerConfig::builder(&name, "ns").build().unwrap());
        assert_ne!(one.worker_instance_id, two.worker_instance_id);
    }

    #[test]
    fn the_first_invalid_value_is_reported_at_the_end() {
        let builder = WorkerConfig::builder("worker", "ns").lanes(["a b"]).max_concurrent_tasks(0);
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains("invalid lane \"a b\""), "{error}");
        let none: [&str; 0] = [];
        for (builder, field) in [
            (WorkerConfig::builder("worker", "ns").lanes(none), "lanes"),
            (WorkerConfig::builder("worker", "ns").lease_ttl(Duration::ZERO), "lease_ttl"),
            (WorkerConfig::builder("worker", "ns").capabilities(["a,b"]), "capabilities"),
        ] {
            let error = builder.build().unwrap_err();
            assert!(matches!(error, SdkError::Config { field: at, .. } if at == field), "{error}");
        }
    }
}
