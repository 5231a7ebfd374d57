//! The calls of the admin client, carried out in this process.

use std::sync::{Arc, Mutex};

use ff_core::agent::{Scheduler, Served, WorkerRequest};
use ff_core::backend::{EngineBackend, WakeUps};
use ff_core::execution::{IssueClaimGrant, IssueReclaimGrant, ReclaimGranted};
use ff_core::id::{ExecutionId, GrantId, Namespace, RequestId};
use ff_core::op::{ActivateFormat, ListSecrets, OperationContext, RotateSecret};
use ff_core::resource::ResourceKind;
use ff_core::store::Topic;
use ff_core::store::codec::Codec;
use ff_core::time::DurationMs;
use ff_core::token::{Kid, Secret, SecretInfo};
use ff_io_http::{
    ClaimForWorkerRequest, ClaimForWorkerResponse, IssueReclaimGrantRequest,
    IssueReclaimGrantResponse, RotateWaitpointSecretResponse,
};
use tokio::time::{Duration, Instant};

use crate::client::Client;
use crate::config::ClientConfig;
use crate::error::SdkError;
use crate::shared::{Connection, Sources, lock};
use crate::wake_ups::{drain, wait_for};

/// The longest time between two looks for work of a call that waits.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The namespace of the client whose calls each name another one.
const NO_NAMESPACE: &str = "-";

/// A connection to a store, with the scheduler of its grants.
pub(super) struct Embedded {
    connection: Arc<Connection>,
    /// A client over the connection, for the calls that a [`Client`] has too.
    client: Client,
    scheduler: Mutex<Scheduler>,
}

impl Embedded {
    pub(super) async fn connect(backend: Arc<dyn EngineBackend>) -> Result<Self, SdkError> {
        let context = OperationContext::new(DurationMs::from_secs(30), Codec::default());
        let sources = Sources { ends_refused: true, ..Sources::default() };
        let connection = Arc::new(Connection::open(backend, None, context, sources).await?);
        let client = Client::over(ClientConfig::new(NO_NAMESPACE)?, connection.clone());
        let scheduler = Scheduler::new(
            connection.partitions,
            connection.context().clone(),
            connection.entropy(),
        );
        Ok(Self { connection, client, scheduler: Mutex::new(scheduler) })
    }

    /// The client of a namespace.
    pub(super) fn client(&self, namespace: &Namespace) -> Client {
        self.client.in_namespace(namespace)
    }

    /// Looks for work until there is some, or the time that the request may wait is over.
    pub(super) async fn claim_for_worker(
        &self,
        request: ClaimForWorkerRequest,
    ) -> Result<Option<ClaimForWorkerResponse>, SdkError> {
        let until = Instant::now() + Duration::from_millis(request.wait_ms);
        let request = WorkerRequest {
            audit: request.audit(),
            grant_ttl: DurationMs::new(request.grant_ttl_ms),
            worker: request.worker_id,
            served: Served {
                namespace: request.namespace,
                lanes: vec![request.lane_id],
                kinds: request.kinds,
                capabilities: request.worker_capabilities,
            },
        };
        // Subscribed before the first look, so that no work comes between the two unnoticed.
        let waits = until > Instant::now();
        let mut wake_ups = waits.then(|| self.subscribe(&request.served)).flatten();
        loop {
            drain(&mut wake_ups);
            let granted = self.look_once(request.clone()).await?;
            if granted.is_some() || Instant::now() >= until {
                return Ok(granted);
            }
            wait_for(&mut wake_ups, until.min(Instant::now() + LOOK_EVERY)).await;
        }
    }

    async fn look_once(
        &self,
        request: WorkerRequest,
    ) -> Result<Option<ClaimForWorkerResponse>, SdkError> {
        let served = request.served.clone();
        let draw = lock(&self.scheduler).claim_for_worker(request);
        let drawn = self.connection.drive(draw).await?;
        let held = drawn.held.iter();
        held.for_each(|held| self.connection.meter.held_back(&held.lane, held.why));
        Ok(lock(&self.scheduler).admitted(served, drawn).map(ClaimForWorkerResponse::from))
    }

    /// Subscribes to what may give work to a worker.
    fn subscribe(&self, served: &Served) -> Option<Box<dyn WakeUps>> {
        let namespace = || served.namespace.clone();
        let lane = |lane: &_| Topic::Lane { namespace: namespace(), lane: Clone::clone(lane) };
        let changed = Topic::Resources { kind: ResourceKind::Lanes, namespace: namespace() };
        let others = [Topic::Routes { namespace: namespace() }, changed];
        self.connection.backend.subscribe(served.lanes.iter().map(lane).chain(others).collect())
    }

    pub(super) async fn issue_reclaim_grant(
        &self,
        id: &ExecutionId,
        request: IssueReclaimGrantRequest,
        request_id: &RequestId,
    ) -> Result<IssueReclaimGrantResponse, SdkError> {
        let command = IssueReclaimGrant(IssueClaimGrant {
            execution_id: *id,
            audit: request.audit(),
            lane: Some(request.lane_id),
            grant_id: GrantId::for_request(id, request_id),
            worker: request.worker_id,
            capabilities: request.worker_capabilities,
            ttl: DurationMs::new(request.grant_ttl_ms),
        });
        Ok(match self.connection.transact(command).await?.outcome {
            ReclaimGranted::Granted(granted) => {
                IssueReclaimGrantResponse::Granted(granted.reclaim_grant())
            }
            ReclaimGranted::CapExceeded { reclaims } => {
                IssueReclaimGrantResponse::ReclaimCapExceeded { reclaims }
            }
        })
    }

    pub(super) async fn rotate_waitpoint_secret(
        &self,
        new_kid: Kid,
        secret: Secret,
        grace_ms: u64,
    ) -> Result<RotateWaitpointSecretResponse, SdkError> {
        let (grace, patience) = (DurationMs::new(grace_ms), self.connection.patience());
        let operation = RotateSecret::new(new_kid.clone(), secret, grace, patience);
        let outcome = self.connection.drive(operation).await?;
        tracing::info!(kid = %new_kid, grace_ms, ?outcome, "waitpoint secret rotation");
        Ok(RotateWaitpointSecretResponse { outcome, new_kid })
    }

    pub(super) async fn activate_format(&self, format: u8) -> Result<(), SdkError> {
        let operation = ActivateFormat::new(format, self.connection.patience());
        self.connection.drive(operation).await?;
        tracing::info!(format, "record format activated");
        Ok(())
    }

    pub(super) async fn list_waitpoint_secrets(&self) -> Result<Vec<SecretInfo>, SdkError> {
        Ok(self.connection.drive(ListSecrets::new(self.connection.patience())).await?)
    }
}
