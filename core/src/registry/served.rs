//! The work that a worker serves, and the reasons that it does not serve other work.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::capability::Capabilities;
use crate::id::{ExecutionKind, LaneId, WorkerId, WorkerInstanceId};
use crate::time::TimestampMs;

use super::record::{Worker, WorkerInfo, WorkerState};

/// The reasons that a worker cannot claim an execution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacks {
    /// The lane, if the worker does not claim from it.
    pub lane: Option<LaneId>,
    /// The kind, if the worker does not serve it.
    pub kind: Option<ExecutionKind>,
    /// The required capabilities that the worker does not have.
    pub capabilities: Vec<Arc<str>>,
}

impl Lacks {
    /// Returns how many reasons there are.
    pub fn count(&self) -> usize {
        let names = usize::from(self.lane.is_some()) + usize::from(self.kind.is_some());
        names + self.capabilities.len()
    }

    /// Returns whether the worker lacks nothing.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }
}

impl fmt::Display for Lacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lane = self.lane.iter().map(|lane| format!("lane {lane}"));
        let kind = self.kind.iter().map(|kind| format!("kind {kind}"));
        let tokens = self.capabilities.iter().map(|token| format!("capability {token}"));
        let all: Vec<String> = lane.chain(kind).chain(tokens).collect();
        f.write_str(if all.is_empty() { "nothing" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

/// The worker that lacks the least for some work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nearest {
    /// The worker.
    pub worker: WorkerId,
    /// Its process.
    pub instance: WorkerInstanceId,
    /// The reasons that it cannot claim the work; none if it can.
    pub lacks: Lacks,
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let only = if self.lacks.count() == 1 { "only " } else { "" };
        write!(f, "worker {} lacks {only}{}", self.instance, self.lacks)
    }
}

impl WorkerInfo {
    /// Returns what the worker lacks to claim an execution of this lane and kind that requires
    /// these capabilities.
    pub fn lacks(&self, lane: &LaneId, kind: &ExecutionKind, required: &Capabilities) -> Lacks {
        Lacks {
            lane: (!self.lanes.contains(lane)).then(|| lane.clone()),
            kind: (!self.kinds.serves(kind)).then(|| kind.clone()),
            capabilities: required.missing_in(&self.capabilities),
        }
    }

    /// Returns whether the worker can claim such an execution.
    pub fn serves(&self, lane: &LaneId, kind: &ExecutionKind, required: &Capabilities) -> bool {
        self.lacks(lane, kind, required).is_empty()
    }
}

impl Worker {
    /// Returns whether the worker claims executions at this time.
    pub fn claims(&self, now: TimestampMs) -> bool {
        self.state_at(now) == WorkerState::Live
    }
}

/// Returns the worker that lacks the least for such an execution, and what that is; `None` if no
/// worker claims executions now. Among equals the first one is returned.
pub fn nearest<'w>(
    workers: impl IntoIterator<Item = &'w Worker>,
    lane: &LaneId,
    kind: &ExecutionKind,
    required: &Capabilities,
    now: TimestampMs,
) -> Option<Nearest> {
    let claiming = workers.into_iter().filter(|worker| worker.claims(now));
    let lacking = claiming.map(|worker| Nearest {
        worker: worker.info.worker.clone(),
        instance: worker.info.instance.clone(),
        lacks: worker.info.lacks(lane, kind, required),
    });
    lacking.min_by_key(|nearest| nearest.lacks.count())
}
