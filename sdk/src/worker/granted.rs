//! Claims under a grant that an admin client issued.

use std::time::Duration;

use ff_core::agent::{ClaimedWork, WorkerGrant};
use ff_core::error::EngineError;
use ff_core::execution::{
    Claim, Claimed, Decide, InNamespace, ReleaseGrant, Renew, TakeGranted, TakeOver, TakeResumed,
    parse_grant_key,
};
use ff_core::grant::{ClaimGrant, ReclaimGrant, ResumeGrant};
use ff_core::id::{AttemptId, LaneId, LeaseId};
use ff_core::op::Committed;
use ff_core::store::Fetched;
use ff_core::time::DurationMs;

use crate::admin::FlowFabricAdminClient;
use crate::error::SdkError;
use crate::grants::{
    GrantArguments, ReclaimExecutionArgs, ReclaimExecutionOutcome, check_grant, check_lane,
    reclaim_rejected,
};
use crate::shared::lock;
use crate::task::ClaimedTask;
use crate::upkeep::Slots;

use super::FlowFabricWorker;

impl FlowFabricWorker {
    /// Claims an execution with a claim grant. If the execution has an interrupted attempt, that
    /// attempt is resumed.
    ///
    /// # Errors
    ///
    /// - [`SdkError::WorkerAtCapacity`] when all slots are taken; the grant is still usable.
    /// - [`SdkError::Config`] when the grant does not match the arguments or has expired, or the
    ///   worker drains; nothing was sent.
    /// - [`SdkError::Engine`] with the rejections of a claim: `NotFound`, `InvalidClaimGrant`,
    ///   `ClaimGrantExpired` or `ExecutionNotLeaseable`; with `WorkerSuperseded` as for
    ///   [`FlowFabricWorker::claim_next`]; or when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// As for [`FlowFabricWorker::claim_next`].
    pub async fn claim_from_grant(
        &self,
        lane: LaneId,
        grant: ClaimGrant,
    ) -> Result<ClaimedTask, SdkError> {
        let slot = self.0.upkeep.take_slots(1)?;
        self.take(slot, &GrantArguments::of_claim(&grant, &lane), TakeGranted).await
    }

    /// Claims with a grant, as the command that `command` makes of the claim.
    async fn take<C: Decide<Outcome = Claimed>>(
        &self,
        slot: Slots,
        arguments: &GrantArguments<'_>,
        command: fn(Claim) -> C,
    ) -> Result<ClaimedTask, SdkError> {
        let claim = self.claim(arguments, self.0.config.lease_ttl)?;
        let committed = self.transact(command(claim)).await?;
        self.granted(slot, committed).await
    }

    /// Resumes an interrupted attempt with a resume grant.
    ///
    /// # Errors
    ///
    /// As for [`FlowFabricWorker::claim_from_grant`], and [`SdkError::Engine`] with
    /// `NotAResumedExecution`.
    ///
    /// # Cancel safety
    ///
    /// As for [`FlowFabricWorker::claim_next`].
    pub async fn claim_from_resume_grant(
        &self,
        grant: ResumeGrant,
    ) -> Result<ClaimedTask, SdkError> {
        let slot = self.0.upkeep.take_slots(1)?;
        self.take(slot, &GrantArguments::of_resume(&grant), TakeResumed).await
    }

    /// Reclaims an execution, with a reclaim grant, from an owner that lost its lease.
    ///
    /// # Errors
    ///
    /// As for [`FlowFabricWorker::claim_from_grant`], but a rejected claim is not an error: it is
    /// returned as a [`ReclaimExecutionOutcome`].
    ///
    /// # Cancel safety
    ///
    /// As for [`FlowFabricWorker::claim_next`].
    pub async fn claim_from_reclaim_grant(
        &self,
        grant: ReclaimGrant,
        args: ReclaimExecutionArgs,
    ) -> Result<ReclaimExecutionOutcome, SdkError> {
        let slot = self.0.upkeep.take_slots(1)?;
        self.take_over_granted(slot, grant, args).await
    }

    async fn take_over_granted(
        &self,
        slot: Slots,
        grant: ReclaimGrant,
        args: ReclaimExecutionArgs,
    ) -> Result<ReclaimExecutionOutcome, SdkError> {
        let arguments = GrantArguments::of_reclaim(&grant);
        let ttl = args.lease_ttl.unwrap_or(self.0.config.lease_ttl);
        let claim = self.claim(&arguments, ttl)?;
        match self.transact(TakeOver(claim)).await {
            Ok(committed) => {
                let task = self.granted(slot, committed).await?;
                Ok(ReclaimExecutionOutcome::Claimed(Box::new(task)))
            }
            Err(error) => reclaim_rejected(error),
        }
    }

