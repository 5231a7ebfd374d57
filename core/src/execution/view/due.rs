//! When something about an execution is due: one timer for all of it
//! (`docs/architecture.md`, Records).

use crate::execution::record::{BlockKind, Execution, LeaseFate, Phase};
use crate::execution::retention;
use crate::time::TimestampMs;

/// The kind of work that is due, in the order in which ties are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DueKind {
    /// The record's removal goes on with its next step.
    Continuation,
    /// The execution's deadline passes: it ends as expired.
    Deadline,
    /// The attempt times out: a failure, retried by policy.
    AttemptTimeout,
    /// The suspension times out.
    SuspensionTimeout,
    /// The lease expires.
    LeaseExpiry,
    /// The grant expires.
    GrantExpiry,
    /// A waitpoint closes because no suspension uses it.
    WaitpointExpiry,
    /// The delay is over.
    DelayOver,
    /// Something that holds the execution back is looked at again.
    Recheck(BlockKind),
    /// The retention of a terminal execution is over.
    Retention,
}

/// Everything that will be due unless a command comes first, in no order.
pub fn due_times(execution: &Execution) -> impl Iterator<Item = (TimestampMs, DueKind)> + '_ {
    let continuation = execution.continuation.map(|_| (TimestampMs::ZERO, DueKind::Continuation));
    let (mut lease, mut timeout, mut delay, mut blocks) = (None, None, None, None);
    match &execution.phase {
        Phase::Runnable(runnable) => {
            delay = runnable.not_before.map(|delay| (delay.until, DueKind::DelayOver));
            blocks = Some(&runnable.blocks);
        }
        Phase::Active(active) if active.fate == LeaseFate::Held => {
            lease = Some((active.lease.expires_at, DueKind::LeaseExpiry));
            timeout = execution
                .attempt_times_out_at(&active.lease)
                .map(|at| (at, DueKind::AttemptTimeout));
        }
        Phase::Active(active) => blocks = Some(&active.blocks),
        Phase::Suspended(suspended) => {
            let over = suspended.suspension.timeout;
            timeout = over.map(|timeout| (timeout.at, DueKind::SuspensionTimeout));
        }
        Phase::Terminal(_) => {}
    }
    let over = matches!(execution.phase, Phase::Terminal(_));
    let deadline = execution.deadline.filter(|_| !over).map(|at| (at, DueKind::Deadline));
    let grant = execution.grant().map(|grant| (grant.expires_at, DueKind::GrantExpiry));
    let rechecks = blocks
        .into_iter()
        .flat_map(|blocks| blocks.iter())
        .filter_map(|block| block.recheck_at.map(|at| (at, DueKind::Recheck(block.kind))));
    let retention = retention::over_at(execution).map(|at| (at, DueKind::Retention));
    let open = execution.waiting.iter().flat_map(|waiting| &waiting.open);
    let waitpoints = open.filter_map(|waitpoint| waitpoint.expires_at());
    [continuation, deadline, timeout, lease, grant, delay, retention]
        .into_iter()
        .flatten()
        .chain(rechecks)
        .chain(waitpoints.map(|at| (at, DueKind::WaitpointExpiry)))
}

/// The earliest of [`due_times`]; on a tie the first in the order of [`DueKind`].
pub fn next_due(execution: &Execution) -> Option<(TimestampMs, DueKind)> {
    due_times(execution).min()
}
