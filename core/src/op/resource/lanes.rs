//! Reading which lanes of a namespace accept submissions and start work.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::EngineError;
use crate::id::Namespace;
use crate::lane::{LANES_FOR, Lanes};
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::planted::planted;
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::read::ReadResources;
use super::stored::LoadedResource;

/// The lanes of namespaces that a program has read. Clones share them.
#[derive(Clone, Default)]
pub struct LanesCache(Arc<Mutex<BTreeMap<Namespace, CachedLanes>>>);

struct CachedLanes {
    lanes: Arc<Lanes>,
    /// When they were requested last, by the host's clock; `None` after a wake-up.
    asked_at: Option<TimestampMs>,
}

impl LanesCache {
    /// Returns the lanes of a namespace if they were requested less than [`LANES_FOR`] ago.
    pub(crate) fn fresh(&self, namespace: &Namespace, local: TimestampMs) -> Option<Arc<Lanes>> {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let CachedLanes { lanes, asked_at } = cached.get(namespace)?;
        let is_fresh = asked_at.is_some_and(|at| local >= at && local.since(at) < LANES_FOR);
        (is_fresh || planted!(LanesReadOnce)).then(|| lanes.clone())
    }

    /// Returns the lanes of a namespace, however old.
    fn latest(&self, namespace: &Namespace) -> Option<Arc<Lanes>> {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cached.get(namespace).map(|cached| cached.lanes.clone())
    }

    /// Notes lanes that were requested at this time of the host's clock.
    fn put(&self, lanes: Arc<Lanes>, asked_at: TimestampMs) {
        let namespace = lanes.namespace().clone();
        let cached = CachedLanes { lanes, asked_at: Some(asked_at) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(namespace, cached);
    }

    /// Notes that lanes of a namespace have changed: they are read again before they are used.
    pub fn changed(&self, namespace: &Namespace) {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Reads the lanes of a namespace, unless the program has read them within [`LANES_FOR`].
///
/// If they cannot be read, the lanes that the program has read last are returned: so a node that is
/// down does not stop work that has nothing to do with it. A program that has never read them tries
/// until its deadline.
#[derive(Clone, Debug)]
pub struct ReadLanes {
    namespace: Namespace,
    read: ReadResources<Lanes>,
    patience: Patience,
    asked_at: TimestampMs,
}

/// How long the read waits for its reply if older lanes are known: 250 ms.
const WITHIN: DurationMs = DurationMs::new(250);

impl ReadLanes {
    /// Creates the operation.
    pub fn new(namespace: Namespace, mut patience: Patience) -> Self {
        let ids = vec![Lanes::id(&namespace)];
        let read = ReadResources::new(ids, patience.fork());
        Self { namespace, read, patience, asked_at: TimestampMs::ZERO }
    }

    fn found(&self, mut found: Vec<Option<LoadedResource<Lanes>>>) -> Arc<Lanes> {
        let found = found.pop().flatten().map(LoadedResource::into_record);
        let lanes = found.unwrap_or_else(|| Lanes::new(self.namespace.clone()));
        let lanes = Arc::new(lanes);
        self.patience.lanes().put(lanes.clone(), self.asked_at);
        lanes
    }
}

impl Operation for ReadLanes {
    /// The lanes.
    type Output = Result<Arc<Lanes>, EngineError>;

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        let left = self.read.reply_within(now);
        match self.patience.lanes().latest(&self.namespace) {
            Some(_) => left.map(|left| left.min(WITHIN)),
            None => left,
        }
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        match &event {
            Event::Start | Event::Wake => {
                let fresh = self.patience.lanes().fresh(&self.namespace, now.local);
                if let Some(lanes) = fresh {
                    return Step::Done(Ok(lanes));
                }
                self.asked_at = now.local;
            }
            Event::Failure(_) => {
                if let Some(lanes) = self.patience.lanes().latest(&self.namespace) {
                    self.patience.lanes().put(lanes.clone(), now.local);
                    return Step::Done(Ok(lanes));
                }
            }
            Event::Reply(_) => {}
        }
        self.read.resume(event, now).then_ok(|found| Step::Done(Ok(self.found(found))))
    }
}
