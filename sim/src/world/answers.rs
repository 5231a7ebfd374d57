//! What callers are told, checked against what was done.

use ff_core::agent::ClaimedWork;
use ff_core::error::{EngineError, Rejection, RejectionKind};
use ff_core::execution::{
    AnyCommand, AnyOutcome, Cancel, CancelledBy, Claimed, CreateOutcome, Decide, Execution, Offered,
};
use ff_core::id::LeaseId;
use ff_core::op::{AuditLook, Committed, HOLD};
use ff_core::partition::Partition;
use ff_core::store::Fetched;
use ff_core::time::{DurationMs, TimestampMs};

use crate::fault::FaultKind;
use crate::identity::is_certain;
use crate::invariant::{
    bounds, durable, fence, frame, identity, readers, reading, refusal, signal, suspend, token,
};
use crate::marks::{Effect, Marks};
use crate::report::Broken;
use crate::task::{Caller, Output};

use super::{Running, World};

/// Between two looks of an auditor: longer than a taker holds what it took.
const BETWEEN_LOOKS: DurationMs = DurationMs::new(HOLD.get() + 1_000);

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
                self.check_waits(number, running, result)?;
                self.note_command((number, None), (seen, at), result)
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
                self.note_error((number, None), result.as_ref().err())
            }
            Output::Gathered(_, answers) => {
                for (part, (_, result)) in answers.iter().enumerate() {
                    let seen = (None, running.seen.1);
                    self.note_command((number, Some(part)), seen, result)?;
                }
                Ok(())
            }
            Output::Listed { whole, result, .. } => {
                if let (true, Ok(page), false) = (whole, result, self.may_drift()) {
                    reading::check_list(&self.server.model, &running.present, page)?;
                }
                self.note_error((number, None), result.as_ref().err())
            }
            Output::Looked(partition, result) => {
                if let Ok(look) = result {
                    self.note_look(*partition, (look, running.begun))?;
                }
                self.note_error((number, None), result.as_ref().err())
            }
            Output::Described(id, result) => {
                if let Ok((Some(loaded), values, _)) = result {
                    let model = &self.server.model;
                    let read = (&*loaded.execution, values.as_slice());
                    reading::check_read(model, id, &running.present, read)?;
                }
                self.note_error((number, None), result.as_ref().err())
            }
            Output::Activated(result) => self.note_error((number, None), result.as_ref().err()),
            Output::Signals { .. }
            | Output::Frames { .. }
            | Output::Rotated(_)
            | Output::Secrets(_) => self.note_waits(number, output),
            Output::Claimed(Ok((work, _))) => self.note_claimed(number, running, work),
            _ => Ok(()),
        }
    }

    /// Checks what a worker was handed.
    fn note_claimed(
        &self,
        number: u64,
        running: &Running,
        work: &[ClaimedWork],
    ) -> Result<(), Broken> {
        let known: Vec<LeaseId> = work.iter().map(|work| work.claimed.lease_id).collect();
        identity::check_own(&self.server.model, number, &running.own, &known)?;
        for work in work {
            let payload = work.payload.as_ref();
            durable::check_claimed(&self.server.model, &work.claimed, payload)?;
        }
        Ok(())
    }

    /// Checks what those are told who read signals and output, or see to secrets.
    fn note_waits(&mut self, number: u64, output: &Output) -> Result<(), Broken> {
        match output {
            Output::Signals { id, resumption, result, .. } => {
                if let Ok(read) = result {
                    signal::check_read(&self.server.model, id, resumption, read)?;
                }
                self.note_error((number, None), result.as_ref().err())
            }
            Output::Frames { of, from, result } => {
                if let Ok(page) = result {
                    frame::check_page(&self.server.model, &mut self.watched, *of, *from, page)?;
                }
                self.note_error((number, None), result.as_ref().err())
            }
            Output::Rotated(result) => self.note_error((number, None), result.as_ref().err()),
            Output::Secrets(result) => self.note_error((number, None), result.as_ref().err()),
            _ => Ok(()),
        }
    }

    /// Checks what a caller is told of suspensions, signals, tokens and output.
    fn check_waits(
        &self,
        number: u64,
        running: &Running,
        result: &Result<Committed<AnyOutcome>, EngineError>,
    ) -> Result<(), Broken> {
        let (model, caller) = (&self.server.model, &self.callers[&number]);
        let (seen, at) = (running.seen.0.as_deref(), running.seen.1);
        suspend::check_answer(model, caller, result, at)?;
        signal::check_answer(model, caller, (at, running.jumps), result)?;
        token::check_answer(model, caller, (seen, at, running.begun), result)?;
        frame::check_answer(model, caller, seen, result)
    }

    pub(super) fn note_command(
        &mut self,
        (number, part): (u64, Option<usize>),
        (seen, at): (Option<&Execution>, TimestampMs),
        result: &Result<Committed<AnyOutcome>, EngineError>,
    ) -> Result<(), Broken> {
        let caller = &self.callers[&number];
        let caller = part.map_or(caller, |part| &caller.parts[part]);
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
                    self.check_taken(claimed, committed)?;
                }
                AnyOutcome::Offer(Offered::Claimed(claimed)) => {
                    self.check_taken(claimed, committed)?;
                }
                _ => {}
            }
        }
        self.note_error((number, part), result.as_ref().err())
    }

    fn check_taken(
        &self,
        claimed: &Claimed,
        committed: &Committed<AnyOutcome>,
    ) -> Result<(), Broken> {
        let payload = match committed.values.first() {
            Some(Fetched::Value(value)) => Some(value.clone()),
            _ => None,
        };
        durable::check_claimed(&self.server.model, claimed, payload.as_ref())
    }

    /// Whether indexes may differ from records for a time: an error inside a function leaves what
    /// it has written before.
    fn may_drift(&self) -> bool {
        self.settings.on(FaultKind::ErrorInside).is_some()
    }

    /// What an auditor sees twice, with longer than a hold between, is wrong.
    fn note_look(
        &mut self,
        partition: Partition,
        (look, begun): (&AuditLook, TimestampMs),
    ) -> Result<(), Broken> {
        if self.server.model.jumps > 0 || self.may_drift() {
            // Holds last longer than an auditor waits, where a clock has stepped back.
            return Ok(());
        }
        let looked = self.looks.get(&partition);
        // One that began earlier may have been under way for long.
        if looked.is_some_and(|(at, _)| begun < at.plus(BETWEEN_LOOKS)) {
            return Ok(());
        }
        if let Some((_, earlier)) = looked {
            reading::check_looks(&self.server.model, earlier, (look, begun))?;
        }
        let now = self.server.condition.clock(self.now);
        self.looks.insert(partition, (now, look.clone()));
        Ok(())
    }

    pub(super) fn note_error(
        &mut self,
        (number, part): (u64, Option<usize>),
        error: Option<&EngineError>,
    ) -> Result<(), Broken> {
        let Some(error) = error else { return Ok(()) };
        if let Some(kind) = rejection_of(error) {
            *self.report.rejections.entry(kind).or_default() += 1;
        }
        bounds::check_error(&self.server.model, number, error)?;
        let caller = self.callers.get_mut(&number).expect("every operation has a caller");
        identity::check_doubt(&self.server.model, caller, error)?;
        // Of a request that its library sent twice a caller knows one reply: it may be refused by
        // what came after its own success, where the record remembers nothing of it any more.
        if is_certain(error) && !caller.resent {
            let caller = match part {
                Some(part) => &mut caller.parts[part],
                None => caller,
            };
            caller.refused = true;
            fence::check_refused(&self.server.model, caller)?;
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
