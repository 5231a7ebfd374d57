//! How handlers' surroundings are printed: neither tokens nor payloads.

use std::fmt;

use crate::runtime::{TaskContext, WorkerRuntime};

impl fmt::Debug for TaskContext {
    /// Without what its task was given.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskContext")
            .field("execution_id", &self.execution_id())
            .field("execution_kind", self.execution_kind())
            .field("attempt_index", &self.attempt_index())
            .field("lease_epoch", &self.lease_epoch())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WorkerRuntime {
    /// Its figures.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.reports().report();
        f.debug_struct("WorkerRuntime").field("report", &report).finish_non_exhaustive()
    }
}
