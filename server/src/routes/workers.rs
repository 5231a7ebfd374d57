//! Workers: claims for those that are not connected to the store, and the registry.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use ff_io_http::{ClaimForWorkerRequest, ClaimForWorkerResponse};
use ff_sdk::{
    AttemptId, AttemptIndex, Capabilities, ExecutionId, ExecutionKind, LaneId, LeaseEpoch, LeaseId,
    RemoteTask, Tags, TimestampMs, WorkerConfig, WorkerId, WorkerInstanceId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::executions::wait_within;
use crate::access::{Access, Operate, Read, Work};
use crate::answer::{Answer, Refusal};
use crate::body::Body;
use crate::bytes::shown;
use crate::params::{InNamespace, Param};
use crate::view;

/// The most executions in one claim.
const MAX_CLAIMS: usize = 64;

/// Registered workers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Workers {
    #[schema(value_type = Vec<Object>)]
    workers: Vec<Value>,
}

/// Lists the registered workers of the namespace.
#[utoipa::path(get, path = "/v1/workers", tag = "workers", params(InNamespace),
    responses((status = 200, body = Workers)))]
pub(crate) async fn list(access: Access<Read>) -> Answer<Json<Workers>> {
    let (mut workers, mut next) = (Vec::new(), None);
    loop {
        let page = access.client.workers(next).await?;
        workers.extend(page.workers.iter().map(|worker| view::worker(worker, page.at)));
        next = page.next;
        if next.is_none() {
            return Ok(Json(Workers { workers }));
        }
    }
}

/// Issues a grant for the next execution of a lane that a worker can run. The worker then claims it
/// from the store itself.
#[utoipa::path(post, path = "/v1/workers/{worker}/claim", tag = "workers",
    params(("worker" = String, Path, description = "The worker.")),
    request_body = Object,
    responses((status = 200, description = "A grant.", body = Object),
        (status = 204, description = "There is no work.")))]
pub(crate) async fn grant(
    access: Access<Work>,
    Param(worker): Param<WorkerId>,
    Body(request): Body<ClaimForWorkerRequest>,
) -> Answer<Result<Json<ClaimForWorkerResponse>, StatusCode>> {
    if request.worker_id != worker {
        return Err(Refusal::invalid("worker_id: the path names another worker"));
    }
    access.client_of(&request.namespace)?;
    if access.app.is_closing() {
        return Err(Refusal::shutting_down());
    }
    let asked = async {
        tokio::select! {
            granted = access.app.admin().claim_for_worker(request) => granted,
            () = access.app.closed() => Ok(None),
        }
    };
    match asked.await? {
        Some(grant) => Ok(Ok(Json(grant))),
        None => Ok(Err(StatusCode::NO_CONTENT)),
    }
}

/// A request for work.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClaimRequest {
    /// The process of the worker, unique among those that live.
    #[schema(value_type = String)]
    instance: WorkerInstanceId,
    /// The lanes to take from, in rotation; `default` if absent.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    lanes: Option<Vec<LaneId>>,
    /// The kinds that the worker serves; every kind if absent.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    kinds: Option<Vec<ExecutionKind>>,
    /// The capabilities of the worker; none if absent.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    capabilities: Option<Capabilities>,
    /// How many executions to claim at most, 1 to 64; 1 if absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 64)]
    count: Option<usize>,
    /// How long the leases are good unless they are renewed, in milliseconds: 1 to 86,400,000;
    /// 30,000 if absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 86_400_000)]
    lease_ttl_ms: Option<u64>,
    /// How long to wait if there is no work, in milliseconds: at most 30,000, and 0 if absent.
    #[serde(default)]
    #[schema(maximum = 30_000)]
    wait_ms: Option<u64>,
}

impl ClaimRequest {
    fn config(self, worker: WorkerId, namespace: &str, count: usize) -> Answer<WorkerConfig> {
        let mut config = WorkerConfig::new(worker.as_str(), self.instance.as_str(), namespace)?;
        if let Some(lanes) = self.lanes {
            config.lanes = lanes;
        }
        if let Some(kinds) = self.kinds {
            config.kinds = kinds.into_iter().collect();
        }
        config.capabilities = self.capabilities.unwrap_or_default();
        config.lease_ttl = Duration::from_millis(self.lease_ttl_ms.unwrap_or(30_000));
        config.max_concurrent_tasks = count;
        config.version = "http".to_owned();
        Ok(config)
    }
}

/// The executions that were claimed.
#[derive(Serialize, ToSchema)]
pub(crate) struct Claims {
    /// At most as many as were wanted; empty if there is no work.
    tasks: Vec<Task>,
}

