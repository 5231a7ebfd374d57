//! The common parts of the changes of the registry.

use crate::error::Rejection;
use crate::id::WorkerInstanceId;
use crate::resource::{Changed, Facts};

use super::record::Worker;

/// The decision of a change of a worker. Its record is in the answer of the operation.
pub type WorkerChange = Changed<Worker, Worker, ()>;

/// The record of a worker.
///
/// # Errors
///
/// `WorkerNotFound`.
pub(super) fn found<'a>(
    facts: &Facts<'a, Worker, Worker>,
    instance: &WorkerInstanceId,
) -> Result<&'a Worker, Rejection> {
    let missing = || Rejection::WorkerNotFound { instance: instance.clone() };
    facts.record.ok_or_else(missing)
}
