//! Reading which lanes of a namespace accept submissions and start work.

use std::sync::Arc;

use crate::error::EngineError;
use crate::id::Namespace;
use crate::lane::Lanes;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::read::ReadResources;
use super::stored::LoadedResource;

/// Reads the lanes of a namespace, unless the program has read them within
/// [`LANES_FOR`](crate::lane::LANES_FOR).
///
/// If they cannot be read within 200 ms, the lanes that the program has read last are returned, or
/// all as active if it has read none: so a node that is down does not stop work on others.
#[derive(Clone, Debug)]
pub struct ReadLanes {
    namespace: Namespace,
    read: ReadResources<Lanes>,
    patience: Patience,
    asked_at: TimestampMs,
}

/// How long the read waits for its reply: 200 ms.
const WITHIN: DurationMs = DurationMs::new(200);

impl ReadLanes {
    /// Creates the operation.
    pub fn new(namespace: Namespace, mut patience: Patience) -> Self {
        let read = ReadResources::new(&[Lanes::id(&namespace)], patience.fork());
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
        self.read.reply_within(now).map(|left| left.min(WITHIN))
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
                let latest = self.patience.lanes().latest(&self.namespace);
                let active = || Arc::new(Lanes::new(self.namespace.clone()));
                let lanes = latest.unwrap_or_else(active);
                self.patience.lanes().put(lanes.clone(), now.local);
                return Step::Done(Ok(lanes));
            }
            Event::Reply(_) => {}
        }
        self.read.resume(event, now).then_ok(|found| Step::Done(Ok(self.found(found))))
    }
}
