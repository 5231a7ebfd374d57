//! What a run comes to: a report of what it met, or the rule that it saw broken.

use std::collections::BTreeMap;
use std::fmt;

use ff_core::error::RejectionKind;
use ff_core::execution::EventKind;

use crate::plan::{FaultId, FaultKind, Plan, WishId};
use crate::report::StoreKind;
use crate::report::coverage::Marks;
use crate::report::invariants::InvariantSet;

/// How a run is watched, and what decides it beside its plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether every step is kept; a violation has its last steps even if not.
    pub trace: bool,
    /// Bytes that decide what the network and the faults draw, two for a draw, until they end; the
    /// plan's seed decides from there. For searches that are guided by what a run has met.
    pub choices: Option<Vec<u8>>,
    /// Which store answers.
    pub store: StoreKind,
    /// What it is watched for; everything unless something else is asked for.
    pub invariants: InvariantSet,
}

/// What a run met, when no rule was broken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The seed that decided everything.
    pub seed: u64,
    /// Events that were handled.
    pub steps: u64,
    /// Requests that reached the store.
    pub store_calls: u64,
    /// Executions that were created.
    pub executions: u64,
    /// Units that were committed.
    pub commits: u64,
    /// Simulated milliseconds until everything was settled.
    pub simulated_ms: u64,
    /// A rolling hash over all steps, by a fixed algorithm: equal runs have equal hashes.
    pub state_hash: u64,
    /// Faults that were injected.
    pub faults: BTreeMap<FaultKind, u64>,
    /// The faults that were injected, in order.
    pub injected: Vec<FaultId>,
    /// The wishes that were carried out, in order.
    pub wishes: Vec<WishId>,
    /// Rejections that callers were given.
    pub rejections: BTreeMap<RejectionKind, u64>,
    /// Events that the journal was given.
    pub events: BTreeMap<EventKind, u64>,
    /// Commands that callers were answered, by name.
    pub commands: BTreeMap<&'static str, u64>,
    /// What it met.
    pub marks: Marks,
    /// Every step in words, if that was asked for.
    pub trace: Vec<String>,
}

impl Report {
    /// Adds what was counted elsewhere to the marks.
    pub(crate) fn note_marks(&mut self) {
        self.marks.note_run(&self.rejections, &self.events, &self.faults);
    }
}

/// A rule that was broken, and how to see it again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// What decided the run.
    pub plan: Plan,
    /// Which store answered.
    pub store: StoreKind,
    /// The number of the step.
    pub step: u64,
    /// The simulated time of the step, in milliseconds.
    pub at: u64,
    /// The invariant, or `LIVENESS` or `DETERMINISM`.
    pub tag: &'static str,
    /// What is wrong.
    pub detail: String,
    /// The faults that had been injected, in order.
    pub injected: Vec<FaultId>,
    /// The wishes that had been carried out, in order.
    pub wishes: Vec<WishId>,
    /// Its steps in words, the last ones alone unless all were asked for.
    pub trace: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "[{}] {}", self.tag, self.detail)?;
        let seed = self.plan.seed;
        writeln!(f, "at step {} of seed {seed}, {} ms after its start", self.step, self.at)?;
        // The command of a plan names its file, which is not known here.
        match self.plan == Plan::from(seed) {
            true => write!(f, "to see it again: {}", self.again()),
            false => Ok(()),
        }
    }
}

impl Violation {
    /// Keeps the last steps alone.
    pub(crate) fn shorten(mut self: Box<Self>) -> Box<Self> {
        const TOLD_STEPS: usize = 60;
        self.trace.drain(..self.trace.len().saturating_sub(TOLD_STEPS));
        self
    }

    /// The command that shows it again.
    pub fn again(&self) -> String {
        let seed = self.plan.seed;
        let what = match self.plan == Plan::from(seed) {
            true => format!("seed {seed}"),
            false => "replay PLAN, where PLAN is the file of this run's plan,".to_owned(),
        };
        let store = match self.store {
            StoreKind::Memory => "",
            #[cfg(feature = "lua")]
            StoreKind::Lua => " --store lua",
        };
        format!("cargo run --release -p ff-sim -- {what} --trace{store}")
    }
}

impl std::error::Error for Violation {}
