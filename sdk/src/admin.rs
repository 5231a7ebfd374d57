//! The admin client: what a server does for workers and operators, here in process.

use std::sync::{Arc, Mutex};

use ff_core::agent::{Scheduler, WorkerGrant, WorkerRequest};
use ff_core::backend::EngineBackend;
use ff_core::capability::Capabilities;
use ff_core::error::{EngineError, Rejection};
use ff_core::execution::{GrantAudit, IssueClaimGrant, IssueReclaimGrant, ReclaimGranted};
use ff_core::grant::ReclaimGrant;
use ff_core::id::{ExecutionId, GrantId, LaneId};
use ff_core::op::{ActivateFormat, ListSecrets, OperationContext, RotateSecret};
use ff_core::store::codec::Codec;
use ff_core::time::DurationMs;
use ff_core::token::{Kid, Rotation, Secret, SecretInfo};

use crate::config::WorkerConfig;
use crate::error::SdkError;
use crate::shared::{Connection, Sources, lock};

/// Grants work to workers that ask for it.
pub struct FlowFabricAdminClient {
    connection: Connection,
    scheduler: Mutex<Scheduler>,
}

impl FlowFabricAdminClient {
    /// A client that does in this process what a server would.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer. Cancel safe.
    pub async fn connect_with(backend: Arc<dyn EngineBackend>) -> Result<Self, SdkError> {
        let context = OperationContext::new(DurationMs::from_secs(30), Codec::default());
        let connection =
            Connection::open(backend, None, context.clone(), Sources::default()).await?;
        let scheduler = Scheduler::new(connection.partitions, context, connection.entropy());
        Ok(Self { connection, scheduler: Mutex::new(scheduler) })
    }

    /// Looks for an execution that the worker may have, and grants it: new, resumed or reclaimed.
    /// `None` when there is no work. The grant is good for 1 to 60,000 milliseconds.
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] for the ttl, [`SdkError::Engine`] when the store does not answer.
    ///
    /// Dropping the future may leave a grant that nobody uses; it runs out.
    pub async fn claim_for_worker(
        &self,
        worker: &WorkerConfig,
        lane: &LaneId,
        grant_ttl_ms: u64,
    ) -> Result<Option<WorkerGrant>, SdkError> {
        check_grant_ttl(grant_ttl_ms)?;
        let request = WorkerRequest {
            namespace: worker.namespace.clone(),
            lane: lane.clone(),
            worker: worker.worker_id.clone(),
            instance: Some(worker.worker_instance_id.clone()),
            capabilities: worker.capabilities.clone(),
            grant_ttl: DurationMs::new(grant_ttl_ms),
        };
        let draw = lock(&self.scheduler).claim_for_worker(request);
        let drawn = self.connection.drive(draw).await?;
        let (namespace, lane) = (worker.namespace.clone(), lane.clone());
        Ok(lock(&self.scheduler).admitted(namespace, lane, drawn))
    }

    /// Grants an execution whose lease expired or was revoked.
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] for the ttl; [`SdkError::Engine`] with `NotFound`,
    /// `ExecutionNotReclaimable`, `GrantAlreadyExists`, `CapabilityMismatch`, and
    /// `ReclaimCapExceeded`, which is applied: the execution has failed.
    pub async fn issue_reclaim_grant(
        &self,
        id: &ExecutionId,
        worker: &WorkerConfig,
        grant_ttl_ms: u64,
    ) -> Result<ReclaimGrant, SdkError> {
        check_grant_ttl(grant_ttl_ms)?;
        let capabilities: Capabilities = worker.capabilities.clone();
        let instance = Some(worker.worker_instance_id.clone());
        let command = IssueReclaimGrant(IssueClaimGrant {
            execution_id: *id,
            grant_id: GrantId::random(&mut self.connection.entropy()),
            worker: worker.worker_id.clone(),
            capabilities,
            ttl: DurationMs::new(grant_ttl_ms),
            audit: Some(GrantAudit { instance, ..GrantAudit::default() }),
        });
        match self.connection.transact(command).await?.outcome {
            ReclaimGranted::Granted(granted) => Ok(granted.reclaim_grant()),
            ReclaimGranted::CapExceeded { reclaims } => {
                Err(EngineError::from(Rejection::ReclaimCapExceeded { reclaims }).into())
            }
        }
    }

    /// Makes a record format the one that programs write. Do so when every program of the store
    /// knows it: an older one leaves records of that format alone. The number never goes down, and
    /// the call has the same effect however often it is made (`docs/architecture.md`, Encoding).
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `FormatUnknown` for a number beyond what this program knows,
    /// `FormatSuperseded` for one below the active number, and `Timeout` when nobody can say
    /// whether it was applied. Dropping the future may leave the format activated or not.
    pub async fn activate_format(&self, format: u8) -> Result<(), SdkError> {
        let operation = ActivateFormat::new(format, self.connection.patience());
        self.connection.drive(operation).await?;
        tracing::info!(format, "record format activated");
        Ok(())
    }

    /// Makes a secret the one that signs the tokens of waitpoints; the one before stays good for
    /// `grace_ms`, at most a year. The secret is given in hexadecimal digits of either case, 1 to
    /// 128 bytes; 32 random bytes are a good one. It takes a second or two to reach every process.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `InvalidKid`, `InvalidSecretHex`, `InvalidGraceMs`,
    /// `RotationConflict` when the kid stands for another secret, and `Timeout` when nobody can say
    /// whether it was applied. Dropping the future may leave it rotated or not.
    pub async fn rotate_waitpoint_secret(
        &self,
        kid: &str,
        secret_hex: &str,
        grace_ms: u64,
    ) -> Result<Rotation, SdkError> {
        let kid = Kid::try_new(kid).map_err(EngineError::from)?;
        let secret = Secret::from_hex(secret_hex).map_err(EngineError::from)?;
        let (grace, patience) = (DurationMs::new(grace_ms), self.connection.patience());
        let operation = RotateSecret::new(kid.clone(), secret, grace, patience);
        let rotation = self.connection.drive(operation).await?;
        tracing::info!(%kid, grace_ms, ?rotation, "waitpoint secret");
        Ok(rotation)
    }

    /// The secrets that are good, oldest first: their names, never themselves. The last one signs
    /// new tokens.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer. Cancel safe.
    pub async fn list_waitpoint_secrets(&self) -> Result<Vec<SecretInfo>, SdkError> {
        Ok(self.connection.drive(ListSecrets::new(self.connection.patience())).await?)
    }
}

fn check_grant_ttl(grant_ttl_ms: u64) -> Result<(), SdkError> {
    if (1..=60_000).contains(&grant_ttl_ms) {
        return Ok(());
    }
    let message = format!("is {grant_ttl_ms}, and must be 1 to 60000");
    Err(SdkError::config("grant", "grant_ttl_ms", message))
}

impl std::fmt::Debug for FlowFabricAdminClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowFabricAdminClient").finish_non_exhaustive()
    }
}
