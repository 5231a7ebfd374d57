//! Calls from a process to the store and back.

use ff_core::execution::Decide;
use ff_core::op::{Event, Step};
use ff_core::store::{Failure, Reply, Request, Topic};
use ff_core::time::HostTime;

use crate::determinism::random::happens;
use crate::fault::journey::{Network, journey};
use crate::fault::other_record::with_other_records;
use crate::fault::process;
use crate::invariant::quota;
use crate::plan::FaultKind;
use crate::plan::settings::Settings;
use crate::process::context::Message;
use crate::process::task::{Output, Task};
use crate::report::Broken;

use super::messages::{Arrival, Call, Delivery};
use super::{World, WorldEvent};

impl World {
    pub(super) fn send(&mut self, number: u64, request: Request) {
        let Some(running) = self.running.get_mut(&number) else { return };
        running.own.forget_touched(&request);
        let key = running.key;
        running.key += 1;
        running.waiting = Some(key);
        let (process, now) = (running.process, self.now);
        let Settings { latency_ms, timeout_ms, .. } = self.settings;
        let network = Network { latency_ms, timeout_ms, resends: true };
        let journey = journey(&mut self.chances, network, key);
        let journey = self.slowed(journey, key);
        let journey = self.held(journey, number, key, &request);
        let call = Call { number, key, sent_at: now, in_order: journey.in_order };
        if let (Some(fault), true) = (journey.fault, self.options.trace) {
            self.note(format!("fault {fault:?} affects operation {number}"));
        }
        if journey.arrivals[1].is_some() {
            let caller = self.callers.get_mut(&number).expect("every operation has a caller");
            caller.resent = true;
        }
        let host = &mut self.hosts[process];
        if journey.unsent {
            let failure = Failure::NotSent("the network is down".to_owned());
            self.queue.push(now + 1, WorldEvent::Fail { call, failure });
        }
        let mut replies_at = None;
        let mut copies = Some(request);
        for (copy, arrival) in journey.arrivals.iter().enumerate() {
            let Some(arrival) = arrival.filter(|_| host.requests_lost_until <= now) else {
                continue;
            };
            let mut at = now + arrival.after;
            if call.in_order {
                at = at.max(host.in_order.0);
                host.in_order.0 = at;
            }
            let last = journey.arrivals.get(copy + 1).is_none_or(Option::is_none);
            let request = if last { copies.take() } else { copies.clone() };
            let Some(request) = request else { continue };
            let reply_after = arrival.reply_after;
            replies_at = reply_after.map(|after| at + after).or(replies_at);
            self.in_flight += 1;
            let arrival = Arrival { call, request, reply_after, again: false };
            self.queue.push(at, WorldEvent::Arrive(arrival));
        }
        if !journey.unsent {
            self.expect(call, replies_at);
        }
        let crash = process::crash_at_step(&mut self.chances, FaultKind::CrashAfterSend, key);
        if let Some(down_ms) = crash {
            self.crash(process, down_ms);
        }
    }

    /// Schedules the timeout of a call, unless its reply arrives before.
    fn expect(&mut self, call: Call, replies_at: Option<u64>) {
        let gives_up_at = (call.sent_at + self.settings.timeout_ms).max(self.now);
        if replies_at.is_none_or(|at| at > gives_up_at) {
            let failure = Failure::MaybeApplied("no reply in time".to_owned());
            self.queue.push(gives_up_at, WorldEvent::Fail { call, failure });
        }
    }

    /// Whether a request was lost when every connection was dropped.
    pub(super) fn is_dropped(&mut self, call: Call) -> bool {
        call.sent_at < self.dropped_at
            && !process::survives_dropped_connection(&mut self.chances, call.key)
    }

    /// Sends a failure from the store back, if the sender still waits.
    pub(super) fn send_back(&mut self, call: Call, reply_after: Option<u64>, failure: Failure) {
        let Some(after) = reply_after else { return };
        let Some(at) = self.returns_at(call, after) else { return };
        self.queue.push(at, WorldEvent::Fail { call, failure });
    }

    /// When a reply arrives, if it does and the sender still waits.
    fn returns_at(&mut self, call: Call, after: u64) -> Option<u64> {
        let process = self.waits(call)?;
        let host = &mut self.hosts[process];
        if self.now < host.replies_lost_until {
            self.expect(call, None);
            return None;
        }
        let mut at = self.now + after;
        if call.in_order {
            at = at.max(host.in_order.1);
            host.in_order.1 = at;
        }
        self.expect(call, Some(at));
        Some(at)
    }

    /// Sends a reply back, if the sender still waits.
    pub(super) fn answer(&mut self, call: Call, after: u64, reply: Reply) {
        let Some(at) = self.returns_at(call, after) else { return };
        let command = self.callers[&call.number].command.as_ref();
        let id = command.map(Decide::execution_id);
        let seen = id.and_then(|id| self.server.model.records.get(&id).cloned());
        let (connection, jumps) = (self.connection, self.server.model.jumps);
        let stopped = std::mem::take(&mut self.server.stopped);
        let delivery = Delivery { call, reply, seen, connection, jumps, stopped };
        self.queue.push(at, WorldEvent::Deliver(delivery));
    }

