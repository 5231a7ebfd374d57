//! Quotas and budgets.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use ff_sdk::{BudgetId, BudgetSettings, QuotaId, QuotaKey, QuotaLimits};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::call_id::CallId;
use crate::access::{Access, Operate, Read};
use crate::answer::{Answer, Refusal};
use crate::body::Body;
use crate::params::{InNamespace, Operator, Param, Params};
use crate::view;

/// The quotas of the namespace.
#[derive(Serialize, ToSchema)]
pub(crate) struct Quotas {
    #[schema(value_type = Vec<Object>)]
    quotas: Vec<Value>,
}

/// Lists the quotas of the namespace.
#[utoipa::path(get, path = "/v1/quotas", tag = "limits", params(InNamespace),
    responses((status = 200, body = Quotas)))]
pub(crate) async fn quotas(access: Access<Read>) -> Answer<Json<Quotas>> {
    let quotas = access.client.quotas().await?;
    Ok(Json(Quotas { quotas: quotas.iter().map(view::quota).collect() }))
}

/// The key under which the use of a quota is read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OfKey {
    /// The key; executions without one if absent.
    #[param(value_type = Option<String>)]
    key: Option<QuotaKey>,
    /// The namespace.
    #[serde(rename = "namespace")]
    #[param(rename = "namespace")]
    _namespace: Option<String>,
}

/// Reads the limits of a quota and their use under one key.
#[utoipa::path(get, path = "/v1/quotas/{quota}", tag = "limits",
    params(("quota" = String, Path, description = "The quota."), OfKey),
    responses((status = 200, description = "Its limits and their use.", body = Object)))]
pub(crate) async fn quota(
    access: Access<Read>,
    Param(quota): Param<QuotaId>,
    Params(of): Params<OfKey>,
) -> Answer<Json<Value>> {
    Ok(Json(view::quota_usage(&access.client.quota_use(&quota, of.key.as_ref()).await?)))
}

/// The limits of a quota: at least one of `concurrency` and `rate`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetQuota {
    /// How many executions run at a time under one key.
    #[serde(default)]
    concurrency: Option<u32>,
    /// How many executions start in any window under one key.
    #[serde(default)]
    rate: Option<u32>,
    /// The window of the rate, in milliseconds: 1 s to 31 days.
    #[serde(default)]
    window_ms: Option<u64>,
}

/// Creates a quota, or sets its limits.
#[utoipa::path(put, path = "/v1/quotas/{quota}", tag = "limits",
    params(("quota" = String, Path, description = "The quota."), InNamespace),
    request_body = SetQuota,
    responses((status = 200, description = "The quota, and its limits before.", body = Object)))]
pub(crate) async fn set_quota(
    access: Access<Operate>,
    Param(quota): Param<QuotaId>,
    Body(set): Body<SetQuota>,
) -> Answer<Json<Value>> {
    let mut limits = QuotaLimits::new();
    if let Some(concurrency) = set.concurrency {
        limits = limits.concurrency(concurrency);
    }
    limits = match (set.rate, set.window_ms) {
        (None, None) => limits,
        (Some(rate), Some(window_ms)) => limits.rate(rate, Duration::from_millis(window_ms)),
        _ => return Err(Refusal::invalid("rate and window_ms: give both or none")),
    };
    let change = access.client.set_quota(&quota, limits).await?;
    let mut object = view::quota(&change.quota);
    object["before"] = change.before.map_or(Value::Null, view::quota_limits);
    Ok(Json(object))
}

/// Deletes a quota. Executions that count towards it wait until it is set again.
#[utoipa::path(delete, path = "/v1/quotas/{quota}", tag = "limits",
    params(("quota" = String, Path, description = "The quota."), InNamespace),
    responses((status = 204, description = "There is no such quota now.")))]
pub(crate) async fn delete_quota(
    access: Access<Operate>,
    Param(quota): Param<QuotaId>,
) -> Answer<StatusCode> {
    access.client.delete_quota(&quota).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The budgets of the namespace.
#[derive(Serialize, ToSchema)]
pub(crate) struct Budgets {
    #[schema(value_type = Vec<Object>)]
    budgets: Vec<Value>,
}

/// Lists the budgets of the namespace.
#[utoipa::path(get, path = "/v1/budgets", tag = "limits", params(InNamespace),
    responses((status = 200, body = Budgets)))]
