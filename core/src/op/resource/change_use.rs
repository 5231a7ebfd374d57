//! Changing the use of a quota, beginning with what the program knows of it.

use crate::error::EngineError;
use crate::op::context::KnownUse;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::partition::Partition;
use crate::quota::{Quota, QuotaUse};
use crate::resource::{Change, ResourceId};
use crate::time::{DurationMs, HostTime};

use super::change::{ChangeResource, KnownResource};
use super::stored::LoadedResource;

/// Changes the use of a quota. The program keeps what it learns of the use for the next change.
#[derive(Clone, Debug)]
pub(in crate::op) struct ChangeUse<C: Change<Record = QuotaUse, Beside = Quota>> {
    id: ResourceId,
    doing: Doing<C>,
    patience: Patience,
}

#[derive(Clone, Debug)]
enum Doing<C: Change<Record = QuotaUse, Beside = Quota>> {
    /// It begins with what the program knows at its first step.
    Begins(C),
    Changes(Box<ChangeResource<C>>),
}

impl<C: Change<Record = QuotaUse, Beside = Quota>> ChangeUse<C> {
    /// Creates the operation.
    pub(in crate::op) fn new(change: C, patience: Patience) -> Self {
        Self { id: change.target(), doing: Doing::Begins(change), patience }
    }

    fn begin(&mut self, change: C, now: HostTime) -> ChangeResource<C> {
        let known = self.patience.context().known_uses().take(&self.id, now);
        let known = known.map(|KnownUse { usage: (version, usage), quota, at }| KnownResource {
            record: LoadedResource::from_parts(version, usage),
            beside: vec![quota.map(|(version, quota)| LoadedResource::from_parts(version, quota))],
            at: Some(at),
        });
        let writer = self.patience.nonce();
        ChangeResource::knowing_all(change, writer, known, self.patience.fork())
    }
}

impl<C: Change<Record = QuotaUse, Beside = Quota>> Operation for ChangeUse<C> {
    type Output = Result<C::Outcome, EngineError>;

    fn partition(&self) -> Option<Partition> {
        Some(self.id.partition)
    }

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        match &self.doing {
            Doing::Begins(_) => None,
            Doing::Changes(change) => change.reply_within(now),
        }
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        if let Doing::Begins(change) = &self.doing {
            let change = self.begin(change.clone(), now);
            self.doing = Doing::Changes(Box::new(change));
        }
        let Doing::Changes(change) = &mut self.doing else { unreachable!("it has begun") };
        let step = change.resume(event, now);
        let beside = match &step {
            Step::Done(Ok(_)) => change.take_beside().into_iter().next().flatten(),
            _ => None,
        };
        step.then_ok(|done| {
            if let Some(usage) = done.record.map(LoadedResource::into_parts) {
                let (quota, at) = (beside.map(LoadedResource::into_parts), done.at);
                let known = KnownUse { usage, quota, at };
                self.patience.context().known_uses().put(self.id, known, now);
            }
            Step::Done(Ok(done.outcome))
        })
    }
}
