//! The answers to callers, checked against the model.

use ff_core::agent::DrawnWork;
use ff_core::error::{EngineError, Rejection, RejectionKind};
use ff_core::execution::{AnyCommand, AnyOutcome, Cancel, CancelledBy, Decide, Execution};
use ff_core::op::{AuditLook, Committed, HOLD};
use ff_core::partition::Partition;
use ff_core::time::{DurationMs, TimestampMs};

use crate::invariant::answer::{self, Seen};
use crate::invariant::{frame, readers, reading, refusal, signal};
use crate::model::caller::Caller;
use crate::model::identity::is_certain;
use crate::model::shown_leases::ShownLeases;
use crate::plan::FaultKind;
use crate::process::task::Output;
use crate::report::Broken;
use crate::report::coverage::{Coverage, Effect};

use super::{Running, World};

/// The time between two looks of an auditor: longer than a hold.
const BETWEEN_LOOKS: DurationMs = DurationMs::new(HOLD.get() + 1_000);

impl World {
    /// Checks an answer to a caller, and remembers it.
    pub(super) fn note_answer(
        &mut self,
        number: u64,
        running: &Running,
        output: &Output,
    ) -> Result<(), Broken> {
        let may_drift = self.may_drift();
        let local = self.hosts[running.process].clock.read(self.now).local;
        let is_late = local.since(running.begun_local) >= self.settings.patience;
        let model = &mut self.server.model;
        match output {
            Output::Command(_, result) => {
                self.check_refusal(number, running, result)?;
                return self.note_command(number, None, running.seen(), result);
            }
            Output::Gathered(_, answers) => {
                let seen = Seen { record: None, may_be_older: true, ..running.seen() };
                return answers.iter().enumerate().try_for_each(|(part, (_, result))| {
                    self.note_command(number, Some(part), seen, result)
                });
            }
            Output::Renewed(lease, result) => {
                if result.is_ok() && running.jumps == model.jumps {
                    model.doubtful.remove(lease);
                }
                let (seen, at) = (running.seen.0.as_deref(), running.seen.1);
                cover_answer(&mut self.server.coverage, &self.callers[&number], seen, at, result);
            }
            Output::Claimed(Ok(DrawnWork { work, .. })) => {
                // A claim that is recognised after a lost reply is kept only if a renewal confirms
                // it. After the deadline none is sent, and the execution is reclaimed in time.
                let none = ShownLeases::default();
                let own = if is_late { &none } else { &running.own };
                answer::check_drawn(model, number, own, work)?;
            }
            Output::LaneSet(result) => self.check_lane_change(number, running.jumps, result)?,
            Output::BudgetSet(result) => self.check_budget_set(number, running.jumps, result)?,
            Output::Registered(result) => self.note_registration(number, running, result)?,
            Output::QuotaSet(result) => self.check_quota_set(number, running.jumps, result)?,
            Output::Charged(result) => self.check_charged(number, running.jumps, result)?,
            Output::Read { partition, from, result: Ok((page, _)), .. } => {
                readers::check(model, &mut self.followed, *partition, *from, page)?;
            }
            Output::Listed { whole: true, result: Ok(page), .. } if !may_drift => {
                reading::check_list(model, &running.present, page)?;
            }
            Output::Looked(partition, Ok(look)) => {
                self.note_look(*partition, look, running.begun)?;
            }
            Output::Described(id, Ok((Some(loaded), values, _))) => {
                let record = &*loaded.execution;
                reading::check_read(model, id, &running.present, record, values)?;
            }
            Output::Signals { id, resumption, result: Ok(read), .. }
                if model.stayed(id, &running.present) =>
            {
                signal::check_read(model, id, resumption, read)?;
            }
            Output::Frames { of: (id, attempt), from, result: Ok(page) } => {
                if model.stayed(id, &running.present) {
                    frame::check_page(model, &mut self.watched, *id, *attempt, *from, page)?;
                } else {
                    self.watched.remove(&(*id, *attempt));
                }
            }
            _ => {}
        }
        let before_jump = running.jumps != self.server.model.jumps;
        self.note_error(number, None, before_jump, output.error())
    }

