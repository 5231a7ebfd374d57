//! Many seeds of one test.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::FaultKind;

use super::faults::Faults;
use super::outcome::{FailureKind, SimulationFailure, SimulationOutcome, TestResult};
use super::sim::Sim;
use super::simulation::Simulation;

/// Runs a test with many seeds. [`test`](crate::test) creates one for a function.
///
/// ```
/// use ff_sim::{Seeds, Sim};
///
/// async fn nothing_happens(sim: Sim) {
///     sim.settle().await;
/// }
///
/// let summary = Seeds::new(3).run(nothing_happens).unwrap();
/// assert_eq!(summary.seeds, 3);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Seeds {
    count: u64,
    only: Option<u64>,
    faults: Faults,
    limit: Option<Duration>,
    command: String,
}

/// The summary of many successful seeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// How many seeds ran.
    pub seeds: u64,
    /// The simulated time of all seeds.
    pub simulated: Duration,
    /// Requests that the store served.
    pub store_calls: u64,
    /// Calls that services carried out.
    pub service_calls: u64,
    /// Executions that the store kept at the end.
    pub executions: u64,
    /// How often each fault happened.
    pub faults: BTreeMap<FaultKind, u64>,
    /// The trace, if a single seed was selected.
    pub trace: Vec<String>,
}

impl Seeds {
    /// The seeds from 0 to `count`, exclusive.
    pub fn new(count: u64) -> Self {
        let command = "cargo test -- --nocapture".to_owned();
        Self { count, only: None, faults: Faults::all(), limit: None, command }
    }

    /// Sets the faults that may happen; all by default.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Sets how long nothing may happen, in simulated time, as [`Simulation::time_limit`] does.
    pub const fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Runs only this seed, with its trace.
    pub const fn only(mut self, seed: u64) -> Self {
        self.only = Some(seed);
        self
    }

    /// Sets the command that runs the test; a failure prints it after the seed.
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.command = command.into();
        self
    }

    /// Reads the environment: `FF_SIM_SEED=17` runs only this seed, with its trace, and
    /// `FF_SIM_SEEDS=10000` sets the number of seeds.
    ///
    /// # Panics
    ///
    /// If one of the variables is not a number.
    pub fn from_environment(mut self) -> Self {
        self.only = number("FF_SIM_SEED").or(self.only);
        self.count = number("FF_SIM_SEEDS").unwrap_or(self.count);
        self
    }

    /// Runs the test with each seed. The first seed runs twice, to detect differences between runs.
    ///
    /// # Errors
    ///
    /// The first failure.
    #[allow(clippy::result_large_err)] // One for each run of a test.
    pub fn run<F, R>(&self, test: F) -> Result<Summary, SimulationFailure>
    where
        F: Fn(Sim) -> R + Clone + Send + Sync + 'static,
        R: Future<Output: TestResult> + Send + 'static,
    {
        let mut summary = Summary::default();
        let seeds = self.only.map_or(0..self.count, |seed| seed..seed.saturating_add(1));
        let first = seeds.start;
        for seed in seeds {
            let outcome = self.run_one(seed, &test)?;
            if seed == first {
                self.compare(&outcome, &test)?;
            }
            summary.add(outcome);
        }
        Ok(summary)
    }

    /// Runs the test, prints the trace, and panics at the first failure, as a test function does.
    ///
    /// # Panics
    ///
    /// With the failure.
    pub fn check<F, R>(&self, test: F)
    where
        F: Fn(Sim) -> R + Clone + Send + Sync + 'static,
        R: Future<Output: TestResult> + Send + 'static,
    {
        match self.run(test) {
            Err(failure) => panic!("the simulation failed\n{failure}"),
            Ok(summary) => {
                for line in &summary.trace {
                    println!("  {line}");
                }
            }
        }
    }

    #[allow(clippy::result_large_err)] // One for each run of a test.
    fn run_one<F, R>(&self, seed: u64, test: &F) -> Result<SimulationOutcome, SimulationFailure>
    where
        F: Fn(Sim) -> R + Clone + Send + Sync + 'static,
        R: Future<Output: TestResult> + Send + 'static,
    {
        let mut simulation = Simulation::new(seed).faults(self.faults.clone());
        if let Some(limit) = self.limit {
            simulation = simulation.time_limit(limit);
        }
        let simulation = simulation.trace(self.only.is_some());
        simulation.run(test.clone()).map_err(|failure| self.named(failure))
    }

    #[allow(clippy::result_large_err)] // One for each run of a test.
    fn compare<F, R>(&self, outcome: &SimulationOutcome, test: &F) -> Result<(), SimulationFailure>
    where
        F: Fn(Sim) -> R + Clone + Send + Sync + 'static,
        R: Future<Output: TestResult> + Send + 'static,
    {
        let again = self.run_one(outcome.seed, test)?;
        if again.hash == outcome.hash {
            return Ok(());
        }
        Err(self.named(SimulationFailure {
            seed: outcome.seed,
            at: outcome.simulated,
            kind: FailureKind::Determinism,
            detail:
                "two runs of the seed differ: the test or a handler uses something outside of the \
                     seed (the order of a hash table, the system's time or randomness, a thread)"
                    .to_owned(),
            trace: differing(&outcome.trace, &again.trace),
            again: String::new(),
        }))
    }

    fn named(&self, mut failure: SimulationFailure) -> SimulationFailure {
        failure.again = format!("FF_SIM_SEED={} {}", failure.seed, self.command);
        failure
    }
}

impl Summary {
    fn add(&mut self, outcome: SimulationOutcome) {
        self.seeds += 1;
        self.simulated += outcome.simulated;
        self.store_calls += outcome.store_calls;
        self.service_calls += outcome.service_calls;
        self.executions += outcome.executions.len() as u64;
        for (fault, count) in outcome.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        self.trace = outcome.trace;
    }
}

/// The first lines in which two traces differ.
fn differing(first: &[String], second: &[String]) -> Vec<String> {
    let same = first.iter().zip(second).take_while(|(first, second)| first == second).count();
    let line = |lines: &[String]| lines.get(same).cloned().unwrap_or_default();
    vec![format!("first:  {}", line(first)), format!("second: {}", line(second))]
}

#[allow(clippy::disallowed_methods)] // The choice of seeds is not part of any run.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("invalid {variable} {text:?}: expected a number")))
}
