//! Which store a command works on.

use std::sync::Arc;

use ff_sdk::MemoryBackend;

use crate::outcome::Failed;

/// The backend of a URL.
pub fn open(url: &str) -> Result<Arc<MemoryBackend>, Failed> {
    match url {
        "memory:" => Ok(Arc::new(MemoryBackend::new())),
        other => Err(Failed::usage(format!(
            "--backend {other} is unknown; this program knows only \"memory:\", its own store"
        ))),
    }
}
