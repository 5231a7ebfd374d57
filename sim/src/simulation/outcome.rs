//! The results of a simulation.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ff_core::execution::ExecutionSnapshot;

use crate::plan::FaultKind;
use crate::report::write_broken;

/// The outcome of a successful run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SimulationOutcome {
    /// The seed.
    pub seed: u64,
    /// A hash over all events: equal runs have equal hashes.
    pub hash: u64,
    /// The simulated time.
    pub simulated: Duration,
    /// Requests that the store served.
    pub store_calls: u64,
    /// Calls that services carried out.
    pub service_calls: u64,
    /// Every execution that the store keeps, with its final state.
    pub executions: Vec<ExecutionSnapshot>,
    /// How often each fault happened.
    pub faults: BTreeMap<FaultKind, u64>,
    /// The events, one line each, if the simulation keeps a trace.
    pub trace: Vec<String>,
}

/// The failure of a run, and how to reproduce it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimulationFailure {
    /// The seed.
    pub seed: u64,
    /// The simulated time of the failure.
    pub at: Duration,
    /// The kind of failure.
    pub kind: FailureKind,
    /// The failure in words.
    pub detail: String,
    /// The events, one line each.
    pub trace: Vec<String>,
    /// The command that reproduces it.
    pub again: String,
}

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The test panicked or returned an error, or a service panicked.
    Assertion,
    /// Long after the last fault the test was not over, or executions were pending.
    Liveness,
    /// An invariant of the engine with this tag was broken.
    Invariant(&'static str),
    /// The same seed gave two different runs.
    Determinism,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assertion => f.write_str("ASSERTION"),
            Self::Liveness => f.write_str("LIVENESS"),
            Self::Invariant(tag) => f.write_str(tag),
            Self::Determinism => f.write_str("DETERMINISM"),
        }
    }
}

/// The number of trace lines that are printed.
const LAST_LINES: usize = 60;

impl fmt::Display for SimulationFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left_out = self.trace.len().saturating_sub(LAST_LINES);
        if left_out > 0 {
            writeln!(f, "  ({left_out} earlier lines)")?;
        }
        write_broken(f, &self.trace[left_out..], &self.kind, &self.detail)?;
        writeln!(f, "in seed {}, at {} ms", self.seed, self.at.as_millis())?;
        write!(f, "to reproduce: {}", self.again)
    }
}

impl std::error::Error for SimulationFailure {}

/// A value that a test may return.
pub trait TestResult {
    /// Whether the test passed, or the reason why not.
    fn verdict(self) -> Result<(), String>;
}

impl TestResult for () {
    fn verdict(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Debug> TestResult for Result<(), E> {
    fn verdict(self) -> Result<(), String> {
        self.map_err(|error| format!("the test returned an error: {error:?}"))
    }
}
