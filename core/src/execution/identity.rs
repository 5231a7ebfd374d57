//! The identities by which a repeated command is recognised (`docs/architecture.md`, Identity).

use crate::id::{LeaseEpoch, Nonce, RequestId, SuspensionId};
use crate::time::TimestampMs;

use super::record::Execution;

/// The trace of a command by which the store recognises its repeat.
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
    /// The signal id, as the key of a separate record.
    Signal,
    /// The attempt and the sequence, in the attempt.
    Sequence,
    /// The record itself: applying it twice is the same as once.
    Absolute,
}

impl IdentityKind {
    /// A value in the record that changes when a command of this kind is applied, and never changes
    /// back. If it has not changed, no such command was applied. A grant leaves no such value; the
    /// record never forgets how to recognise commands of the other kinds.
    pub fn fingerprint(self, record: &Execution) -> Option<Fingerprint> {
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
        Some(Fingerprint { origin: Origin::of(record), latest })
    }
}

/// The creation of a record. Records that were created one after the other under one id have
/// different ones, also if one caller has sent its submission again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub(crate) creator: Nonce,
    pub(crate) created_at: TimestampMs,
}

impl Origin {
    /// The creation of this record.
    pub const fn of(record: &Execution) -> Self {
        Self { creator: record.creator, created_at: record.created_at }
    }
}

impl Fingerprint {
    /// Whether both are of one execution, and not of another one that was created under its id.
    pub(crate) fn is_of_same_execution(&self, other: &Self) -> bool {
        self.origin == other.origin
    }
}

/// The latest thing of its kind that a record shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    origin: Origin,
    latest: Latest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Latest {
    Lease(LeaseEpoch),
    Suspension(Option<SuspensionId>),
    Request(Option<RequestId>),
}
