//! Work on the uses of quotas that operations leave behind, for the program to do next.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::id::{Namespace, SlotId};
use crate::quota::{Quota, QuotaUse};
use crate::quota_ref::QuotaRef;
use crate::resource::{Kept, ResourceId};
use crate::store::Version;
use crate::time::{HostTime, TimestampMs};

/// Work on the use of a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UseTask {
    /// The namespace.
    pub namespace: Namespace,
    /// The quota and the key.
    pub of: QuotaRef,
    /// The work.
    pub work: UseWork,
}

/// A task about the use of a quota. After it, free slots are offered to the executions that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseWork {
    /// Frees a slot.
    Free {
        /// The slot.
        slot: SlotId,
        /// Whether nothing was started under it.
        unused: bool,
    },
    /// Compares slots with the executions that hold them, where that is due.
    Check,
    /// Only offers free slots.
    Wake,
}

/// The work that a program has to do next. Clones share it.
///
/// Work that gets lost, with the program or because there is too much, costs time and no slot:
/// slots are checked, and executions that wait are looked at again.
#[derive(Clone, Default)]
pub struct UseQueue(Arc<Mutex<VecDeque<UseTask>>>);

/// The most tasks in a queue.
const MAX_TASKS: usize = 10_000;

impl UseQueue {
    /// Adds a task, unless it is there already or there are too many.
    pub(in crate::op) fn push(&self, task: UseTask) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = matches!(task.work, UseWork::Free { .. });
        if tasks.len() < MAX_TASKS && (is_free || !tasks.contains(&task)) {
            tasks.push_back(task);
        }
    }

    /// Whether there is no task.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Takes the next task.
    pub fn take(&self) -> Option<UseTask> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl fmt::Debug for UseQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What other operations leave behind is not part of the one that shares the queue.
        f.write_str("UseQueue(..)")
    }
}

/// The uses of quotas as a program has read or written them last. So a program that often changes
/// one needs one call for each change, not two. A change on an old one meets a conflict, whose
/// reply has the present one. Clones share it.
#[derive(Clone, Default)]
pub struct UsesCache(Arc<Mutex<BTreeMap<ResourceId, (KnownUse, TimestampMs)>>>);

/// A use as a program knows it, with its quota.
#[derive(Clone, Debug)]
pub struct KnownUse {
    /// The use.
    pub usage: (Version, Kept<QuotaUse>),
    /// Its quota.
    pub quota: Option<(Version, Kept<Quota>)>,
    /// The time of the clock of its partition.
    pub at: TimestampMs,
}

/// The most uses that are remembered.
const MAX_USES: usize = 256;

impl UsesCache {
    /// Takes the use as it is known, with the present time of its clock.
    pub(in crate::op) fn take(&self, id: &ResourceId, now: HostTime) -> Option<KnownUse> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, local) = cached.remove(id)?;
        Some(KnownUse { at: known.at.plus(now.local.since(local)), ..known })
    }

    /// Returns whether executions may wait for a slot of a use, if it is known.
    pub(in crate::op) fn is_awaited(&self, id: &ResourceId, now: HostTime) -> bool {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cached.get(id).is_some_and(|(known, local)| {
            let now = known.at.plus(now.local.since(*local));
            known.usage.1.record.is_awaited(now)
        })
    }

    /// Notes a use from a reply that was received now.
    pub(in crate::op) fn put(&self, id: ResourceId, known: KnownUse, now: HostTime) {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.len() >= MAX_USES {
            cached.clear();
        }
        cached.insert(id, (known, now.local));
    }
}

impl fmt::Debug for UsesCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What other operations read is not part of the one that shares the cache.
        f.write_str("UsesCache(..)")
    }
}
