//! What decides a run: a seed, and what is left out of what it would do.

mod fault_kind;
pub mod settings;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use fault_kind::{FaultId, FaultKind, FaultWeights, Trigger};

/// A run: everything that its seed decides, less what is left out. Equal plans give equal runs.
///
/// Each step draws from a stream of its own, so what is left out leaves the draws of the others as
/// they were.
///
/// ```
/// let plan = ff_sim::Plan::from(7);
/// let json = serde_json::to_string(&plan)?;
/// assert_eq!(serde_json::from_str::<ff_sim::Plan>(&json)?, plan);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What decides everything that is not said here.
    pub seed: u64,
    /// Faults that do not happen.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub without_faults: BTreeSet<FaultId>,
    /// Wishes of the client and acts of workers that are not carried out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub without_wishes: BTreeSet<WishId>,
    /// Settings that are not the seed's.
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    pub overrides: Overrides,
}

impl From<u64> for Plan {
    fn from(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }
}

/// Settings that replace those of the seed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    /// How many worker processes there are, at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// How long the client is at work, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_ms: Option<u64>,
    /// How many executions the client submits, at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executions: Option<u64>,
    /// How many of a thousand jobs open waitpoints, suspend or write output. Zero switches
    /// suspensions, signals and output off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<u64>,
    /// How often faults happen: in a thousand calls, or how many, as the kind has it. Zero switches
    /// a fault off.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<FaultKind, u64>,
}

impl Overrides {
    /// Whether all is as the seed has it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What somebody in a run does of his own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WishKind {
    /// The client submits an execution.
    Submit,
    /// The client sends its latest command again.
    Repeat,
    /// An operator calls.
    Operate,
    /// The client asks for a grant on an execution.
    AskForGrant,
    /// The client has its scheduler look for work for a worker.
    Draw,
    /// A handler reports progress.
    Progress,
    /// A handler opens a waitpoint or suspends.
    Suspend,
    /// A handler appends a frame.
    Frame,
    /// Somebody who has a token signals.
    Signal,
    /// A handler forgets to renew its lease.
    Neglect,
    /// A handler ends without giving its lease back.
    Drop,
    /// A handler says once more how it ended, or says it otherwise.
    Afterwards,
    /// A worker uses a grant.
    Take,
    /// Somebody who believes that something is due, or a lease lost, acts on it.
    Hurry,
    /// Somebody calls because something has just happened.
    Meddle,
    /// The operator lists, reads, audits, or activates a record format.
    LookAround,
}

/// One wish of a run: what is wished for, and at which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WishId {
    /// What is wished for.
    pub kind: WishKind,
    /// The step: the number of the client's wish, or a hash of the lease or grant of the worker's
    /// and the number of its act.
    pub key: u64,
}
