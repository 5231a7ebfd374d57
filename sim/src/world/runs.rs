//! Whole runs: of a seed, of a plan, and of one plan twice.

use crate::plan::Plan;
use crate::report::{Broken, Options, Report, Violation};
use crate::world::World;

/// Runs the world of a seed.
///
/// # Errors
///
/// The first rule that breaks, with the steps that led to it.
pub fn run(seed: u64) -> Result<Report, Box<Violation>> {
    run_plan(&Plan::from(seed), Options::default())
}

/// Runs the world of a plan with these options.
///
/// # Errors
///
/// The first rule that breaks, with the steps that led to it: a run that fails without a trace runs
/// again with one.
pub fn run_plan(plan: &Plan, options: Options) -> Result<Report, Box<Violation>> {
    match run_once(plan, options.clone()) {
        Err(violation) if !options.trace => {
            let watched = run_once(plan, Options { trace: true, ..options });
            Err(watched.err().map_or(violation, Violation::shorten))
        }
        result => result,
    }
}

/// Runs the world of a plan once.
pub(crate) fn run_once(plan: &Plan, options: Options) -> Result<Report, Box<Violation>> {
    World::new(plan, options).run()
}

/// Runs a plan twice in lockstep, and compares the rolling hashes after each step.
///
/// # Errors
///
/// A rule that breaks, or `DETERMINISM` at the first step after which the runs differ, with the
/// last steps of both.
pub fn check_determinism(plan: &Plan, options: Options) -> Result<Report, Box<Violation>> {
    let watched = Options { trace: true, ..options };
    let (mut first, mut second) = (World::new(plan, watched.clone()), World::new(plan, watched));
    loop {
        let (one, other) = (first.advance(), second.advance());
        let same = match (&one, &other) {
            (Ok(one), Ok(other)) => one == other,
            (Err(one), Err(other)) => one.detail == other.detail,
            _ => false,
        };
        if !same || first.state_hash() != second.state_hash() {
            return Err(difference(first, second));
        }
        match one {
            Ok(true) => {}
            Ok(false) => return Ok(first.report()),
            Err(broken) => return Err(first.violation(broken).shorten()),
        }
    }
}

/// The number of last steps of each run that are shown.
const SHOWN_STEPS: usize = 12;

fn difference(first: World, second: World) -> Box<Violation> {
    let detail = "two runs of the same plan differ after this step".to_owned();
    let broken = || Broken { tag: "DETERMINISM", detail: detail.clone() };
    let (mut first, second) = (first.violation(broken()), second.violation(broken()));
    let last = |trace: &[String]| trace[trace.len().saturating_sub(SHOWN_STEPS)..].to_vec();
    let mut trace = vec!["first run:".to_owned()];
    trace.extend(last(&first.trace));
    trace.push("second run:".to_owned());
    trace.extend(last(&second.trace));
    first.trace = trace;
    first
}
