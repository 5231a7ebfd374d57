//! What makes a repeated command recognisable (`docs/architecture.md`, Identity).

use crate::error::Rejection;
use crate::id::{LeaseEpoch, Nonce, RequestId, SuspensionId};
use crate::planted::planted;

use super::record::{Execution, OperatorOutcome};

/// Says by what a command is recognised when it comes again. A command without it does not
/// compile: [`super::Decide`] asks for it.
pub trait Identity {
    /// What the store remembers of the command.
    fn identity(&self) -> IdentityKind;
}

/// What the store remembers of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityKind {
    /// The execution id and the creator's nonce, in the record.
    Creator,
    /// The grant id, in the grant and in the lease that consumed it.
    Grant,
    /// The lease id, in the lease.
    Lease,
    /// The fence and the command's kind, in `last_release`.
    Fence,
    /// The request id, among the last eight of the record.
    Request,
    /// The suspension id, in the present or latest suspension.
    Suspension,
    /// The waitpoint id, among the waitpoints of the record.
    Waitpoint,
    /// The signal id, as the key of a record of its own.
    Signal,
    /// The attempt and the sequence, in the attempt.
    Sequence,
    /// The record itself: applying it twice is the same as once.
    Absolute,
}

impl IdentityKind {
    /// What is another one in the record as soon as a command of this kind has been carried out,
    /// and stays so. Where it is the same as before, none has. A grant leaves nothing of the kind
    /// behind; what the others are recognised by is never forgotten.
    pub fn mark(self, record: &Execution) -> Option<Mark> {
        let latest = match self {
            Self::Lease => Latest::Lease(record.epoch),
            Self::Suspension => {
                let latest = record.waiting.as_ref().and_then(|waiting| waiting.latest.as_ref());
                Latest::Suspension(latest.map(|latest| latest.id))
            }
            Self::Request => Latest::Request(record.requests.last().map(|(id, _)| id.clone())),
            Self::Creator
            | Self::Grant
            | Self::Fence
            | Self::Waitpoint
            | Self::Signal
            | Self::Sequence
            | Self::Absolute => return None,
        };
        Some(Mark { creator: record.creator, latest })
    }
}

/// The latest thing of its kind that a record shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    creator: Nonce,
    latest: Latest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Latest {
    Lease(LeaseEpoch),
    Suspension(Option<SuspensionId>),
    Request(Option<RequestId>),
}

/// An operator's call: its name, and the life that it is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorCall {
    /// Chosen by the caller; the same for each repeat of the call.
    pub request_id: RequestId,
    /// The life (replay count) that the operation saw first; `None` before it has seen one.
    pub life: Option<u32>,
}

impl OperatorCall {
    /// A call that is meant for whatever life it meets first.
    pub const fn new(request_id: RequestId) -> Self {
        Self { request_id, life: None }
    }

    /// Notes the life that the operation sees first.
    pub const fn observe(&mut self, execution: &Execution) {
        if self.life.is_none() {
            self.life = Some(execution.counts.replays);
        }
    }

    /// The outcome of the same call, if it was applied before and is of the kind that `of_kind`
    /// recognises. \[INV-IDENTITY-1\]
    pub(super) fn repeated<T>(
        &self,
        execution: &Execution,
        of_kind: impl Fn(&OperatorOutcome) -> Option<T>,
    ) -> Option<T> {
        if planted!(OperatorRepeatUnknown) {
            return None;
        }
        let same = execution.requests.iter().rev().filter(|(id, _)| *id == self.request_id);
        same.filter_map(|(_, outcome)| of_kind(outcome)).next()
    }

    /// Refuses the call when it was meant for another life.
    pub(super) fn check_life(&self, execution: &Execution) -> Result<(), Rejection> {
        let current = execution.counts.replays;
        match self.life {
            Some(asked) if asked != current && !planted!(LifeNotChecked) => {
                Err(Rejection::Superseded { asked, current })
            }
            _ => Ok(()),
        }
    }

    /// Remembers the call with its outcome.
    pub(super) fn remember(&self, execution: &mut Execution, outcome: OperatorOutcome) {
        execution.requests.push((self.request_id.clone(), outcome));
    }
}
