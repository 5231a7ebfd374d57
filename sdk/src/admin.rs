//! The admin client: grants, record formats and waitpoint secrets.

use std::sync::{Arc, Mutex};

use ff_core::agent::{Scheduler, Served, WorkerGrant, WorkerRequest};
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

/// The admin client: issues grants to workers, activates record formats, and rotates the secrets of
/// waitpoint tokens (`docs/spec.md`, 11). It does in this process what a server would do.
///
/// ```
/// use std::sync::Arc;
/// use ff_sdk::{
///     Client, FlowFabricAdminClient, FlowFabricWorker, LaneId, MemoryBackend, Submission,
///     WorkerConfig,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let backend = Arc::new(MemoryBackend::new());
/// let admin = FlowFabricAdminClient::connect_with(backend.clone()).await?;
/// let client = Client::connect_with(backend.clone(), "demo").await?;
/// let config = WorkerConfig::new("worker", "worker-1", "demo")?;
/// let worker = FlowFabricWorker::connect_with(config, backend, None).await?;
///
/// client.submit(Submission::new("greet")).await?;
/// let lane = LaneId::try_new("default")?;
/// let task = worker.claim_via_server(&admin, &lane, 5_000).await?.expect("there is work");
/// task.complete(None).await?;
/// # Ok(())
/// # }
/// ```
pub struct FlowFabricAdminClient {
    connection: Connection,
    scheduler: Mutex<Scheduler>,
}

