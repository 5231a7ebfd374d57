//! The effect of one step on one execution: its record before and after.

use std::rc::Rc;

use ff_core::execution::{
    Active, AnyCommand, Cancel, CancelledBy, Event, Execution, FenceParts, Frame, OperatorCall,
    Phase, SignalRecord, Suspended,
};
use ff_core::id::{AttemptIndex, ExecutionId, GrantId, SignalId};
use ff_core::store::{Bytes, IndexWrite, Version};
use ff_core::time::TimestampMs;

use crate::model::caller::Caller;
use crate::model::index_positions::due_of;

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
    /// The version of the record after, if the unit wrote it.
    pub version: Version,
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

    /// Whether the retention of the execution was over before this unit.
    pub fn is_removable(&self) -> bool {
        let Some(before) = &self.before else { return false };
        is_terminal(Some(before)) && due_of(before).is_some_and(|at| at <= self.now)
    }

    /// The fence of the command, if it is a holder's.
    pub fn fence(&self) -> Option<FenceParts> {
        fence_of(self.caller.command.as_ref()?).copied()
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

/// Two functions for each part that only some commands have: one to read it, and one to change it.
macro_rules! parts {
    ($($(#[$doc:meta])* $of:ident, $change:ident: $field:ident of $part:ty, $by:ident,
        $($command:ident)|+;)+) => {
        $(
            $(#[$doc])*
            pub const fn $of(command: &AnyCommand) -> Option<&$part> {
                match command {
                    $(AnyCommand::$command(command) => Some(&command.$field),)+
                    AnyCommand::Cancel(Cancel { by: CancelledBy::$by(part), .. }) => Some(part),
                    _ => None,
                }
            }

            $(#[$doc])*
            #[cfg(feature = "planted-bugs")]
            pub const fn $change(command: &mut AnyCommand) -> Option<&mut $part> {
                match command {
                    $(AnyCommand::$command(command) => Some(&mut command.$field),)+
                    AnyCommand::Cancel(Cancel { by: CancelledBy::$by(part), .. }) => Some(part),
                    _ => None,
                }
            }
        )+
    };
}

parts! {
    /// The fence of a command, if it is a holder's.
    fence_of, fence_mut: fence of FenceParts, Holder,
        Renew | Complete | Fail | DelayExecution | MoveToWaitingChildren | UpdateProgress | Suspend
            | CreatePendingWaitpoint | AppendFrame;
    /// The call of a command, if it is an operator's.
    call_of, call_mut: call of OperatorCall, Operator,
        RevokeLease | ChangePriority | Replay | Resume;
}
