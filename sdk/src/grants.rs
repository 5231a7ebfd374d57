//! Grants from elsewhere: what is checked before anything is sent.

use ff_core::error::{EngineError, Rejection};
use ff_core::grant::{ClaimGrant, ReclaimGrant, ResumeGrant};
use ff_core::id::{ExecutionId, LaneId};
use ff_core::partition::PartitionKey;
use ff_core::time::TimestampMs;

use crate::config::WorkerConfig;
use crate::error::SdkError;
use crate::shared::Connection;
use crate::task::ClaimedTask;

/// How a reclaim grant is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReclaimExecutionArgs {
    /// How long the lease is good unless it is renewed, in milliseconds; the worker's own unless
    /// set.
    pub lease_ttl_ms: Option<u64>,
}

impl ReclaimExecutionArgs {
    /// The worker's own lease ttl.
    pub const fn new() -> Self {
        Self { lease_ttl_ms: None }
    }

    /// Another lease ttl, in milliseconds.
    #[must_use]
    pub const fn lease_ttl_ms(mut self, lease_ttl_ms: u64) -> Self {
        self.lease_ttl_ms = Some(lease_ttl_ms);
        self
    }
}

/// What came of a reclaim.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReclaimExecutionOutcome {
    /// The worker has it.
    Claimed(Box<ClaimedTask>),
    /// The execution cannot be reclaimed: its lease lives, or its deadline passed.
    NotReclaimable,
    /// It was reclaimed too often and has failed.
    ReclaimCapExceeded,
    /// There is no such grant, or it ran out.
    GrantNotFound,
}

/// What a grant says, whatever its kind.
pub(crate) struct GrantArguments<'g> {
    pub(crate) execution_id: ExecutionId,
    pub(crate) grant_key: &'g str,
    partition_key: &'g PartitionKey,
    expires_at: TimestampMs,
    lane: &'g LaneId,
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

/// Refuses a grant that does not match itself or the worker, or that has expired by what is known
/// of the store's clock.
pub(crate) fn check_grant(
    grant: &GrantArguments<'_>,
    config: &WorkerConfig,
    connection: &Connection,
) -> Result<(), SdkError> {
    const CONTEXT: &str = "grant";
    match grant.partition_key.parse() {
        Err(error) => return Err(SdkError::config(CONTEXT, "partition_key", error.to_string())),
        Ok(partition) if partition != grant.execution_id.partition() => {
            let message = format!("is not the partition of {}", grant.execution_id);
            return Err(SdkError::config(CONTEXT, "partition_key", message));
        }
        Ok(_) => {}
    }
    check_lane_of(config, grant.lane, grant.lane_field)?;
    let (clock, partition) = (&connection.clock, grant.execution_id.partition());
    let is_known = clock.has_observed(connection.backend.clock_of(partition));
    if is_known && grant.expires_at <= connection.store_now(partition) {
        let message = format!("was {}, which is over; ask for a new grant", grant.expires_at);
        return Err(SdkError::config(CONTEXT, "expires_at_ms", message));
    }
    Ok(())
}

/// Refuses a lane that is none of the worker's.
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
    let message = format!("is {lane}, which is none of the worker's lanes");
    Err(SdkError::config("grant", field, message))
}

/// The outcome of a reclaim that was refused.
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
