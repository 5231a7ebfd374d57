//! The world: virtual time, the network, the store and every process, driven by one seed.

mod answers;
mod arrivals;
mod budgets;
mod calls;
mod grants;
mod hand_overs;
mod host;
mod lanes;
mod messages;
mod notices;
mod process_faults;
mod registry;
mod runs;
mod shrink;
mod trace;

pub use runs::{check_determinism, run, run_plan};
pub use shrink::{Shrunk, shrink};

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use ff_core::agent::WorkerProfile;
use ff_core::execution::{Decide, Execution, Purpose};
use ff_core::id::ExecutionId;
use ff_core::lane::Lanes;
use ff_core::op::{AuditLook, Event, Step};
use ff_core::partition::Partition;
use ff_core::store::Failure;
use ff_core::time::TimestampMs;

use crate::determinism::queue::Queue;
use crate::determinism::random::{between, call_key, stream};
use crate::fault::chances::Chances;
use crate::fault::planned::{self, Planned};
use crate::fault::{clock, process};
use crate::invariant::answer::Seen;
use crate::invariant::frame::Watched;
use crate::invariant::readers::Followed;
use crate::invariant::retries::RetriesLeft;
use crate::invariant::{health, liveness, quota};
use crate::model::Model;
use crate::model::caller::Caller;
use crate::model::shown_leases::ShownLeases;
use crate::plan::Plan;
use crate::plan::settings::Settings;
use crate::process::context::{About, Context, Effect, Message};
use crate::process::task::{Output, Task};
use crate::report::invariants::Invariant;
use crate::report::{Broken, Options, Report, Violation};
use crate::store::Server;

use host::{Host, Kind, Start, host, named_as, profiles};
use messages::{Arrival, Call, Delivery, StoreEvent};

/// A world of processes around one store.
#[derive(Debug)]
pub struct World {
    options: Options,
    chances: Chances,
    settings: Settings,
    now: u64,
    queue: Queue<WorldEvent>,
    server: Server,
    hosts: Vec<Host>,
    profiles: Arc<[WorkerProfile]>,
    running: BTreeMap<u64, Running>,
    callers: BTreeMap<u64, Caller>,
    /// The positions of the readers of journals.
    followed: Followed,
    /// The positions of the readers of output.
    watched: Watched,
    /// Requests in flight.
    in_flight: u64,
    /// How often all connections to the store broke.
    connection: u64,
    /// Wake-ups that were sent.
    rings: u64,
    /// When every connection was dropped last.
    dropped_at: u64,
    healing_since: Option<u64>,
    /// How many events each execution has had.
    event_counts: BTreeMap<ExecutionId, u64>,
    /// The latest look of an auditor at each partition, and its time.
    looks: BTreeMap<Partition, (TimestampMs, AuditLook)>,
    finished: bool,
    report: Report,
    trace: Vec<String>,
}

/// How long a process is down that has ended by itself, in milliseconds.
const EXIT_MS: u64 = 500;

/// An operation that a process waits for.
#[derive(Debug)]
struct Running {
    process: usize,
    /// The key of its next call.
    key: u64,
    /// The key of the call that it waits for.
    waiting: Option<u64>,
    /// The key of the call before whose reply its process paused.
    held_back: Option<u64>,
    task: Box<dyn Task>,
    /// The record that the latest reply was about, and the store's clock in it.
    seen: (Option<Rc<Execution>>, TimestampMs),
    /// How often the store's clock or history had jumped when it gave that reply.
    jumps: u64,
    /// The store's clock when it began.
    begun: TimestampMs,
    /// The host's own clock when the operation began.
    begun_local: TimestampMs,
    /// The executions at its beginning, and how often each was created.
    present: Vec<(ExecutionId, u32)>,
    /// The own leases that the store has shown it.
    own: ShownLeases,
    /// Whether it waits for the states of lanes.
    asks_for_lanes: bool,
    /// The lanes by which it starts work or submits.
    lanes: Option<Rc<Lanes>>,
    /// Whether it has sent its submission.
    submitted: bool,
}

