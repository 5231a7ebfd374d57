//! A replica that has fallen behind the primary.

use std::collections::BTreeMap;

use crate::model::Model;

use super::backing::Replica;

/// A replica that receives nothing more, and the simulator's memory of its last state.
#[derive(Debug)]
pub(super) struct Behind {
    /// The number of the failover in which it takes over.
    pub number: u64,
    /// The contents of the replica.
    pub store: Replica,
    /// The model at that time.
    pub model: Model,
    /// How many commits of each caller had changed something, and of each of its parts.
    pub applied: BTreeMap<u64, Vec<u64>>,
}
