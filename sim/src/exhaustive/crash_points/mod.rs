//! Crashes at every effect boundary of every operation.
//!
//! A _case_ is an operation in a situation. It runs once without a fault, which determines the
//! number of its exchanges with the store. Then it runs again for every _boundary_ of every
//! exchange: the request is not sent yet, it is lost, it is applied and the reply is lost, or it is
//! delayed and arrives after all processes have given it up; and once more with a crash after the
//! last reply. At each boundary another process may interfere: let time pass, take over, complete,
//! cancel, revoke. Then either the process has crashed, and a new one repeats the operation under
//! the same identity, or no process does (grants and leases are remembered only while they last, so
//! requests for them are repeated only without interference); or the process was paused, and
//! continues with the reply or without it. At last the agents finish all work.
//!
//! The checks are every invariant after every step, that all work ends, and by comparison with the
//! run without a fault:
//!
//! - If a new process repeats a command without interference, the record is the same, and so is the
//!   answer to the caller if the command has an identity.
//! - If no process repeats it, the result of the work is that of the whole operation or that
//!   without the operation: there is nothing in between.
//! - An operation that only reads changes nothing.

mod boundary;
mod cases;
mod commands;
mod fixture;
mod judge;
mod others;

use std::fmt;

use ff_core::execution::AnyCommand;
use ff_core::store::{Failure, Reply, Request};

use crate::exhaustive::carrier::{AnyOutput, Carrier};
use crate::report::{Broken, ensure, write_broken};

use boundary::{Continuation, Point};
use cases::{CASES, Case, Subject};
pub(in crate::exhaustive) use fixture::Fixture;
use fixture::Next;
use judge::Reference;
use others::{Rival, heal};

/// One run: a case, a boundary, an interference, and what happens next.
#[derive(Clone, Copy)]
struct Run {
    case: &'static Case,
    exchange: usize,
    point: Point,
    rival: Option<Rival>,
    then: Continuation,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rival = self.rival.map_or_else(|| "nobody".to_owned(), |rival| format!("{rival:?}"));
        let then = format!("{:?}/{rival}/{:?}", self.point, self.then).to_lowercase();
        write!(f, "{}/{}.{then}", self.case.name, self.exchange)
    }
}

/// The counts of an enumeration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrashPointsReport {
    /// Operations, each in each of its situations.
    pub operations: u64,
    /// Effect boundaries of all operations.
    pub boundaries: u64,
    /// Runs: each boundary with everything that may happen next.
    pub runs: u64,
    /// Requests that the store served.
    pub store_calls: u64,
    /// The steps of a run that was replayed.
    pub trace: Vec<String>,
}

/// The progress of an enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPointsProgress {
    /// Operations that are done.
    pub done: u64,
    /// The number of operations.
    pub operations: u64,
    /// Runs so far.
    pub runs: u64,
}

/// A broken rule, and the run that broke it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrashPointsViolation {
    /// The name of the run, for [`replay`].
    pub name: String,
    /// The invariant, or `LIVENESS`, `ATOMIC`, `REPEAT` or `READS`.
    pub tag: &'static str,
    /// The violation in words.
    pub detail: String,
    /// The steps.
    pub trace: Vec<String>,
}

impl fmt::Display for CrashPointsViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_broken(f, &self.trace, &self.tag, &self.detail)?;
        write!(f, "at the crash point \"{}\"", self.name)
    }
}

impl std::error::Error for CrashPointsViolation {}

/// Runs every case at every boundary.
///
/// # Errors
///
/// The first run that breaks a rule.
pub fn run(
    mut progress: impl FnMut(CrashPointsProgress),
) -> Result<CrashPointsReport, CrashPointsViolation> {
    let mut report = CrashPointsReport::default();
    for case in CASES {
        run_case(case, &mut report, None)?;
        let (done, runs) = (report.operations, report.runs);
        progress(CrashPointsProgress { done, operations: CASES.len() as u64, runs });
    }
    Ok(report)
}

/// The names of all cases. The name of a run begins with that of its case.
pub fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

/// Runs those whose names begin with a text, and returns the steps of the last one.
///
/// # Errors
///
/// The first run that breaks a rule.
pub fn replay(name: &str) -> Result<CrashPointsReport, CrashPointsViolation> {
    let mut report = CrashPointsReport::default();
    let fits = |case: &&Case| name.starts_with(case.name) || case.name.starts_with(name);
    for case in CASES.iter().filter(fits) {
        run_case(case, &mut report, Some(name))?;
    }
    Ok(report)
}

