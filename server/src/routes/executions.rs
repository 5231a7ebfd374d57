//! Submitting and reading executions.

use std::ops::ControlFlow;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use ff_io_http::ErrorDetail;
use ff_sdk::{
    CreateOutcome, ExecutionId, ExecutionKind, ExecutionPolicy, ExecutionSnapshot, LaneId,
    ListFilter, ListOrder, PublicState, SdkError, StateVector, TimestampMs, ValueKind,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::access::{Access, Read, Submit};
use crate::answer::{Answer, Refusal};
use crate::body::{Body, JsonText};
use crate::bytes::shown;
use crate::job_line::JobLine;
use crate::params::{Id, InNamespace, Params};
use crate::position::PageCursor;
use crate::view;

/// The most executions in one batch.
const MAX_BATCH: usize = 1_000;
/// The lane of submissions that name none.
const DEFAULT_LANE: &str = "default";

/// An execution that was submitted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Submitted {
    /// Its id.
    #[schema(value_type = String)]
    execution_id: ExecutionId,
    /// Its id in a form that needs no escaping in a URL.
    url_id: String,
    /// Whether it is new; `false` if it existed, by its idempotency key.
    created: bool,
}

impl Submitted {
    fn of(outcome: CreateOutcome) -> Self {
        let (execution_id, created) =
            (outcome.id(), matches!(outcome, CreateOutcome::Created { .. }));
        Self { execution_id, url_id: execution_id.url_safe(), created }
    }

    const fn status(&self) -> StatusCode {
        if self.created { StatusCode::CREATED } else { StatusCode::OK }
    }
}

/// Submits an execution.
#[utoipa::path(post, path = "/v1/executions", tag = "executions", params(InNamespace),
    request_body = JobLine,
    responses((status = 201, description = "It is new.", body = Submitted),
        (status = 200, description = "It existed.", body = Submitted)))]
pub(crate) async fn submit(
    access: Access<Submit>,
    JsonText(text): JsonText,
) -> Answer<(StatusCode, Json<Submitted>)> {
    let line = JobLine::parse(&text).map_err(Refusal::invalid)?;
    let submission = line.submission(DEFAULT_LANE, ExecutionPolicy::default());
    let submitted = Submitted::of(access.client.submit(submission).await?);
    Ok((submitted.status(), Json(submitted)))
}

/// Executions to submit.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    /// 1 to 1,000 executions, each as the body of `POST /v1/executions`.
    #[schema(value_type = Vec<JobLine>, min_items = 1, max_items = 1000)]
    executions: Vec<Box<RawValue>>,
}

/// The outcome of each execution of a batch, in its order.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchOutcome {
    results: Vec<OneOutcome>,
}

/// The outcome of one execution of a batch.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum OneOutcome {
    /// It was submitted.
    Submitted(Submitted),
    /// It was not, or whether it was is unknown.
    Failed {
        /// The problem, as in the body of an error.
        #[schema(value_type = Object)]
        error: ErrorDetail,
    },
}

/// Submits up to 1,000 executions. Each has its own outcome. Nothing is submitted if one of them
/// cannot be parsed.
#[utoipa::path(post, path = "/v1/executions/batch", tag = "executions", params(InNamespace),
    request_body = Batch, responses((status = 200, body = BatchOutcome)))]
pub(crate) async fn submit_batch(
    access: Access<Submit>,
    Body(batch): Body<Batch>,
) -> Answer<Json<BatchOutcome>> {
    let count = batch.executions.len();
    if !(1..=MAX_BATCH).contains(&count) {
        return Err(Refusal::invalid(format!("executions: are {count}; 1 to {MAX_BATCH} can be")));
    }
    let mut submissions = Vec::with_capacity(count);
    for (number, text) in batch.executions.iter().enumerate() {
        let line = JobLine::parse(text.get())
            .map_err(|problem| Refusal::invalid(format!("executions[{number}]: {problem}")))?;
        submissions.push(line.submission(DEFAULT_LANE, ExecutionPolicy::default()));
    }
    let mut results: Vec<Option<OneOutcome>> =
        std::iter::repeat_with(|| None).take(count).collect();
    let each = |number: usize, result: Result<CreateOutcome, SdkError>| {
        results[number] = Some(match result {
            Ok(outcome) => OneOutcome::Submitted(Submitted::of(outcome)),
            Err(error) => OneOutcome::Failed { error: Refusal::from(error).into_detail() },
        });
        ControlFlow::Continue(())
    };
    access.client.submit_each(submissions, each).await;
    Ok(Json(BatchOutcome { results: results.into_iter().flatten().collect() }))
}

