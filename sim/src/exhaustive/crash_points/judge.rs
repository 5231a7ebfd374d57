//! The reference of a run: the same case without a fault, with and without the operation.

use std::collections::BTreeMap;
use std::rc::Rc;

use ff_core::execution::{
    AnyCommand, AnyOutcome, Decide, Execution, Identity as _, IdentityKind, Phase,
};
use ff_core::id::ExecutionId;

use crate::exhaustive::carrier::AnyOutput;
use crate::model::identity::{Remembered, effect_of, identity_of};
use crate::report::{Broken, ensure};

use super::boundary::Continuation;
use super::cases::{Case, Subject};
use super::fixture::{Fixture, Next};
use super::others::heal;

/// The result of each execution: its outcome, and the number of its retries, reclaims, replays and
/// attempts. `None`: its retention was over.
pub type Summaries = BTreeMap<ExecutionId, Option<String>>;

/// A case without a fault.
pub struct Reference {
    /// The number of exchanges of the operation with the store.
    pub exchanges: usize,
    /// Whether the store remembers the operation only until another process interferes.
    pub forgets: bool,
    /// Whether a repeat makes progress, by applying the next due timer.
    progresses: bool,
    /// Its records right after the operation.
    after: BTreeMap<ExecutionId, Rc<Execution>>,
    /// The effect that its caller was told.
    acknowledged: Option<Remembered>,
    /// The results with the operation, and without it.
    allowed: [Summaries; 2],
}

impl Reference {
    /// Runs a case without a fault.
    pub fn of(case: &Case) -> Result<Self, Broken> {
        let mut fixture = Fixture::new(false);
        (case.prepare)(&mut fixture)?;
        let commands = case.subject.commands(&fixture);
        let kind = |command: &AnyCommand| command.identity();
        let lasting = |kind| !matches!(kind, IdentityKind::Grant | IdentityKind::Lease);
        let forgets = !commands.iter().map(kind).all(lasting);
        let progresses = commands.iter().any(|command| matches!(command, AnyCommand::OnDue(_)));
        let work = case.subject.work(&commands, &mut fixture, 0);
        let mut carrier = fixture.carrier(0, work);
        let mut next = fixture.begin(&mut carrier)?;
        let mut exchanges = 0;
        let output = loop {
            match next {
                Next::Done(output) => break output,
                Next::Send(request) => {
                    exchanges += 1;
                    let reply = fixture.serve(&mut carrier, request)?;
                    next = fixture.answer(&mut carrier, reply)?;
                }
            }
        };
        let after = fixture.records();
        let acknowledged = acknowledged(&case.subject, &output, &fixture);
        heal(&mut fixture)?;
        let whole = summaries(&fixture);
        let mut untouched = Fixture::new(false);
        (case.prepare)(&mut untouched)?;
        heal(&mut untouched)?;
        Ok(Self {
            exchanges,
            forgets,
            progresses,
            after,
            acknowledged,
            allowed: [whole, summaries(&untouched)],
        })
    }

    /// Checks the state before the agents finish all work.
    pub fn check_at_once(
        &self,
        subject: &Subject,
        then: Continuation,
        output: Option<&AnyOutput>,
        fixture: &Fixture,
    ) -> Result<(), Broken> {
        let at_once = matches!(then, Continuation::Repeat | Continuation::Continue);
        if !at_once || !subject.has_identity() || self.progresses {
            return Ok(());
        }
        let now = fixture.records();
        ensure!(
            now == self.after,
            "REPEAT",
            "the records are {now:?}, but without a fault {:?}",
            self.after
        );
        let effect = output.and_then(|output| acknowledged(subject, output, fixture));
        let same = effect == self.acknowledged;
        ensure!(
            same,
            "REPEAT",
            "the caller is told {effect:?}, but without a fault {:?}",
            self.acknowledged
        );
        Ok(())
    }

    /// Checks the results.
    pub fn check_at_last(
        &self,
        subject: &Subject,
        then: Continuation,
        fixture: &Fixture,
    ) -> Result<(), Broken> {
        let output = summaries(fixture);
        let [whole, nothing] = &self.allowed;
        // An agent's work is lost with the agent: the next agent works on whatever it finds.
        let atomic = then == Continuation::Abandon || !subject.has_identity();
        let allowed = [Some(whole), atomic.then_some(nothing)];
        for (id, summary) in &output {
            let fits = |one: &&Summaries| one.get(id).unwrap_or(&None) == summary;
            ensure!(
                allowed.iter().flatten().any(fits),
                "ATOMIC",
                "{id} ended as {summary:?}; with the operation it ends as {:?}, and without it as {:?}",
                whole.get(id),
                nothing.get(id)
            );
        }
        Ok(())
    }
}

fn acknowledged(subject: &Subject, output: &AnyOutput, fixture: &Fixture) -> Option<Remembered> {
    let AnyOutput::Command(Ok(committed)) = output else { return None };
    let command = subject.commands(fixture).pop()?;
    let generation = fixture.server.model.generation(&command.execution_id());
    let identity = identity_of(&command, generation)?;
    let outcome: &AnyOutcome = &committed.outcome;
    effect_of(&identity, outcome)
}

/// The results of all executions that ever existed.
fn summaries(fixture: &Fixture) -> Summaries {
    let ids = fixture.server.model.lives.keys();
    ids.map(|id| (*id, fixture.record(*id).map(summary))).collect()
}

fn summary(record: &Execution) -> String {
    let counts = &record.counts;
    let ends: Vec<String> =
        record.past_attempts.iter().map(|past| format!("{:?}", past.end)).collect();
    format!(
        "{:?}, {} retries, {} reclaims, {} replays, {} attempts: {}",
        record.terminal_outcome(),
        counts.retries,
        counts.reclaims,
        counts.replays,
        record.attempts_total,
        ends.join(", ")
    )
}

/// Checks that the work of each execution has ended. The checks of the steps find a second end.
pub fn check_ended(ids: &[ExecutionId], fixture: &Fixture) -> Result<(), Broken> {
    for id in ids {
        let over = match fixture.record(*id) {
            Some(record) => matches!(record.phase, Phase::Terminal(_)),
            None => {
                let model = &fixture.server.model;
                model.generation(id) == 0 || model.ended.iter().any(|(ended, ..)| ended == id)
            }
        };
        ensure!(over, "LIVENESS", "{id} is not over: {:?}", fixture.record(*id));
    }
    Ok(())
}
