//! Calls about budgets: creating, changing, resetting and deleting them, and charging them.

use ff_core::budget::{
    Budget, BudgetChanged, BudgetReset, CreateBudget, DeleteBudget, DimensionLimits, LookAtBudget,
    ReportUsageResult, ResetBudget, UpdateLimits,
};
use ff_core::id::{BudgetId, Dimension, RequestId};
use ff_core::partition::PartitionFamily;
use ff_core::time::{DurationMs, TimestampMs};
use tokio::time::Duration;

use super::Client;
use crate::error::SdkError;

/// The limits of a budget and when it resets itself, for [`Client::create_budget`] and
/// [`Client::update_budget`].
///
/// ```
/// use std::time::Duration;
///
/// use ff_sdk::BudgetSettings;
///
/// let settings = BudgetSettings::new()
///     .limit("tokens", 800_000, 1_000_000)?
///     .resets_every(Duration::from_secs(24 * 60 * 60));
/// # Ok::<(), ff_sdk::core::id::TextIdError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct BudgetSettings {
    limits: Vec<DimensionLimits>,
    reset: Option<BudgetReset>,
    request_id: Option<RequestId>,
}

impl BudgetSettings {
    /// Creates settings without limits. A budget that is created with them never resets itself.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the soft and the hard limit of a dimension; 0 means no limit.
    ///
    /// # Errors
    ///
    /// [`TextIdError`](ff_core::id::TextIdError) if the dimension is not 1 to 64 printable ASCII
    /// bytes without spaces.
    pub fn limit(
        mut self,
        dimension: &str,
        soft: u64,
        hard: u64,
    ) -> Result<Self, ff_core::id::TextIdError> {
        let dimension = Dimension::try_new(dimension)?;
        self.limits.push(DimensionLimits { dimension, soft, hard });
        Ok(self)
    }

    /// Resets the usage at the start of each period, by the store's clock: 1 s to 366 days. Periods
    /// are counted from the Unix epoch, so days begin at midnight UTC.
    #[must_use]
    pub fn resets_every(self, every: Duration) -> Self {
        self.resets_every_from(every, TimestampMs::ZERO)
    }

    /// Resets the usage at the start of each period, one of which begins at this time.
    #[must_use]
    pub fn resets_every_from(self, every: Duration, anchor: TimestampMs) -> Self {
        let every = DurationMs::from(every);
        Self { reset: Some(BudgetReset::Every { every, anchor }), ..self }
    }

    /// Resets the usage only on request.
    #[must_use]
    pub fn resets_never(self) -> Self {
        Self { reset: Some(BudgetReset::Never), ..self }
    }

    /// Sets the id of the request. A repeat with the same id changes nothing, as long as the budget
    /// remembers it, among its latest eight.
    #[must_use]
    pub fn request_id(self, request_id: RequestId) -> Self {
        Self { request_id: Some(request_id), ..self }
    }
}

impl Client {
    /// Creates a budget (`docs/spec.md`, 7).
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `Conflict(BudgetExists)` if there is one with this id that another
    /// request has created; `Validation` for no dimension, more than 16, a soft limit above the
    /// hard one, or a period out of bounds; `Unreachable`, `Transport` and `Timeout` as for
    /// [`Client::cancel`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: if the future is dropped, the call may or may not have been applied. The
    /// same holds for the other calls that change a budget.
    pub async fn create_budget(
        &self,
        id: &BudgetId,
        settings: BudgetSettings,
    ) -> Result<BudgetChanged, SdkError> {
        let BudgetSettings { limits, reset, request_id } = settings;
        self.change_record(CreateBudget {
            namespace: self.namespace().clone(),
            id: id.clone(),
            uid: self.0.connection.entropy().uuid(),
            limits,
            reset: reset.unwrap_or_default(),
            request_id: self.request_id_or(request_id),
            partitions: self.0.connection.partitions,
        })
        .await
    }