impl Running {
    fn seen(&self) -> Seen<'_> {
        let (record, at) = (self.seen.0.as_deref(), self.seen.1);
        Seen { record, at, begun: self.begun, jumps: self.jumps, may_be_older: false }
    }
}

/// An event to come.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // Moved in and out of the queue once.
enum WorldEvent {
    Arrive(Arrival),
    Deliver(Delivery),
    Fail { call: Call, failure: Failure },
    WaitOver { number: u64 },
    Wake { process: usize },
    Message { process: usize, message: Message },
    Fault(Planned),
    Restart { process: usize },
    Store(StoreEvent),
    Heal,
    CheckSettled,
}

/// Requests between two full checks.
const FULL_CHECK_EVERY: u64 = 128;

impl World {
    /// Creates the world of a plan.
    pub fn new(plan: &Plan, options: Options) -> Self {
        let seed = plan.seed;
        let settings = Settings::of(plan);
        let profiles = profiles(seed, &settings);
        let count = settings.workers + settings.timekeepers + 4;
        let choices = options.choices.clone().unwrap_or_default();
        let mut chances = Chances::new(plan.clone(), settings.weights.clone(), choices);
        let lease_ttl_ms = settings.lease_ttl.get();
        let start = |process| {
            let skew = clock::offset_at_start(&mut chances, process, 0);
            let drift = clock::drift_at_start(&mut chances, lease_ttl_ms, process, 0);
            let named_as = named_as(seed, &settings, process);
            let (start, now, instance) = (0, 0, 0);
            let start = Start { process, start, now, instance, named_as, skew, drift };
            host(seed, &settings, &profiles, start)
        };
        let hosts = (0..count).map(start).collect();
        let mut world = Self {
            chances,
            server: Server::new(options.store, seed),
            options,
            now: 0,
            queue: Queue::new(),
            hosts,
            profiles,
            running: BTreeMap::new(),
            callers: BTreeMap::new(),
            followed: Followed::new(),
            watched: Watched::new(),
            in_flight: 0,
            connection: 0,
            rings: 0,
            dropped_at: 0,
            healing_since: None,
            event_counts: BTreeMap::new(),
            looks: BTreeMap::new(),
            finished: false,
            report: Report { seed, ..Report::default() },
            trace: Vec::new(),
            settings,
        };
        world.server.reply_bytes = world.settings.reply_bytes;
        world.server.model = Model::new(world.options.invariants, &world.settings, &world.profiles);
        world.schedule();
        world
    }

    /// Schedules the events that do not depend on the processes.
    fn schedule(&mut self) {
        let count = self.hosts.len();
        let seed = self.chances.plan().seed;
        let mut entropy = stream(seed, "starts", 0);
        for process in 0..count {
            let at = between(&mut entropy, 0, 300);
            self.hosts[process].wake = Some(at);
            self.queue.push(at, WorldEvent::Wake { process });
        }
        for fault in planned::all(seed, &self.settings, count) {
            self.queue.push(fault.at, WorldEvent::Fault(fault));
        }
        self.schedule_store_events();
        self.queue.push(self.settings.busy_ms, WorldEvent::Heal);
    }

