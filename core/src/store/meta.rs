//! The configuration record of a store, which every process reads.

use serde::{Deserialize, Serialize};

use crate::partition::PartitionConfig;

/// The configuration of a store. The first process to start writes it. Only the format changes
/// afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenMeta", into = "WrittenMeta")]
pub struct StoreMeta {
    /// The number of partitions of each family.
    pub partitions: PartitionConfig,
    /// The active format, in which programs write records. At most 127.
    pub format: u8,
    /// Whether the store keeps counts of executions by lane and state. \[INV-COUNT-1\]
    pub counts: bool,
}

/// The configuration as it is stored. A program that does not know of counts would change
/// executions without them. It reads a format that it does not know, and does not connect.
#[derive(Clone, Serialize, Deserialize)]
struct WrittenMeta {
    partitions: PartitionConfig,
    format: u8,
}

/// The bit of the stored format that is set if the store keeps counts.
const COUNTS: u8 = 1 << 7;

impl From<WrittenMeta> for StoreMeta {
    fn from(written: WrittenMeta) -> Self {
        let WrittenMeta { partitions, format } = written;
        Self { partitions, format: format & !COUNTS, counts: format & COUNTS != 0 }
    }
}

impl From<StoreMeta> for WrittenMeta {
    fn from(meta: StoreMeta) -> Self {
        let StoreMeta { partitions, format, counts } = meta;
        Self { partitions, format: if counts { format | COUNTS } else { format & !COUNTS } }
    }
}
