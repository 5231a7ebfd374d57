//! Whoever watches learns at once what has happened, and may call at the worst moment.

use ff_core::execution::EventKind;
use ff_core::id::ExecutionId;

use crate::determinism::hash::hashed;
use crate::determinism::random::{Draws, MOMENT, Source, between, happens};
use crate::process::context::Moment;

use super::{Happening, World};

impl World {
    /// Tells somebody of what the store has just done, now and then.
    pub(super) fn tempt(&mut self) {
        for (id, event) in std::mem::take(&mut self.server.moments) {
            let count = self.moments.entry(id).or_default();
            *count += 1;
            let key = hashed(id.uuid().as_bytes()).wrapping_add(*count);
            if self.healing_since.is_none() {
                self.tempt_with(id, event, key);
            }
        }
    }

    fn tempt_with(&mut self, id: ExecutionId, event: EventKind, key: u64) {
        let mut draws = Draws::new(self.chances.plan().seed, MOMENT, key);
        if !happens(&mut draws, self.settings.meddling) {
            return;
        }
        let workers = self.profiles.len();
        // After the workers come the timekeepers, the client, the reader, the operator and whoever
        // signals.
        let client = workers + self.settings.timekeepers;
        let process = match draws.below(10) {
            8..10 if is_about_waiting(event) => client + 3,
            0..4 => draws.below(workers as u64) as usize,
            4 => client,
            _ => client + 2,
        };
        let after = between(&mut draws, 1, 3 * self.settings.latency_ms.max(1));
        let record = self.server.model.records.get(&id);
        let suspension = record.and_then(|record| record.suspension().map(|found| found.id));
        let moment = Moment { id, event, key, suspension };
        self.queue.push(self.now + after, Happening::Moment { process, moment });
    }
}

/// Whether something has happened of which whoever signals makes the most.
const fn is_about_waiting(event: EventKind) -> bool {
    use EventKind as K;
    matches!(
        event,
        K::WaitpointCreated
            | K::WaitpointExpired
            | K::Suspended
            | K::AlreadySatisfied
            | K::SignalTaken
            | K::Resumed
            | K::Escalated
            | K::LeaseExpired
            | K::Ended
            | K::Claimed
            | K::Created
            | K::GrantIssued
            | K::Blocked
            | K::RetryScheduled
            | K::LeaseRevoked
            | K::Released
    )
}
