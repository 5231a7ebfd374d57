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

use ff_sdk::core::backend::EngineBackend;

/// Opens the store at a URL.
///
/// # Errors
///
/// The message of the connect error.
pub async fn open(url: &str) -> Result<Arc<dyn EngineBackend>, String> {
    ff_sdk::open(url).await.map_err(|error| error.to_string())
}
