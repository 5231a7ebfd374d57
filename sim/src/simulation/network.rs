//! The events of calls, wake-ups and processes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ff_core::store::{ReplyBody, Request, UnitReply, Wake};

use crate::determinism::clock::store_time;
use crate::determinism::random::{between, happens, one_of, stream};
use crate::fault::journey::{Arrival, Journey, Network, journey};
use crate::model::caller::Caller;
use crate::plan::FaultKind;
use crate::report::Broken;

use super::call::{Call, Cargo, fault_effect};
use super::outcome::FailureKind;
use super::process::panic_text;
use super::scene::{Scene, SceneEvent, TEST, Wrong};
use super::trace::{describe_request, journal_entries};

impl From<Broken> for Wrong {
    fn from(broken: Broken) -> Self {
        Self { kind: FailureKind::Invariant(broken.tag), detail: broken.detail }
    }
}

/// The point of a call at which its sender crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    BeforeIt,
    AfterIt,
    BeforeItsReply,
}

impl Scene {
    /// Sends a call of a process.
    pub fn send(&mut self, slot: usize, at: u64, mut call: Call) {
        self.slots[slot].calls += 1;
        let key = (slot as u64) << 32 | self.slots[slot].calls;
        let network = Network { resends: !call.is_service(), ..self.conditions.network };
        let mut way = journey(&mut self.chances, network, key);
        // Polls and renewals are not crash points: a long handler would never come to its end.
        let (crash_at_call, may_crash) =
            (self.conditions.crash_at_call, slot != TEST && is_progress(&call));
        let crash = self.chances.strike(FaultKind::Crash, key, |draws, _| {
            (may_crash && happens(draws, crash_at_call))
                .then(|| one_of(draws, &[Crash::BeforeIt, Crash::AfterIt, Crash::BeforeItsReply]))
        });
        if crash == Some(Crash::BeforeIt) {
            return self.crash(slot, at, &call);
        }
        // A process that is cut off loses its requests.
        if self.slots[slot].cut_off.0 && !way.unsent {
            (way.arrivals, way.fault) = ([None, None], Some(FaultKind::RequestLost));
        }
        if call.is_service() {
            self.active(at);
            if way.arrivals[0].is_some() {
                self.in_flight.insert(key);
            }
        } else {
            way.arrivals.iter_mut().flatten().for_each(|arrival| arrival.after += self.slow_ms);
        }
        if way.fault.is_some() || self.slow_ms > 0 || self.slots[slot].cut_off != (false, false) {
            self.slots[slot].disturbed_at = Some(at);
        }
        self.note_sent(slot, at, &call, way);
        self.touch(slot, at, &call);
        call.slot = slot;
        call.gives_up = at + network.timeout_ms;
        call.ends_sender = crash == Some(Crash::BeforeItsReply);
        let (gives_up, mut replies_at) = (call.gives_up, None);
        self.calls.insert(key, call);
        self.slots[slot].waits_for.insert(key);
        for Arrival { after, reply_after } in way.arrivals.into_iter().flatten() {
            replies_at = reply_after.map(|reply_after| at + after + reply_after).or(replies_at);
            self.later(at + after, SceneEvent::Arrives { call: key, reply_after });
        }
        if way.unsent {
            self.later(at + 1, SceneEvent::Fails { call: key, known: true });
        } else if replies_at.is_none_or(|replies_at| replies_at > gives_up) {
            self.later(gives_up, SceneEvent::Fails { call: key, known: false });
        }
        if crash == Some(Crash::AfterIt)
            && let Some(call) = self.calls.remove(&key)
        {
            self.crash(slot, at, &call);
            self.calls.insert(key, call);
        }
    }

    fn note_sent(&mut self, slot: usize, at: u64, call: &Call, way: Journey) {
        let name = self.slots[slot].name.clone();
        if call.is_service() {
            self.trace.line(at, &name, || format!("calls {}", describe(call)));
        }
        self.trace.number(at);
        if let Some(fault) = way.fault {
            self.count(fault);
            if !call.only_reads() {
                self.trace.line(at, "fault", || {
                    format!("{} of {name} {}", describe(call), fault_effect(fault))
                });
            }
        }
    }

