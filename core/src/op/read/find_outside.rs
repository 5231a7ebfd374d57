//! Executions in partitions that the store's configuration does not have.

use crate::error::{Applied, EngineError};
use crate::id::Namespace;
use crate::op::loaded::other_reply;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::partition::Partition;
use crate::store::{IndexName, Poll, PollOf, Reply, ReplyBody, Request};
use crate::time::HostTime;

/// Looks for executions of a namespace in partitions that the store's configuration does not have:
/// no worker looks there.
#[derive(Clone, Debug)]
pub struct FindOutside {
    namespace: Namespace,
    from: u32,
    patience: Patience,
    found: Vec<Partition>,
}

/// Partitions in one poll.
const POLLED: u32 = 4_096;
const OP: &str = "audit";

impl FindOutside {
    /// Looks at every partition from this one on: the number of partitions, or zero if the store
    /// has no configuration.
    pub const fn new(from: u16, namespace: Namespace, patience: Patience) -> Self {
        Self { namespace, from: from as u32, patience, found: Vec::new() }
    }

    fn polled(&self) -> impl Iterator<Item = Partition> + use<> {
        let until = (self.from + POLLED).min(u32::from(u16::MAX) + 1);
        (self.from..until).map(|index| Partition::flow(index as u16))
    }

    fn poll(&mut self) -> Step<<Self as Operation>::Output> {
        let partitions: Vec<_> = self.polled().collect();
        if partitions.is_empty() {
            return Step::Done(Ok(std::mem::take(&mut self.found)));
        }
        let of = PollOf::Index(IndexName::All { namespace: self.namespace.clone() });
        Step::Send(Request::Poll(Poll { of, partitions, listeners: None }))
    }
}

impl Operation for FindOutside {
    /// The partitions that hold executions and should not.
    type Output = Result<Vec<Partition>, EngineError>;

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        match event {
            Event::Start | Event::Wake => {
                self.patience.begin(now);
                self.poll()
            }
            Event::Reply(Reply { body: ReplyBody::Poll(polled), .. })
                if polled.firsts.len() == self.polled().count() =>
            {
                self.found.extend(polled.with_entries(self.polled()));
                self.from += POLLED;
                self.poll()
            }
            Event::Reply(Reply { body: ReplyBody::OverBound(over), .. }) => Step::fail(over),
            Event::Reply(_) => self.resume(Event::Failure(other_reply(OP)), now),
            Event::Failure(failure) => {
                Step::retry(self.patience.after_failure(OP, &failure, Applied::No, now))
            }
        }
    }
}
