//! Help for the tests of handlers.

use std::sync::Arc;

use crate::client::Client;
use crate::config::WorkerConfig;
use crate::error::SdkError;
use crate::memory::MemoryBackend;
use crate::submission::Submission;
use crate::worker::FlowFabricWorker;

use super::extract::TaskContext;
use super::run::WorkerRuntime;

impl TaskContext {
    /// Creates the context of a task, to call a handler in a test. The task is the first attempt of
    /// the submission, in a new store in memory; its lease is renewed until the context is dropped.
    ///
    /// ```
    /// use ff_sdk::{BoxError, Json, Payload, Submission, TaskContext};
    ///
    /// async fn double(Payload(number): Payload<u32>, task: TaskContext) -> Result<Json<u32>, BoxError> {
    ///     task.update_progress(50, Some("doubling")).await?;
    ///     Ok(Json(2 * number))
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let task = TaskContext::for_test(Submission::new("double")).await?;
    /// let Json(doubled) = double(Payload(21), task).await?;
    /// assert_eq!(doubled, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] for an invalid submission; [`SdkError::Config`] for one that cannot be
    /// claimed now, such as a delayed one.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn for_test(submission: Submission) -> Result<Self, SdkError> {
        const NAMESPACE: &str = "test";
        let backend = Arc::new(MemoryBackend::new());
        let client = Client::connect_with(backend.clone(), NAMESPACE).await?;
        let id = client.submit(submission).await?.id();
        let unclaimable = || SdkError::config("task for a test", "submission", "cannot be claimed");
        let seen = client.describe(&id).await?.ok_or_else(unclaimable)?;
        let mut config = WorkerConfig::new("test", "test-1", NAMESPACE)?;
        (config.lanes, config.capabilities) = (vec![seen.lane], seen.requires);
        config.timekeeper = false;
        let worker = FlowFabricWorker::connect_with(config, backend, None).await?;
        let task = Arc::new(worker.claim_next().await?.ok_or_else(unclaimable)?);
        Ok(Self { task, states: Arc::default(), resumption: None, signals: Arc::default() })
    }
}

impl WorkerRuntime {
    /// Claims executions and runs their handlers, as [`run_until`](Self::run_until), until no handler
    /// runs and there is no work now. For tests. It does not wait for delayed executions, retries or
    /// signals.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use ff_sdk::{Client, FlowFabricWorker, MemoryBackend, Submission, WorkerConfig, WorkerRuntime};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let backend = Arc::new(MemoryBackend::new());
    /// let client = Client::connect_with(backend.clone(), "test").await?;
    /// let config = WorkerConfig::new("mailer", "mailer-1", "test")?;
    /// let worker = FlowFabricWorker::connect_with(config, backend, None).await?;
    /// let id = client.submit(Submission::new("mail")).await?.id();
    ///
    /// WorkerRuntime::new(worker).handle("mail", || async {}).run_until_idle().await?;
    ///
    /// assert!(client.result(&id).await?.is_success());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`run_until`](Self::run_until).
    ///
    /// # Cancel safety
    ///
    /// As for [`run_until`](Self::run_until).
    pub async fn run_until_idle(self) -> Result<(), SdkError> {
        let idle = self.idle.clone();
        self.run_until(async move { idle.notified().await }).await
    }
}
