//! Many seeds of one test, and what the environment asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::FaultKind;

use super::faults::Faults;
use super::outcome::{Failure, FailureKind, Outcome, Verdict};
use super::sim::Sim;
use super::simulation::Simulation;

/// Runs a test with one seed after the other. [`test`](crate::test) makes one for a function.
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

/// What many seeds have met, when nothing was wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// How many seeds were run.
    pub seeds: u64,
    /// How much time passed in all simulations.
    pub simulated: Duration,
    /// Requests that the store carried out.
    pub store_calls: u64,
    /// Calls that outside services carried out.
    pub service_calls: u64,
    /// Executions that were kept at the end.
    pub executions: u64,
    /// What went wrong, and how often.
    pub faults: BTreeMap<FaultKind, u64>,
    /// What happened in the seed that was asked for.
    pub trace: Vec<String>,
}

impl Seeds {
    /// The seeds from 0 on, so many.
    pub fn new(count: u64) -> Self {
        let command = "cargo test -- --nocapture".to_owned();
        Self { count, only: None, faults: Faults::all(), limit: None, command }
    }

    /// What may go wrong; everything unless set.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// How much time the test may take in a simulation after the last fault, as for
    /// [`Simulation::time_limit`].
    pub const fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Only this seed, with its trace.
    pub const fn only(mut self, seed: u64) -> Self {
        self.only = Some(seed);
        self
    }

    /// The command that runs the test; a failure prints it behind the seed.
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.command = command.into();
        self
    }

    /// Does what the environment asks for: `FF_SIM_SEED=17` runs this seed only, with its trace,
    /// and `FF_SIM_SEEDS=10000` so many seeds.
    ///
    /// # Panics
    ///
    /// When one of the two is no number.
    pub fn from_environment(mut self) -> Self {
        self.only = number("FF_SIM_SEED").or(self.only);
        self.count = number("FF_SIM_SEEDS").unwrap_or(self.count);
        self
    }

    /// Runs the test with each seed. The first one is run twice, to see that nothing in the test
    /// differs from run to run.
    ///
    /// # Errors
    ///
    /// The first failure.
    #[allow(clippy::result_large_err)] // One for each run of a test.
    pub fn run<F, R>(&self, test: F) -> Result<Summary, Failure>
    where
        F: Fn(Sim) -> R + Clone + Send + Sync + 'static,
        R: Future<Output: Verdict> + Send + 'static,
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

    /// Runs the test, prints what came of it, and panics at the first failure: what a test
    /// function does.
    ///
    /// # Panics
    ///
    /// With the failure.
    pub fn check<F, R>(&self, test: F)
    where
        F: Fn(Sim) -> R + Clone + Send + Sync + 'static,
        R: Future<Output: Verdict> + Send + 'static,
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
    fn run_one<F, R>(&self, seed: u64, test: &F) -> Result<Outcome, Failure>
    where
        F: Fn(Sim) -> R + Clone + Send + Sync + 'static,
        R: Future<Output: Verdict> + Send + 'static,
    {
        let mut simulation = Simulation::new(seed).faults(self.faults.clone());
        if let Some(limit) = self.limit {
            simulation = simulation.time_limit(limit);
        }
        let simulation = simulation.trace(self.only.is_some());
        simulation.run(test.clone()).map_err(|failure| self.named(failure))
    }

    #[allow(clippy::result_large_err)] // One for each run of a test.
    fn compare<F, R>(&self, outcome: &Outcome, test: &F) -> Result<(), Failure>
    where
        F: Fn(Sim) -> R + Clone + Send + Sync + 'static,
        R: Future<Output: Verdict> + Send + 'static,
    {
        let again = self.run_one(outcome.seed, test)?;
        if again.hash == outcome.hash {
            return Ok(());
        }
        Err(self.named(Failure {
            seed: outcome.seed,
            at: outcome.simulated,
            kind: FailureKind::Determinism,
            detail:
                "two runs of the seed differ: something in the test or its handlers comes from \
                     the machine (a hash table's order, the system's time or randomness, a thread)"
                    .to_owned(),
            trace: differing(&outcome.trace, &again.trace),
            again: String::new(),
        }))
    }

    fn named(&self, mut failure: Failure) -> Failure {
        failure.again = format!("FF_SIM_SEED={} {}", failure.seed, self.command);
        failure
    }
}

impl Summary {
    fn add(&mut self, outcome: Outcome) {
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

#[allow(clippy::disallowed_methods)] // Which seeds are run is no part of any run.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}