    /// Runs the world until everything is settled.
    ///
    /// # Errors
    ///
    /// The first rule that breaks.
    pub fn run(mut self) -> Result<Report, Box<Violation>> {
        loop {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return Ok(self.report()),
                Err(broken) => return Err(self.violation(broken)),
            }
        }
    }

    /// Applies the next event; returns `false` once everything is settled.
    pub(crate) fn advance(&mut self) -> Result<bool, Broken> {
        if self.finished {
            self.check_end()?;
            return Ok(false);
        }
        self.step()?;
        Ok(true)
    }

    /// The rolling hash over all steps so far.
    pub(crate) const fn state_hash(&self) -> u64 {
        self.server.hash.get()
    }

    /// The report, once everything is settled.
    pub(crate) fn report(mut self) -> Report {
        self.report.store_calls = self.server.calls;
        self.report.commits = self.server.commits;
        self.report.executions = self.server.created;
        self.report.simulated_ms = self.now;
        self.report.state_hash = self.server.hash.get();
        self.report.injected = self.chances.injected().to_vec();
        for fault in self.chances.injected() {
            *self.server.coverage.faults.entry(fault.kind).or_default() += 1;
        }
        self.report.coverage = std::mem::take(&mut self.server.coverage);
        self.report.trace = self.trace;
        self.report
    }

    /// The violation, with the steps that led to it.
    pub(crate) fn violation(self, broken: Broken) -> Box<Violation> {
        Box::new(Violation {
            plan: self.chances.plan().clone(),
            store: self.options.store,
            step: self.report.steps,
            at: self.now,
            tag: broken.tag,
            detail: broken.detail,
            injected: self.chances.injected().to_vec(),
            actions: self.report.actions,
            trace: self.trace,
        })
    }

    /// Applies the next event.
    fn step(&mut self) -> Result<(), Broken> {
        let Some((at, event)) = self.queue.pop() else {
            return self.stuck(|| "there are no more events".to_owned());
        };
        if self.report.steps >= liveness::MAX_STEPS {
            return self.stuck(|| format!("no end after {} steps", liveness::MAX_STEPS));
        }
        (self.now, self.server.model.at) = (at, at);
        let Some(event) = self.awake(event) else { return Ok(()) };
        self.report.steps += 1;
        self.server.hash.number(at);
        self.trace_event(&event);
        match event {
            WorldEvent::Arrive(arrival) => self.arrive(arrival)?,
            WorldEvent::Deliver(delivery) => self.deliver(delivery)?,
            WorldEvent::Fail { call, failure } => self.fail(call, failure)?,
            WorldEvent::WaitOver { number } => self.wait_over(number)?,
            WorldEvent::Wake { process } => {
                if self.hosts[process].wake == Some(self.now) {
                    self.hosts[process].wake = None;
                    self.with(process, |kind, cx| kind.wake(cx))?;
                }
            }
            WorldEvent::Message { process, message } => {
                self.with(process, |kind, cx| kind.receive(message, cx))?;
            }
            WorldEvent::Fault(planned) => self.strike(planned),
            WorldEvent::Restart { process } => self.restart(process),
            WorldEvent::Store(event) => self.event(event)?,
            WorldEvent::Heal => self.heal(),
            WorldEvent::CheckSettled => self.check_settled()?,
        }
        self.check_health()
    }

    /// Gives up a run that does not end, and reports it if the run checks for that.
    pub(super) fn stuck(&mut self, why: impl FnOnce() -> String) -> Result<(), Broken> {
        if self.options.invariants.contains(Invariant::Liveness) {
            return Err(Broken { tag: liveness::TAG, detail: why() });
        }
        self.finished = true;
        Ok(())
    }

    /// Lets a process take a step, and carries out its effects.
    fn with(
        &mut self,
        process: usize,
        act: impl FnOnce(&mut Kind, &mut Context<'_>),
    ) -> Result<(), Broken> {
        let host = &mut self.hosts[process];
        if !host.up {
            return Ok(());
        }
        let mut cx = Context {
            now: host.clock.read(self.now),
            healing: self.healing_since.is_some(),
            copies: &self.server.copies,
            plan: self.chances.plan(),
            actions: Vec::new(),
            effects: Vec::new(),
        };
        act(&mut host.kind, &mut cx);
        host.steps += 1;
        let key = call_key(process, host.start, host.steps, 0);
        self.report.actions.append(&mut cx.actions);
        let mut effects = cx.effects;
        let crash = process::crash_between(&mut self.chances, key, effects.len());
        effects.truncate(crash.map_or(effects.len(), |(done, _)| done));
        for effect in effects {
            self.carry_out(process, effect)?;
        }
        if let Some((_, down_ms)) = crash {
            self.crash(process, down_ms);
        }
        Ok(())
    }

    /// Carries out an effect of a process, unless the process has crashed at an earlier effect: an
    /// operation must not outlive its process and reach the next start.
    fn carry_out(&mut self, process: usize, effect: Effect) -> Result<(), Broken> {
        if !self.hosts[process].up {
            return Ok(());
        }
        match effect {
            Effect::WakeAt(local) => {
                let host = &mut self.hosts[process];
                let at = host.clock.simulated(local, self.now).max(self.now + 1);
                if host.wake.is_none_or(|wake| at < wake) {
                    host.wake = Some(at);
                    self.queue.push(at, WorldEvent::Wake { process });
                }
                Ok(())
            }
            Effect::Token { token } => {
                // The signaller is the last of the processes.
                let (process, after) = (self.hosts.len() - 1, self.settings.latency_ms);
                self.deliver_message(after, process, Message::Token(token));
                Ok(())
            }
            Effect::Grant { to, after, grant } => {
                let after = self.way_of(&grant, after);
                self.deliver_message(after, to, Message::Grant(grant));
                Ok(())
            }
            Effect::Exit => {
                self.crash(process, EXIT_MS);
                Ok(())
            }
            Effect::Start { mut task, about } => {
                self.check_registered(process, &about)?;
                let number = self.callers.len() as u64;
                let present = self.present(&about);
                let caller =
                    Caller { begun: self.now, is_traced: true, ..caller(number, process, about) };
                self.callers.insert(number, caller);
                let host = &mut self.hosts[process];
                host.operations += 1;
                host.retries.iter_mut().for_each(RetriesLeft::note_calls);
                let clocks = host.clock.read(self.now);
                let step = task.resume(Event::Start, clocks);
                let key = call_key(process, host.start, host.operations, 0);
                let running = Running {
                    process,
                    key,
                    waiting: None,
                    held_back: None,
                    task,
                    seen: (None, TimestampMs::ZERO),
                    jumps: 0,
                    begun: self.server.condition.clock(self.now),
                    begun_local: clocks.local,
                    present,
                    own: ShownLeases::default(),
                    asks_for_lanes: false,
                    lanes: None,
                    submitted: false,
                };
                self.running.insert(number, running);
                self.follow(number, step)
            }
        }
    }

    /// Delivers a message to a process after so many milliseconds.
    fn deliver_message(&mut self, after: u64, process: usize, message: Message) {
        self.queue.push(self.now + after, WorldEvent::Message { process, message });
    }

    /// The executions that exist, for an operation that shows them.
    fn present(&self, about: &About) -> Vec<(ExecutionId, u32)> {
        if !matches!(about, About::Present) {
            return Vec::new();
        }
        let model = &self.server.model;
        model.records.keys().map(|id| (*id, model.generation(id))).collect()
    }

    /// Carries out the next step of an operation.
    fn follow(&mut self, number: u64, step: Step<Output>) -> Result<(), Broken> {
        self.check_retries(number, &step)?;
        self.check_lanes(number, &step)?;
        let Some(process) = self.running.get(&number).map(|running| running.process) else {
            return Ok(());
        };
        let is_done = matches!(step, Step::Done(_));
        self.note_tasks(process);
        if is_done {
            let freed = &self.hosts[process].freed;
            quota::check_given_back(&self.server.model, &self.callers[&number], freed)?;
        }
        self.go_on(number, step)?;
        self.hand_over(process)
    }

    fn go_on(&mut self, number: u64, step: Step<Output>) -> Result<(), Broken> {
        match step {
            Step::Send(request) => {
                self.send(number, request);
                Ok(())
            }
            Step::Wait(wait) => {
                self.queue.push(self.now + wait.get().max(1), WorldEvent::WaitOver { number });
                Ok(())
            }
            Step::Done(output) => {
                let Some(running) = self.running.remove(&number) else { return Ok(()) };
                self.note_answer(number, &running, &output)?;
                self.with(running.process, |kind, cx| kind.done(output, cx))
            }
        }
    }

    fn check_retries(&mut self, number: u64, step: &Step<Output>) -> Result<(), Broken> {
        let Some(running) = self.running.get(&number) else { return Ok(()) };
        let host = &mut self.hosts[running.process];
        let now = host.clock.read(self.now).local;
        // Commands that end or keep up work are exempt, and so is the scheduler's search for work.
        let command = self.callers[&number].command.as_ref();
        let checked = self.options.invariants.contains(Invariant::Bounds)
            && command.is_some_and(|command| command.spec().purpose == Purpose::Admit);
        match (step, &mut host.retries) {
            (Step::Send(_), Some(retries)) => retries.note_calls(),
            (Step::Wait(wait), Some(retries)) if checked => retries.check(*wait, now)?,
            _ => {}
        }
        Ok(())
    }

    fn check_health(&self) -> Result<(), Broken> {
        for host in self.hosts.iter().filter(|host| host.up) {
            if let Kind::Worker(worker) = &host.kind {
                let (leases, local) = (&worker.agent.leases, host.clock.read(self.now));
                health::check(
                    &self.server.model,
                    leases,
                    local,
                    self.server.condition.clock(self.now),
                )?;
            }
        }
        Ok(())
    }

    fn check_end(&mut self) -> Result<(), Broken> {
        self.check_calls()?;
        self.server.check_all(self.server.condition.clock(self.now))
    }

    fn check_calls(&self) -> Result<(), Broken> {
        if !self.options.invariants.contains(Invariant::Liveness) {
            return Ok(());
        }
        let (processes, executions) = (self.hosts.len() as u64, self.server.created);
        liveness::check_calls(self.server.calls, self.now, processes, executions)
    }
}

