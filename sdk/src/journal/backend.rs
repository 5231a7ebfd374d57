//! The completions of a store, for many subscribers.

use std::sync::Arc;

use ff_core::backend::{
    CompletionBackend, CompletionCursor, CompletionFilter, Completions, EngineBackend,
};

use super::follower::Follower;
use super::shared::SharedReader;

/// A [`CompletionBackend`] over the journals of any store. Pass it to
/// [`FlowFabricWorker::connect_with`](crate::FlowFabricWorker::connect_with) together with a
/// backend that does not implement [`CompletionBackend`] itself.
///
/// Its streams share one reader of the journals, so that a thousand subscribers ask the store for
/// no more than one does. A stream reads by itself from its cursor up to the place of that reader,
/// and again when it was so slow that it has missed some of what the reader has passed on. They
/// must be polled in a tokio runtime.
///
/// ```
/// use std::sync::Arc;
/// use ff_sdk::{FlowFabricWorker, JournalBackend, WorkerConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = ff_sdk::open("memory:").await?;
/// let completions = Arc::new(JournalBackend::new(store.clone()));
/// let config = WorkerConfig::new("worker", "worker-1", "demo")?;
/// let worker = FlowFabricWorker::connect_with(config, store, Some(completions)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct JournalBackend(Arc<SharedReader>);

impl JournalBackend {
    /// Creates the completion backend of this store.
    pub fn new(store: Arc<dyn EngineBackend>) -> Self {
        Self(Arc::new(SharedReader::new(store)))
    }
}

impl CompletionBackend for JournalBackend {
    fn completions(
        &self,
        from: CompletionCursor,
        filter: CompletionFilter,
    ) -> Box<dyn Completions> {
        Box::new(Follower::new(self.0.clone(), from, filter))
    }
}

impl std::fmt::Debug for JournalBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalBackend").field("store", &self.0.store().name()).finish()
    }
}
