//! A crash at every effect boundary of every operation, enumerated.
//!
//! A _case_ is an operation in a situation. It is carried out once without any fault, which says
//! how many exchanges with the store it has. Then it is carried out again for every _boundary_ of
//! every exchange: the request is not sent yet, it is lost, it is applied and the reply is lost, or
//! it is still on its way and arrives after everybody thinks that it is gone; and once more with
//! the process dying after its last reply. At each boundary somebody else may do a competing thing:
//! let time pass, take over, complete, cancel, revoke. Then either the process is dead, and a fresh
//! one repeats the operation under the same identity, or nobody does (a grant and a lease are
//! remembered while they last, so what asks for one is repeated only where nobody else was there);
//! or the process was only slow, and goes on with the reply, or without it. At last the agents
//! bring everything to an end.
//!
//! Checked are every invariant after every step, that everything ends, and against the run without
//! fault:
//!
//! - where a fresh process repeats a command and nobody else was there, the record is then the very
//!   same, and so is what the caller is told, where the command has an identity;
//! - where nobody repeats it, what comes of the work is what comes of it when the operation was
//!   carried out whole, or not at all: there is nothing between;
//! - what only reads changes nothing.

mod boundary;
mod cases;
mod commands;
mod fixture;
mod judge;
mod others;

use std::fmt;

use ff_core::execution::AnyCommand;
use ff_core::store::{Failure, Reply, Request};

use crate::exhaustive::carrier::{Came, Carrier};
use crate::report::{Broken, ensure};

use boundary::{Point, Then};
use cases::{CASES, Case, Subject};
pub(in crate::exhaustive) use fixture::Bench;
use fixture::Stand;
use judge::Reference;
use others::{Rival, heal};

/// One run: a case, a boundary, what somebody else does there, and what comes then.
#[derive(Clone, Copy)]
struct Run {
    case: &'static Case,
    exchange: usize,
    point: Point,
    rival: Option<Rival>,
    then: Then,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let point = format!("{:?}", self.point).to_lowercase();
        let then = format!("{:?}", self.then).to_lowercase();
        let rival = self.rival.map_or("nobody", Rival::word);
        write!(f, "{}/{}.{point}/{rival}/{then}", self.case.name, self.exchange)
    }
}

/// What was enumerated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrashPointsReport {
    /// Operations, each in each of its situations.
    pub operations: u64,
    /// Effect boundaries of all of them.
    pub boundaries: u64,
    /// Runs: each boundary with everything that may come then.
    pub runs: u64,
    /// Requests that reached the store.
    pub store_calls: u64,
    /// The steps in words, of a run that was replayed.
    pub trace: Vec<String>,
}

/// How far the enumeration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPointsProgress {
    /// Operations that are done.
    pub done: u64,
    /// Operations that there are.
    pub operations: u64,
    /// Runs so far.
    pub runs: u64,
}

/// A rule that was seen broken, and in which run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrashPointsViolation {
    /// The name of the run, for [`replay`].
    pub name: String,
    /// The invariant, or `LIVENESS`, `ATOMIC`, `REPEAT` or `READS`.
    pub tag: &'static str,
    /// What is wrong.
    pub detail: String,
    /// The steps in words.
    pub trace: Vec<String>,
}

impl fmt::Display for CrashPointsViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "[{}] {}", self.tag, self.detail)?;
        write!(f, "in the run \"{}\"", self.name)
    }
}

impl std::error::Error for CrashPointsViolation {}

/// Carries out every run of every case.
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

/// The names of all cases: a run's name begins with that of its case.
pub fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

