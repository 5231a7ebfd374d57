//! Calls about lanes, quotas, budgets, workers, and executions that wait.

use ff_core::id::{BudgetId, ExecutionId, LaneId, Namespace, QuotaId, QuotaKey, RequestId};
use ff_core::lane::LaneState;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Call, CallError, HttpTransport, MAX_LIST_BYTES, Repeats};
use crate::view::{
    BudgetView, LaneChangeView, LaneView, QuotaUseView, QuotaView, WhyView, WorkerView,
};

/// The body of an answer that lists something.
#[derive(Deserialize)]
struct Listed<T> {
    #[serde(alias = "lanes", alias = "quotas", alias = "budgets", alias = "workers")]
    items: Vec<T>,
}

/// The body of a change of a lane.
#[derive(Serialize)]
struct SetLane<'a> {
    state: LaneState,
    reason: Option<&'a str>,
}

/// A call has no body.
const NO_BODY: Option<&()> = None;

impl HttpTransport {
    /// Returns the lanes that are not active, and those in which executions wait.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as the other calls here that only read.
    pub async fn lanes(
        &self,
        namespace: &Namespace,
        request_id: &RequestId,
    ) -> Result<Vec<LaneView>, CallError> {
        self.list("lanes", namespace, request_id).await
    }

    /// Sets the state of a lane. The server stores the name of the token with the change. The call
    /// is not repeated once it may have been applied, since another operator may have set the lane
    /// since.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the lane may or may not be set.
    pub async fn set_lane(
        &self,
        namespace: &Namespace,
        lane: &LaneId,
        state: LaneState,
        reason: Option<&str>,
        request_id: &RequestId,
    ) -> Result<LaneChangeView, CallError> {
        let path = ["v1", "lanes", lane.as_str()];
        let call = Call {
            method: Method::PUT,
            namespace: Some(namespace),
            repeats: Repeats::UnlessApplied,
            ..Call::post("set_lane", &path, request_id)
        };
        self.answered(&call, Some(&SetLane { state, reason })).await
    }

    /// Returns the quotas of a namespace.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn quotas(
        &self,
        namespace: &Namespace,
        request_id: &RequestId,
    ) -> Result<Vec<QuotaView>, CallError> {
        self.list("quotas", namespace, request_id).await
    }

    /// Returns the limits of a quota, and their use under a key or by the executions without one.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn quota_use(
        &self,
        namespace: &Namespace,
        quota: &QuotaId,
        key: Option<&QuotaKey>,
        request_id: &RequestId,
    ) -> Result<QuotaUseView, CallError> {
        let path = ["v1", "quotas", quota.as_str()];
        let call = Call {
            query: key.map(|key| ("key", key.as_str())),
            ..Call::read("quota_use", &path, namespace, request_id)
        };
        self.answered(&call, NO_BODY).await
    }

    /// Returns the budgets of a namespace.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn budgets(
        &self,
        namespace: &Namespace,
        request_id: &RequestId,
    ) -> Result<Vec<BudgetView>, CallError> {
        self.list("budgets", namespace, request_id).await
    }

    /// Returns a budget.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn budget(
        &self,
        namespace: &Namespace,
        budget: &BudgetId,
        request_id: &RequestId,
    ) -> Result<BudgetView, CallError> {
        let path = ["v1", "budgets", budget.as_str()];
        self.answered(&Call::read("budget", &path, namespace, request_id), NO_BODY).await
    }

    /// Returns the registered workers of a namespace.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn workers(
        &self,
        namespace: &Namespace,
        request_id: &RequestId,
    ) -> Result<Vec<WorkerView>, CallError> {
        self.list("workers", namespace, request_id).await
    }

    /// Explains why an execution does not run; `None` if the namespace has no such execution.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn why(
        &self,
        namespace: &Namespace,
        id: &ExecutionId,
        request_id: &RequestId,
    ) -> Result<Option<WhyView>, CallError> {
        let id = id.url_safe();
        let path = ["v1", "executions", &id, "why"];
        let explained =
            self.answered(&Call::read("why", &path, namespace, request_id), NO_BODY).await;
        match explained {
            Err(CallError::Api(error)) if error.is_not_found() => Ok(None),
            explained => explained.map(Some),
        }
    }

    /// Reads a list, which a call has the name of.
    async fn list<T: DeserializeOwned>(
        &self,
        name: &'static str,
        namespace: &Namespace,
        request_id: &RequestId,
    ) -> Result<Vec<T>, CallError> {
        let path = ["v1", name];
        let call = Call { most: MAX_LIST_BYTES, ..Call::read(name, &path, namespace, request_id) };
        let listed: Listed<T> = self.answered(&call, NO_BODY).await?;
        Ok(listed.items)
    }
}

impl<'a> Call<'a> {
    /// A call that reads something of a namespace.
    fn read(
        name: &'static str,
        path: &'a [&'a str],
        namespace: &'a Namespace,
        request_id: &'a RequestId,
    ) -> Self {
        let (method, namespace) = (Method::GET, Some(namespace));
        Self { method, namespace, ..Self::post(name, path, request_id) }
    }
}
