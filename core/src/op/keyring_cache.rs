//! What one program has read of the secrets that sign tokens (`docs/spec.md`, 5).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::time::TimestampMs;
use crate::token::{KEYRING_FOR, KnownKeyring};

/// The secrets that one program has read lately. Clones share them.
#[derive(Clone, Default)]
pub struct KeyringCache(Arc<Mutex<Option<Held>>>);

impl fmt::Debug for KeyringCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What others have read lately is not part of whoever shares it.
        f.write_str("KeyringCache(..)")
    }
}

struct Held {
    ring: KnownKeyring,
    /// When they were asked for, by the host's clock.
    asked_at: TimestampMs,
}

impl KeyringCache {
    /// The secrets as they were read, if that is less than [`KEYRING_FOR`] ago.
    pub(super) fn get(&self, local: TimestampMs) -> Option<KnownKeyring> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Held { ring, asked_at } = held.as_ref()?;
        let age = local.since(*asked_at);
        (local >= *asked_at && age < KEYRING_FOR).then(|| ring.clone())
    }

    /// Notes the secrets that were asked for at that time of the host's clock.
    pub(super) fn put(&self, ring: KnownKeyring, asked_at: TimestampMs) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Held { ring, asked_at });
    }
}