    /// A command was refused for a reason that is true.
    fn check_refusal(
        &self,
        number: u64,
        running: &Running,
        result: &Result<Committed<AnyOutcome>, EngineError>,
    ) -> Result<(), Broken> {
        let (Err(error), Some(command)) = (result, &self.callers[&number].command) else {
            return Ok(());
        };
        let seen = running.seen();
        refusal::check(&self.server.model, command, seen.record, seen.at, error)?;
        self.check_refused_lane(running, command, error)
    }

    fn note_command(
        &mut self,
        number: u64,
        part: Option<usize>,
        seen: Seen<'_>,
        result: &Result<Committed<AnyOutcome>, EngineError>,
    ) -> Result<(), Broken> {
        let caller = &self.callers[&number];
        let caller = part.map_or(caller, |part| &caller.parts[part]);
        if let Some(command) = &caller.command {
            *self.report.commands.entry(command.name()).or_default() += 1;
        }
        answer::check_command(&mut self.server.model, caller, seen, result)?;
        cover_answer(&mut self.server.coverage, caller, seen.record, seen.at, result);
        let jumps = self.server.model.jumps;
        let before_jump = seen.jumps != jumps || (seen.may_be_older && jumps > 0);
        self.note_error(number, part, before_jump, result.as_ref().err())
    }

    /// Whether indexes may differ from records for a time: after an error inside a function, its
    /// first writes remain.
    fn may_drift(&self) -> bool {
        self.settings.weights.on(FaultKind::ErrorInside).is_some()
    }

    /// A fault that an auditor finds twice, with longer than a hold between, is real.
    fn note_look(
        &mut self,
        partition: Partition,
        look: &AuditLook,
        begun: TimestampMs,
    ) -> Result<(), Broken> {
        if self.server.model.jumps > 0 || self.may_drift() {
            // After a step back of the clock, holds last longer than an auditor waits.
            return Ok(());
        }
        let looked = self.looks.get(&partition);
        // A look that began earlier may have taken long.
        if looked.is_some_and(|(at, _)| begun < at.plus(BETWEEN_LOOKS)) {
            return Ok(());
        }
        let now = self.server.condition.clock(self.now);
        if let Some((_, earlier)) = looked {
            let mut confirmed = Vec::new();
            for suspect in look.confirms(earlier) {
                // The record may have changed between two pages of the look.
                if self.server.version(&suspect.execution, now)? == suspect.version {
                    confirmed.push(suspect);
                }
            }
            reading::check_suspects(&self.server.model, confirmed, begun)?;
        }
        self.looks.insert(partition, (now, look.clone()));
        Ok(())
    }

    fn note_error(
        &mut self,
        number: u64,
        part: Option<usize>,
        before_jump: bool,
        error: Option<&EngineError>,
    ) -> Result<(), Broken> {
        let Some(error) = error else { return Ok(()) };
        if let Some(kind) = rejection_of(error) {
            *self.server.coverage.rejections.entry(kind).or_default() += 1;
        }
        let caller = self.callers.get_mut(&number).expect("every operation has a caller");
        answer::check_error(&self.server.model, caller, part, before_jump, error)
    }
}

/// Covers a repeat that was recognised or a final refusal. Applied commands are covered where they
/// are committed.
fn cover_answer<T>(
    coverage: &mut Coverage,
    caller: &Caller,
    seen: Option<&Execution>,
    at: TimestampMs,
    result: &Result<Committed<T>, EngineError>,
) {
    let (Some(command), Some(kind)) = (&caller.command, caller.carries) else { return };
    match result {
        Ok(committed) if committed.repeat => {
            coverage.note(kind, seen, at, Effect::Repeat);
            if let AnyCommand::Cancel(Cancel { by: CancelledBy::Holder(_), .. }) = command {
                coverage.note_holder_cancel();
            }
        }
        Err(error) if is_certain(error) => {
            if let Some(rejection) = rejection_of(error) {
                coverage.note(kind, seen, at, Effect::Refused(rejection));
            }
        }
        _ => {}
    }
}

/// The rejection of an error, if it has one.
fn rejection_of(error: &EngineError) -> Option<RejectionKind> {
    match error {
        EngineError::Validation { kind, .. } => Some(*kind),
        EngineError::NotFound { .. } => Some(RejectionKind::NotFound),
        other => other.rejection().map(Rejection::kind),
    }
}
