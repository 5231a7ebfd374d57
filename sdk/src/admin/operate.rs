//! Calls about lanes, quotas, budgets, workers, and executions that wait.

use ff_core::id::{BudgetId, ExecutionId, LaneId, Namespace, QuotaId, QuotaKey};
use ff_core::lane::LaneState;
use ff_io_http::{
    BudgetView, LaneChangeView, LaneView, QuotaUseView, QuotaView, WhyView, WorkerView,
};

use super::{FlowFabricAdminClient, Transport};
use crate::client::LaneNote;
use crate::error::SdkError;
#[cfg(feature = "http")]
use crate::error::of_call;

impl FlowFabricAdminClient {
    /// Returns the lanes (named queues) that are not active, and those in which executions wait, in
    /// the order of their names (`docs/spec.md`, 7). Costs one call for each partition of the
    /// store.
    ///
    /// # Errors
    ///
    /// - [`SdkError::Engine`] or [`SdkError::AdminApi`] when the store does not answer, and
    ///   [`SdkError::AdminApi`] with the status 401, 403 or 404 if the token of the client may not
    ///   do this, or does not see the namespace.
    /// - [`SdkError::Http`] when the server does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lanes(&self, namespace: &Namespace) -> Result<Vec<LaneView>, SdkError> {
        match &self.transport {
            Transport::Embedded(embedded) => {
                let lanes = embedded.client(namespace).lanes().await?;
                Ok(lanes.into_iter().map(LaneView::from).collect())
            }
            #[cfg(feature = "http")]
            Transport::Http(http) => {
                http.lanes(namespace, &self.next_request_id()).await.map_err(of_call)
            }
        }
    }

    /// Sets the state of a lane: pauses, drains, disables or resumes it (`docs/spec.md`, 7). The
    /// lane need not have been used yet. Work that runs goes on, whatever the state. All programs
    /// follow within about a second.
    ///
    /// A server stores the name of the token with the change, instead of that in the note. A call
    /// to a server is not repeated once it may have been applied, since another operator may have
    /// set the lane since.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use ff_sdk::{FlowFabricAdminClient, LaneId, LaneState, MemoryBackend, Namespace};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let admin = FlowFabricAdminClient::connect_with(Arc::new(MemoryBackend::new())).await?;
    /// let (shop, mail) = (Namespace::try_new("shop")?, LaneId::try_new("mail")?);
    /// let change = admin.set_lane(&shop, &mail, LaneState::Paused, "a deploy").await?;
    /// assert_eq!((change.before, change.state), (LaneState::Active, LaneState::Paused));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SdkError::Engine`] or [`SdkError::AdminApi`] with `InvalidInput` for a reason of more
    ///   than 256 bytes, or if 512 lanes of the namespace are not active; or with a timeout, which
    ///   says whether the call may have been applied.
    /// - Otherwise as for [`FlowFabricAdminClient::lanes`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the lane may or may not be set.
    pub async fn set_lane(
        &self,
        namespace: &Namespace,
        lane: &LaneId,
        state: LaneState,
        note: impl Into<LaneNote>,
    ) -> Result<LaneChangeView, SdkError> {
        let note = note.into();
        match &self.transport {
            Transport::Embedded(embedded) => {
                let change = embedded.client(namespace).set_lane(lane, state, note).await?;
                Ok(LaneChangeView::new(lane.clone(), change.now.state, change.before.state))
            }
            #[cfg(feature = "http")]
            Transport::Http(http) => {
                let (reason, request_id) = (note.reason.as_deref(), self.next_request_id());
                let set = http.set_lane(namespace, lane, state, reason, &request_id).await;
                set.map_err(of_call)
            }
        }
    }

    /// Returns the quotas of a namespace, in the order of their IDs. Costs at least one call for
    /// each partition of quotas, 32 unless the store was set up with another number.
    ///
    /// # Errors
    ///
    /// As for [`FlowFabricAdminClient::lanes`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn quotas(&self, namespace: &Namespace) -> Result<Vec<QuotaView>, SdkError> {
        match &self.transport {
            Transport::Embedded(embedded) => {
                let quotas = embedded.client(namespace).quotas().await?;
                Ok(quotas.iter().map(QuotaView::from).collect())
            }
            #[cfg(feature = "http")]
            Transport::Http(http) => {
                http.quotas(namespace, &self.next_request_id()).await.map_err(of_call)
            }
        }
    }

    /// Returns the limits of a quota and their use under a key, or by the executions without a key:
    /// which executions take its slots, and how many were started in its window.
    ///
    /// # Errors
    ///
    /// - [`SdkError::Engine`] or [`SdkError::AdminApi`] with `QuotaNotFound`.
    /// - Otherwise as for [`FlowFabricAdminClient::lanes`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn quota_use(
        &self,
        namespace: &Namespace,
        quota: &QuotaId,
        key: Option<&QuotaKey>,
    ) -> Result<QuotaUseView, SdkError> {
        match &self.transport {
            Transport::Embedded(embedded) => {
                let usage = embedded.client(namespace).quota_use(quota, key).await?;
                Ok(QuotaUseView::from(&usage))
            }
            #[cfg(feature = "http")]
            Transport::Http(http) => {
                let request_id = self.next_request_id();
                http.quota_use(namespace, quota, key, &request_id).await.map_err(of_call)
            }
        }
    }

    /// Returns the budgets of a namespace, in the order of their IDs. Costs at least one call for
    /// each partition of budgets, 32 unless the store was set up with another number.
    ///
    /// # Errors
    ///
    /// As for [`FlowFabricAdminClient::lanes`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn budgets(&self, namespace: &Namespace) -> Result<Vec<BudgetView>, SdkError> {
        match &self.transport {
            Transport::Embedded(embedded) => {
                let budgets = embedded.client(namespace).budgets().await?;
                Ok(budgets.iter().map(BudgetView::from).collect())
            }
            #[cfg(feature = "http")]
            Transport::Http(http) => {
                http.budgets(namespace, &self.next_request_id()).await.map_err(of_call)
            }
        }
    }

    /// Returns a budget: its limits and its use, in the units of its dimensions.
    ///
    /// # Errors
    ///
    /// - [`SdkError::Engine`] or [`SdkError::AdminApi`] with `BudgetNotFound`.
    /// - Otherwise as for [`FlowFabricAdminClient::lanes`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn budget(
        &self,
        namespace: &Namespace,
        budget: &BudgetId,
    ) -> Result<BudgetView, SdkError> {
        match &self.transport {
            Transport::Embedded(embedded) => {
                Ok(BudgetView::from(&embedded.client(namespace).budget(budget).await?))
            }
            #[cfg(feature = "http")]
            Transport::Http(http) => {
                let request_id = self.next_request_id();
                http.budget(namespace, budget, &request_id).await.map_err(of_call)
            }
        }
    }

    /// Returns all registered workers of a namespace, in the order of their instance IDs. Costs one
    /// call for each 128 workers, and at least one for each of the 16 partitions of workers.
    ///
    /// # Errors
    ///
    /// As for [`FlowFabricAdminClient::lanes`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn workers(&self, namespace: &Namespace) -> Result<Vec<WorkerView>, SdkError> {
        match &self.transport {
            Transport::Embedded(embedded) => {
                let (workers, at) = embedded.client(namespace).all_workers().await?;
                Ok(workers.iter().map(|worker| WorkerView::new(worker, at)).collect())
            }
            #[cfg(feature = "http")]
            Transport::Http(http) => {
                let workers = http.workers(namespace, &self.next_request_id()).await;
                let mut workers = workers.map_err(of_call)?;
                workers.sort_by(|one, other| one.instance.cmp(&other.instance));
                Ok(workers)
            }
        }
    }

    /// Explains why an execution does not run now, as [`Client::why`](crate::Client::why) does;
    /// `None` if the namespace has no such execution.
    ///
    /// # Errors
    ///
    /// - [`SdkError::Engine`] or [`SdkError::AdminApi`] with `PartitionOutOfRange` when the store
    ///   does not have the partition of the ID.
    /// - Otherwise as for [`FlowFabricAdminClient::lanes`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn why(
        &self,
        namespace: &Namespace,
        id: &ExecutionId,
    ) -> Result<Option<WhyView>, SdkError> {
        match &self.transport {
            Transport::Embedded(embedded) => {
                let why = embedded.client(namespace).why(id).await?;
                Ok(why.as_ref().map(WhyView::from))
            }
            #[cfg(feature = "http")]
            Transport::Http(http) => {
                http.why(namespace, id, &self.next_request_id()).await.map_err(of_call)
            }
        }
    }
}
