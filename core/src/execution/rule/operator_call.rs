//! Calls of operators: how a repeat is recognised, and which life a call is meant for
//! (`docs/architecture.md`, Identity).

use crate::error::Rejection;
use crate::execution::facts::FirstSeen;
use crate::execution::record::{Execution, OperatorOutcome};
use crate::id::RequestId;

/// An operator's call. It is meant for the life that its operation sees first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorCall {
    /// Chosen by the caller; the same for each repeat of the call.
    pub request_id: RequestId,
}

impl OperatorCall {
    /// A call of this request id.
    pub const fn new(request_id: RequestId) -> Self {
        Self { request_id }
    }

    /// The outcome of the same call, if it was applied before and `of_kind` recognises its kind.
    /// \[INV-IDENTITY-1\]
    pub(super) fn repeated<T>(
        &self,
        execution: &Execution,
        of_kind: impl Fn(&OperatorOutcome) -> Option<T>,
    ) -> Option<T> {
        let same = execution.requests.iter().rev().filter(|(id, _)| *id == self.request_id);
        same.filter_map(|(_, outcome)| of_kind(outcome)).next()
    }

    /// Records the call with its outcome.
    pub(super) fn remember(&self, execution: &mut Execution, outcome: OperatorOutcome) {
        execution.requests.push((self.request_id.clone(), outcome));
    }
}

/// Refuses an operator's call that was meant for another life.
pub(super) fn check_life(
    execution: &Execution,
    first_seen: Option<FirstSeen>,
) -> Result<(), Rejection> {
    let current = execution.counts.replays;
    match first_seen {
        Some(FirstSeen { life: asked, .. }) if asked != current => {
            Err(Rejection::Superseded { asked, current })
        }
        _ => Ok(()),
    }
}