/// The filter of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// Only those of this lane.
    #[param(value_type = Option<String>)]
    lane: Option<LaneId>,
    /// Only those of this kind.
    #[param(value_type = Option<String>)]
    kind: Option<ExecutionKind>,
    /// Only those in these states, separated by commas, such as `waiting,delayed`.
    state: Option<String>,
    /// Only those with this tag, `KEY=VALUE`; several are separated by commas.
    tag: Option<String>,
    /// Only those that were created at this time or later, in milliseconds since the epoch.
    #[param(format = "uint64")]
    created_from: Option<u64>,
    /// Only those that were created before this time, in milliseconds since the epoch.
    #[param(format = "uint64")]
    created_before: Option<u64>,
    /// The most executions of the page, 1 to 500; 50 if absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// Where the page begins: `next` of the page before.
    cursor: Option<String>,
    /// The namespace.
    #[serde(rename = "namespace")]
    #[param(rename = "namespace")]
    _namespace: Option<String>,
}

impl Filter {
    fn parse(&self) -> Answer<ListFilter> {
        let parts = |text: &Option<String>| -> Vec<String> {
            let text = text.as_deref().unwrap_or_default();
            text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        let mut states = Vec::new();
        for state in parts(&self.state) {
            let parsed = state.parse::<PublicState>();
            states.push(parsed.map_err(|error| Refusal::invalid(format!("state: {error}")))?);
        }
        let mut tags = Vec::new();
        for tag in parts(&self.tag) {
            let Some((key, value)) = tag.split_once('=') else {
                return Err(Refusal::invalid(format!("tag: `{tag}` is not KEY=VALUE")));
            };
            tags.push((key.to_owned(), value.to_owned()));
        }
        Ok(ListFilter {
            lane: self.lane.clone(),
            kind: self.kind.clone(),
            states,
            tags,
            created_from: self.created_from.map(TimestampMs::new),
            created_before: self.created_before.map(TimestampMs::new),
        })
    }
}

/// A page of executions.
#[derive(Serialize, ToSchema)]
pub(crate) struct Page {
    /// The executions, the newest first.
    #[schema(value_type = Vec<Object>)]
    executions: Vec<ExecutionSnapshot>,
    /// The records that could not be read.
    unreadable: usize,
    /// Where the next page begins; absent on the last page. A page can be empty although others
    /// follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Lists executions, the newest first.
#[utoipa::path(get, path = "/v1/executions", tag = "executions", params(Filter),
    responses((status = 200, body = Page)))]
pub(crate) async fn list(
    access: Access<Read>,
    Params(filter): Params<Filter>,
) -> Answer<Json<Page>> {
    let limit = filter.limit.unwrap_or(50);
    if !(1..=500).contains(&limit) {
        return Err(Refusal::invalid(format!("limit: is {limit}; 1 to 500 can be")));
    }
    let cursor = filter.cursor.as_deref().map(str::parse::<PageCursor>).transpose();
    let cursor = cursor.map_err(|error| Refusal::invalid(format!("cursor: {error}")))?;
    let from = cursor.map(|cursor| cursor.0);
    let listed = access.client.list_by_time(filter.parse()?, ListOrder::NewestFirst, from, limit);
    let page = listed.await?;
    let next = page.next.map(|next| PageCursor(next).to_string());
    Ok(Json(Page { executions: page.executions, unreadable: page.unreadable, next }))
}

async fn found(access: &Access<Read>, id: &ExecutionId) -> Answer<ExecutionSnapshot> {
    access.client.describe(id).await?.ok_or_else(|| Refusal::not_found("execution"))
}

/// Reads an execution.
#[utoipa::path(get, path = "/v1/executions/{id}", tag = "executions",
    params(("id" = String, Path, description = "The execution."), InNamespace),
    responses((status = 200, description = "The execution.", body = Object)))]
pub(crate) async fn describe(access: Access<Read>, Id(id): Id) -> Answer<Json<ExecutionSnapshot>> {
    Ok(Json(found(&access, &id).await?))
}

/// The state of an execution.
#[derive(Serialize, ToSchema)]
pub(crate) struct State {
    #[schema(value_type = String)]
    execution_id: ExecutionId,
    /// Its state in all dimensions; `public_state` sums it up.
    #[schema(value_type = Object)]
    state: StateVector,
}

/// Reads the state of an execution.
#[utoipa::path(get, path = "/v1/executions/{id}/state", tag = "executions",
    params(("id" = String, Path, description = "The execution."), InNamespace),
    responses((status = 200, body = State)))]