impl FlowFabricAdminClient {
    /// Connects an admin client to a backend.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer, or has a newer record format.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect_with(backend: Arc<dyn EngineBackend>) -> Result<Self, SdkError> {
        let context = OperationContext::new(DurationMs::from_secs(30), Codec::default());
        let sources = Sources { ends_refused: true, ..Sources::default() };
        let connection = Connection::open(backend, None, context, sources).await?;
        let scheduler = Scheduler::new(
            connection.partitions,
            connection.context().clone(),
            connection.entropy(),
        );
        Ok(Self { connection, scheduler: Mutex::new(scheduler) })
    }

    /// Finds an execution of the lane that the worker can run (new, resumed or reclaimed), and
    /// issues a grant for it. `None` when there is no work now. `grant_ttl_ms` is 1 to 60,000
    /// milliseconds.
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] for the ttl; [`SdkError::Engine`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a grant may be issued and stay unused until it expires.
    pub async fn claim_for_worker(
        &self,
        worker: &WorkerConfig,
        lane: &LaneId,
        grant_ttl_ms: u64,
    ) -> Result<Option<WorkerGrant>, SdkError> {
        let audit = GrantAudit::default();
        self.claim_for_worker_audited(worker, lane, grant_ttl_ms, audit).await
    }

    /// Like [`FlowFabricAdminClient::claim_for_worker`], and stores data with the grant, which
    /// [`Client::describe`](crate::Client::describe) shows while the grant is
    /// not used. The worker's instance is added if the data has none.
    ///
    /// # Errors
    ///
    /// As for [`FlowFabricAdminClient::claim_for_worker`], and [`SdkError::Config`] for a text that
    /// is too long.
    ///
    /// # Cancel safety
    ///
    /// As for [`FlowFabricAdminClient::claim_for_worker`].
    pub async fn claim_for_worker_audited(
        &self,
        worker: &WorkerConfig,
        lane: &LaneId,
        grant_ttl_ms: u64,
        audit: GrantAudit,
    ) -> Result<Option<WorkerGrant>, SdkError> {
        check_grant_ttl(grant_ttl_ms)?;
        let audit = audit_of(worker, audit)?;
        let served = Served {
            namespace: worker.namespace.clone(),
            lanes: vec![lane.clone()],
            kinds: worker.kinds.clone(),
            capabilities: worker.capabilities.clone(),
        };
        let request = WorkerRequest {
            served: served.clone(),
            worker: worker.worker_id.clone(),
            audit,
            grant_ttl: DurationMs::new(grant_ttl_ms),
        };
        let draw = lock(&self.scheduler).claim_for_worker(request);
        let drawn = self.connection.drive(draw).await?;
        Ok(lock(&self.scheduler).admitted(served, drawn))
    }

    /// Issues a reclaim grant for an execution whose lease expired or was revoked. `grant_ttl_ms`
    /// is 1 to 60,000 milliseconds.
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] for the ttl; [`SdkError::Engine`] with `NotFound`,
    /// `ExecutionNotReclaimable`, `GrantAlreadyExists`, `CapabilityMismatch`, and
    /// `ReclaimCapExceeded`, which is applied: the execution has failed.
    ///
    /// # Cancel safety
    ///
    /// As for [`FlowFabricAdminClient::claim_for_worker`].
    pub async fn issue_reclaim_grant(
        &self,
        id: &ExecutionId,
        worker: &WorkerConfig,
        grant_ttl_ms: u64,
    ) -> Result<ReclaimGrant, SdkError> {
        let audit = GrantAudit::default();
        self.issue_reclaim_grant_audited(id, worker, grant_ttl_ms, audit).await
    }

    /// Like [`FlowFabricAdminClient::issue_reclaim_grant`], and stores data with the grant, as
    /// [`FlowFabricAdminClient::claim_for_worker_audited`] does.
    ///
    /// # Errors
    ///
    /// As for [`FlowFabricAdminClient::issue_reclaim_grant`], and [`SdkError::Config`] for a text
    /// that is too long.
    ///
    /// # Cancel safety
    ///
    /// As for [`FlowFabricAdminClient::claim_for_worker`].
    pub async fn issue_reclaim_grant_audited(
        &self,
        id: &ExecutionId,
        worker: &WorkerConfig,
        grant_ttl_ms: u64,
        audit: GrantAudit,
    ) -> Result<ReclaimGrant, SdkError> {
        check_grant_ttl(grant_ttl_ms)?;
        let audit = audit_of(worker, audit)?;
        let capabilities: Capabilities = worker.capabilities.clone();
        let command = IssueReclaimGrant(IssueClaimGrant {
            execution_id: *id,
            grant_id: GrantId::random(&mut self.connection.entropy()),
            worker: worker.worker_id.clone(),
            capabilities,
            ttl: DurationMs::new(grant_ttl_ms),
            audit,
        });
        match self.connection.transact(command).await?.outcome {
            ReclaimGranted::Granted(granted) => Ok(granted.reclaim_grant()),
            ReclaimGranted::CapExceeded { reclaims } => {
                Err(EngineError::from(Rejection::ReclaimCapExceeded { reclaims }).into())
            }
        }
    }

    /// Activates a record format: programs write it from now on (`docs/spec.md`, 2). Activate it
    /// when every program of the store knows it; an older program leaves records of that format
    /// alone. The active format never goes down. Activating it again changes nothing.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `FormatUnknown` for a format that this program does not know,
    /// `FormatSuperseded` for one below the active format, and `Timeout` when the store did not
    /// answer in time, which says whether the call may have been applied.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the format may or may not be activated. The call can be repeated.
    pub async fn activate_format(&self, format: u8) -> Result<(), SdkError> {
        let operation = ActivateFormat::new(format, self.connection.patience());
        self.connection.drive(operation).await?;
        tracing::info!(format, "record format activated");
        Ok(())
    }

    /// Rotates the secret that signs waitpoint tokens (`docs/spec.md`, 5). The previous secret
    /// stays valid for `grace_ms` milliseconds, at most a year. `kid` is the key ID of the new
    /// secret; `secret_hex` is its 1 to 128 bytes in hexadecimal digits (32 random bytes are a good
    /// choice). The new secret reaches every process within two seconds.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `InvalidKid`, `InvalidSecretHex`, `InvalidGraceMs`,
    /// `RotationConflict` when the key ID stands for another secret, and `Timeout` when the store
    /// did not answer in time, which says whether the call may have been applied.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the secret may or may not be rotated. The call can be repeated.
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
        tracing::info!(%kid, grace_ms, ?rotation, "waitpoint secret rotation");
        Ok(rotation)
    }

    /// Lists the valid secrets, oldest first, by key ID and fingerprint; never their bytes. The
    /// last one signs new tokens.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn list_waitpoint_secrets(&self) -> Result<Vec<SecretInfo>, SdkError> {
        Ok(self.connection.drive(ListSecrets::new(self.connection.patience())).await?)
    }
}

/// The data to store with a grant: that of the caller, with the worker's instance.
fn audit_of(worker: &WorkerConfig, audit: GrantAudit) -> Result<GrantAudit, SdkError> {
    if let Err(Rejection::InvalidInput { field, problem }) = audit.check() {
        return Err(SdkError::config("grant", field, problem));
    }
    let instance = audit.instance.or_else(|| Some(worker.worker_instance_id.clone()));
    Ok(GrantAudit { instance, ..audit })
}

fn check_grant_ttl(grant_ttl_ms: u64) -> Result<(), SdkError> {
    if (1..=60_000).contains(&grant_ttl_ms) {
        return Ok(());
    }
    let message = format!("is {grant_ttl_ms}: it must be 1 to 60000");
    Err(SdkError::config("grant", "grant_ttl_ms", message))
}

impl std::fmt::Debug for FlowFabricAdminClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowFabricAdminClient").finish_non_exhaustive()
    }
}
