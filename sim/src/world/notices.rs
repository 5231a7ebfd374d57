//! Notices of events, after which processes may call at the worst time.

use ff_core::execution::{EventKind, slot_of};
use ff_core::id::ExecutionId;

use crate::determinism::hash::hashed;
use crate::determinism::random::{Draws, NOTICE, Source, between, happens};
use crate::process::context::{Message, Notice};

use super::World;

impl World {
    /// Notifies a process of some of the store's latest events.
    pub(super) fn notify(&mut self) {
        for (id, event) in std::mem::take(&mut self.server.latest_events) {
            let count = self.event_counts.entry(id).or_default();
            *count += 1;
            let key = hashed(id.uuid().as_bytes()).wrapping_add(*count);
            if self.healing_since.is_none() {
                self.notify_of(id, event, key);
            }
        }
    }

    fn notify_of(&mut self, id: ExecutionId, event: EventKind, key: u64) {
        let mut draws = Draws::new(self.chances.plan().seed, NOTICE, key);
        if !happens(&mut draws, self.settings.reaction_rate) {
            return;
        }
        let workers = self.profiles.len();
        // After the workers come the timekeepers, the client, the reader, the operator and the
        // signaller.
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
        let slot = record.and_then(|record| slot_of(record));
        let notice = Notice { id, event, key, suspension, slot };
        self.deliver_message(after, process, Message::Notice(notice));
    }
}

/// Whether it is an event that the signaller reacts to.
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