    /// Crashes a process at one of its calls.
    fn crash(&mut self, slot: usize, at: u64, call: &Call) {
        let during = describe(call);
        self.end(slot, at, &during);
    }

    fn end(&mut self, slot: usize, at: u64, during: &str) {
        let Some(process) = self.slots[slot].process.take() else { return };
        drop(process);
        self.forget(slot);
        self.slots[slot].paused = false;
        self.subscriptions.retain(|_, subscription| subscription.slot != slot);
        self.count(FaultKind::Crash);
        let name = self.slots[slot].name.clone();
        self.trace.line(at, &name, || format!("crashes ({during})"));
        self.planned += 1;
        let mut entropy = stream(self.seed, "simulation: restart", self.planned);
        let most = one_of(&mut entropy, &[100, 1_000, 10_000]);
        let back = at.max(self.now) + between(&mut entropy, 1, most);
        self.later(back, SceneEvent::Restart(slot));
    }

    /// Applies an event.
    pub fn apply(&mut self, event: SceneEvent) -> Result<(), Wrong> {
        match event {
            SceneEvent::Arrives { call, reply_after } => self.arrives(call, reply_after)?,
            SceneEvent::Answers(call) => self.answers(call),
            SceneEvent::Fails { call, known } => self.fails(call, known),
            SceneEvent::WakeUp(number, wake) => {
                if let Some(subscription) = self.subscriptions.get(&number)
                    && subscription.sender.send(wake).is_err()
                {
                    self.subscriptions.remove(&number);
                }
            }
            SceneEvent::Restart(slot) => {
                if self.slots[slot].process.is_none() {
                    self.active(self.now);
                    self.start(slot);
                }
            }
            SceneEvent::PauseEnds(slot) => {
                let name = self.slots[slot].name.clone();
                if std::mem::take(&mut self.slots[slot].paused) {
                    let slot = &mut self.slots[slot];
                    (slot.continued_at, slot.disturbed_at) = (self.now, Some(self.now));
                    self.trace.line(self.now, &name, || "continues".to_owned());
                }
            }
            SceneEvent::Reconnect(slot) => {
                self.slots[slot].cut_off = (false, false);
                self.slots[slot].disturbed_at = Some(self.now);
            }
            SceneEvent::SlowStoreEnds => self.slow_ms = 0,
            SceneEvent::Planned(fault) => self.planned_fault(fault),
            SceneEvent::Recurs(fault) => self.recurs(fault),
            SceneEvent::Released(number) => self.released(number),
        }
        Ok(())
    }

    fn arrives(&mut self, key: u64, reply_after: Option<u64>) -> Result<(), Wrong> {
        let Some(mut call) = self.calls.remove(&key) else { return Ok(()) };
        let served = match &mut call.cargo {
            Cargo::Store { request, reply, .. } => {
                let request = request.clone();
                let served = self.serve(key, call.slot, request);
                let earlier = reply.reply.take();
                served.map(|answered| reply.reply = reply_after.map(|_| answered).or(earlier))
            }
            Cargo::Service { service, what, effect, reply, .. } => {
                self.in_flight.remove(&key);
                self.service_calls += 1;
                self.active(self.now);
                self.trace.line(self.now, service, || format!("carries out: {what}"));
                let effect = effect.take().expect("a service call arrives once");
                let done = catch_unwind(AssertUnwindSafe(effect));
                done.map(|answered| reply.reply = Some(answered)).map_err(|panic| Wrong {
                    kind: FailureKind::Assertion,
                    detail: format!("{service} panicked: {}", panic_text(&*panic)),
                })
            }
        };
        if let Some(after) = reply_after {
            if self.slots[call.slot].cut_off.1 {
                let gives_up = call.gives_up.max(self.now);
                self.later(gives_up, SceneEvent::Fails { call: key, known: false });
            } else {
                self.later(self.now + after, SceneEvent::Answers(key));
            }
        }
        self.calls.insert(key, call);
        served
    }

