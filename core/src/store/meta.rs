//! The configuration record of a store, which every process reads.

use serde::{Deserialize, Serialize};

use crate::partition::PartitionConfig;

/// The configuration of a store. The first process to start writes it. The partitions never change
/// afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreMeta {
    /// The number of partitions of each family.
    pub partitions: PartitionConfig,
    /// The active format, in which programs write records.
    pub format: u8,
}
