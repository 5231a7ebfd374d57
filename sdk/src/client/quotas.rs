//! Calls about quotas: setting, deleting and reading them, and the use of one under a key.

use ff_core::id::{QuotaId, QuotaKey};
use ff_core::partition::PartitionFamily;
use ff_core::quota::{
    DeleteQuota, LookAtQuota, LookAtUse, Quota, QuotaChange, QuotaLimits, QuotaRef, QuotaUsage,
    SetQuota,
};

use super::Client;
use crate::error::SdkError;

impl Client {
    /// Sets the limits of a quota, and creates it if there is none (`docs/spec.md`, 7). The limits
    /// hold for each key by itself. They count for what starts later; what runs goes on. Executions
    /// that wait find raised limits within 60 s.
    ///
    /// A repeat changes nothing.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use ff_sdk::{FlowFabric, QuotaId, QuotaLimits, Submission};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ff = FlowFabric::connect("memory:").await?;
    /// let client = ff.client();
    /// // For each customer: 10 at a time, and 100 in any minute.
    /// let limits = QuotaLimits::new().concurrency(10).rate(100, Duration::from_secs(60));
    /// client.set_quota(&QuotaId::new("per-customer"), limits).await?;
    /// client.submit(Submission::new("export").quota_key("per-customer", "customer-17")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `Validation` for limits out of bounds: neither a concurrency nor a
    /// rate, a concurrency that is not 1 to 1,000, a rate that is not 1 to 1,000,000, or a window
    /// that is not 1 s to 31 days; `Unreachable`, `Transport` and `Timeout` as for
    /// [`Client::cancel`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: if the future is dropped, the call may or may not have been applied.
    pub async fn set_quota(
        &self,
        id: &QuotaId,
        limits: QuotaLimits,
    ) -> Result<QuotaChange, SdkError> {
        let (namespace, id) = (self.namespace().clone(), id.clone());
        let partitions = self.0.connection.partitions;
        self.change_record(SetQuota { namespace, id, limits, partitions }).await
    }

    /// Deletes a quota. Executions that count towards it do not start until it is set again; what
    /// runs goes on. Returns `false` if there was none, or if the first reply was lost.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `Unreachable`, `Transport` and `Timeout` as for
    /// [`Client::cancel`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe, as [`Client::set_quota`].
    pub async fn delete_quota(&self, id: &QuotaId) -> Result<bool, SdkError> {
        let (namespace, id) = (self.namespace().clone(), id.clone());
        let partitions = self.0.connection.partitions;
        self.change_record(DeleteQuota { namespace, id, partitions }).await
    }

    /// Returns a quota.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `State(QuotaNotFound)`; otherwise as for
    /// [`Client::delete_quota`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn quota(&self, id: &QuotaId) -> Result<Quota, SdkError> {
        let (namespace, id) = (self.namespace().clone(), id.clone());
        let partitions = self.0.connection.partitions;
        self.change_record(LookAtQuota { namespace, id, partitions }).await
    }

    /// Returns the quotas of the namespace, in the order of their ids. Costs at least one call for
    /// each partition of quotas, of which a store has 32 unless it was set up with another number.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn quotas(&self) -> Result<Vec<Quota>, SdkError> {
        let mut quotas = self.records(PartitionFamily::Quota, |quota: Quota, _| quota).await?;
        quotas.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(quotas)
    }

    /// Returns the use of a quota under a key, or by the executions without a key: which executions
    /// take its slots, and how many were started in its window.
    ///
    /// Costs one call.
    ///
    /// # Errors
    ///
    /// As for [`Client::quota`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn quota_use(
        &self,
        id: &QuotaId,
        key: Option<&QuotaKey>,
    ) -> Result<QuotaUsage, SdkError> {
        let of = QuotaRef { quota: id.clone(), key: key.cloned() };
        let namespace = self.namespace().clone();
        let partitions = self.0.connection.partitions;
        self.change_record(LookAtUse { namespace, of, partitions }).await
    }

    /// Waits until the slots of quotas that earlier calls of this client have freed were offered to
    /// the executions that wait for them: at most about 2 s for each. Clones share these calls.
    ///
    /// This happens beside the calls. A program that ends right after a call that ends executions,
    /// such as [`Client::cancel`], waits for it first. If it does not, the slots are found within
    /// about a minute.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn settle(&self) {
        self.0.connection.handed_over().await;
    }
}
