//! Crash tests with real processes: workers, a submitter and a server, with injected faults.

pub mod binary;
pub mod check;
pub mod fleet;
pub mod gather;
pub mod http;
pub mod run;
pub mod scenario;
pub mod submitter;

pub use run::{Plan, Report};
pub use scenario::Scenario;

use std::sync::Arc;

use ff_io_valkey::ValkeyBackend;
use ff_sdk::core::backend::EngineBackend;

/// Opens the store at a URL.
///
/// # Errors
///
/// The message of the connect error.
pub async fn open(url: &str) -> Result<Arc<dyn EngineBackend>, String> {
    let backend = ValkeyBackend::connect(url).await.map_err(|error| error.to_string())?;
    Ok(Arc::new(backend))
}
