//! Lanes: their state, and the executions in them.

use axum::Json;
use ff_sdk::{LaneChange, LaneId, LaneNote, LaneState};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::access::{Access, Operate, Read};
use crate::answer::Answer;
use crate::body::Body;
use crate::params::{InNamespace, Param};
use crate::view;

/// Lanes.
#[derive(Serialize, ToSchema)]
pub(crate) struct Lanes {
    /// The lanes that are not active, and those in which executions wait.
    #[schema(value_type = Vec<Object>)]
    lanes: Vec<Value>,
}

/// Lists the lanes that are not active, and those in which executions wait.
#[utoipa::path(get, path = "/v1/lanes", tag = "lanes", params(InNamespace),
    responses((status = 200, body = Lanes)))]
pub(crate) async fn list(access: Access<Read>) -> Answer<Json<Lanes>> {
    let lanes = access.client.lanes().await?;
    Ok(Json(Lanes { lanes: lanes.iter().map(view::lane).collect() }))
}

/// A state for a lane.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetLane {
    /// `active`, `paused` (starts nothing), `draining` (refuses submissions), or `disabled`.
    #[schema(value_type = String)]
    state: LaneState,
    /// Why, for those who look at it later; at most 256 bytes.
    #[serde(default)]
    reason: Option<String>,
}

/// A change of a lane.
#[derive(Serialize, ToSchema)]
pub(crate) struct Changed {
    #[schema(value_type = String)]
    lane: LaneId,
    #[schema(value_type = String)]
    state: LaneState,
    #[schema(value_type = String)]
    before: LaneState,
}

/// Sets the state of a lane. All programs follow within about a second; work that runs goes on. The
/// name of the token is stored with the change.
#[utoipa::path(put, path = "/v1/lanes/{lane}", tag = "lanes",
    params(("lane" = String, Path, description = "The lane."), InNamespace),
    request_body = SetLane, responses((status = 200, body = Changed)))]
pub(crate) async fn set(
    access: Access<Operate>,
    Param(lane): Param<LaneId>,
    Body(SetLane { state, reason }): Body<SetLane>,
) -> Answer<Json<Changed>> {
    let note = LaneNote { reason, by: Some(access.caller.name.clone()) };
    let LaneChange { before, now } = access.client.set_lane(&lane, state, note).await?;
    Ok(Json(Changed { lane, state: now.state, before: before.state }))
}

/// The executions by lane and state.
#[derive(Serialize, ToSchema)]
pub(crate) struct Stats {
    /// The lanes; without counts if the store keeps none.
    #[schema(value_type = Vec<Object>)]
    lanes: Vec<Value>,
}

/// The number of executions by lane and state, and how long the oldest one waits. Reads counts, and
/// scans nothing.
#[utoipa::path(get, path = "/v1/stats", tag = "lanes", params(InNamespace),
    responses((status = 200, body = Stats)))]
pub(crate) async fn stats(access: Access<Read>) -> Answer<Json<Stats>> {
    let stats = access.client.stats().await?;
    let lanes = stats.lanes.iter().map(|lane| view::lane_stats(lane, stats.counted));
    Ok(Json(Stats { lanes: lanes.collect() }))
}
