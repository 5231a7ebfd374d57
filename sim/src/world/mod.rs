//! The world: virtual time, the network, the store and every process, driven by one seed.

mod answers;
mod arrivals;
mod grants;
mod telling;
mod upheaval;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use ff_core::agent::WorkerProfile;
use ff_core::execution::{Execution, LeaseFate, Phase};
use ff_core::id::{ExecutionId, LaneId, LeaseId};
use ff_core::op::{Step, load};
use ff_core::partition::Partition;
use ff_core::store::codec::Codec;
use ff_core::store::{
    Failure, IndexName, RecordKey, Reply, ReplyBody, Request, Stored, Topic, UnitReply,
};
use ff_core::time::TimestampMs;

use crate::fault::chances::Chances;
use crate::fault::{clock_offset, crash};
use crate::host::{Host, Kind, Start, host, profiles};
use crate::invariant::readers::Followed;
use crate::invariant::{health, liveness};
use crate::model::Model;
use crate::network::journey;
use crate::plan::Plan;
use crate::process::context::{Context, Effect, GrantInHand};
use crate::report::{Broken, Options, Report, Violation};
use crate::settings::Settings;
use crate::store::Server;
use crate::streams::{between, call_key, stream};
use crate::task::{Caller, Output, Task};
use crate::watch::Invariant;

use arrivals::{Arrival, Delivery, Trouble};

/// A small world of processes around one store.
#[derive(Debug)]
pub struct World {
    options: Options,
    chances: Chances,
    settings: Settings,
    now: u64,
    queue: crate::queue::Queue<Happening>,
    server: Server,
    hosts: Vec<Host>,
    profiles: Arc<[WorkerProfile]>,
    running: BTreeMap<u64, Running>,
    callers: BTreeMap<u64, Caller>,
    /// How far the journals were read.
    followed: Followed,
    /// Requests that are on their way.
    travelling: u64,
    /// How often all connections to the store broke.
    connection: u64,
    healing_since: Option<u64>,
    finished: bool,
    report: Report,
    trace: VecDeque<String>,
}

/// An operation that a process waits for.
#[derive(Debug)]
struct Running {
    process: usize,
    /// The key of its next call.
    key: u64,
    task: Box<dyn Task>,
    /// The record that the latest reply was about, and the store's clock in it.
    seen: (Option<Rc<Execution>>, TimestampMs),
    /// How often the store's clock or history had jumped when it gave that reply.
    jumps: u64,
    /// Leases that it took itself, and was shown when it asked again.
    own: BTreeMap<ExecutionId, LeaseId>,
}

/// Something that happens at its time.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // Moved in and out of the queue once.
enum Happening {
    Arrive(Arrival),
    Deliver(Delivery),
    Fail { number: u64, failure: Failure },
    GoOn { number: u64 },
    Wake { process: usize },
    Hint { process: usize, lane: LaneId, partition: Partition },
    Grant { process: usize, grant: GrantInHand },
    Crash(crash::Crash),
    Restart { process: usize },
    Lapse(clock_offset::Lapse),
    Store(Trouble),
    Heal,
    Look,
}

/// Steps that are told with a violation.
const TOLD_STEPS: usize = 60;
/// Requests between two full checks.
const FULL_CHECK_EVERY: u64 = 128;

impl World {
    /// The world of a plan, at its beginning.
    pub fn new(plan: &Plan, options: Options) -> Self {
        let seed = plan.seed;
        let settings = Settings::of(plan);
        let profiles = profiles(seed, &settings);
        let count = settings.workers + 3;
        let mut chances = Chances::new(plan.clone(), options.choices.clone().unwrap_or_default());
        let start = |process| {
            let skew = clock_offset::at_start(&mut chances, &settings, process, 0);
            host(seed, &settings, &profiles, Start { process, start: 0, now: 0, skew })
        };
        let hosts = (0..count).map(start).collect();
        let mut world = Self {
            chances,
            server: Server::new(options.store, seed),
            options,
            now: 0,
            queue: crate::queue::Queue::new(),
            hosts,
            profiles,
            running: BTreeMap::new(),
            callers: BTreeMap::new(),
            followed: Followed::new(),
            travelling: 0,
            connection: 0,
            healing_since: None,
            finished: false,
            report: Report { seed, ..Report::default() },
            trace: VecDeque::new(),
            settings,
        };
        world.server.model =
            Model::new(world.options.invariants, world.settings.partitions, &world.profiles);
        world.schedule();
        world
    }

