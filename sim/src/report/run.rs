//! The result of a run: a report, or the violation of a rule.

use std::collections::BTreeMap;
use std::fmt;

use crate::plan::{ActionId, FaultId, Plan};
use crate::report::coverage::Coverage;
use crate::report::invariants::InvariantSet;
use crate::report::{StoreKind, write_broken};

/// The options of a run: everything apart from its plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether to keep every step for the report. A violation has its last steps in any case.
    pub trace: bool,
    /// Bytes that decide the draws of the network and the faults, two for each draw, until they are
    /// used up; the plan's seed decides afterwards. For searches that are guided by coverage.
    pub choices: Option<Vec<u8>>,
    /// The store that answers.
    pub store: StoreKind,
    /// The invariants to check; all by default.
    pub invariants: InvariantSet,
}

/// The report of a run that broke no rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Events that were handled.
    pub steps: u64,
    /// Requests that the store served.
    pub store_calls: u64,
    /// Executions that were created.
    pub executions: u64,
    /// Units that were committed.
    pub commits: u64,
    /// Simulated milliseconds until all work was settled.
    pub simulated_ms: u64,
    /// A rolling hash over all steps, by a fixed algorithm: equal runs have equal hashes.
    pub state_hash: u64,
    /// The faults that were injected, in order.
    pub injected: Vec<FaultId>,
    /// The actions that were performed, in order.
    pub actions: Vec<ActionId>,
    /// Commands whose callers were answered, by name.
    pub commands: BTreeMap<&'static str, u64>,
    /// The coverage, with the faults, rejections and events.
    pub coverage: Coverage,
    /// Every step, if the options ask for it.
    pub trace: Vec<String>,
}

/// A broken rule, and how to reproduce it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The plan of the run.
    pub plan: Plan,
    /// The store that answered.
    pub store: StoreKind,
    /// The number of the step.
    pub step: u64,
    /// The simulated time of the step, in milliseconds.
    pub at: u64,
    /// The invariant, or `LIVENESS` or `DETERMINISM`.
    pub tag: &'static str,
    /// The violation in words.
    pub detail: String,
    /// The faults that had been injected, in order.
    pub injected: Vec<FaultId>,
    /// The actions that had been performed, in order.
    pub actions: Vec<ActionId>,
    /// The steps: only the last ones, unless the options ask for all.
    pub trace: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_broken(f, &self.trace, &self.tag, &self.detail)?;
        let seed = self.plan.seed;
        writeln!(f, "at step {} of seed {seed}, at {} ms", self.step, self.at)?;
        // The command for a plan names the plan's file, which is unknown here.
        match self.plan == Plan::from(seed) {
            true => write!(f, "to reproduce: {}", self.again()),
            false => Ok(()),
        }
    }
}

impl Violation {
    /// The number of faults and actions until the rule broke.
    pub fn steps(&self) -> usize {
        self.injected.len() + self.actions.len()
    }

    /// Keeps only the last steps.
    pub(crate) fn shorten(mut self: Box<Self>) -> Box<Self> {
        const SHOWN_STEPS: usize = 60;
        self.trace.drain(..self.trace.len().saturating_sub(SHOWN_STEPS));
        self
    }

    /// The command that reproduces it.
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
