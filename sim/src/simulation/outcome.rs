//! What a simulation comes to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ff_core::execution::ExecutionSnapshot;

use crate::plan::FaultKind;

/// What a run met, when nothing was wrong.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// The seed that decided everything.
    pub seed: u64,
    /// A hash over everything that happened: equal runs have equal hashes.
    pub hash: u64,
    /// How much time passed in the simulation.
    pub simulated: Duration,
    /// Requests that the store carried out.
    pub store_calls: u64,
    /// Calls that outside services carried out.
    pub service_calls: u64,
    /// Every execution that is kept, as it is at the end.
    pub executions: Vec<ExecutionSnapshot>,
    /// What went wrong, and how often.
    pub faults: BTreeMap<FaultKind, u64>,
    /// What happened, a line for each step, if that was asked for.
    pub trace: Vec<String>,
}

/// What was wrong in a run, and how to see it again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The seed of the run.
    pub seed: u64,
    /// How much time had passed in the simulation.
    pub at: Duration,
    /// What kind of thing was wrong.
    pub kind: FailureKind,
    /// What was wrong.
    pub detail: String,
    /// What happened, a line for each step.
    pub trace: Vec<String>,
    /// What to type to see it again.
    pub again: String,
}

/// What kind of thing was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The test panicked or returned an error, or a service panicked: an assertion of the user's.
    Assertion,
    /// Long after the last fault the test was not over, or work was left.
    Liveness,
    /// An invariant of the engine was broken; this is its tag.
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

/// How many lines of a trace are printed.
const LAST_LINES: usize = 60;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left_out = self.trace.len().saturating_sub(LAST_LINES);
        if left_out > 0 {
            writeln!(f, "  ({left_out} lines before these)")?;
        }
        for line in &self.trace[left_out..] {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "[{}] {}", self.kind, self.detail)?;
        writeln!(f, "in seed {}, {} ms after its start", self.seed, self.at.as_millis())?;
        write!(f, "to see it again: {}", self.again)
    }
}

impl std::error::Error for Failure {}

/// What a test may come to.
pub trait Verdict {
    /// Whether the test is content, or why not.
    fn verdict(self) -> Result<(), String>;
}

impl Verdict for () {
    fn verdict(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Debug> Verdict for Result<(), E> {
    fn verdict(self) -> Result<(), String> {
        self.map_err(|error| format!("the test came to an error: {error:?}"))
    }
}
