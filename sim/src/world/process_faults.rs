//! The faults of processes, and the end of all faults.

use ff_core::execution::EventKind;
use ff_core::store::Failure;
use ff_core::time::TimestampMs;

use crate::determinism::hash::hashed;
use crate::fault::planned::Planned;
use crate::fault::{clock, process};
use crate::invariant::readers;
use crate::invariant::time;
use crate::model::settled::{
    ANCHORED_WITHIN_MS, HEALED_WITHIN_MS, is_pending, leaked_slots, pending, sleepers,
};
use crate::plan::FaultKind;
use crate::process::context::{Message, Notice};
use crate::report::Broken;
use crate::world::host::{Kind, Start, host, named_as as instance_of};

use super::messages::{Call, Delivery};
use super::{World, WorldEvent};

impl World {
    /// Applies a planned fault.
    pub(super) fn strike(&mut self, fault: Planned) {
        let Planned { id, process, lasts_ms, by_ms, .. } = fault;
        let idle = self.healing_since.is_some() || !self.hosts[process].up;
        if idle || !self.chances.inject(id.kind, id.key) {
            return;
        }
        let (now, until) = (self.now, self.now + lasts_ms);
        let host = &mut self.hosts[process];
        match id.kind {
            FaultKind::Crash => self.crash(process, lasts_ms),
            FaultKind::ClockOffset => host.clock.forget(by_ms),
            FaultKind::ClockStep => host.clock.jump(by_ms),
            FaultKind::ClockFreeze => host.clock.freeze(now, lasts_ms),
            FaultKind::Pause => host.paused_until = host.paused_until.max(until),
            FaultKind::Partition => {
                host.requests_lost_until = host.requests_lost_until.max(until);
                host.replies_lost_until = host.replies_lost_until.max(until);
            }
            FaultKind::PartitionRequests => {
                host.requests_lost_until = host.requests_lost_until.max(until)
            }
            FaultKind::PartitionReplies => {
                host.replies_lost_until = host.replies_lost_until.max(until)
            }
            FaultKind::ConnectionsDropped => self.drop_connections(),
            other => unreachable!("{other:?} is never planned"),
        }
    }

    /// Fails every call that waits for a reply.
    fn drop_connections(&mut self) {
        self.dropped_at = self.now;
        for (number, running) in &self.running {
            let Some(key) = running.waiting else { continue };
            let call = Call { number: *number, key, sent_at: self.now, in_order: false };
            let failure = Failure::MaybeApplied("the connection was lost".to_owned());
            self.queue.push(self.now, WorldEvent::Fail { call, failure });
        }
    }

    /// Crashes a process, for a while.
    pub(super) fn crash(&mut self, process: usize, down_ms: u64) {
        let host = &mut self.hosts[process];
        if !host.up {
            return;
        }
        (host.up, host.wake) = (false, None);
        self.running.retain(|_, running| running.process != process);
        self.queue.push(self.now + down_ms, WorldEvent::Restart { process });
    }

    pub(super) fn restart(&mut self, process: usize) {
        if self.hosts[process].up || self.hosts[process].gone {
            return;
        }
        let (start, now) = (self.hosts[process].start + 1, self.now);
        let (mut skew, mut drift, mut instance, mut named_as) = (0, 0, start, process);
        if self.healing_since.is_none() {
            let (chances, lease_ttl_ms) = (&mut self.chances, self.settings.lease_ttl.get());
            skew = clock::offset_at_start(chances, process, start);
            drift = clock::drift_at_start(chances, lease_ttl_ms, process, start);
            if process::keeps_instance(chances, process, start) {
                instance = self.hosts[process].instance;
            }
            named_as = instance_of(chances.plan().seed, &self.settings, process);
        }
        let start = Start { process, start, now, instance, named_as, skew, drift };
        let seed = self.chances.plan().seed;
        let fresh = host(seed, &self.settings, &self.profiles, start);
        let old = std::mem::replace(&mut self.hosts[process], fresh);
        let host = &mut self.hosts[process];
        let local = host.clock.local(self.now);
        match (old.kind, &mut host.kind) {
            (Kind::Client(client), kind) => *kind = Kind::Client(client.restarted(local)),
            (Kind::Signaller(old), kind) => *kind = Kind::Signaller(old.restarted(local)),
            (Kind::Operator(old), kind) => *kind = Kind::Operator(old.restarted(local)),
            (Kind::Reader(old), Kind::Reader(fresh)) => fresh.continue_from(old, local),
            _ => {}
        }
        self.hosts[process].wake = Some(self.now);
        self.queue.push(self.now, WorldEvent::Wake { process });
    }

