//! What callers are told, checked against what was done.

use ff_core::error::{EngineError, Rejection, RejectionKind};
use ff_core::execution::{
    AnyCommand, AnyOutcome, Cancel, CancelledBy, Claimed, CreateOutcome, Decide, Execution,
};
use ff_core::id::LeaseId;
use ff_core::op::Committed;
use ff_core::store::{Bytes, Fetched};
use ff_core::time::TimestampMs;

use crate::identity::is_certain;
use crate::invariant::{bounds, durable, fence, identity, readers, refusal};
use crate::marks::{Effect, Marks};
use crate::report::Broken;
use crate::task::{Caller, Output};

use super::{Running, World};

impl World {
    /// Checks what a caller is told, and remembers it.
    pub(super) fn note_answer(
        &mut self,
        number: u64,
        running: &Running,
        output: &Output,
    ) -> Result<(), Broken> {
        match output {
            Output::Command(_, result) => {
                let (seen, at) = (running.seen.0.as_deref(), running.seen.1);
                if let (Err(error), Some(command)) = (result, &self.callers[&number].command) {
                    refusal::check(&self.server.model, command, (seen, at), error)?;
                }
                self.note_command(number, (seen, at), result)
            }
            Output::Read { partition, from, result: Ok((page, _)), .. } => {
                readers::check(&self.server.model, &mut self.followed, *partition, *from, page)
            }
            Output::Renewed(lease, result) => {
                let model = &mut self.server.model;
                if result.is_ok() && running.jumps == model.jumps {
                    model.doubtful.remove(lease);
                }
                let seen = (running.seen.0.as_deref(), running.seen.1);
                mark_answer(&mut self.server.marks, &self.callers[&number], seen, result);
                self.note_error(number, result.as_ref().err())
            }
            Output::Claimed(Ok((work, _))) => {
                let known: Vec<LeaseId> = work.iter().map(|work| work.claimed.lease_id).collect();
                identity::check_own(&self.server.model, number, &running.own, &known)?;
                for work in work {
                    self.check_payload(work.claimed.lease_id, &work.claimed, &work.payload)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn note_command(
        &mut self,
        number: u64,
        (seen, at): (Option<&Execution>, TimestampMs),
        result: &Result<Committed<AnyOutcome>, EngineError>,
    ) -> Result<(), Broken> {
        let caller = &self.callers[&number];
        let model = &mut self.server.model;
        if let Some(command) = &caller.command {
            *self.report.commands.entry(command.name()).or_default() += 1;
        }
        identity::check_answer(model, caller, seen, result)?;
        mark_answer(&mut self.server.marks, caller, (seen, at), result);
        if let Ok(committed) = result {
            durable::check_answer(model, caller, committed)?;
            match &committed.outcome {
                AnyOutcome::Create(CreateOutcome::Created(id) | CreateOutcome::Duplicate(id)) => {
                    let generation = model.generation(id);
                    model.acknowledged.insert((*id, generation));
                }
                AnyOutcome::Claim(claimed)
                | AnyOutcome::ClaimResumed(claimed)
                | AnyOutcome::Reclaim(claimed) => {
                    let payload = match committed.values.first() {
                        Some(Fetched::Value(value)) => Some(value.clone()),
                        _ => None,
                    };
                    self.check_payload(claimed.lease_id, claimed, &payload)?;
                }
                _ => {}
            }
        }
        self.note_error(number, result.as_ref().err())
    }

    pub(super) fn note_error(
        &mut self,
        number: u64,
        error: Option<&EngineError>,
    ) -> Result<(), Broken> {
        let Some(error) = error else { return Ok(()) };
        if let Some(kind) = rejection_of(error) {
            *self.report.rejections.entry(kind).or_default() += 1;
        }
        bounds::check_error(&self.server.model, number, error)?;
        let caller = self.callers.get_mut(&number).expect("every operation has a caller");
        // Of a request that its library sent twice a caller knows one reply: it may be refused by
        // what came after its own success, where the record remembers nothing of it any more.
        if is_certain(error) && !caller.resent {
            caller.refused = true;
            fence::check_refused(&self.server.model, caller)?;
        }
        Ok(())
    }

    /// Compares a payload with what was handed in, while the execution is the same one.
    pub(super) fn check_payload(
        &self,
        lease: LeaseId,
        claimed: &Claimed,
        payload: &Option<Bytes>,
    ) -> Result<(), Broken> {
        let id = claimed.execution_id;
        let record = self.server.model.records.get(&id);
        let same = record.and_then(|record| record.last_fence).is_some_and(|f| f.lease_id == lease);
        let kept = record.is_some_and(|record| record.continuation.is_none());
        if same && kept {
            durable::check_payload(&self.server.model, &id, payload.as_ref())?;
        }
        Ok(())
    }
}

/// Notes a repeat that was recognised or a refusal that is final; what is carried out is noted
/// where it is committed.
fn mark_answer<T>(
    marks: &mut Marks,
    caller: &Caller,
    (seen, at): (Option<&Execution>, TimestampMs),
    result: &Result<Committed<T>, EngineError>,
) {
    let (Some(command), Some(kind)) = (&caller.command, caller.carries) else { return };
    match result {
        Ok(committed) if committed.repeat => {
            marks.note(kind, seen, at, Effect::Repeat);
            if let AnyCommand::Cancel(Cancel { by: CancelledBy::Holder(_), .. }) = command {
                marks.note_holder_cancel();
            }
        }
        Err(error) if is_certain(error) => {
            if let Some(rejection) = rejection_of(error) {
                marks.note(kind, seen, at, Effect::Refused(rejection));
            }
        }
        _ => {}
    }
}

/// Why a command was refused, where that is so.
fn rejection_of(error: &EngineError) -> Option<RejectionKind> {
    match error {
        EngineError::Validation { kind, .. } => Some(*kind),
        EngineError::NotFound { .. } => Some(RejectionKind::NotFound),
        other => other.rejection().map(Rejection::kind),
    }
}
