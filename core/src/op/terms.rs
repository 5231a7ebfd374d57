//! What a program gives to each of its operations.

use crate::store::codec::Codec;
use crate::time::DurationMs;

use super::keyring_cache::KeyringCache;

/// What a program gives to each of its operations: how long it may try, and what the program knows
/// of the store's record formats.
#[derive(Clone, Debug)]
pub struct Terms {
    allowed: DurationMs,
    codec: Codec,
    keyrings: KeyringCache,
}

impl Terms {
    /// Tries for that long, with the program's codec.
    pub fn new(allowed: DurationMs, codec: Codec) -> Self {
        Self { allowed, codec, keyrings: KeyringCache::default() }
    }

    /// The same terms for another time.
    #[must_use]
    pub fn within(&self, allowed: DurationMs) -> Self {
        Self { allowed, ..self.clone() }
    }

    /// How long an operation tries.
    pub const fn allowed(&self) -> DurationMs {
        self.allowed
    }

    /// The secrets of tokens that the program has read lately.
    pub const fn keyrings(&self) -> &KeyringCache {
        &self.keyrings
    }

    /// What the program knows of the record formats.
    pub const fn codec(&self) -> &Codec {
        &self.codec
    }
}