    /// Postpones an event of a paused process.
    pub(super) fn awake(&mut self, event: WorldEvent) -> Option<WorldEvent> {
        let process = match &event {
            WorldEvent::Deliver(Delivery { call: Call { number, .. }, .. })
            | WorldEvent::Fail { call: Call { number, .. }, .. }
            | WorldEvent::WaitOver { number } => self.running.get(number).map(|r| r.process),
            WorldEvent::Wake { process } | WorldEvent::Message { process, .. } => Some(*process),
            _ => None,
        };
        let Some(process) = process else { return Some(event) };
        let host = &mut self.hosts[process];
        let until = host.paused_until;
        if until <= self.now || !host.up {
            return Some(event);
        }
        if matches!(event, WorldEvent::Wake { .. }) {
            if host.wake != Some(self.now) {
                return None;
            }
            host.wake = Some(until);
        }
        self.queue.push(until, event);
        None
    }

    /// Ends the faults: processes come back or stay down permanently, and handlers complete their
    /// work.
    pub(super) fn heal(&mut self) {
        self.healing_since = Some(self.now);
        self.server.condition.recover();
        let (chances, settings) = (&mut self.chances, &self.settings);
        let stays_down = |process| process::stays_down(chances, settings, process);
        let stay_down: Vec<bool> = (0..self.hosts.len()).map(stays_down).collect();
        self.chances.end();
        for (process, stays_down) in stay_down.into_iter().enumerate() {
            if stays_down {
                self.hosts[process].gone = true;
                self.crash(process, 0);
            }
            self.restart(process);
            let host = &mut self.hosts[process];
            (host.requests_lost_until, host.replies_lost_until) = (0, 0);
        }
        self.queue.push(self.now + 500, WorldEvent::CheckSettled);
    }

    /// Checks whether everything is settled.
    pub(super) fn check_settled(&mut self) -> Result<(), Broken> {
        let now = self.server.condition.clock(self.now);
        let model = &self.server.model;
        let is_pending = is_pending(model, &self.profiles, now);
        let commands = self.running.keys().any(|number| self.callers[number].carries_commands());
        let unread = readers::behind(model, &self.followed);
        let leaked = leaked_slots(model);
        let is_quiet = !is_pending && leaked.is_empty() && unread.is_empty();
        if is_quiet && !commands && self.in_flight == 0 {
            self.finished = true;
            return Ok(());
        }
        self.wake_up(now);
        let since = self.healing_since.unwrap_or(self.now);
        if self.now >= since + ANCHORED_WITHIN_MS {
            time::check_anchored(&self.server.model, now)?;
        }
        if self.now >= since + HEALED_WITHIN_MS {
            let pending = pending(&self.server.model, &self.profiles, now);
            let (count, pending) = (pending.len(), pending.join("; "));
            return self.stuck(|| {
                format!(
                    "{count} executions are pending ten minutes after the last fault, and the \
                     journals of {unread:?} are not read, and the slots {leaked:?} are not free: \
                     {pending}"
                )
            });
        }
        self.queue.push(self.now + 250, WorldEvent::CheckSettled);
        Ok(())
    }

    /// Lets the operator resume executions that wait forever, from time to time.
    fn wake_up(&mut self, now: TimestampMs) {
        let since = self.healing_since.unwrap_or(self.now);
        let rounds = (self.now - since) / 250;
        if !rounds.is_multiple_of(20) {
            return;
        }
        // The operator is the last but one of the processes.
        let process = self.hosts.len() - 2;
        for id in sleepers(&self.server.model, now) {
            let key = hashed(id.uuid().as_bytes()).wrapping_add(rounds);
            let (event, suspension, slot) = (EventKind::Suspended, None, None);
            let notice = Notice { id, event, key, suspension, slot };
            self.deliver_message(0, process, Message::Notice(notice));
        }
    }
}