pub(crate) async fn budgets(access: Access<Read>) -> Answer<Json<Budgets>> {
    let budgets = access.client.budgets().await?;
    Ok(Json(Budgets { budgets: budgets.iter().map(view::budget).collect() }))
}

/// Reads a budget.
#[utoipa::path(get, path = "/v1/budgets/{budget}", tag = "limits",
    params(("budget" = String, Path, description = "The budget."), InNamespace),
    responses((status = 200, description = "Its limits and use.", body = Object)))]
pub(crate) async fn budget(
    access: Access<Read>,
    Param(budget): Param<BudgetId>,
) -> Answer<Json<Value>> {
    Ok(Json(view::budget(&access.client.budget(&budget).await?)))
}

/// The limits of one dimension of a budget; 0 for none.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    /// Above it, charges say so.
    #[serde(default)]
    soft: u64,
    /// A charge that would exceed it is refused.
    #[serde(default)]
    hard: u64,
}

/// The settings of a budget.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The limits by dimension.
    limits: BTreeMap<String, Limit>,
    /// The length of its period, in milliseconds: 1 s to 366 days; 0 for a budget that never resets
    /// itself. Absent: a new budget has none, and another one keeps the present one.
    #[serde(default)]
    reset_every_ms: Option<u64>,
}

impl Settings {
    fn parse(self, CallId(call): CallId) -> Answer<BudgetSettings> {
        let mut settings = BudgetSettings::new().request_id(call);
        for (dimension, Limit { soft, hard }) in &self.limits {
            let limited = settings.limit(dimension, *soft, *hard);
            settings = limited.map_err(ff_sdk::SdkError::from)?;
        }
        Ok(match self.reset_every_ms {
            None => settings,
            Some(0) => settings.resets_never(),
            Some(every) => settings.resets_every(Duration::from_millis(every)),
        })
    }
}

/// Creates a budget.
#[utoipa::path(put, path = "/v1/budgets/{budget}", tag = "limits",
    params(("budget" = String, Path, description = "The budget."), InNamespace, Operator),
    request_body = Settings,
    responses((status = 200, description = "The budget; `repeated` if this call created it \
        before.", body = Object)))]
pub(crate) async fn create_budget(
    access: Access<Operate>,
    Param(budget): Param<BudgetId>,
    call: CallId,
    Body(settings): Body<Settings>,
) -> Answer<Json<Value>> {
    let created = access.client.create_budget(&budget, settings.parse(call)?).await?;
    Ok(Json(changed(&created)))
}

/// Changes the limits of a budget.
#[utoipa::path(patch, path = "/v1/budgets/{budget}", tag = "limits",
    params(("budget" = String, Path, description = "The budget."), InNamespace, Operator),
    request_body = Settings,
    responses((status = 200, description = "The budget; `repeated` if this call changed it \
        before.", body = Object)))]
pub(crate) async fn update_budget(
    access: Access<Operate>,
    Param(budget): Param<BudgetId>,
    call: CallId,
    Body(settings): Body<Settings>,
) -> Answer<Json<Value>> {
    let updated = access.client.update_budget(&budget, settings.parse(call)?).await?;
    Ok(Json(changed(&updated)))
}

fn changed(change: &ff_sdk::BudgetChanged) -> Value {
    let mut object = view::budget(&change.budget);
    object["repeated"] = json!(change.repeated);
    object
}

/// Deletes a budget. Executions that count towards it wait until it is created again.
#[utoipa::path(delete, path = "/v1/budgets/{budget}", tag = "limits",
    params(("budget" = String, Path, description = "The budget."), InNamespace),
    responses((status = 204, description = "It is deleted.")))]
pub(crate) async fn delete_budget(
    access: Access<Operate>,
    Param(budget): Param<BudgetId>,
) -> Answer<StatusCode> {
    access.client.delete_budget(&budget).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begins a new period of a budget now.
#[utoipa::path(post, path = "/v1/budgets/{budget}/reset", tag = "limits",
    params(("budget" = String, Path, description = "The budget."), InNamespace, Operator),
    responses((status = 200, description = "The budget; `repeated` if this call reset it before.",
        body = Object)))]
pub(crate) async fn reset_budget(
    access: Access<Operate>,
    Param(budget): Param<BudgetId>,
    CallId(call): CallId,
) -> Answer<Json<Value>> {
    Ok(Json(changed(&access.client.reset_budget(&budget, Some(call)).await?)))
}
