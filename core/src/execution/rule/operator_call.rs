//! Calls of operators: how a repeat is recognised, and which life a call is meant for
//! (`docs/architecture.md`, Identity).

use crate::error::Rejection;
use crate::execution::record::{Execution, OperatorOutcome};
use crate::id::RequestId;

/// An operator's call: its request id, and the life that it is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorCall {
    /// Chosen by the caller; the same for each repeat of the call.
    pub request_id: RequestId,
    /// The life (replay count) that the operation saw first; `None` before it has seen one.
    pub life: Option<u32>,
}

impl OperatorCall {
    /// A call that is meant for the life that it meets first.
    pub const fn new(request_id: RequestId) -> Self {
        Self { request_id, life: None }
    }

    /// Notes the life that the operation sees first.
    pub const fn observe(&mut self, execution: &Execution) {
        if self.life.is_none() {
            self.life = Some(execution.counts.replays);
        }
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

    /// Refuses the call when it was meant for another life.
    pub(super) fn check_life(&self, execution: &Execution) -> Result<(), Rejection> {
        let current = execution.counts.replays;
        match self.life {
            Some(asked) if asked != current => Err(Rejection::Superseded { asked, current }),
            _ => Ok(()),
        }
    }

    /// Records the call with its outcome.
    pub(super) fn remember(&self, execution: &mut Execution, outcome: OperatorOutcome) {
        execution.requests.push((self.request_id.clone(), outcome));
    }
}
