//! The scheduler: whom to admit to what, for workers that ask a server
//! (`docs/spec.md`, 7: `claim_for_worker`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::capability::Capabilities;
use crate::entropy::Entropy;
use crate::execution::{Admit, Admitted, GrantAudit, IssueClaimGrant};
use crate::grant::{ClaimGrant, ReclaimGrant, ResumeGrant};
use crate::id::{GrantId, LaneId, Namespace, WorkerId, WorkerInstanceId};
use crate::op::{Ask, Draw, Drawn, Loaded, Rotation, Terms};
use crate::partition::PartitionConfig;
use crate::time::DurationMs;

/// A worker that asks for work.
#[derive(Clone, Debug)]
pub struct WorkerRequest {
    /// Whose executions it sees.
    pub namespace: Namespace,
    /// The queue that it asks for.
    pub lane: LaneId,
    /// The worker that may use the grant.
    pub worker: WorkerId,
    /// The process that asks, for audit.
    pub instance: Option<WorkerInstanceId>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// How long the grant is good, 1 to 60,000 milliseconds.
    pub grant_ttl: DurationMs,
}

/// A grant of whichever kind the execution asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WorkerGrant {
    /// Starts a new attempt.
    Claim(ClaimGrant),
    /// Goes on with the interrupted attempt.
    Resume(ResumeGrant),
    /// Takes over from an owner that lost its lease.
    Reclaim(ReclaimGrant),
}

/// Admits one worker to each entry that was taken.
#[derive(Clone, Debug)]
pub struct AdmitTo {
    request: WorkerRequest,
    entropy: Entropy,
}

impl Ask for AdmitTo {
    type Command = Admit;

    fn ask(&mut self, record: &Loaded) -> Admit {
        let instance = self.request.instance.clone();
        Admit(IssueClaimGrant {
            execution_id: record.execution.id,
            grant_id: GrantId::random(&mut self.entropy),
            worker: self.request.worker.clone(),
            capabilities: self.request.capabilities.clone(),
            ttl: self.request.grant_ttl,
            audit: instance
                .map(|instance| GrantAudit { instance: Some(instance), ..GrantAudit::default() }),
        })
    }

    fn keeps(outcome: &Admitted) -> bool {
        matches!(outcome, Admitted::Granted(_) | Admitted::ReclaimGranted(_))
    }
}

/// Lanes whose rotation is kept: callers name lanes as they like.
const MAX_ROTATIONS: usize = 1_024;

/// Grants work to workers that ask for it.
#[derive(Clone, Debug)]
pub struct Scheduler {
    partitions: PartitionConfig,
    terms: Terms,
    entropy: Entropy,
    rotations: BTreeMap<(Namespace, LaneId), Rotation>,
}

impl Scheduler {
    /// A scheduler over these partitions; each request runs on these terms.
    pub const fn new(partitions: PartitionConfig, terms: Terms, entropy: Entropy) -> Self {
        Self { partitions, terms, entropy, rotations: BTreeMap::new() }
    }

    /// Looks for an execution that the worker may have. What came of it goes to
    /// [`Scheduler::admitted`].
    pub fn claim_for_worker(&mut self, request: WorkerRequest) -> Draw<AdmitTo> {
        let place = (request.namespace.clone(), request.lane.clone());
        let rotation = self.rotations.remove(&place).unwrap_or_else(|| {
            Rotation::new(place.0.clone(), vec![place.1.clone()], self.partitions)
        });
        let ask = AdmitTo { request, entropy: self.entropy.fork() };
        Draw::new(rotation, ask, 1, self.terms.clone(), self.entropy.fork())
    }

    /// Notes what was drawn for a worker; the grant, if there was work.
    pub fn admitted(
        &mut self,
        namespace: Namespace,
        lane: LaneId,
        drawn: Drawn<AdmitTo>,
    ) -> Option<WorkerGrant> {
        if self.rotations.len() >= MAX_ROTATIONS {
            // A rotation is only knowledge of where work was; it is found again.
            self.rotations.clear();
        }
        self.rotations.insert((namespace, lane), drawn.rotation);
        drawn.kept.into_iter().find_map(|committed| match committed.outcome {
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
