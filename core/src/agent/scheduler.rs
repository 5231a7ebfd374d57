//! The scheduler: finds an execution for a worker and issues the grant for it, on behalf of a
//! server or an admin client (`docs/spec.md`, 7: `claim_for_worker`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::entropy::Entropy;
use crate::error::Rejection;
use crate::execution::{Admit, Admitted, Execution, GrantAudit, IssueClaimGrant};
use crate::grant::{ClaimGrant, ReclaimGrant, ResumeGrant};
use crate::id::{ExecutionId, GrantId, WorkerId};
use crate::op::{Loaded, OperationContext, ReadyQueues, TakeFromLane, TakenFromLane, Taker};
use crate::partition::PartitionConfig;
use crate::time::DurationMs;

use super::claimer::Served;

/// A worker that asks for work.
#[derive(Clone, Debug)]
pub struct WorkerRequest {
    /// The lanes that it asks for, the kinds that it serves, and its capabilities.
    pub served: Served,
    /// The worker that may use the grant.
    pub worker: WorkerId,
    /// The data to store with the grant.
    pub audit: GrantAudit,
    /// The validity period of the grant, 1 to 60,000 ms.
    pub grant_ttl: DurationMs,
}

/// A grant of the kind that the execution's state asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WorkerGrant {
    /// Starts a new attempt.
    Claim(ClaimGrant),
    /// Resumes the interrupted attempt.
    Resume(ResumeGrant),
    /// Takes over from an owner that lost its lease.
    Reclaim(ReclaimGrant),
}

macro_rules! worker_grants {
    ($($variant:ident($grant:ident);)+) => {
        $(impl From<$grant> for WorkerGrant {
            fn from(grant: $grant) -> Self {
                Self::$variant(grant)
            }
        })+
    };
}

worker_grants! {
    Claim(ClaimGrant);
    Resume(ResumeGrant);
    Reclaim(ReclaimGrant);
}

impl WorkerGrant {
    /// The execution that it is for.
    pub const fn execution_id(&self) -> ExecutionId {
        match self {
            Self::Claim(grant) => grant.execution_id,
            Self::Resume(grant) => grant.execution_id,
            Self::Reclaim(grant) => grant.execution_id,
        }
    }

    /// The opaque text that identifies it.
    pub fn grant_key(&self) -> &str {
        match self {
            Self::Claim(grant) => &grant.grant_key,
            Self::Resume(grant) => &grant.grant_key,
            Self::Reclaim(grant) => &grant.grant_key,
        }
    }
}

/// Issues a grant for one worker on each entry that was taken from the lane.
#[derive(Clone, Debug)]
pub struct AdmitTo {
    request: WorkerRequest,
    entropy: Entropy,
}

impl Taker for AdmitTo {
    type Command = Admit;

    fn command(&mut self, record: &Loaded) -> Option<Admit> {
        Some(Admit(IssueClaimGrant {
            execution_id: record.execution.id,
            lane: None,
            grant_id: GrantId::random(&mut self.entropy),
            worker: self.request.worker.clone(),
            capabilities: self.request.served.capabilities.clone(),
            ttl: self.request.grant_ttl,
            audit: self.request.audit.clone(),
        }))
    }

    fn fits(&self, execution: &Execution) -> bool {
        execution.requires.satisfied_by(&self.request.served.capabilities)
    }

    fn keeps(outcome: &Admitted) -> bool {
        matches!(outcome, Admitted::Granted(_) | Admitted::ReclaimGranted(_))
    }

    fn held_by(outcome: &Admitted) -> Option<&Rejection> {
        match outcome {
            Admitted::BlockedByRoute(why) | Admitted::HeldByLimit(why) => Some(why),
            _ => None,
        }
    }
}

/// The limit of kept queues. Without it, callers could use up the memory with ever new names of
/// lanes.
const MAX_KEPT: usize = 1_024;

/// Grants work to workers that ask for it.
#[derive(Clone, Debug)]
pub struct Scheduler {
    partitions: PartitionConfig,
    context: OperationContext,
    entropy: Entropy,
    queues: BTreeMap<Served, ReadyQueues>,
}

impl Scheduler {
    /// A scheduler over these partitions.
    pub const fn new(
        partitions: PartitionConfig,
        context: OperationContext,
        entropy: Entropy,
    ) -> Self {
        Self { partitions, context, entropy, queues: BTreeMap::new() }
    }

    /// Looks for an execution for the worker. The result goes to [`Scheduler::admitted`].
    pub fn claim_for_worker(&mut self, request: WorkerRequest) -> TakeFromLane<AdmitTo> {
        let queues = self.queues.remove(&request.served);
        let queues = queues.unwrap_or_else(|| request.served.queues(self.partitions));
        let admit = AdmitTo { request, entropy: self.entropy.fork() };
        TakeFromLane::new(queues, admit, 1, self.context.clone(), self.entropy.fork())
    }

    /// Notes the result for a worker, and returns the grant if there was work.
    pub fn admitted(
        &mut self,
        served: Served,
        taken: TakenFromLane<AdmitTo>,
    ) -> Option<WorkerGrant> {
        if self.queues.len() >= MAX_KEPT {
            // Nothing is lost: new ones find the partitions with work by polling them all.
            self.queues.clear();
        }
        self.queues.insert(served, taken.queues);
        taken.kept.into_iter().find_map(|committed| match committed.outcome {
            Admitted::Granted(granted) if granted.resumes => {
                Some(WorkerGrant::Resume(granted.resume_grant()))
            }
            Admitted::Granted(granted) => Some(WorkerGrant::Claim(granted.claim_grant())),
            Admitted::ReclaimGranted(granted) => {
                Some(WorkerGrant::Reclaim(granted.reclaim_grant()))
            }
            _ => None,
        })
    }
}
