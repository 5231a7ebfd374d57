//! The calls of a worker for handlers that wait: waitpoints, suspensions, signals and output.

use ff_core::error::EngineError;
use ff_core::execution::{AnyCommand, AnyOutcome, Execution, IssuedWaitpoint, SuspendOutcome};
use ff_core::id::{ExecutionId, LeaseId};
use ff_core::op::{Committed, Known, ReadSignals};
use ff_core::time::{DurationMs, TimestampMs};

use crate::determinism::random::happens;
use crate::process::context::{About, Context, Effect, TokenInHand};
use crate::process::task::{Origin, Output};

use super::WorkerProcess;

/// How often a handler repeats a call that fails.
const MOST_TRIES: u32 = 3;

impl WorkerProcess {
    /// Lets a job suspend, with the record that its worker knows.
    pub(super) fn suspend(&mut self, lease_id: LeaseId, cx: &Context<'_>) {
        let known = self.agent.leases.known(lease_id);
        let Some(job) = self.jobs.get_mut(&lease_id) else { return };
        job.asking = Some((job.suspension(record_of(&known), cx.now.store), 0));
    }

    /// Sends the pending call of a job.
    pub(super) fn ask(&mut self, lease_id: LeaseId, cx: &mut Context<'_>) {
        let Some(job) = self.jobs.get_mut(&lease_id) else { return };
        let Some((command, _)) = &job.asking else { return };
        let command = command.clone();
        job.busy = true;
        let origin = match &command {
            AnyCommand::Suspend(_) => Origin::Suspend(lease_id),
            AnyCommand::CreatePendingWaitpoint(_) => Origin::Waitpoint(lease_id),
            _ => {
                self.send(Origin::Frame(lease_id), command, cx);
                return;
            }
        };
        self.sent.note(&command);
        let stale = happens(&mut self.entropy, 300);
        let known = if stale { Known::Nothing } else { self.agent.leases.known(lease_id) };
        let patience = self.agent.patience();
        cx.command_knowing(origin, command, known, patience);
    }

    /// Takes over the answer to a call of a job.
    pub(super) fn asked(
        &mut self,
        lease_id: LeaseId,
        result: Result<Committed<AnyOutcome>, EngineError>,
        cx: &mut Context<'_>,
    ) {
        let committed = match result {
            Ok(committed) => committed,
            Err(error) => return self.refused_asking(lease_id, &error, cx),
        };
        let known = committed.record;
        let id = known.as_ref().map(|loaded| loaded.execution.id);
        let deadline = known.as_ref().and_then(|loaded| loaded.execution.deadline);
        self.agent.leases.learn(lease_id, known);
        match committed.outcome {
            AnyOutcome::CreatePendingWaitpoint(issued) => {
                hand_out(id, vec![issued], deadline, cx);
                self.answered_asking(lease_id);
            }
            AnyOutcome::Suspend(SuspendOutcome::Suspended { waitpoints, timeout_at, .. }) => {
                hand_out(id, waitpoints, timeout_at.into_iter().chain(deadline).min(), cx);
                self.agent.leases.release(lease_id);
                self.jobs.remove(&lease_id);
                self.next_claim = cx.now.local;
            }
            AnyOutcome::AppendFrame(appended) => {
                let Some(job) = self.jobs.get_mut(&lease_id) else { return };
                job.busy = false;
                let Some((AnyCommand::AppendFrame(sent), _)) = job.asking.clone() else { return };
                if let Some(next) = job.framed(&sent.frame, Ok(appended.sequence)) {
                    job.asking = Some((next, 0));
                } else if !job.says_again() {
                    job.asking = None;
                }
            }
            _ => self.answered_asking(lease_id),
        }
    }

    /// A call of a job has failed: it is repeated a few times. For a frame, its writer decides.
    fn refused_asking(&mut self, lease_id: LeaseId, error: &EngineError, cx: &Context<'_>) {
        let Some(job) = self.jobs.get_mut(&lease_id) else { return };
        job.busy = false;
        job.next_at = cx.now.local.plus(DurationMs::new(20));
        job.asking = match job.asking.take() {
            Some((AnyCommand::AppendFrame(sent), _)) => {
                job.framed(&sent.frame, Err(error)).map(|next| (next, 0))
            }
            Some((command, tries)) if tries + 1 < MOST_TRIES => Some((command, tries + 1)),
            _ => None,
        };
    }

    fn answered_asking(&mut self, lease_id: LeaseId) {
        if let Some(job) = self.jobs.get_mut(&lease_id) {
            (job.busy, job.asking) = (false, None);
        }
    }

    /// Lets a job read the signals that have resumed it.
    pub(super) fn read_signals(&mut self, lease_id: LeaseId, cx: &mut Context<'_>) {
        let patience = self.agent.patience();
        let Some(job) = self.jobs.get_mut(&lease_id) else { return };
        let Some(resumption) = job.claimed.resumption.clone() else { return };
        let (id, lease) = (job.claimed.execution_id, lease_id);
        job.busy = true;
        let read = ReadSignals::new(&id, resumption.clone(), patience);
        cx.begin(About::Present, read, move |result| {
            let resumption = resumption.clone();
            Output::Signals { id, lease, resumption, result }
        });
    }

    /// Takes over that a job has read its signals.
    pub fn has_read(&mut self, lease_id: LeaseId, cx: &mut Context<'_>) {
        if let Some(job) = self.jobs.get_mut(&lease_id) {
            job.busy = false;
        }
        self.wake(cx);
    }
}

fn record_of(known: &Known) -> Option<&Execution> {
    match known {
        Known::Nothing | Known::Absent => None,
        Known::Stale(loaded) | Known::Fresh(loaded, _) => Some(&loaded.execution),
    }
}

/// Sends tokens to the signaller.
fn hand_out(
    id: Option<ExecutionId>,
    waitpoints: Vec<IssuedWaitpoint>,
    ends_at: Option<TimestampMs>,
    cx: &mut Context<'_>,
) {
    for issued in waitpoints {
        let Some(execution_id) = id else { continue };
        let token = TokenInHand { execution_id, issued, ends_at };
        cx.effects.push(Effect::Token { token });
    }
}