    /// What happens whatever the processes do.
    fn schedule(&mut self) {
        let count = self.hosts.len();
        let seed = self.chances.plan().seed;
        let mut entropy = stream(seed, "starts", 0);
        for process in 0..count {
            let at = between(&mut entropy, 0, 300);
            self.hosts[process].wake = Some(at);
            self.queue.push(at, Happening::Wake { process });
        }
        for crash in crash::plan(seed, &self.settings, count) {
            self.queue.push(crash.at, Happening::Crash(crash));
        }
        for lapse in clock_offset::plan(seed, &self.settings, count) {
            self.queue.push(lapse.at, Happening::Lapse(lapse));
        }
        self.schedule_troubles();
        self.queue.push(self.settings.busy_ms, Happening::Heal);
    }

    /// Lets the world run until everything is settled.
    ///
    /// # Errors
    ///
    /// The first rule that is seen broken.
    pub fn run(mut self) -> Result<Report, Box<Violation>> {
        loop {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return Ok(self.report()),
                Err(broken) => return Err(self.violation(broken)),
            }
        }
    }

    /// Lets the next thing happen; `false` once everything is settled.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
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

    /// What was met, once everything is settled.
    pub(crate) fn report(mut self) -> Report {
        self.report.store_calls = self.server.calls;
        self.report.commits = self.server.commits;
        self.report.executions = self.server.created;
        self.report.events = self.server.events.clone();
        self.report.simulated_ms = self.now;
        self.report.state_hash = self.server.hash.get();
        self.report.injected = self.chances.injected().to_vec();
        for fault in self.chances.injected() {
            *self.report.faults.entry(fault.kind).or_default() += 1;
        }
        self.report.marks = std::mem::take(&mut self.server.marks);
        self.report.note_marks();
        self.report.trace = self.trace.into();
        self.report
    }

    /// The rule that was broken, and the steps that led there.
    pub(crate) fn violation(self, broken: Broken) -> Box<Violation> {
        let told = self.trace.len().saturating_sub(TOLD_STEPS);
        Box::new(Violation {
            plan: self.chances.plan().clone(),
            store: self.options.store,
            step: self.report.steps,
            at: self.now,
            tag: broken.tag,
            detail: broken.detail,
            injected: self.chances.injected().to_vec(),
            wishes: self.report.wishes,
            trace: self.trace.into_iter().skip(told).collect(),
        })
    }

    /// Lets the next thing happen.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
    fn step(&mut self) -> Result<(), Broken> {
        let Some((at, happening)) = self.queue.pop() else {
            return self.stuck(|| "nothing happens any more".to_owned());
        };
        if self.report.steps >= liveness::MAX_STEPS {
            return self.stuck(|| format!("no end after {} steps", liveness::MAX_STEPS));
        }
        self.now = at;
        self.report.steps += 1;
        self.server.hash.number(at);
        self.tell(&happening);
        match happening {
            Happening::Arrive(arrival) => self.arrive(arrival)?,
            Happening::Deliver(delivery) => self.deliver(delivery)?,
            Happening::Fail { number, failure } => self.fail(number, &failure)?,
            Happening::GoOn { number } => self.go_on(number)?,
            Happening::Wake { process } => {
                if self.hosts[process].wake == Some(self.now) {
                    self.hosts[process].wake = None;
                    self.with(process, |kind, cx| kind.wake(cx))?;
                }
            }
            Happening::Hint { process, lane, partition } => self.with(process, |kind, cx| {
                if let Kind::Worker(worker) = kind {
                    worker.hint(&lane, partition, cx);
                }
            })?,
            Happening::Grant { process, grant } => self.with(process, |kind, cx| {
                if let Kind::Worker(worker) = kind {
                    worker.take(grant, cx);
                }
            })?,
            Happening::Crash(crash) => self.crash(crash),
            Happening::Restart { process } => self.restart(process),
            Happening::Lapse(lapse) => self.lapse(lapse),
            Happening::Store(trouble) => self.trouble(trouble)?,
            Happening::Heal => self.heal(),
            Happening::Look => self.look()?,
        }
        self.check_health()
    }

    /// The run cannot come to its end: it is given up, and told if it is watched for that.
    pub(super) fn stuck(&mut self, why: impl FnOnce() -> String) -> Result<(), Broken> {
        if self.options.invariants.contains(Invariant::Liveness) {
            return Err(Broken { tag: liveness::TAG, detail: why() });
        }
        self.finished = true;
        Ok(())
    }

    /// Lets a process do something, and does what it asks for.
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
            without: &self.chances.plan().without_wishes,
            wishes: Vec::new(),
            effects: Vec::new(),
        };
        act(&mut host.kind, &mut cx);
        self.report.wishes.append(&mut cx.wishes);
        for effect in cx.effects {
            self.carry_out(process, effect)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, process: usize, effect: Effect) -> Result<(), Broken> {
        match effect {
            Effect::WakeAt(local) => {
                let host = &mut self.hosts[process];
                let at = host.clock.simulated(local, self.now).max(self.now + 1);
                if host.wake.is_none_or(|wake| at < wake) {
                    host.wake = Some(at);
                    self.queue.push(at, Happening::Wake { process });
                }
                Ok(())
            }
            Effect::Grant { to, after, grant } => {
                let after = self.way_of(&grant, after);
                self.queue.push(self.now + after, Happening::Grant { process: to, grant });
                Ok(())
            }
            Effect::Start { mut task, command, carries } => {
                let number = self.callers.len() as u64;
                let (refused, applied) = (false, 0);
                let caller = Caller { number, process, command, carries, refused, applied };
                self.callers.insert(number, caller);
                let host = &mut self.hosts[process];
                host.operations += 1;
                let step = task.start(host.clock.read(self.now));
                let key = call_key(process, host.start, host.operations, 0);
                let own = BTreeMap::new();
                let seen = (None, TimestampMs::ZERO);
                self.running.insert(number, Running { process, key, task, seen, jumps: 0, own });
                self.follow(number, step)
            }
        }
    }

    /// Does what an operation wants next.
    fn follow(&mut self, number: u64, step: Step<Output>) -> Result<(), Broken> {
        match step {
            Step::Send(request) => {
                self.send(number, request);
                Ok(())
            }
            Step::Wait(wait) => {
                self.queue.push(self.now + wait.get().max(1), Happening::GoOn { number });
                Ok(())
            }
            Step::Done(output) => {
                let Some(running) = self.running.remove(&number) else { return Ok(()) };
                self.note_answer(number, &running, &output)?;
                self.with(running.process, |kind, cx| kind.done(output, cx))
            }
        }
    }

    fn send(&mut self, number: u64, request: Request) {
        let Some(running) = self.running.get_mut(&number) else { return };
        if !running.own.is_empty() {
            running.own.retain(|id, _| !touches(&request, id));
        }
        let key = running.key;
        running.key += 1;
        let calm = self.healing_since.is_some();
        let journey = journey(&mut self.chances, &self.settings, key, calm);
        let journey = self.slowed(journey, key);
        if let (Some(fault), true) = (journey.fault, self.options.trace) {
            self.note(format!("operation {number} meets {fault:?}"));
        }
        if let Some((after, unsent)) = journey.fails {
            let failure = if unsent {
                Failure::NotSent("the network is down".to_owned())
            } else {
                Failure::MaybeApplied("no reply in time".to_owned())
            };
            self.queue.push(self.now + after, Happening::Fail { number, failure });
        }
        if let Some(after) = journey.arrives {
            self.travelling += 1;
            let reply_after = journey.reply_after;
            let arrival = Arrival { number, key, request, reply_after, again: false };
            self.queue.push(self.now + after, Happening::Arrive(arrival));
        }
    }

    /// Sends the store's wake-ups to the workers of the lane.
    fn ring(&mut self) {
        for wake in self.server.take_wakes() {
            let Topic::Index(IndexName::Eligible { lane, .. }) = wake.topic else { continue };
            let serves = |process: &usize| self.profiles[*process].lanes.contains(&lane);
            for process in (0..self.profiles.len()).filter(serves).collect::<Vec<_>>() {
                if self.settings.wakes {
                    let (lane, partition) = (lane.clone(), wake.partition);
                    let hint = Happening::Hint { process, lane, partition };
                    self.queue.push(self.now + self.settings.latency_ms, hint);
                }
            }
        }
    }

    /// Lets an operation go on that still has a process.
    fn proceed(
        &mut self,
        number: u64,
        go: impl FnOnce(&mut dyn Task, ff_core::time::HostTime) -> Step<Output>,
    ) -> Result<(), Broken> {
        let Some(running) = self.running.get_mut(&number) else { return Ok(()) };
        let now = self.hosts[running.process].clock.read(self.now);
        let step = go(running.task.as_mut(), now);
        self.follow(number, step)
    }

    fn deliver(&mut self, delivery: Delivery) -> Result<(), Broken> {
        let Delivery { number, reply, seen, connection, jumps } = delivery;
        if connection != self.connection {
            let failure = Failure::MaybeApplied("the connection broke".to_owned());
            return self.fail(number, &failure);
        }
        if let Some(running) = self.running.get_mut(&number) {
            running.seen = (seen, reply.at);
            running.jumps = jumps;
            self.hosts[running.process].clock.hear(reply.at, self.now);
            if self.callers[&number].command.is_none() {
                self.note_own(number, &reply);
            }
        }
        self.proceed(number, |task, now| task.on_reply(reply, now))
    }

    /// Notes which of an operation's own leases a reply shows it.
    fn note_own(&mut self, number: u64, reply: &Reply) {
        let shown: Vec<&Stored> = match &reply.body {
            ReplyBody::Read(read) => read.records.iter().flatten().collect(),
            ReplyBody::Commit(units) => {
                let current = units.iter().filter_map(|unit| match unit {
                    UnitReply::Conflict { current } => Some(current.iter().flatten()),
                    _ => None,
                });
                current.flatten().collect()
            }
            _ => return,
        };
        let codec = Codec::default();
        for loaded in shown.into_iter().filter_map(|stored| load(stored, &codec).ok()) {
            let Phase::Active(active) = &loaded.execution.phase else { continue };
            let lease = active.lease.id;
            let live = active.fate == LeaseFate::Held && reply.at < active.lease.expires_at;
            if live && self.server.model.leases.get(&lease) == Some(&number) {
                let running = self.running.get_mut(&number);
                running.map(|running| running.own.insert(loaded.execution.id, lease));
            }
        }
    }

    fn fail(&mut self, number: u64, failure: &Failure) -> Result<(), Broken> {
        self.proceed(number, |task, now| task.on_failure(failure, now))
    }

    fn go_on(&mut self, number: u64) -> Result<(), Broken> {
        self.proceed(number, |task, now| task.on_wake(now))
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
        liveness::check_calls(self.server.calls, self.now, self.hosts.len() as u64)
    }
}

/// Whether a request reads or writes the record of an execution.
fn touches(request: &Request, id: &ExecutionId) -> bool {
    let key = RecordKey::of(id);
    match request {
        Request::Read(read) => read.records.contains(&key),
        Request::Commit(commit) => {
            commit.units.iter().flat_map(|unit| &unit.expect).any(|(expected, _)| *expected == key)
        }
        _ => false,
    }
}
