//! When something about an execution is due: one timer for everything
//! (`docs/architecture.md`, Records).

use crate::execution::record::{BlockKind, Execution, LeaseFate, NotBefore, Phase};
use crate::planted::planted;
use crate::time::{DurationMs, TimestampMs};

/// What can be due, in the order in which ties are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DueKind {
    /// Work on the record itself goes on.
    Continuation,
    /// The execution's deadline passes: terminal expired.
    Deadline,
    /// The attempt has taken too long: a failure, retried by policy.
    AttemptTimeout,
    /// The suspension has taken too long.
    SuspensionTimeout,
    /// The lease runs out.
    LeaseExpiry,
    /// The grant runs out.
    GrantExpiry,
    /// A waitpoint closes that no suspension uses.
    WaitpointExpiry,
    /// The delay is over.
    DelayOver,
    /// Something that holds the execution back is looked at again.
    Recheck(BlockKind),
    /// The terminal execution has been kept long enough.
    Retention,
}

/// How long a record is kept from its creation on, however short its retention is: longer than a
/// copy of its submission may be under way, which would create it again. \[INV-IDENTITY-1\]
const KEPT_AT_LEAST: DurationMs = DurationMs::from_secs(60);

/// Everything that will be due if nobody does anything, in no order.
pub fn due_times(execution: &Execution) -> impl Iterator<Item = (TimestampMs, DueKind)> + '_ {
    let continuation = execution.continuation.map(|_| (TimestampMs::ZERO, DueKind::Continuation));
    let (mut lease, mut timeout, mut delay, mut retention, mut blocks) =
        (None, None, None, None, None);
    match &execution.phase {
        Phase::Runnable(runnable) => {
            delay = runnable.not_before.map(|delay| (over_at(delay), DueKind::DelayOver));
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
        Phase::Terminal(terminal) if continuation.is_none() => {
            let since =
                if planted!(RetentionFromCreation) { execution.created_at } else { terminal.at };
            let until = since.plus(execution.policy.retention_ms);
            let least = execution.created_at.plus(KEPT_AT_LEAST);
            retention = Some((until.max(least), DueKind::Retention));
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
    let open = execution.waiting.iter().flat_map(|waiting| &waiting.open);
    let waitpoints = open.filter_map(|waitpoint| waitpoint.expires_at());
    [continuation, deadline, timeout, lease, grant, delay, retention]
        .into_iter()
        .flatten()
        .chain(rechecks)
        .chain(waitpoints.map(|at| (at, DueKind::WaitpointExpiry)))
}

/// When a delay is over.
fn over_at(delay: NotBefore) -> TimestampMs {
    if planted!(DelayEndedEarly) {
        return delay.until.minus(DurationMs::from_secs(1));
    }
    delay.until
}

/// The earliest of [`due_times`]; on a tie the first in the order of [`DueKind`].
pub fn next_due(execution: &Execution) -> Option<(TimestampMs, DueKind)> {
    due_times(execution).min()
}
