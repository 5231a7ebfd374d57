//! Grants that another process issued: the checks before anything is sent.

use std::time::Duration;

use ff_core::error::{EngineError, Rejection};
use ff_core::grant::{ClaimGrant, ReclaimGrant, ResumeGrant};
use ff_core::id::{ExecutionId, LaneId};
use ff_core::partition::PartitionKey;
use ff_core::time::TimestampMs;

use crate::config::WorkerConfig;
use crate::error::SdkError;
use crate::shared::Connection;
use crate::task::ClaimedTask;

/// The options of [`claim_from_reclaim_grant`].
///
/// [`claim_from_reclaim_grant`]: crate::FlowFabricWorker::claim_from_reclaim_grant
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReclaimExecutionArgs {
    /// The lifetime of the lease from its last renewal; `None` takes the worker's.
    pub lease_ttl: Option<Duration>,
}

impl ReclaimExecutionArgs {
    /// Creates the default options: the worker's lease ttl.
    pub const fn new() -> Self {
        Self { lease_ttl: None }
    }

    /// Sets the lifetime of the lease.
    #[must_use]
    pub const fn lease_ttl(mut self, lease_ttl: Duration) -> Self {
        self.lease_ttl = Some(lease_ttl);
        self
    }
}

/// The outcome of a reclaim (`docs/spec.md`, 4: reclaim).
#[derive(Debug)]
#[non_exhaustive]
pub enum ReclaimExecutionOutcome {
    /// The worker holds the execution.
    Claimed(Box<ClaimedTask>),
    /// The execution cannot be reclaimed: its lease is live, or its deadline has passed.
    NotReclaimable,
    /// The execution was reclaimed too often and has failed.
    ReclaimCapExceeded,
    /// There is no such grant, or it has expired.
    GrantNotFound,
}

/// The fields that all kinds of grants have.
pub(crate) struct GrantArguments<'g> {
    pub(crate) execution_id: ExecutionId,
    pub(crate) grant_key: &'g str,
    partition_key: &'g PartitionKey,
    expires_at: TimestampMs,
    pub(crate) lane: &'g LaneId,
    lane_field: &'static str,
}

impl<'g> GrantArguments<'g> {
    pub(crate) fn of_claim(grant: &'g ClaimGrant, lane: &'g LaneId) -> Self {
        Self {
            execution_id: grant.execution_id,
            grant_key: &grant.grant_key,
            partition_key: &grant.partition_key,
            expires_at: grant.expires_at_ms,
            lane,
            lane_field: "lane",
        }
    }

    pub(crate) fn of_resume(grant: &'g ResumeGrant) -> Self {
        Self {
            execution_id: grant.execution_id,
            grant_key: &grant.grant_key,
            partition_key: &grant.partition_key,
            expires_at: grant.expires_at_ms,
            lane: &grant.lane_id,
            lane_field: "lane_id",
        }
    }

    pub(crate) fn of_reclaim(grant: &'g ReclaimGrant) -> Self {
        Self {
            execution_id: grant.execution_id,
            grant_key: &grant.grant_key,
            partition_key: &grant.partition_key,
            expires_at: grant.expires_at_ms,
            lane: &grant.lane_id,
            lane_field: "lane_id",
        }
    }
}

/// Refuses a grant whose fields contradict each other or the worker's lanes, or that has expired by
/// the estimate of the store's clock.
pub(crate) fn check_grant(
    grant: &GrantArguments<'_>,
    config: &WorkerConfig,
    connection: &Connection,
) -> Result<(), SdkError> {
    const CONTEXT: &str = "grant";
    match grant.partition_key.parse() {
        Err(error) => return Err(SdkError::config(CONTEXT, "partition_key", error.to_string())),
        Ok(partition) if partition != grant.execution_id.partition() => {
            let (key, id) = (grant.partition_key, grant.execution_id);
            let message = format!("is {key}, which is not the partition of {id}");
            return Err(SdkError::config(CONTEXT, "partition_key", message));
        }
        Ok(_) => {}
    }
    check_lane_of(config, grant.lane, grant.lane_field)?;
    let (clock, partition) = (&connection.clock, grant.execution_id.partition());
    let is_known = clock.has_observed(connection.backend.clock_of(partition));
    if is_known && grant.expires_at <= connection.store_now(partition) {
        let message = format!("is {}, which has passed: get a new grant", grant.expires_at);
        return Err(SdkError::config(CONTEXT, "expires_at_ms", message));
    }
    Ok(())
}

/// Refuses a lane that the worker does not claim from.
pub(crate) fn check_lane(config: &WorkerConfig, lane: &LaneId) -> Result<(), SdkError> {
    check_lane_of(config, lane, "lane")
}

fn check_lane_of(
    config: &WorkerConfig,
    lane: &LaneId,
    field: &'static str,
) -> Result<(), SdkError> {
    if config.lanes.contains(lane) {
        return Ok(());
    }
    let own: Vec<&str> = config.lanes.iter().map(LaneId::as_str).collect();
    let message = format!("is {lane}: the worker's lanes are {}", own.join(", "));
    Err(SdkError::config("grant", field, message))
}

/// Maps the rejections of a reclaim to outcomes.
pub(crate) fn reclaim_rejected(error: SdkError) -> Result<ReclaimExecutionOutcome, SdkError> {
    match error.engine().and_then(EngineError::rejection) {
        Some(Rejection::InvalidClaimGrant | Rejection::ClaimGrantExpired { .. }) => {
            Ok(ReclaimExecutionOutcome::GrantNotFound)
        }
        Some(Rejection::ExecutionNotLeaseable { .. } | Rejection::ExecutionNotReclaimable) => {
            Ok(ReclaimExecutionOutcome::NotReclaimable)
        }
        Some(Rejection::ReclaimCapExceeded { .. }) => {
            Ok(ReclaimExecutionOutcome::ReclaimCapExceeded)
        }
        _ => Err(error),
    }
}
