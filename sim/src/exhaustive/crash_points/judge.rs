//! The reference of a run: the same case without a fault, with and without the operation.

use std::collections::BTreeMap;
use std::rc::Rc;

use ff_core::execution::{
    AnyCommand, AnyOutcome, Decide, Execution, Identity as _, IdentityKind, Phase,
};
use ff_core::id::ExecutionId;

use crate::exhaustive::carrier::Came;
use crate::model::identity::{Remembered, effect_of, identity_of};
use crate::report::{Broken, ensure};

use super::boundary::Then;
use super::cases::{Case, Subject};
use super::fixture::{Bench, Stand};
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
    told: Option<Remembered>,
    /// The results with the operation, and without it.
    allowed: [Summaries; 2],
}

impl Reference {
    /// Runs a case without a fault.
    pub fn of(case: &Case) -> Result<Self, Broken> {
        let mut bench = Bench::new(false);
        (case.prepare)(&mut bench)?;
        let commands = case.subject.commands(&bench);
        let kind = |command: &AnyCommand| command.identity();
        let lasting = |kind| !matches!(kind, IdentityKind::Grant | IdentityKind::Lease);
        let forgets = !commands.iter().map(kind).all(lasting);
        let progresses = commands.iter().any(|command| matches!(command, AnyCommand::OnDue(_)));
        let work = case.subject.work(&commands, &mut bench, 0);
        let mut carrier = bench.carrier(0, work);
        let mut stand = bench.begin(&mut carrier)?;
        let mut exchanges = 0;
        let came = loop {
            match stand {
                Stand::Done(came) => break came,
                Stand::Sends(request) => {
                    exchanges += 1;
                    let reply = bench.serve(&mut carrier, request)?;
                    stand = bench.answer(&mut carrier, reply)?;
                }
            }
        };
        let after = bench.records();
        let told = told(&case.subject, &came, &bench);
        heal(&mut bench)?;
        let whole = summaries(&bench);
        let mut untouched = Bench::new(false);
        (case.prepare)(&mut untouched)?;
        heal(&mut untouched)?;
        Ok(Self {
            exchanges,
            forgets,
            progresses,
            after,
            told,
            allowed: [whole, summaries(&untouched)],
        })
    }

    /// Checks the state before the agents finish all work.
    pub fn check_at_once(
        &self,
        subject: &Subject,
        then: Then,
        came: Option<&Came>,
        bench: &Bench,
    ) -> Result<(), Broken> {
        let at_once = matches!(then, Then::Repeat | Then::GoesOn);
        if !at_once || !subject.has_identity() || self.progresses {
            return Ok(());
        }
        let now = bench.records();
        ensure!(
            now == self.after,
            "REPEAT",
            "the records are {now:?}, and without fault {:?}",
            self.after
        );
        let told = came.and_then(|came| told(subject, came, bench));
        let same = told == self.told;
        ensure!(same, "REPEAT", "the caller is told {told:?}, and without fault {:?}", self.told);
        Ok(())
    }

    /// Checks the results.
    pub fn check_at_last(
        &self,
        subject: &Subject,
        then: Then,
        bench: &Bench,
    ) -> Result<(), Broken> {
        let came = summaries(bench);
        let [whole, nothing] = &self.allowed;
        // An agent's work is lost with the agent: the next agent works on whatever it finds.
        let atomic = then == Then::Gone || !subject.has_identity();
        let allowed = [Some(whole), atomic.then_some(nothing)];
        for (id, summary) in &came {
            let fits = |one: &&Summaries| one.get(id).unwrap_or(&None) == summary;
            ensure!(
                allowed.iter().flatten().any(fits),
                "ATOMIC",
                "{id} came to {summary:?}; whole it comes to {:?}, and not at all to {:?}",
                whole.get(id),
                nothing.get(id)
            );
        }
        Ok(())
    }
}

fn told(subject: &Subject, came: &Came, bench: &Bench) -> Option<Remembered> {
    let Came::Command(Ok(committed)) = came else { return None };
    let command = subject.commands(bench).pop()?;
    let generation = bench.server.model.generation(&command.execution_id());
    let identity = identity_of(&command, generation)?;
    let outcome: &AnyOutcome = &committed.outcome;
    effect_of(&identity, outcome)
}

/// The results of all executions that ever existed.
fn summaries(bench: &Bench) -> Summaries {
    let ids = bench.server.model.lives.keys();
    ids.map(|id| (*id, bench.record(*id).map(summary))).collect()
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
pub fn check_ended(ids: &[ExecutionId], bench: &Bench) -> Result<(), Broken> {
    for id in ids {
        let over = match bench.record(*id) {
            Some(record) => matches!(record.phase, Phase::Terminal(_)),
            None => {
                let model = &bench.server.model;
                model.generation(id) == 0 || model.ended.iter().any(|(ended, ..)| ended == id)
            }
        };
        ensure!(over, "LIVENESS", "{id} is not over: {:?}", bench.record(*id));
    }
    Ok(())
}
