//! The context that a program passes to each of its operations.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::EngineError;
use crate::store::codec::Codec;
use crate::time::{DurationMs, TimestampMs};
use crate::token::{KEYRING_FOR, KnownKeyring};

use super::loaded::unreadable;

/// The context that a program passes to each of its operations: how long it may try, the program's
/// codec, and the secrets of tokens that it read last.
#[derive(Clone, Debug)]
pub struct OperationContext {
    allowed: DurationMs,
    codec: Codec,
    keyrings: KeyringCache,
}

impl OperationContext {
    /// The context of operations that may try for this time.
    pub fn new(allowed: DurationMs, codec: Codec) -> Self {
        Self { allowed, codec, keyrings: KeyringCache::default() }
    }

    /// The same context with another time.
    #[must_use]
    pub fn within(&self, allowed: DurationMs) -> Self {
        Self { allowed, ..self.clone() }
    }

    /// How long an operation tries.
    pub const fn allowed(&self) -> DurationMs {
        self.allowed
    }

    /// The secrets of tokens that the program read last.
    pub const fn keyrings(&self) -> &KeyringCache {
        &self.keyrings
    }

    /// The program's codec.
    pub const fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Whether the program may take work. Once it has met a newer format than it knows, it takes
    /// nothing more, and leaves the work to newer programs.
    ///
    /// # Errors
    ///
    /// `Bug` with `NewerFormat`.
    pub fn check_format(&self) -> Result<(), EngineError> {
        self.codec.check().map_err(unreadable)
    }
}

/// The secrets of tokens that a program read last (`docs/spec.md`, 5). Clones share them.
#[derive(Clone, Default)]
pub struct KeyringCache(Arc<Mutex<Option<CachedKeyring>>>);

struct CachedKeyring {
    ring: KnownKeyring,
    /// When they were requested, by the host's clock.
    asked_at: TimestampMs,
}

impl KeyringCache {
    /// The secrets as they were read, if that is less than [`KEYRING_FOR`] ago.
    pub(super) fn get(&self, local: TimestampMs) -> Option<KnownKeyring> {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let CachedKeyring { ring, asked_at } = cached.as_ref()?;
        let age = local.since(*asked_at);
        (local >= *asked_at && age < KEYRING_FOR).then(|| ring.clone())
    }

    /// Notes the secrets that were requested at this time of the host's clock.
    pub(super) fn put(&self, ring: KnownKeyring, asked_at: TimestampMs) {
        let cached = CachedKeyring { ring, asked_at };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(cached);
    }
}

impl fmt::Debug for KeyringCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets that other operations read are not part of the one that shares the cache.
        f.write_str("KeyringCache(..)")
    }
}