    fn serve(
        &mut self,
        number: u64,
        slot: usize,
        request: Request,
    ) -> Result<ff_core::store::Reply, Wrong> {
        let entries = match &request {
            Request::Commit(commit) => journal_entries(commit),
            _ => Vec::new(),
        };
        self.check_expiries(&entries)?;
        let (process, now) = (slot, store_time(self.now));
        // A backend sees requests, but not their commands.
        let (command, carries) = (None, None);
        let mut caller = Caller { command, carries, ..Caller::new(number, process) };
        let listened = match &request {
            Request::Poll(poll) => poll.listeners.clone(),
            _ => None,
        };
        let mut reply = self.server.serve(&mut caller, request, now)?;
        if let (Some(topic), ReplyBody::Poll(polled)) = (listened, &mut reply.body) {
            let subscribed = self.subscriptions.values();
            polled.listeners = subscribed.filter(|one| one.topics.contains(&topic)).count() as u64;
        }
        if let ReplyBody::Commit(units) = &reply.body {
            let name = self.slots[slot].name.clone();
            for (unit, entries) in units.iter().zip(&entries) {
                if matches!(unit, UnitReply::Committed { .. }) && !entries.is_empty() {
                    self.active(self.now);
                    self.trace.changes(self.now, &name, entries);
                }
            }
        }
        for wake in self.server.take_wakes() {
            self.ring(&wake);
        }
        Ok(reply)
    }

    fn ring(&mut self, wake: &Wake) {
        let subscribed = self.subscriptions.iter();
        let listening = subscribed.filter(|(_, one)| one.topics.contains(&wake.topic));
        let listening: Vec<(u64, usize)> = listening.map(|(key, one)| (*key, one.slot)).collect();
        for (key, slot) in listening {
            self.rings += 1;
            let lost = self.chances.strikes(FaultKind::WakeUpLost, self.rings);
            self.count_if(lost, FaultKind::WakeUpLost);
            if lost || self.slots[slot].cut_off.1 {
                continue;
            }
            let repeated = self.chances.strikes(FaultKind::WakeUpRepeated, self.rings);
            self.count_if(repeated, FaultKind::WakeUpRepeated);
            let mut entropy = stream(self.seed, "simulation: wake-up", self.rings);
            for _ in 0..=u64::from(repeated) {
                let after = between(&mut entropy, 1, self.conditions.network.latency_ms);
                self.later(self.now + after, SceneEvent::WakeUp(key, Some(wake.clone())));
            }
        }
    }

    fn answers(&mut self, key: u64) {
        let Some(mut call) = self.calls.remove(&key) else { return };
        let slot = call.slot;
        if !self.slots[slot].waits_for.remove(&key) {
            return;
        }
        if call.ends_sender && self.slots[slot].process.is_some() {
            let during = format!("before the reply to {}", describe(&call));
            return self.end(slot, self.now, &during);
        }
        self.touched(&call);
        if let Cargo::Store { request, .. } = &call.cargo
            && call.only_reads()
        {
            self.quiet.answered(slot, request);
        }
        call.answer();
    }

