//! What makes a repeated command recognisable (`docs/architecture.md`, Identity).

use crate::id::{LeaseEpoch, Nonce, RequestId, SuspensionId};

use super::record::Execution;

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