    /// Sends the store's wake-ups to the workers of their lanes and to the timekeepers.
    pub(super) fn ring(&mut self) {
        for wake in self.server.take_wakes() {
            if !self.settings.wakes {
                continue;
            }
            // After the workers come the timekeepers.
            let workers = self.profiles.len();
            let listening: Vec<usize> = match &wake.topic {
                Topic::Lane { lane, .. } => {
                    let listens = |worker: &usize| self.profiles[*worker].lanes.contains(lane);
                    (0..workers).filter(listens).collect()
                }
                Topic::Routes { .. } | Topic::Resources { .. } => (0..workers).collect(),
                Topic::Due => (workers..workers + self.settings.timekeepers).collect(),
                _ => continue,
            };
            for process in listening {
                let lost = self.now < self.hosts[process].replies_lost_until;
                if lost || self.loses_wake_up() {
                    continue;
                }
                let message = Message::Wake(wake.clone());
                self.deliver_message(self.settings.latency_ms, process, message);
            }
        }
    }

    fn loses_wake_up(&mut self) -> bool {
        self.rings += 1;
        self.chances.strikes(FaultKind::WakeUpLost, self.rings)
    }

    /// Continues an operation, if its process still runs it.
    fn proceed(
        &mut self,
        number: u64,
        go: impl FnOnce(&mut dyn Task, HostTime) -> Step<Output>,
    ) -> Result<(), Broken> {
        let Some(running) = self.running.get_mut(&number) else { return Ok(()) };
        let now = self.hosts[running.process].clock.read(self.now);
        let step = go(running.task.as_mut(), now);
        self.follow(number, step)
    }

    pub(super) fn deliver(&mut self, delivery: Delivery) -> Result<(), Broken> {
        let call = delivery.call;
        let Some(process) = self.waits(call) else { return Ok(()) };
        if delivery.connection != self.connection {
            let failure = Failure::MaybeApplied("the connection broke".to_owned());
            return self.fail(call, failure);
        }
        let kind = FaultKind::CrashBeforeReply;
        if let Some(down_ms) = process::crash_at_step(&mut self.chances, kind, call.key) {
            self.crash(process, down_ms);
            return Ok(());
        }
        if let Some(lasts_ms) = self.pauses_before_reply(call) {
            self.hosts[process].paused_until = self.now + lasts_ms;
            self.queue.push(self.now + lasts_ms, WorldEvent::Deliver(delivery));
            return Ok(());
        }
        let Delivery { mut reply, seen, jumps, stopped, .. } = delivery;
        let number = call.number;
        let other = self.other_reply(call, &reply);
        let is_other = other.is_some();
        reply = other.unwrap_or(reply);
        self.note_lanes(number, &reply);
        if let Some(running) = self.running.get_mut(&number) {
            if !is_other {
                running.seen = (seen, reply.at);
            }
            running.waiting = None;
            running.jumps = jumps;
            self.hosts[process].clock.hear(reply.at, self.now);
            let caller = self.callers.get_mut(&number).expect("every operation has a caller");
            caller.failed |= is_other;
            if !is_other {
                caller.sees(running.seen.0.as_deref());
            }
            if caller.command.is_none() && !is_other {
                running.own.note(&self.server.model, number, &reply);
            }
        }
        let process = self.running.get(&number).map(|running| running.process);
        self.proceed(number, |task, now| task.resume(Event::Reply(reply), now))?;
        match process.filter(|_| !is_other) {
            Some(process) if self.hosts[process].up => {
                self.note_tasks(process);
                quota::check_freed(&self.server.model, &stopped, &self.hosts[process].freed)
            }
            _ => Ok(()),
        }
    }

    /// The reply with the records of other executions, if that fault happens.
    fn other_reply(&mut self, call: Call, reply: &Reply) -> Option<Reply> {
        let (kind, records) = (FaultKind::OtherRecord, &self.server.model.records);
        let other = self.chances.strike(kind, call.key, |draws, weight| {
            with_other_records(reply, records, draws, weight)
        })?;
        if self.options.trace {
            self.note(format!("fault {kind:?} affects operation {}", call.number));
        }
        Some(other)
    }

    /// The process that waits for a call's reply.
    fn waits(&self, call: Call) -> Option<usize> {
        let running = self.running.get(&call.number)?;
        (running.waiting == Some(call.key)).then_some(running.process)
    }

    fn pauses_before_reply(&mut self, call: Call) -> Option<u64> {
        let running = self.running.get_mut(&call.number)?;
        // Only once: a delayed reply is handled.
        let first = running.held_back != Some(call.key);
        let settings = &self.settings;
        let pause =
            self.chances.strike(FaultKind::PauseBeforeReply, call.key, |draws, weight| {
                let pauses = happens(draws, weight);
                pauses.then(|| process::pause_ms(settings, draws)).filter(|_| first)
            })?;
        running.held_back = Some(call.key);
        Some(pause)
    }

    pub(super) fn fail(&mut self, call: Call, failure: Failure) -> Result<(), Broken> {
        if self.waits(call).is_none() {
            return Ok(());
        }
        if let Some(running) = self.running.get_mut(&call.number) {
            running.waiting = None;
        }
        let caller = self.callers.get_mut(&call.number).expect("every operation has a caller");
        caller.failed = true;
        self.lanes_unanswered(call.number);
        self.proceed(call.number, |task, now| task.resume(Event::Failure(failure), now))
    }

    pub(super) fn wait_over(&mut self, number: u64) -> Result<(), Broken> {
        self.proceed(number, |task, now| task.resume(Event::Wake, now))
    }
}
