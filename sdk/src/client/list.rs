//! Lists of executions: by partition, and by creation time over all partitions.

use ff_core::op::{
    ListByTime, ListExecutions, ListFilter, ListOrder, ListPage, ListPosition, Query,
};
use futures_util::StreamExt;
use futures_util::stream;

use super::{Client, Inner};
use crate::error::SdkError;

/// The scans of one list that are in flight at the same time.
const SCANS_IN_FLIGHT: usize = 16;

impl Client {
    /// Reads a page of at most `limit` executions of the namespace, ordered by partition and then
    /// by creation time. `from` is [`ListPage::next`] of the previous page.
    ///
    /// This order needs the fewest calls to read a whole list. [`Client::list_by_time`] reads the
    /// newest or the oldest executions first.
    ///
    /// A page can have fewer executions, even none, before the end of the list: it ends after
    /// [`MAX_FILTERED`](crate::MAX_FILTERED) executions that do not pass the filter. Only a `next`
    /// of `None` shows the end.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn list(
        &self,
        filter: ListFilter,
        from: Option<ListPosition>,
        limit: usize,
    ) -> Result<ListPage, SdkError> {
        let Inner { connection, config, .. } = &*self.0;
        let namespace = config.namespace.clone();
        let (partitions, patience) = (&connection.partitions, connection.patience());
        let list = ListExecutions::new(partitions, namespace, filter, from, limit, patience);
        Ok(connection.drive(list).await?)
    }

    /// Reads a page of at most `limit` executions of the namespace, the newest or the oldest first.
    /// `from` is [`ListPage::next`] of the previous page in the same order.
    ///
    /// Each page reads a few entries of every partition, 16 partitions at a time, and then more of
    /// those that may have further executions of the page. A page of 50 executions in 256
    /// partitions takes about 260 small calls, so read long lists in large pages.
    ///
    /// A page can have fewer executions, even none, before the end of the list, as with
    /// [`Client::list`].
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use ff_sdk::{Client, ListFilter, ListOrder, MemoryBackend, PublicState, Submission};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let client = Client::connect_with(Arc::new(MemoryBackend::new()), "demo").await?;
    /// let id = client.submit(Submission::new("greet").tag("team.name", "mail")).await?.id();
    /// let filter = ListFilter {
    ///     states: vec![PublicState::Waiting, PublicState::Delayed],
    ///     tags: vec![("team.name".to_owned(), "mail".to_owned())],
    ///     ..ListFilter::default()
    /// };
    /// let page = client.list_by_time(filter, ListOrder::NewestFirst, None, 50).await?;
    /// assert_eq!(page.executions[0].execution_id, id);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn list_by_time(
        &self,
        filter: ListFilter,
        order: ListOrder,
        from: Option<ListPosition>,
        limit: usize,
    ) -> Result<ListPage, SdkError> {
        let Inner { connection, config, .. } = &*self.0;
        let (partitions, namespace) = (&connection.partitions, config.namespace.clone());
        let codec = connection.context().codec().clone();
        let mut list = ListByTime::new(partitions, namespace, filter, order, from, limit, codec);
        loop {
            let wanted = list.wanted();
            if wanted.is_empty() {
                return Ok(list.page());
            }
            let scans = wanted.into_iter().map(async |scan| {
                let partition = scan.partition;
                let query = Query::scan(scan, connection.patience());
                connection.drive(query).await.map(|read| (partition, read))
            });
            let mut scans = stream::iter(scans).buffer_unordered(SCANS_IN_FLIGHT);
            while let Some(read) = scans.next().await {
                let (partition, (scanned, at)) = read?;
                list.scanned(partition, &scanned, at);
            }
        }
    }
}