    fn fails(&mut self, key: u64, known: bool) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if self.slots[call.slot].waits_for.remove(&key) {
            if let Cargo::Store { request, .. } = &call.cargo {
                self.quiet.failed(call.slot, request);
            }
            call.fail(known);
        }
    }

    /// Applies a planned fault to a process that the seed chooses.
    pub fn planned_fault(&mut self, fault: FaultKind) {
        self.planned += 1;
        let mut entropy = stream(self.seed, "simulation: planned fault", self.planned);
        let everybody = self.slots.len() as u64;
        let only_workers = matches!(fault, FaultKind::Crash | FaultKind::Pause);
        if fault == FaultKind::SlowStore {
            return self.slow_store(between(&mut entropy, 10, 1_000), entropy.below(20_000));
        }
        if only_workers && everybody == 1 {
            return;
        }
        let slot = if only_workers {
            1 + entropy.below(everybody - 1) as usize
        } else {
            entropy.below(everybody) as usize
        };
        if self.slots[slot].process.is_none() {
            return;
        }
        match fault {
            FaultKind::Crash => self.end(slot, self.now, "at an await"),
            FaultKind::Pause => {
                let most = one_of(&mut entropy, &[1_000, 20_000, 90_000]);
                self.pause(slot, between(&mut entropy, most / 2, most));
            }
            FaultKind::ConnectionsDropped => self.disconnect(slot),
            _ => {
                let most = if slot == TEST { 5_000 } else { 60_000 };
                let ways = [(true, true), (true, false), (false, true)];
                let (requests_lost, replies_lost) = one_of(&mut entropy, &ways);
                self.part(slot, requests_lost, replies_lost, between(&mut entropy, 1, most));
            }
        }
    }

    fn slow_store(&mut self, by_ms: u64, for_ms: u64) {
        self.slow_ms = by_ms;
        self.count(FaultKind::SlowStore);
        self.trace
            .line(self.now, "fault", || format!("the store is slow by {by_ms} ms for {for_ms} ms"));
        self.later(self.now + for_ms, SceneEvent::SlowStoreEnds);
    }

    fn pause(&mut self, slot: usize, for_ms: u64) {
        if std::mem::replace(&mut self.slots[slot].paused, true) {
            return;
        }
        self.count(FaultKind::Pause);
        let name = self.slots[slot].name.clone();
        self.trace.line(self.now, &name, || format!("pauses for {for_ms} ms"));
        self.later(self.now + for_ms, SceneEvent::PauseEnds(slot));
    }

    fn disconnect(&mut self, slot: usize) {
        self.count(FaultKind::ConnectionsDropped);
        self.slots[slot].disturbed_at = Some(self.now);
        let name = self.slots[slot].name.clone();
        self.trace.line(self.now, "fault", || format!("the connections of {name} break"));
        for key in std::mem::take(&mut self.slots[slot].waits_for) {
            if let Some(call) = self.calls.get_mut(&key) {
                call.fail(false);
            }
        }
        let subscribed = self.subscriptions.iter().filter(|(_, one)| one.slot == slot);
        let keys: Vec<u64> = subscribed.map(|(key, _)| *key).collect();
        for key in keys {
            // A subscriber that connects again learns that wake-ups may have been missed.
            self.later(self.now + 1, SceneEvent::WakeUp(key, None));
        }
    }

    fn part(&mut self, slot: usize, requests_lost: bool, replies_lost: bool, for_ms: u64) {
        self.slots[slot].cut_off = (requests_lost, replies_lost);
        self.count(FaultKind::Partition);
        let name = self.slots[slot].name.clone();
        self.trace.line(self.now, "fault", || {
            let what = match (requests_lost, replies_lost) {
                (true, true) => "is cut off in both directions",
                (true, false) => "is cut off: its requests are lost",
                _ => "is cut off: replies to it are lost",
            };
            format!("{name} {what} for {for_ms} ms")
        });
        self.later(self.now + for_ms, SceneEvent::Reconnect(slot));
    }
}

/// Whether a call is a step of the work: a call of a service, or a commit with events.
fn is_progress(call: &Call) -> bool {
    match &call.cargo {
        Cargo::Service { .. } => true,
        Cargo::Store { request: Request::Commit(commit), .. } => {
            journal_entries(commit).iter().any(|entries| !entries.is_empty())
        }
        Cargo::Store { .. } => false,
    }
}

/// Describes a call.
fn describe(call: &Call) -> String {
    match &call.cargo {
        Cargo::Store { request, .. } => describe_request(request),
        Cargo::Service { service, what, .. } => format!("{service}: {what}"),
    }
}