    /// Changes the limits of dimensions, adds dimensions, or changes when the budget resets itself.
    /// What the settings do not name stays the same, and so does the usage.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `State(BudgetNotFound)`, or as for [`Client::create_budget`].
    pub async fn update_budget(
        &self,
        id: &BudgetId,
        settings: BudgetSettings,
    ) -> Result<BudgetChanged, SdkError> {
        let BudgetSettings { limits, reset, request_id } = settings;
        self.change_record(UpdateLimits {
            namespace: self.namespace().clone(),
            id: id.clone(),
            limits,
            reset,
            request_id: self.request_id_or(request_id),
            partitions: self.0.connection.partitions,
        })
        .await
    }

    /// Sets the usage of a budget to zero. With a request id a repeat is recognised.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `State(BudgetNotFound)`; `Unreachable`, `Transport` and `Timeout`
    /// as for [`Client::cancel`].
    pub async fn reset_budget(
        &self,
        id: &BudgetId,
        request_id: Option<RequestId>,
    ) -> Result<BudgetChanged, SdkError> {
        self.change_record(ResetBudget {
            namespace: self.namespace().clone(),
            id: id.clone(),
            request_id: self.request_id_or(request_id),
            partitions: self.0.connection.partitions,
        })
        .await
    }

    /// Deletes a budget. Returns `false` if it was deleted meanwhile, or if the first reply to this
    /// call was lost. A budget that is created later with the same id has no usage.
    ///
    /// # Errors
    ///
    /// As for [`Client::reset_budget`].
    pub async fn delete_budget(&self, id: &BudgetId) -> Result<bool, SdkError> {
        let uid = self.budget(id).await?.uid;
        self.change_record(DeleteBudget {
            namespace: self.namespace().clone(),
            id: id.clone(),
            uid,
            partitions: self.0.connection.partitions,
        })
        .await
    }

    /// Returns a budget as it is at the store's time.
    ///
    /// # Errors
    ///
    /// As for [`Client::reset_budget`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn budget(&self, id: &BudgetId) -> Result<Budget, SdkError> {
        self.change_record(LookAtBudget {
            namespace: self.namespace().clone(),
            id: id.clone(),
            partitions: self.0.connection.partitions,
        })
        .await
    }

    /// Returns the budgets of the namespace as they are at the store's time, in the order of their
    /// ids. Costs at least one call for each partition of budgets, of which a store has 32 unless
    /// it was set up with another number.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn budgets(&self) -> Result<Vec<Budget>, SdkError> {
        let at = |budget: Budget, at| budget.at(at);
        let mut budgets = self.records(PartitionFamily::Budget, at).await?;
        budgets.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(budgets)
    }

    /// Charges a budget: all of the amounts, or nothing after a `HardBreach`. Amounts of the same
    /// dimension are added up. A dedup key that was used for this budget within 24 h changes
    /// nothing, and returns the first outcome.
    ///
    /// Charges that are ready together travel in one call.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `State(BudgetNotFound)` or `State(UnknownDimension)`; `Validation`
    /// for no dimension, more than 16, or a dedup key above 256 bytes; `Unreachable`, `Transport`
    /// and `Timeout` as for [`Client::cancel`]. After a `Timeout` the charge may have been applied:
    /// a repeat with the same dedup key charges once.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: if the future is dropped, the charge is still sent.
    pub async fn report_usage(
        &self,
        budget: &BudgetId,
        amounts: &[(&str, u64)],
        dedup_key: Option<&str>,
    ) -> Result<ReportUsageResult, SdkError> {
        let connection = &self.0.connection;
        connection.report_usage(self.namespace(), budget, amounts, dedup_key).await
    }

    fn request_id_or(&self, request_id: Option<RequestId>) -> RequestId {
        request_id.unwrap_or_else(|| RequestId::new(self.0.connection.entropy().uuid().to_string()))
    }
}