fn run_case(
    case: &'static Case,
    report: &mut CrashPointsReport,
    only: Option<&str>,
) -> Result<(), CrashPointsViolation> {
    let whole = |name: &str, broken: Broken| violation(format!("{}/{name}", case.name), broken);
    let reference = Reference::of(case).map_err(|broken| whole("without fault", broken))?;
    report.operations += 1;
    for exchange in 0..=reference.exchanges {
        let over = exchange == reference.exchanges;
        let points: &[Point] = match over {
            true => &[Point::Replied],
            false => &[Point::Unsent, Point::Lost, Point::Applied, Point::Late],
        };
        for point in points.iter().copied() {
            report.boundaries += 1;
            for rival in [None].into_iter().chain(Rival::ALL.map(Some)) {
                let forgotten = rival.is_some() && reference.forgets;
                let repeats = |then: &Continuation| *then != Continuation::Repeat || !forgotten;
                for then in point.continuations().iter().copied().filter(repeats) {
                    let run = Run { case, exchange, point, rival, then };
                    if only.is_none_or(|only| run.to_string().starts_with(only)) {
                        report.runs += 1;
                        run.check(&reference, report, only.is_some())?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn violation(name: String, broken: Broken) -> CrashPointsViolation {
    let Broken { tag, detail, .. } = broken;
    CrashPointsViolation { name, tag, detail, trace: Vec::new() }
}

/// The rest of an interrupted call.
#[allow(clippy::large_enum_variant)] // One at a time.
enum Left {
    Request(Request),
    Reply(Reply),
    Nothing,
}

impl Run {
    fn check(
        &self,
        reference: &Reference,
        report: &mut CrashPointsReport,
        traced: bool,
    ) -> Result<(), CrashPointsViolation> {
        let mut fixture = Fixture::new(traced);
        let result = self.carry_out(reference, &mut fixture);
        report.store_calls += fixture.server.calls;
        match result {
            Ok(()) => {
                report.trace = fixture.trace.unwrap_or_default();
                Ok(())
            }
            Err(_) if !traced => self.check(reference, report, true),
            Err(broken) => {
                let trace = fixture.trace.unwrap_or_default();
                Err(CrashPointsViolation { trace, ..violation(self.to_string(), broken) })
            }
        }
    }

    fn carry_out(&self, reference: &Reference, fixture: &mut Fixture) -> Result<(), Broken> {
        (self.case.prepare)(fixture)?;
        let commands = self.case.subject.commands(fixture);
        let ids = self.case.subject.executions(&commands, fixture);
        let before = fixture.records();
        let work = self.case.subject.work(&commands, fixture, 0);
        let mut carrier = fixture.carrier(0, work);
        let mut left = self.interrupt(&mut carrier, fixture)?;
        fixture.note(|| format!("the process is interrupted: {self}"));
        if let Some(rival) = self.rival {
            rival.act(fixture, &ids)?;
        }
        let output = self.continue_run(&commands, &mut carrier, &mut left, fixture)?;
        if let (Point::Late, Left::Request(request)) = (self.point, left) {
            fixture.note(|| "the late request arrives".to_owned());
            fixture.serve(&mut carrier, request)?;
        }
        if let Subject::Reader(_) = self.case.subject {
            let same = self.rival.is_some() || fixture.records() == before;
            ensure!(same, "READS", "an operation that only reads has changed something");
        }
        if self.rival.is_none() {
            reference.check_at_once(&self.case.subject, self.then, output.as_ref(), fixture)?;
        }
        heal(fixture)?;
        if self.rival.is_none() {
            reference.check_at_last(&self.case.subject, self.then, fixture)?;
        }
        judge::check_ended(&ids, fixture)
    }

    /// Runs the operation up to the boundary.
    fn interrupt(&self, carrier: &mut Carrier, fixture: &mut Fixture) -> Result<Left, Broken> {
        let mut next = fixture.begin(carrier)?;
        for _ in 0..self.exchange {
            let Next::Send(request) = next else { break };
            let reply = fixture.serve(carrier, request)?;
            next = fixture.answer(carrier, reply)?;
        }
        match (next, self.point) {
            (Next::Done(_), Point::Replied) | (Next::Send(_), Point::Lost) => Ok(Left::Nothing),
            (Next::Send(request), Point::Applied) => {
                fixture.serve(carrier, request).map(Left::Reply)
            }
            (Next::Send(request), Point::Unsent | Point::Late) => Ok(Left::Request(request)),
            (next, _) => {
                let detail = format!("{self} differs from the run without a fault: {next:?}");
                Err(Broken { tag: "DETERMINISM", detail })
            }
        }
    }

    /// Continues after the boundary; returns the output for a caller that still exists.
    fn continue_run(
        &self,
        commands: &[AnyCommand],
        carrier: &mut Carrier,
        left: &mut Left,
        fixture: &mut Fixture,
    ) -> Result<Option<AnyOutput>, Broken> {
        match self.then {
            Continuation::Abandon => Ok(None),
            Continuation::Repeat => {
                fixture.note(|| "a new process repeats it".to_owned());
                let work = self.case.subject.work(commands, fixture, 1);
                fixture.carry_out(1, work).map(Some)
            }
            Continuation::Continue => {
                fixture.note(|| "the process continues".to_owned());
                let reply = match std::mem::replace(left, Left::Nothing) {
                    Left::Request(request) => fixture.serve(carrier, request)?,
                    Left::Reply(reply) => reply,
                    Left::Nothing => return Ok(None),
                };
                let next = fixture.answer(carrier, reply)?;
                fixture.finish(carrier, next).map(Some)
            }
            Continuation::Error => {
                let failure = Failure::MaybeApplied("no reply in time".to_owned());
                let next = fixture.fail(carrier, &failure)?;
                fixture.finish(carrier, next).map(Some)
            }
        }
    }
}
