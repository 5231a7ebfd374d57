//! Each rule at its exact boundaries: the last millisecond at which something holds, the first at
//! which it does not, and the last try that is allowed.

mod attempts;
mod blocks;
mod commands;
mod creation;
mod due;
mod frames;
mod grants;
mod leases;
mod limits;
mod nulls;
mod replays;
mod resumptions;
mod signals;
mod states;
mod suspensions;
mod waitpoints;
mod wire;

use crate::common::Bench;
use ff_core::error::Rejection;
use ff_core::execution::{AnyOutcome, DueKind, DueOutcome};
use ff_core::state::{LifecyclePhase, TerminalOutcome};

/// The outcome of `on_due` when nothing is due.
fn nothing_due() -> AnyOutcome {
    AnyOutcome::OnDue(DueOutcome::default())
}

/// The steps that `on_due` applied, in order.
#[track_caller]
fn due(bench: &mut Bench, now: u64) -> Vec<DueKind> {
    match bench.applied(crate::common::on_due(), now) {
        AnyOutcome::OnDue(DueOutcome { applied, .. }) => applied,
        other => panic!("on_due gave {other:?}"),
    }
}

/// The rejection of a call that needs a living owner, where there is none.
fn not_active(bench: &Bench, outcome: TerminalOutcome, phase: LifecyclePhase) -> Rejection {
    let record = bench.record();
    Rejection::ExecutionNotActive {
        terminal_outcome: outcome,
        lease_epoch: record.epoch,
        lifecycle_phase: phase,
        attempt_id: record.attempt().map(|attempt| attempt.id),
    }
}
