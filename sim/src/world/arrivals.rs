//! Requests that arrive at the store, and the faults of the store.

use ff_core::execution::Decide;
use ff_core::id::ExecutionId;
use ff_core::partition::PartitionFamily;
use ff_core::store::{Failure, RecordKey, ReplyBody, Request};

use crate::fault::border::{self, Hold};
use crate::fault::journey::Journey;
use crate::fault::store;
use crate::model::Model;
use crate::model::caller::Caller;
use crate::plan::FaultKind;
use crate::report::Broken;
use crate::report::describe::{self, shortened};
use crate::store::Reception;

use super::messages::{Arrival, StoreEvent};
use super::{FULL_CHECK_EVERY, World, WorldEvent};

/// How much more often calls are held that are about something rare: a deadline, or a quota.
const RARE: u64 = 8;

impl World {
    /// Schedules the faults of the store.
    pub(super) fn schedule_store_events(&mut self) {
        let (seed, settings) = (self.chances.plan().seed, &self.settings);
        let mut events = Vec::new();
        for step in store::clock_steps(seed, settings) {
            events.push((step.at, StoreEvent::Step(step)));
        }
        for failover in store::failovers(seed, settings) {
            events.push((failover.heard_until, StoreEvent::FallBehind(failover)));
            events.push((failover.at, StoreEvent::FailOver(failover)));
        }
        for (number, at) in store::missing_libraries(seed, settings) {
            events.push((at, StoreEvent::LibraryMissing(number)));
        }
        for (number, at) in store::emptyings(seed, settings) {
            events.push((at, StoreEvent::Emptied(number)));
        }
        let episodes = store::episodes(seed, settings);
        events.extend(episodes.map(|episode| (episode.at, StoreEvent::Episode(episode))));
        for (at, event) in events {
            self.queue.push(at, WorldEvent::Store(event));
        }
    }

    /// Applies an event of the store.
    pub(super) fn event(&mut self, event: StoreEvent) -> Result<(), Broken> {
        if let StoreEvent::LibraryLoaded = event {
            self.server.condition.library_missing = false;
            return Ok(());
        }
        if self.healing_since.is_some() {
            return Ok(());
        }
        match event {
            StoreEvent::Step(step) => {
                if self.chances.inject(FaultKind::StoreClockStep, step.number) {
                    self.server.condition.step(step.by_ms);
                    self.server.model.note_clock_step();
                    if step.by_ms < 0 {
                        self.callers.values_mut().for_each(Caller::clock_set_back);
                    }
                }
            }
            StoreEvent::Episode(episode) => {
                if self.chances.inject(episode.kind, episode.number) {
                    self.server.condition.begin(episode, self.now);
                    // A server that reads its data was restarted.
                    self.connection += u64::from(episode.kind == FaultKind::Loading);
                }
            }
            StoreEvent::FallBehind(failover) => {
                if self.chances.inject(FaultKind::Failover, failover.number) {
                    self.server.fall_behind(failover.number, &self.callers);
                }
            }
            StoreEvent::FailOver(failover) => {
                let now = self.server.condition.clock(self.now);
                if self.server.fail_over(failover.number, &mut self.callers, now)? {
                    self.lost_commits();
                }
            }
            StoreEvent::Emptied(number) => {
                if self.chances.inject(FaultKind::StoreEmptied, number) {
                    let now = self.server.condition.clock(self.now);
                    self.server.lose_everything(&mut self.callers, now)?;
                    self.lost_commits();
                }
            }
            StoreEvent::LibraryMissing(number) => {
                if self.chances.inject(FaultKind::LibraryMissing, number) {
                    self.server.condition.library_missing = true;
                    self.server.change_history();
                    self.connection += 1;
                }
            }
            StoreEvent::LibraryLoaded => {}
        }
        Ok(())
    }

    /// Breaks the connections to a store that has lost commits.
    fn lost_commits(&mut self) {
        self.connection += 1;
        for running in self.running.values_mut() {
            running.seen.0 = None;
            running.own.clear();
            running.present.clear();
        }
    }

    /// Delays a call of a slow store.
    pub(super) fn slowed(&mut self, mut journey: Journey, key: u64) -> Journey {
        let kind = FaultKind::SlowStore;
        let Some(episode) = self.server.condition.episode(kind, self.now) else { return journey };
        let seed = self.chances.plan().seed;
        let wait = store::slow_ms(seed, episode.number, &mut self.chances.draws(kind, key));
        for arrival in journey.arrivals.iter_mut().flatten() {
            arrival.after += wait;
        }
        journey
    }

