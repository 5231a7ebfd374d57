//! The figures of many seeds.

use std::collections::BTreeMap;
use std::time::Duration;

use ff_sim::{Report, Violation};
use serde::Serialize;

/// How a figure is distributed over the seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Distribution {
    /// The least.
    pub min: u64,
    /// At most this for 5 in 100 seeds.
    pub p5: u64,
    /// At most this for a quarter of the seeds.
    pub p25: u64,
    /// The median.
    pub p50: u64,
    /// At most this for three quarters of the seeds.
    pub p75: u64,
    /// At most this for 95 in 100 seeds.
    pub p95: u64,
    /// The most.
    pub max: u64,
}

impl Distribution {
    /// The distribution of these.
    pub fn of(mut figures: Vec<u64>) -> Self {
        figures.sort_unstable();
        let at = |percent: usize| {
            let last = figures.len().saturating_sub(1);
            figures.get(last * percent / 100).copied().unwrap_or_default()
        };
        let (min, p5, p25, p50) = (at(0), at(5), at(25), at(50));
        Self { min, p5, p25, p50, p75: at(75), p95: at(95), max: at(100) }
    }
}

/// A failing seed.
#[derive(Clone, Debug, Serialize)]
pub struct FailedSeed {
    /// The seed.
    pub seed: u64,
    /// The invariant.
    pub tag: String,
    /// The violation in words.
    pub detail: String,
    /// The step of the violation.
    pub step: u64,
    /// Where its plan was written.
    pub plan: Option<String>,
    /// The command that reproduces it.
    pub again: String,
}

impl FailedSeed {
    /// The failing seed of a violation.
    pub fn new(violation: &Violation, plan: Option<String>) -> Self {
        Self {
            seed: violation.plan.seed,
            tag: violation.tag.to_owned(),
            detail: violation.detail.clone(),
            step: violation.step,
            plan,
            again: violation.again(),
        }
    }
}

/// The figures of many seeds.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    /// The first seed.
    pub from: u64,
    /// Seeds that were run.
    pub seeds: u64,
    /// The store that answered.
    pub store: &'static str,
    /// Requests that reached the store.
    pub store_calls: u64,
    /// Store calls per second of one core's time.
    pub calls_per_s: u64,
    /// Executions that were created.
    pub executions: u64,
    /// Simulated time, in milliseconds.
    pub simulated_ms: u64,
    /// Real time, in milliseconds.
    pub elapsed_ms: u64,
    /// Store calls by seed.
    pub calls_per_seed: Distribution,
    /// Executions by seed.
    pub executions_per_seed: Distribution,
    /// Faults that were injected, by kind.
    pub faults: BTreeMap<String, u64>,
    /// The seeds that failed.
    pub failures: Vec<FailedSeed>,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// The processor time of the seeds that passed, and the store calls and executions of each.
    #[serde(skip)]
    pub measured: (Duration, Vec<u64>, Vec<u64>),
}

impl Figures {
    /// Adds a seed that passed.
    pub fn passed(&mut self, report: &Report, spent: Duration) {
        self.seeds += 1;
        self.simulated_ms += report.simulated_ms;
        for (kind, count) in &report.coverage.faults {
            *self.faults.entry(format!("{kind:?}")).or_default() += count;
        }
        let (busy, calls, executions) = &mut self.measured;
        *busy += spent;
        calls.push(report.store_calls);
        executions.push(report.executions);
    }

    /// Adds a seed that failed.
    pub fn failed(&mut self, failed: FailedSeed) {
        self.seeds += 1;
        self.failures.push(failed);
    }

    /// Computes the figures over all seeds.
    pub fn finish(&mut self) {
        let (busy, calls, executions) = std::mem::take(&mut self.measured);
        self.store_calls = calls.iter().sum();
        self.executions = executions.iter().sum();
        self.calls_per_s = (self.store_calls as f64 / busy.as_secs_f64().max(0.000_001)) as u64;
        self.calls_per_seed = Distribution::of(calls);
        self.executions_per_seed = Distribution::of(executions);
    }
}
