//! A replica that has fallen behind.

use std::collections::BTreeMap;

use crate::model::Model;

use super::backing::Replica;

/// A replica that hears nothing more, and what the world knew when it still did.
#[derive(Debug)]
pub(super) struct Behind {
    /// The number of the failover in which it takes over.
    pub number: u64,
    /// What the replica holds.
    pub store: Replica,
    /// What the world remembered.
    pub model: Model,
    /// How many commits of each caller had changed something, and of each of its parts.
    pub applied: BTreeMap<u64, Vec<u64>>,
}
