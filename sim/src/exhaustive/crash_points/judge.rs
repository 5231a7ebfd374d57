//! What a run is compared with: the same case without any fault, carried out whole and not at all.

use std::collections::BTreeMap;
use std::rc::Rc;

use ff_core::execution::{AnyCommand, AnyOutcome, Decide, Execution, IdentityKind, Phase};
use ff_core::id::ExecutionId;

use crate::exhaustive::carrier::Came;
use crate::model::identity::{Memory, claim_of, identity_of};
use crate::report::{Broken, ensure};

use super::boundary::Then;
use super::cases::{Case, Subject};
use super::fixture::{Bench, Stand};
use super::others::heal;

/// What came of each execution in the end, without what differs by the way there: how it ended, and
/// how many retries, reclaims, replays and attempts it took. `None`: its retention was over.
pub type Summaries = BTreeMap<ExecutionId, Option<String>>;

/// A case without any fault.
pub struct Reference {
    /// Exchanges with the store that the operation has.
    pub exchanges: usize,
    /// Whether the store remembers it only while nobody else comes.
    pub forgets: bool,
    /// Whether carrying it out again gets further: what is due next is applied then.
    progresses: bool,
    /// Its records right after the operation.
    after: BTreeMap<ExecutionId, Rc<Execution>>,
    /// What its caller was told that was done.
    told: Option<Memory>,
    /// What comes at last when it is carried out, and when it is not.
    allowed: [Summaries; 2],
}

impl Reference {
    /// Carries a case out without any fault.
    pub fn of(case: &Case) -> Result<Self, Broken> {
        let mut bench = Bench::new(false);
        (case.prepare)(&mut bench)?;
        let commands = case.subject.commands(&bench);
        let kind = |command: &AnyCommand| command.spec().identity;
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

    /// Checks what is there before anything heals.
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

    /// Checks what comes in the end.
    pub fn check_at_last(
        &self,
        subject: &Subject,
        then: Then,
        bench: &Bench,
    ) -> Result<(), Broken> {
        let came = summaries(bench);
        let [whole, nothing] = &self.allowed;
        // What an agent was about is gone with it: the next one is about what it finds then.
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

fn told(subject: &Subject, came: &Came, bench: &Bench) -> Option<Memory> {
    let Came::Command(Ok(committed)) = came else { return None };
    let command = subject.commands(bench).pop()?;
    let generation = bench.server.model.generation(&command.execution_id());
    let identity = identity_of(&command, generation)?;
    let outcome: &AnyOutcome = &committed.outcome;
    claim_of(&identity, outcome)
}

/// What came of each execution that there ever was.
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

/// Checks that the work of each execution has ended, and only once: the checks of the steps see a
/// second end, and here is seen that there is one at all.
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
