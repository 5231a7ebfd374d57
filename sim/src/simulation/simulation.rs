//! One run of a test with a seed.

use std::sync::Arc;
use std::time::Duration;

use super::faults::Faults;
use super::outbox::{Start, Starter, Turn};
use super::outcome::{SimulationFailure, SimulationOutcome, TestResult};
use super::scene::Scene;
use super::sim::Sim;

/// Runs a test and the workers that it starts, with the real SDK, in a simulation whose faults the
/// seed decides.
///
/// ```
/// use ff_sim::{Faults, Sim, Simulation};
/// use ff_sdk::{Json, Payload, Submission};
///
/// async fn adds(sim: Sim) {
///     sim.workers(2, |runtime| {
///         runtime.handle("add", |Payload((a, b)): Payload<(u64, u64)>| async move { Json(a + b) })
///     });
///     let client = sim.client().await;
///     let id = client.submit(Submission::new("add").json(&(2, 3)).unwrap()).await.unwrap().id();
///     assert_eq!(client.result(&id).await.unwrap().json::<u64>().unwrap(), 5);
/// }
///
/// let outcome = Simulation::new(7).run(adds).unwrap_or_else(|failure| panic!("{failure}"));
/// assert_eq!(outcome.executions.len(), 1);
/// let again = Simulation::new(7).run(adds).unwrap();
/// assert_eq!(outcome.hash, again.hash);
/// let calm = Simulation::new(7).faults(Faults::none()).run(adds).unwrap();
/// assert!(calm.faults.is_empty());
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Simulation {
    seed: u64,
    faults: Faults,
    limit: Duration,
    traced: bool,
}

/// The default time limit of a test in which nothing happens.
const LIMIT: Duration = Duration::from_secs(600);

impl Simulation {
    /// Creates the run of a seed, with all faults.
    pub fn new(seed: u64) -> Self {
        Self { seed, faults: Faults::all(), limit: LIMIT, traced: false }
    }

    /// Sets the faults that may happen; all by default.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Sets how long nothing may happen, in simulated time, before the test counts as stuck; 10
    /// minutes by default. It is 144 times as long while a handler runs, a timer is pending, or
    /// only the test itself waits (`docs/simulation.md`, How long it takes).
    pub const fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sets whether the outcome has a trace; a failure always has one.
    pub const fn trace(mut self, traced: bool) -> Self {
        self.traced = traced;
        self
    }

    /// Runs the test to its end.
    ///
    /// # Errors
    ///
    /// An assertion of the test that failed, an invariant of the engine that broke, or a test that
    /// is stuck.
    #[allow(clippy::result_large_err)] // One for each run of a test.
    pub fn run<F, R>(&self, test: F) -> Result<SimulationOutcome, SimulationFailure>
    where
        F: Fn(Sim) -> R + Send + Sync + 'static,
        R: Future<Output: TestResult> + Send + 'static,
    {
        let test = Arc::new(test);
        match self.run_once(test.clone(), self.traced) {
            // A run that fails without a trace runs again with one.
            Err(failure) if !self.traced => Err(self.run_once(test, true).err().unwrap_or(failure)),
            result => result,
        }
    }

    #[allow(clippy::result_large_err)] // One for each run of a test.
    fn run_once<F, R>(
        &self,
        test: Arc<F>,
        traced: bool,
    ) -> Result<SimulationOutcome, SimulationFailure>
    where
        F: Fn(Sim) -> R + Send + Sync + 'static,
        R: Future<Output: TestResult> + Send + 'static,
    {
        let (turn, seed) = (Turn::default(), self.seed);
        let given = turn.clone();
        let starter: Starter = Arc::new(move |start: Start| {
            let sim = Sim::new(start, given.clone(), seed);
            let test = test.clone();
            Box::pin(async move { test(sim).await.verdict() })
        });
        Scene::new(seed, &self.faults, self.limit, traced, turn).run(starter)
    }
}
