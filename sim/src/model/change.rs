//! The effect of one step on one execution: its record before and after.

use std::rc::Rc;

use ff_core::execution::{
    Active, AnyCommand, Event, Execution, FenceParts, Frame, Phase, SignalRecord, Suspended,
};
use ff_core::id::{AttemptIndex, ExecutionId, GrantId, SignalId};
use ff_core::store::{Bytes, IndexWrite};
use ff_core::time::TimestampMs;

use crate::model::caller::Caller;

/// The writes of a unit apart from the record.
#[derive(Debug, Default)]
pub struct SideWrites {
    /// The signals that it recorded, with their payloads.
    pub signals: Vec<(SignalRecord, Option<Bytes>)>,
    /// The signals that it removed.
    pub forgotten: Vec<SignalId>,
    /// The frames that it appended.
    pub frames: Vec<(AttemptIndex, Frame)>,
    /// The attempts whose output it removed.
    pub dropped: Vec<AttemptIndex>,
}

impl SideWrites {
    /// Whether the unit wrote nothing apart from the record.
    pub const fn is_empty(&self) -> bool {
        self.signals.is_empty()
            && self.forgotten.is_empty()
            && self.frames.is_empty()
            && self.dropped.is_empty()
    }
}

/// A committed unit.
#[derive(Debug)]
pub struct Change<'c> {
    /// The execution.
    pub id: ExecutionId,
    /// The store's clock.
    pub now: TimestampMs,
    /// The record before.
    pub before: Option<Rc<Execution>>,
    /// The record after.
    pub after: Option<Rc<Execution>>,
    /// Whether the unit left the record as it was and wrote only its index entries.
    pub kept: bool,
    /// The events that the unit wrote to the journal.
    pub events: Vec<Event>,
    /// The index entries that the unit wrote.
    pub writes: Vec<IndexWrite>,
    /// The signals and the output that the unit wrote.
    pub side_writes: SideWrites,
    /// The sender.
    pub caller: &'c Caller,
}

impl Change<'_> {
    /// The ownership before.
    pub fn active_before(&self) -> Option<&Active> {
        active(self.before.as_deref())
    }

    /// The ownership after.
    pub fn active_after(&self) -> Option<&Active> {
        active(self.after.as_deref())
    }

    /// The suspension before.
    pub fn suspended_before(&self) -> Option<&Suspended> {
        suspended(self.before.as_deref())
    }

    /// The suspension after.
    pub fn suspended_after(&self) -> Option<&Suspended> {
        suspended(self.after.as_deref())
    }

    /// The ownership after, if this unit granted the lease.
    pub fn new_lease(&self) -> Option<&Active> {
        let after = self.active_after()?;
        let same = |before: &Active| {
            before.lease.id == after.lease.id && before.lease.epoch == after.lease.epoch
        };
        (!self.active_before().is_some_and(same)).then_some(after)
    }

    /// The grant that is outstanding before, if it is not after.
    pub fn grant_gone(&self) -> Option<&ff_core::execution::Grant> {
        let grant = self.before.as_deref()?.grant()?;
        (self.grant_after() != Some(grant.id)).then_some(grant)
    }

    /// The grant that is outstanding after.
    pub fn grant_after(&self) -> Option<GrantId> {
        self.after.as_deref()?.grant().map(|grant| grant.id)
    }

    /// Whether the life ends in this unit.
    pub fn ends_life(&self) -> bool {
        !is_terminal(self.before.as_deref()) && is_terminal(self.after.as_deref())
    }

    /// The fence of the command, if it is a holder's.
    pub fn fence(&self) -> Option<FenceParts> {
        fence_of(self.caller.command.as_ref()?)
    }
}

fn active(record: Option<&Execution>) -> Option<&Active> {
    match &record?.phase {
        Phase::Active(active) => Some(active),
        _ => None,
    }
}

fn suspended(record: Option<&Execution>) -> Option<&Suspended> {
    match &record?.phase {
        Phase::Suspended(suspended) => Some(suspended),
        _ => None,
    }
}

/// Whether there is a record and its life is over.
pub fn is_terminal(record: Option<&Execution>) -> bool {
    record.is_some_and(|record| matches!(record.phase, Phase::Terminal(_)))
}

/// The fence that a command carries, if it is a holder's.
pub fn fence_of(command: &AnyCommand) -> Option<FenceParts> {
    use ff_core::execution::CancelledBy;
    match command {
        AnyCommand::Renew(c) => Some(c.fence),
        AnyCommand::Complete(c) => Some(c.fence),
        AnyCommand::Fail(c) => Some(c.fence),
        AnyCommand::DelayExecution(c) => Some(c.fence),
        AnyCommand::MoveToWaitingChildren(c) => Some(c.fence),
        AnyCommand::UpdateProgress(c) => Some(c.fence),
        AnyCommand::Suspend(c) => Some(c.fence),
        AnyCommand::CreatePendingWaitpoint(c) => Some(c.fence),
        AnyCommand::AppendFrame(c) => Some(c.fence),
        AnyCommand::Cancel(c) => match c.by {
            CancelledBy::Holder(fence) => Some(fence),
            CancelledBy::Operator(_) => None,
        },
        _ => None,
    }
}