/// The caller of an operation.
fn caller(number: u64, process: usize, about: About) -> Caller {
    let caller = Caller::new(number, process);
    match about {
        About::Command(command, life) => Caller { life, ..Caller::of(number, process, command) },
        About::Each(carries) => Caller { carries: Some(carries), ..caller },
        About::Together(commands) => {
            let part = |command| Caller::of(number, process, command);
            Caller { parts: commands.into_iter().map(part).collect(), ..caller }
        }
        About::Budget(call) => Caller { budget: Some(call), ..caller },
        About::Registry(call) => Caller { registry: Some(call), ..caller },
        About::Rotation(grace) => Caller { rotates: Some(grace), ..caller },
        About::Present | About::Nothing => caller,
    }
}

#[cfg(test)]
mod tests {
    use ff_core::op::{EnsureMeta, Patience};
    use ff_core::store::StoreMeta;
    use ff_core::store::codec::FORMAT;

    use crate::process::task::driven;

    use super::*;

    /// A process that crashes at its first request starts no other operation: the replies would
    /// reach its next start.
    #[test]
    fn a_crashed_process_starts_nothing() {
        let mut world = World::new(&Plan::from(1), Options::default());
        world.crash(0, 40);
        let patience = Patience::new(world.settings.context(), stream(1, "test", 0));
        let partitions = world.settings.partitions;
        let wanted = StoreMeta { format: FORMAT, partitions, counts: true };
        let output = |result: Result<_, _>| Output::Activated(result.map(|_| ()));
        let task = driven(EnsureMeta::new(wanted, patience), output);
        let result = world.carry_out(0, Effect::Start { task, about: About::Nothing });
        assert!(result.is_ok() && world.running.is_empty());
    }
}