pub(crate) async fn state(access: Access<Read>, Id(id): Id) -> Answer<Json<State>> {
    let snapshot = found(&access, &id).await?;
    Ok(Json(State { execution_id: snapshot.execution_id, state: snapshot.state }))
}

/// How long to wait for a result.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wait {
    /// How long to wait for its end, in milliseconds; at most 30,000, and 0 if absent.
    #[param(maximum = 30000)]
    wait_ms: Option<u64>,
    /// The namespace.
    #[serde(rename = "namespace")]
    #[param(rename = "namespace")]
    _namespace: Option<String>,
}

/// The end of an execution, and the result of its worker.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ended {
    #[schema(value_type = String)]
    execution_id: ExecutionId,
    /// How it ended: `success`, or an object with the failure.
    #[schema(value_type = Value)]
    outcome: Value,
    /// When it ended, in milliseconds since the epoch by the store's clock.
    #[schema(value_type = u64)]
    ended_at: TimestampMs,
    /// The result, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    result: Option<Box<RawValue>>,
    /// The result in base64, if it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    result_base64: Option<String>,
}

/// Reads the result of an execution.
#[utoipa::path(get, path = "/v1/executions/{id}/result", tag = "executions",
    params(("id" = String, Path, description = "The execution."), Wait),
    responses((status = 200, description = "It has ended.", body = Ended),
        (status = 202, description = "It has not ended within the time.", body = State)))]
pub(crate) async fn result(
    access: Access<Read>,
    Id(id): Id,
    Params(wait): Params<Wait>,
) -> Answer<Result<Json<Ended>, (StatusCode, Json<State>)>> {
    let wait = wait_within(wait.wait_ms)?;
    let mut snapshot = found(&access, &id).await?;
    if snapshot.outcome.is_none() && !wait.is_zero() {
        tokio::select! {
            // The record shows how it has ended.
            _ = tokio::time::timeout(wait, access.client.result(&id)) => {}
            () = access.app.closed() => {}
        }
        snapshot = found(&access, &id).await?;
    }
    let (Some(outcome), Some(ended_at)) = (snapshot.outcome, snapshot.ended_at) else {
        let state = State { execution_id: snapshot.execution_id, state: snapshot.state };
        return Ok(Err((StatusCode::ACCEPTED, Json(state))));
    };
    let bytes = access.client.value(&id, ValueKind::Result).await?;
    let (result, result_base64) = shown(bytes.as_deref());
    let outcome = serde_json::json!(outcome);
    Ok(Ok(Json(Ended { execution_id: id, outcome, ended_at, result, result_base64 })))
}

/// The time that a caller is ready to wait.
pub(crate) fn wait_within(wait_ms: Option<u64>) -> Answer<Duration> {
    let wait_ms = wait_ms.unwrap_or_default();
    match wait_ms <= ff_io_http::MAX_WAIT_MS {
        true => Ok(Duration::from_millis(wait_ms)),
        false => {
            let most = ff_io_http::MAX_WAIT_MS;
            Err(Refusal::invalid(format!("wait_ms: is {wait_ms}; at most {most} can be")))
        }
    }
}

/// The attempts and events of an execution.
#[utoipa::path(get, path = "/v1/executions/{id}/history", tag = "executions",
    params(("id" = String, Path, description = "The execution."), InNamespace),
    responses((status = 200, description = "Its attempts and events.", body = Object)))]
pub(crate) async fn history(access: Access<Read>, Id(id): Id) -> Answer<Json<Value>> {
    Ok(Json(view::history(&access.client.history(&id).await?)))
}

/// Explains why an execution does not run.
#[utoipa::path(get, path = "/v1/executions/{id}/why", tag = "executions",
    params(("id" = String, Path, description = "The execution."), InNamespace),
    responses((status = 200, description = "The reasons.", body = Object)))]
pub(crate) async fn why(access: Access<Read>, Id(id): Id) -> Answer<Json<Value>> {
    let why = access.client.why(&id).await?.ok_or_else(|| Refusal::not_found("execution"))?;
    Ok(Json(view::why(&why)))
}

/// The waitpoints of an execution, which take signals.
#[utoipa::path(get, path = "/v1/executions/{id}/pending-waitpoints", tag = "executions",
    params(("id" = String, Path, description = "The execution."), InNamespace),
    responses((status = 200, description = "Its suspension and waitpoints.", body = Object)))]
pub(crate) async fn waitpoints(access: Access<Read>, Id(id): Id) -> Answer<Json<Value>> {
    Ok(Json(view::waitpoints(&found(&access, &id).await?)))
}
