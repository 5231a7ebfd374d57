//! Grants in flight from the process that got them to the process that uses them.

use ff_core::execution::Execution;

use crate::determinism::hash::hashed;
use crate::determinism::random::{Draws, WAY_OF_GRANT, between, happens};
use crate::process::context::GrantInHand;

use super::World;

impl World {
    /// How long a grant is in flight, in milliseconds: sometimes so long that it is used about when
    /// it expires.
    pub(super) fn way_of(&self, grant: &GrantInHand, after: u64) -> u64 {
        let key = hashed(grant.grant_id.uuid().as_bytes());
        let mut draws = Draws::new(self.chances.plan().seed, WAY_OF_GRANT, key);
        let record = self.server.model.records.get(&grant.execution_id);
        let out = record.and_then(|record| Execution::grant(record));
        match out.filter(|out| out.id == grant.grant_id) {
            Some(out) if happens(&mut draws, 300) => {
                // Three ways remain after its worker begins: there, back and there again.
                let ways = between(&mut draws, 3, 3 * self.settings.latency_ms.max(1));
                let left = out.expires_at.since(self.server.condition.clock(self.now)).get();
                left.saturating_sub(ways).max(1)
            }
            _ => after,
        }
    }
}
