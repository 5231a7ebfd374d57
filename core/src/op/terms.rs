//! What a program gives to each of its operations.

use crate::store::codec::Codec;
use crate::time::DurationMs;

/// What a program gives to each of its operations: how long it may try, and what the program knows
/// of the store's record formats.
#[derive(Clone, Debug)]
pub struct Terms {
    allowed: DurationMs,
    codec: Codec,
}

impl Terms {
    /// Tries for that long, with the program's codec.
    pub const fn new(allowed: DurationMs, codec: Codec) -> Self {
        Self { allowed, codec }
    }

    /// The same terms for another time.
    #[must_use]
    pub fn within(&self, allowed: DurationMs) -> Self {
        Self { allowed, codec: self.codec.clone() }
    }

    /// How long an operation tries.
    pub const fn allowed(&self) -> DurationMs {
        self.allowed
    }

    /// What the program knows of the record formats.
    pub const fn codec(&self) -> &Codec {
        &self.codec
    }
}
