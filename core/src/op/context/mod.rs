//! The context that a program passes to each of its operations.

mod budgets;
mod uses;

pub use budgets::BudgetsCache;
pub use uses::{KnownUse, UseQueue, UseTask, UseWork, UsesCache};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::EngineError;
use crate::id::Namespace;
use crate::lane::{LANES_FOR, Lanes};
use crate::partition::PartitionConfig;
use crate::planted::planted;
use crate::store::codec::Codec;
use crate::store_id::StoreId;
use crate::time::{DurationMs, TimestampMs};
use crate::token::{KEYRING_FOR, KnownKeyring};

use crate::op::loaded::unreadable;
use crate::op::retry_budget::RetryBudget;

/// The context that a program passes to each of its operations: how long it may try, the program's
/// codec, the store that it is connected to, the secrets of tokens, the lanes and the budgets that
/// it has read, the work on quotas that is left to do, and the budget of its retries.
#[derive(Clone, Debug)]
pub struct OperationContext {
    allowed: DurationMs,
    codec: Codec,
    store: KnownStore,
    keyrings: KeyringCache,
    lanes: LanesCache,
    budgets: BudgetsCache,
    uses: UseQueue,
    known_uses: UsesCache,
    partitions: PartitionConfig,
    retries: RetryBudget,
}

impl OperationContext {
    /// The context of operations that may try for this time.
    pub fn new(allowed: DurationMs, codec: Codec) -> Self {
        Self {
            allowed,
            codec,
            store: KnownStore::default(),
            keyrings: KeyringCache::default(),
            lanes: LanesCache::default(),
            budgets: BudgetsCache::default(),
            uses: UseQueue::default(),
            known_uses: UsesCache::default(),
            partitions: PartitionConfig::default(),
            retries: RetryBudget::default(),
        }
    }

    /// The same context with another time.
    #[must_use]
    pub fn within(&self, allowed: DurationMs) -> Self {
        Self { allowed, ..self.clone() }
    }

    /// The same context with another budget of retries.
    #[must_use]
    pub fn with_retries(self, retries: RetryBudget) -> Self {
        Self { retries, ..self }
    }

    /// The same context for a store with these partitions, in place of the default ones.
    #[must_use]
    pub fn with_partitions(self, partitions: PartitionConfig) -> Self {
        Self { partitions, ..self }
    }

    /// The same context for a store without lanes that were changed: it takes all lanes as active,
    /// and never reads them.
    #[must_use]
    pub fn with_active_lanes(self) -> Self {
        Self { lanes: LanesCache { all_active: true, ..self.lanes }, ..self }
    }

    /// The budget of the retries of its calls.
    pub const fn retries(&self) -> &RetryBudget {
        &self.retries
    }

    /// How long an operation tries.
    pub const fn allowed(&self) -> DurationMs {
        self.allowed
    }

    /// The secrets of tokens that the program read last.
    pub const fn keyrings(&self) -> &KeyringCache {
        &self.keyrings
    }

    /// The lanes that the program has read.
    pub const fn lanes(&self) -> &LanesCache {
        &self.lanes
    }

    /// Whether the budgets that the program has read are at their limits.
    pub const fn budgets(&self) -> &BudgetsCache {
        &self.budgets
    }

    /// The work on the uses of quotas that the program has to do next.
    pub const fn uses(&self) -> &UseQueue {
        &self.uses
    }

    /// The uses of quotas that the program knows.
    pub const fn known_uses(&self) -> &UsesCache {
        &self.known_uses
    }

    /// The partitions of the store.
    pub const fn partitions(&self) -> &PartitionConfig {
        &self.partitions
    }

    /// The program's codec.
    pub const fn codec(&self) -> &Codec {
        &self.codec
    }

    /// The store that the program is connected to.
    pub const fn store(&self) -> &KnownStore {
        &self.store
    }

    /// Whether the program may take work. It takes nothing more once its store is lost, or once it
    /// has met a newer format than it knows: then it leaves the work to newer programs.
    ///
    /// # Errors
    ///
    /// `StoreLost`, or `Bug` with `NewerFormat`.
    pub fn check_store(&self) -> Result<(), EngineError> {
        self.store.check()?;
        self.codec.check().map_err(unreadable)
    }
}

