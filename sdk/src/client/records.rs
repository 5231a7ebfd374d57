//! Changing and listing records beside executions: budgets and quotas.

use ff_core::op::{ChangeResource, ListResources};
use ff_core::partition::PartitionFamily;
use ff_core::resource::{Change, Resource};
use ff_core::time::TimestampMs;

use super::Client;
use crate::error::SdkError;

impl Client {
    /// Applies a change to a record, or reads it.
    pub(super) async fn change_record<C: Change>(&self, change: C) -> Result<C::Outcome, SdkError> {
        let connection = &self.0.connection;
        let operation = ChangeResource::new(change, connection.patience());
        Ok(connection.drive(operation).await?.outcome)
    }

    /// Reads all records of a kind that the namespace has, each as it is at the store's time.
    pub(super) async fn records<R: Resource>(
        &self,
        family: PartitionFamily,
        at: impl Fn(R, TimestampMs) -> R,
    ) -> Result<Vec<R>, SdkError> {
        let connection = &self.0.connection;
        let mut records = Vec::new();
        for partition in connection.partitions.partitions(family) {
            let mut after = None;
            loop {
                let (namespace, patience) = (self.namespace().clone(), connection.patience());
                let list = ListResources::<R>::new(partition, namespace, after, patience);
                let page = connection.drive(list).await?;
                if page.unreadable > 0 {
                    tracing::warn!(kind = ?R::KIND, records = page.unreadable, "not readable");
                }
                records.extend(page.records.into_iter().map(|record| at(record, page.at)));
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        Ok(records)
    }
}