/// Carries out the runs whose names begin with a text, and tells the steps of the last one.
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
            true => &[Point::Over],
            false => &[Point::Unsent, Point::Lost, Point::Applied, Point::Late],
        };
        for point in points.iter().copied() {
            report.boundaries += 1;
            for rival in [None].into_iter().chain(Rival::ALL.map(Some)) {
                let forgotten = rival.is_some() && reference.forgets;
                let repeats = |then: &Then| *then != Then::Repeat || !forgotten;
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

/// What is left of an operation that was cut off.
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
        told: bool,
    ) -> Result<(), CrashPointsViolation> {
        let mut bench = Bench::new(told);
        let result = self.carry_out(reference, &mut bench);
        report.store_calls += bench.server.calls;
        match result {
            Ok(()) => {
                report.trace = bench.told.unwrap_or_default();
                Ok(())
            }
            Err(_) if !told => self.check(reference, report, true),
            Err(broken) => {
                let trace = bench.told.unwrap_or_default();
                Err(CrashPointsViolation { trace, ..violation(self.to_string(), broken) })
            }
        }
    }

    fn carry_out(&self, reference: &Reference, bench: &mut Bench) -> Result<(), Broken> {
        (self.case.prepare)(bench)?;
        let commands = self.case.subject.commands(bench);
        let ids = self.case.subject.executions(&commands, bench);
        let before = bench.records();
        let work = self.case.subject.work(&commands, bench, 0);
        let mut carrier = bench.carrier(0, work);
        let mut left = self.cut_off(&mut carrier, bench)?;
        bench.tell(|| format!("the process is cut off: {self}"));
        if let Some(rival) = self.rival {
            rival.act(bench, &ids)?;
        }
        let came = self.go_on(&commands, &mut carrier, &mut left, bench)?;
        if let (Point::Late, Left::Request(request)) = (self.point, left) {
            bench.tell(|| "the late request arrives".to_owned());
            bench.serve(&mut carrier, request)?;
        }
        if let Subject::Reader(_) = self.case.subject {
            let same = self.rival.is_some() || bench.records() == before;
            ensure!(same, "READS", "what only reads has changed something");
        }
        if self.rival.is_none() {
            reference.check_at_once(&self.case.subject, self.then, came.as_ref(), bench)?;
        }
        heal(bench)?;
        if self.rival.is_none() {
            reference.check_at_last(&self.case.subject, self.then, bench)?;
        }
        judge::check_ended(&ids, bench)
    }

    /// Lets the operation run up to the boundary.
    fn cut_off(&self, carrier: &mut Carrier, bench: &mut Bench) -> Result<Left, Broken> {
        let mut stand = bench.begin(carrier)?;
        for _ in 0..self.exchange {
            let Stand::Sends(request) = stand else { break };
            let reply = bench.serve(carrier, request)?;
            stand = bench.answer(carrier, reply)?;
        }
        match (stand, self.point) {
            (Stand::Done(_), Point::Over) | (Stand::Sends(_), Point::Lost) => Ok(Left::Nothing),
            (Stand::Sends(request), Point::Applied) => {
                bench.serve(carrier, request).map(Left::Reply)
            }
            (Stand::Sends(request), Point::Unsent | Point::Late) => Ok(Left::Request(request)),
            (stand, _) => {
                let detail = format!("{self} differs from the run without fault: {stand:?}");
                Err(Broken { tag: "DETERMINISM", detail })
            }
        }
    }

    /// What comes after the boundary; tells what a caller that is still there is told.
    fn go_on(
        &self,
        commands: &[AnyCommand],
        carrier: &mut Carrier,
        left: &mut Left,
        bench: &mut Bench,
    ) -> Result<Option<Came>, Broken> {
        match self.then {
            Then::Gone => Ok(None),
            Then::Repeat => {
                bench.tell(|| "a fresh process repeats it".to_owned());
                let work = self.case.subject.work(commands, bench, 1);
                bench.carry_out(1, work).map(Some)
            }
            Then::GoesOn => {
                bench.tell(|| "the process goes on".to_owned());
                let reply = match std::mem::replace(left, Left::Nothing) {
                    Left::Request(request) => bench.serve(carrier, request)?,
                    Left::Reply(reply) => reply,
                    Left::Nothing => return Ok(None),
                };
                let stand = bench.answer(carrier, reply)?;
                bench.finish(carrier, stand).map(Some)
            }
            Then::Told => {
                let failure = Failure::MaybeApplied("no reply in time".to_owned());
                let stand = bench.fail(carrier, &failure)?;
                bench.finish(carrier, stand).map(Some)
            }
        }
    }
}