/// An execution that a worker holds. The lease is renewed or ended at `/v1/leases/{lease_id}`, with
/// the fence: `execution_id`, `lease_epoch` and `attempt_id`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Task {
    #[schema(value_type = String)]
    execution_id: ExecutionId,
    #[schema(value_type = String)]
    kind: ExecutionKind,
    #[schema(value_type = String)]
    lane: LaneId,
    /// Its labels.
    #[schema(value_type = Object)]
    tags: Tags,
    /// The attempt, from 0.
    #[schema(value_type = u32)]
    attempt: AttemptIndex,
    #[schema(value_type = String)]
    attempt_id: AttemptId,
    #[schema(value_type = String)]
    lease_id: LeaseId,
    /// The fencing epoch of the lease.
    #[schema(value_type = u64)]
    lease_epoch: LeaseEpoch,
    /// When the lease ends unless it is renewed, by the store's clock.
    #[schema(value_type = u64)]
    expires_at: TimestampMs,
    /// How long the lease is good from its claim on. Renew it after a third of this time.
    lease_ttl_ms: u64,
    /// How often it was retried in this life.
    retries: u32,
    /// How many frames of output the attempt has: the next one has the sequence after it.
    frames: u64,
    /// The payload, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    payload: Option<Box<RawValue>>,
    /// The payload in base64, if it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

impl Task {
    fn of(task: RemoteTask) -> Self {
        let claimed = task.claimed;
        let (payload, payload_base64) = shown(task.payload.as_deref());
        Self {
            execution_id: claimed.execution_id,
            kind: claimed.kind,
            lane: claimed.lane,
            tags: claimed.tags,
            attempt: claimed.attempt.index,
            attempt_id: claimed.attempt.id,
            lease_id: claimed.lease_id,
            lease_epoch: claimed.lease_epoch,
            expires_at: claimed.expires_at,
            lease_ttl_ms: claimed.lease_ttl.get(),
            retries: claimed.counts.retries,
            frames: claimed.attempt.frames,
            payload,
            payload_base64,
        }
    }
}

/// Claims executions for a worker that speaks HTTP. If there is none, the call waits for one. The
/// call also registers the worker, or is its heartbeat.
#[utoipa::path(post, path = "/v1/workers/{worker}/claims", tag = "workers",
    params(("worker" = String, Path, description = "The worker."), InNamespace),
    request_body = ClaimRequest, responses((status = 200, body = Claims)))]
pub(crate) async fn claim(
    access: Access<Work>,
    Param(worker): Param<WorkerId>,
    Body(request): Body<ClaimRequest>,
) -> Answer<Json<Claims>> {
    let count = request.count.unwrap_or(1);
    if !(1..=MAX_CLAIMS).contains(&count) {
        return Err(Refusal::invalid(format!("count: is {count}; 1 to {MAX_CLAIMS} can be")));
    }
    let wait = wait_within(request.wait_ms)?;
    let config = request.config(worker, access.client.namespace().as_str(), count)?;
    if access.app.is_closing() {
        // An empty answer would be followed by the next claim immediately.
        return Err(Refusal::shutting_down());
    }
    let tasks = tokio::select! {
        tasks = access.app.gateway().claim(config, count, wait) => tasks?,
        // What was claimed for it is given back.
        () = access.app.closed() => Vec::new(),
    };
    Ok(Json(Claims { tasks: tasks.into_iter().map(Task::of).collect() }))
}

/// Lets a worker drain: it claims nothing more, and finishes what it has.
#[utoipa::path(post, path = "/v1/workers/{worker}/drain", tag = "workers",
    params(("worker" = String, Path, description = "The instance id of its process."), InNamespace),
    responses((status = 204, description = "It drains.")))]
pub(crate) async fn drain(
    access: Access<Operate>,
    Param(instance): Param<WorkerInstanceId>,
) -> Answer<StatusCode> {
    access.client.drain_worker(&instance).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Marks a worker as dead: it claims nothing more, and another process can have its instance id.
#[utoipa::path(post, path = "/v1/workers/{worker}/dead", tag = "workers",
    params(("worker" = String, Path, description = "The instance id of its process."), InNamespace),
    responses((status = 204, description = "It is marked.")))]
pub(crate) async fn dead(
    access: Access<Operate>,
    Param(instance): Param<WorkerInstanceId>,
) -> Answer<StatusCode> {
    access.client.mark_worker_dead(&instance).await?;
    Ok(StatusCode::NO_CONTENT)
}