/// The store that a program is connected to, and whether it is lost. Clones share it.
#[derive(Clone, Default)]
pub struct KnownStore(Arc<Mutex<StoreState>>);

#[derive(Default)]
struct StoreState {
    connected: Option<StoreId>,
    lost: Option<EngineError>,
    /// Whether the configuration says that the store keeps no counts.
    omits_counts: bool,
}

impl KnownStore {
    /// Notes the identity in the store's configuration; `None` if the store has none. The first
    /// identity is that of the store to which the program connects. Another one, or none, after it
    /// means that this store is lost; nothing changes that.
    pub fn note(&self, found: Option<StoreId>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.connected {
            None => state.connected = found,
            Some(connected) if found != Some(connected) => {
                state.lost.get_or_insert(EngineError::StoreLost { connected, found });
            }
            Some(_) => {}
        }
    }

    /// Notes whether the store keeps counts, as its configuration says. Without a note it does.
    pub fn note_counts(&self, kept: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).omits_counts = !kept;
    }

    /// Whether the store keeps counts of executions by lane and state.
    pub fn keeps_counts(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).omits_counts
    }

    /// Whether the store is still the one to which the program connected, as far as it knows.
    ///
    /// # Errors
    ///
    /// `StoreLost`.
    pub fn check(&self) -> Result<(), EngineError> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.lost.clone().map_or(Ok(()), Err)
    }
}

impl fmt::Debug for KnownStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What other operations read is not part of the one that shares it.
        f.write_str("KnownStore(..)")
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
    pub(in crate::op) fn get(&self, local: TimestampMs) -> Option<KnownKeyring> {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let CachedKeyring { ring, asked_at } = cached.as_ref()?;
        let age = local.since(*asked_at);
        (local >= *asked_at && age < KEYRING_FOR).then(|| ring.clone())
    }

    /// Notes the secrets that were requested at this time of the host's clock.
    pub(in crate::op) fn put(&self, ring: KnownKeyring, asked_at: TimestampMs) {
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

/// The lanes of namespaces that a program has read. Clones share them.
#[derive(Clone, Default)]
pub struct LanesCache {
    read: Arc<Mutex<BTreeMap<Namespace, CachedLanes>>>,
    /// Whether all lanes count as active, and are never read.
    all_active: bool,
}

struct CachedLanes {
    lanes: Arc<Lanes>,
    /// When they were requested last, by the host's clock; `None` after a wake-up.
    asked_at: Option<TimestampMs>,
}

impl LanesCache {
    /// Returns the lanes of a namespace if they were requested less than [`LANES_FOR`] ago.
    pub(in crate::op) fn fresh(
        &self,
        namespace: &Namespace,
        local: TimestampMs,
    ) -> Option<Arc<Lanes>> {
        if self.all_active {
            return Some(Arc::new(Lanes::new(namespace.clone())));
        }
        let cached = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let CachedLanes { lanes, asked_at } = cached.get(namespace)?;
        let is_fresh = asked_at.is_some_and(|at| local >= at && local.since(at) < LANES_FOR);
        (is_fresh || planted!(LanesReadOnce)).then(|| lanes.clone())
    }

    /// Returns the lanes of a namespace, however old.
    pub(in crate::op) fn latest(&self, namespace: &Namespace) -> Option<Arc<Lanes>> {
        let cached = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        cached.get(namespace).map(|cached| cached.lanes.clone())
    }

    /// Notes lanes that were requested at this time of the host's clock.
    pub(in crate::op) fn put(&self, lanes: Arc<Lanes>, asked_at: TimestampMs) {
        let namespace = lanes.namespace().clone();
        let cached = CachedLanes { lanes, asked_at: Some(asked_at) };
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(namespace, cached);
    }

    /// Notes that lanes of a namespace have changed: they are read again before they are used.
    pub fn changed(&self, namespace: &Namespace) {
        let mut cached = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = cached.get_mut(namespace) {
            cached.asked_at = None;
        }
    }
}

impl fmt::Debug for LanesCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What other operations read is not part of the one that shares the cache.
        f.write_str("LanesCache(..)")
    }
}
