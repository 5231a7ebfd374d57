//! The input of a run: a seed, and the faults and actions that are left out or kept.

mod fault_kind;
pub mod settings;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use fault_kind::{FaultId, FaultKind, FaultWeights, Trigger};

/// The input of a run: a seed, minus the parts that are left out. Equal plans give equal runs.
///
/// Each step draws from its own stream, so leaving one out does not change the draws of the others.
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
    /// The seed, which decides everything that the other fields do not.
    pub seed: u64,
    /// Faults that do not happen.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub without_faults: BTreeSet<FaultId>,
    /// Actions of the processes that are not performed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub without_actions: BTreeSet<ActionId>,
    /// The only faults and actions that may happen; `None` allows all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Parts>,
    /// Settings that replace those of the seed.
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    pub overrides: Overrides,
}

/// Faults and actions of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// The faults.
    pub faults: BTreeSet<FaultId>,
    /// The actions.
    pub actions: BTreeSet<ActionId>,
}

impl Plan {
    /// Whether a fault may happen.
    pub(crate) fn has_fault(&self, fault: &FaultId) -> bool {
        self.only.as_ref().is_none_or(|only| only.faults.contains(fault))
            && !self.without_faults.contains(fault)
    }

    /// Whether an action may be performed.
    pub(crate) fn has_action(&self, action: &ActionId) -> bool {
        self.only.as_ref().is_none_or(|only| only.actions.contains(action))
            && !self.without_actions.contains(action)
    }
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
    /// How many timekeepers there are, at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timekeepers: Option<usize>,
    /// How many executions a worker process holds at most, at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots: Option<u64>,
    /// How many partitions the store has, at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u16>,
    /// How long the client submits and operates, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_ms: Option<u64>,
    /// How many executions the client submits, at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executions: Option<u64>,
    /// How many of a thousand jobs open waitpoints, suspend or write output. Zero switches
    /// suspensions, signals and output off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<u64>,
    /// After how many of a thousand events of executions a process calls immediately.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reactions: Option<u64>,
    /// How often faults happen: in a thousand steps, or how many, depending on the kind. Zero
    /// switches a fault off.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<FaultKind, u64>,
}

impl Overrides {
    /// Whether nothing is replaced.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An action that a process takes on its own initiative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActionKind {
    /// The client submits an execution.
    Submit,
    /// The client sends its latest command again.
    Repeat,
    /// The client calls as an operator.
    Operate,
    /// The client requests a grant on an execution.
    AskForGrant,
    /// The client has its scheduler look for work for a worker.
    Draw,
    /// A handler reports progress.
    Progress,
    /// A handler opens a waitpoint or suspends.
    Suspend,
    /// A handler appends a frame.
    Frame,
    /// The signaller uses the token of a waitpoint.
    Signal,
    /// A handler stops renewing its lease.
    Neglect,
    /// A handler ends without giving its lease back.
    Drop,
    /// A handler repeats its last call, or makes a contradicting one.
    Afterwards,
    /// The client gives a grant back on behalf of its worker.
    ReleaseGrant,
    /// A worker uses a grant.
    Take,
    /// A process acts because it believes that a timer is due, or a lease lost.
    Hurry,
    /// A process calls right after an event.
    React,
    /// The operator lists, reads, audits, or activates a record format.
    LookAround,
}

/// One action of a run: its kind, and the step at which it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActionId {
    /// The kind of action.
    pub kind: ActionKind,
    /// The step: the number of the client's action, or a hash of the worker's lease or grant and
    /// the number of the action.
    pub key: u64,
}