    /// Requests a grant from the admin client, and claims the execution with it. Returns `None`
    /// when there is no work now. `grant_ttl_ms` is 1 to 60,000 milliseconds.
    ///
    /// # Errors
    ///
    /// As for [`FlowFabricWorker::claim_from_grant`] and
    /// [`FlowFabricAdminClient::claim_for_worker`].
    ///
    /// # Cancel safety
    ///
    /// As for [`FlowFabricWorker::claim_next`].
    pub async fn claim_via_server(
        &self,
        server: &FlowFabricAdminClient,
        lane: &LaneId,
        grant_ttl_ms: u64,
    ) -> Result<Option<ClaimedTask>, SdkError> {
        if !self.0.upkeep.state.check_claim()? {
            return Ok(None);
        }
        // The slot is taken first, so that a full worker never uses up a grant.
        let slot = self.0.upkeep.take_slots(1)?;
        let config = &self.0.config;
        check_lane(config, lane)?;
        let request = config.claim_request(lane.clone(), grant_ttl_ms);
        let Some(granted) = server.claim_for_worker(request).await? else {
            return Ok(None);
        };
        let grant = granted.into_grant();
        let claimed = match grant.clone() {
            WorkerGrant::Claim(grant) => {
                let arguments = GrantArguments::of_claim(&grant, lane);
                self.take(slot, &arguments, TakeGranted).await.map(Some)
            }
            WorkerGrant::Resume(grant) => {
                let arguments = GrantArguments::of_resume(&grant);
                self.take(slot, &arguments, TakeResumed).await.map(Some)
            }
            WorkerGrant::Reclaim(grant) => {
                let args = ReclaimExecutionArgs::default();
                match self.take_over_granted(slot, grant, args).await {
                    Ok(ReclaimExecutionOutcome::Claimed(task)) => Ok(Some(*task)),
                    Ok(_) => Ok(None),
                    Err(error) => Err(error),
                }
            }
        };
        // A store that did not answer the claim would not answer this call either.
        let unused = match &claimed {
            Ok(task) => task.is_none(),
            Err(error) => !error.is_retryable(),
        };
        if unused && let Err(error) = self.release_grant(grant).await {
            tracing::debug!(%error, "an unused grant was not released; it expires");
        }
        claimed
    }

    /// Gives a grant back that will not be used, so that the execution can be granted again
    /// immediately instead of at the grant's expiry. Does nothing if the grant was used, has
    /// expired, or was issued to another worker.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `NotFound` when the execution is not in the worker's namespace,
    /// and when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the grant may or may not be released. The call can be repeated.
    pub async fn release_grant(&self, grant: impl Into<WorkerGrant>) -> Result<(), SdkError> {
        let grant = grant.into();
        let release = ReleaseGrant {
            execution_id: grant.execution_id(),
            grant_id: parse_grant_key(grant.grant_key()).map_err(EngineError::from)?,
            worker: self.0.config.worker_id.clone(),
        };
        self.transact(release).await?;
        Ok(())
    }

    /// Carries out a command on an execution of the worker's namespace.
    async fn transact<C: Decide>(&self, command: C) -> Result<Committed<C::Outcome>, SdkError> {
        let namespace = self.0.config.namespace.clone();
        self.0.upkeep.state.connection.transact(InNamespace { namespace, command }).await
    }

    fn claim(&self, grant: &GrantArguments<'_>, lease_ttl: Duration) -> Result<Claim, SdkError> {
        let connection = &self.0.upkeep.state.connection;
        if !self.0.upkeep.state.check_claim()? {
            let message = "drains or has ended: it claims nothing more";
            return Err(SdkError::config("claim with a grant", "worker", message));
        }
        check_grant(grant, &self.0.config, connection)?;
        let mut entropy = connection.entropy();
        Ok(Claim {
            execution_id: grant.execution_id,
            lane: Some(grant.lane.clone()),
            grant_id: parse_grant_key(grant.grant_key).map_err(EngineError::from)?,
            worker: self.0.config.worker_id.clone(),
            instance: self.0.config.worker_instance_id.clone(),
            lease_id: LeaseId::random(&mut entropy),
            attempt_id: AttemptId::random(&mut entropy),
            lease_ttl: DurationMs::from(lease_ttl),
        })
    }

    /// Creates the task after a claim with a grant. If the claim was recognised as a repeat, much
    /// of its lease may have passed, so the lease is renewed before the work starts.
    async fn granted(
        &self,
        slot: Slots,
        mut committed: Committed<Claimed>,
    ) -> Result<ClaimedTask, SdkError> {
        let state = &self.0.upkeep.state;
        if committed.repeat {
            let claimed = &committed.outcome;
            let renew = Renew {
                execution_id: claimed.execution_id,
                fence: claimed.fence().into(),
                lease_ttl: claimed.lease_ttl,
            };
            let renewed = state.connection.transact(renew).await?;
            committed.outcome.expires_at = renewed.outcome.expires_at;
            (committed.first_sent, committed.at) = (renewed.first_sent, renewed.at);
            committed.record = renewed.record;
        }
        let payload = committed.values.into_iter().find_map(|value| match value {
            Fetched::Value(payload) => Some(payload),
            _ => None,
        });
        let (claimed, first_sent, at) = (committed.outcome, committed.first_sent, committed.at);
        lock(&state.agent).track(&claimed, committed.record, first_sent, at);
        let (claimant, record) = (0, None);
        let work = ClaimedWork { claimant, claimed, payload, record, first_sent, at };
        Ok(self.task(work, slot))
    }
}
