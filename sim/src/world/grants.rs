//! Grants on their way from who was given them to who uses them.

use ff_core::execution::Execution;

use crate::determinism::hash::hashed;
use crate::determinism::random::{Draws, WAY_OF_GRANT, between, happens};
use crate::process::context::GrantInHand;

use super::World;

impl World {
    /// How long a grant is on its way, in milliseconds: now and then so long that it is used about
    /// when it ends.
    pub(super) fn way_of(&self, grant: &GrantInHand, after: u64) -> u64 {
        let key = hashed(grant.grant_id.uuid().as_bytes());
        let mut draws = Draws::new(self.chances.plan().seed, WAY_OF_GRANT, key);
        let record = self.server.model.records.get(&grant.execution_id);
        let out = record.and_then(|record| Execution::grant(record));
        match out.filter(|out| out.id == grant.grant_id) {
            Some(out) if happens(&mut draws, 300) => {
                // There, back and there again are left when its worker begins.
                let ways = between(&mut draws, 3, 3 * self.settings.latency_ms.max(1));
                let left = out.expires_at.since(self.server.condition.clock(self.now)).get();
                left.saturating_sub(ways).max(1)
            }
            _ => after,
        }
    }
}
