//! `forget_signals`: retention takes the signals of an execution away, some at a time
//! (`docs/spec.md`, 4 and 5).

use crate::execution::record::{
    Beside, Continuation, Decision, Execution, Ruling, ValueEffect, ValueKind, Verdict,
};
use crate::id::{ExecutionId, SignalId};
use crate::time::TimestampMs;

use super::on_due::after_signals;

/// How many signals go in one step.
pub const FORGOTTEN_AT_ONCE: u32 = 100;

/// Takes these signals away. Identity: the record itself; what is gone is not there any more.
#[derive(Clone, Debug)]
pub struct ForgetSignals {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The next signals in the order of their numbers, at most [`FORGOTTEN_AT_ONCE`], with the
    /// nonces of their records' versions, where there are any: a signal's record is written once.
    pub signals: Vec<(SignalId, Option<u64>)>,
    /// Whether there are no others.
    pub last: bool,
}

/// What is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Whether there are signals left.
    pub more: bool,
}

/// Takes signals away, with their payloads; after the last ones retention goes on.
/// Where retention is not at them, or past them already, there is nothing to do.
///
/// # Errors
///
/// None of its own.
pub fn forget_signals(
    current: &Execution,
    command: &ForgetSignals,
    now: TimestampMs,
) -> Ruling<Forgotten> {
    if current.continuation != Some(Continuation::RemoveSignals) {
        return Ok(Verdict::Repeat(Forgotten { more: false }));
    }
    let mut next = current.clone();
    if command.last {
        next.continuation = Some(after_signals(current));
    }
    let gone = Beside { forgotten: command.signals.clone(), ..Beside::default() };
    let outcome = Forgotten { more: !command.last };
    let mut decision = Decision::put(next, now, outcome).beside(gone);
    let payload = |(id, _): &(SignalId, Option<u64>)| ValueEffect::Remove(ValueKind::Signal(*id));
    decision.values = command.signals.iter().map(payload).collect();
    Ok(decision.into())
}