    /// Holds a call that no other fault affects, or its reply, until about the time at which
    /// something about its execution ends.
    pub(super) fn held(
        &mut self,
        journey: Journey,
        number: u64,
        key: u64,
        request: &Request,
    ) -> Journey {
        let kind = FaultKind::HeldToBorder;
        let [Some(mut arrival), None] = journey.arrivals else { return journey };
        let (Some(reply_after), None) = (arrival.reply_after, journey.fault) else {
            return journey;
        };
        let now = self.server.condition.clock(self.now + arrival.after);
        let (records, caller) = (&self.server.model.records, &self.callers[&number]);
        let reach = self.settings.patience;
        let hold = self.chances.strike(kind, key, |draws, weight| {
            if changes_use(request) {
                return border::hold_use(draws, RARE * weight, reach);
            }
            let record = subject(request, caller).and_then(|id| records.get(&id));
            let has_deadline = record.is_some_and(|record| record.deadline.is_some());
            let weight = if has_deadline { RARE * weight } else { weight };
            border::hold(draws, weight, record.map(|record| &**record), now, reach)
        });
        match hold {
            None => return journey,
            Some(Hold { ms, reply: false }) => arrival.after += ms,
            Some(Hold { ms, reply: true }) => arrival.reply_after = Some(reply_after.max(ms)),
        }
        let arrivals = [Some(arrival), None];
        Journey { arrivals, in_order: false, fault: Some(kind), ..journey }
    }

    /// Receives a request at the store.
    pub(super) fn arrive(&mut self, arrival: Arrival) -> Result<(), Broken> {
        self.in_flight -= 1;
        if self.is_dropped(arrival.call) {
            return Ok(());
        }
        self.server.hash.number(arrival.call.number);
        match self.server.condition.receive(&arrival.request, self.now, arrival.again) {
            Reception::Welcome => self.serve(arrival),
            Reception::LibraryMissing => {
                // There and back for the answer, for the library, and for the second call.
                let latency = self.settings.latency_ms;
                let loaded = WorldEvent::Store(StoreEvent::LibraryLoaded);
                self.queue.push(self.now + 2 * latency, loaded);
                self.in_flight += 1;
                let again = WorldEvent::Arrive(Arrival { again: true, ..arrival });
                self.queue.push(self.now + 4 * latency, again);
                Ok(())
            }
            Reception::Refused(failure) => {
                self.server.hash.number(4);
                self.turn_down(&arrival, failure);
                Ok(())
            }
        }
    }

    /// Reports to the sender of a request that it failed, or may have failed.
    fn turn_down(&mut self, arrival: &Arrival, failure: Failure) {
        if self.options.trace {
            let number = arrival.call.number;
            self.note(format!("the store answers operation {number}: {failure}"));
        }
        self.send_back(arrival.call, arrival.reply_after, failure);
    }

    fn serve(&mut self, arrival: Arrival) -> Result<(), Broken> {
        let number = arrival.call.number;
        let now = self.server.condition.clock(self.now);
        if let Some(raised) = self.raised(&arrival) {
            self.server.serve_in_part(arrival.request.clone(), raised, now)?;
            self.turn_down(&arrival, store::error_inside());
            self.ring();
            self.notify();
            return Ok(());
        }
        let caller = self.callers.get_mut(&number).expect("every operation has a caller");
        let mut reply = self.server.serve(caller, arrival.request, now)?;
        if let ReplyBody::Poll(polled) = &mut reply.body {
            let timekeepers = self.hosts.iter().skip(self.profiles.len());
            let timekeepers = timekeepers.take(self.settings.timekeepers);
            polled.listeners *= timekeepers.filter(|host| host.up).count() as u64;
        }
        if self.options.trace {
            let body = describe::reply(&reply.body, now);
            self.note(format!("the store answers operation {number}: {}", shortened(&body)));
        }
        if self.server.calls.is_multiple_of(FULL_CHECK_EVERY) {
            self.server.check_all(now)?;
            self.check_calls()?;
        }
        if let Some(after) = arrival.reply_after {
            self.answer(arrival.call, after, reply);
        }
        self.ring();
        self.notify();
        Ok(())
    }

    /// The position of an error inside the function of a request, if there is one.
    fn raised(&mut self, arrival: &Arrival) -> Option<store::Raised> {
        let units = match &arrival.request {
            Request::Poll(_) => return None,
            request if request.check().is_err() => return None,
            Request::Commit(commit) => commit.units.len(),
            _ => 1,
        };
        self.chances.strike(FaultKind::ErrorInside, arrival.call.key, |draws, weight| {
            store::raised(draws, weight, units)
        })
    }
}

/// Whether a request changes the use of a quota.
fn changes_use(request: &Request) -> bool {
    matches!(request, Request::Commit(commit) if commit.partition.family == PartitionFamily::Quota)
}

/// The execution that a request is about: that of its first unit, or of its sender's command.
fn subject(request: &Request, caller: &Caller) -> Option<ExecutionId> {
    let of_command = || caller.command.as_ref().map(Decide::execution_id);
    let Request::Commit(commit) = request else { return of_command() };
    let keys = &commit.units.first()?.expect;
    keys.iter().find_map(|(key, _)| match key {
        RecordKey::Execution(uuid) => Some(Model::id(commit.partition.index, *uuid)),
        _ => None,
    })
}
