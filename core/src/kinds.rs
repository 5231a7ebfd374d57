//! The kinds of executions that a worker serves.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::ExecutionKind;

/// The kinds of executions that a worker serves. It is never offered another kind, and no
/// execution of another kind holds up those that it serves (`docs/spec.md`, 7).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kinds {
    /// Every kind.
    #[default]
    All,
    /// These kinds; with none of them, the worker is offered nothing.
    Only(BTreeSet<ExecutionKind>),
}

impl Kinds {
    /// Returns whether the worker serves a kind.
    pub fn serves(&self, kind: &ExecutionKind) -> bool {
        match self {
            Self::All => true,
            Self::Only(kinds) => kinds.contains(kind),
        }
    }
}

impl FromIterator<ExecutionKind> for Kinds {
    fn from_iter<I: IntoIterator<Item = ExecutionKind>>(kinds: I) -> Self {
        Self::Only(kinds.into_iter().collect())
    }
}
