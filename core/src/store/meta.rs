//! The store's own record: what every process must agree on.

use serde::{Deserialize, Serialize};

use crate::partition::PartitionConfig;

/// Written by the first process to start; the partitions never change after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreMeta {
    /// How many partitions each family has.
    pub partitions: PartitionConfig,
    /// The format in which programs write records.
    pub format: u8,
}
