//! The event loop of a simulation. Processes run side by side, each as far as it can without
//! missing a message of another one; then the next event is applied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ff_core::execution::{Phase, situation, snapshot};
use ff_core::store::{Topic, Wake};
use tokio::sync::{mpsc, oneshot};

use crate::determinism::clock::store_time;
use crate::determinism::queue::Queue;
use crate::determinism::random::{between, happens, stream};
use crate::fault::chances::Chances;
use crate::fault::clock::{drift_at_start, offset_at_start};
use crate::plan::{FaultKind, Plan};
use crate::report::StoreKind;
use crate::report::invariants::InvariantSet;
use crate::store::Server;

use super::call::Call;
use super::faults::{Conditions, Faults};
use super::outbox::{Content, Letter, Outbox, Start, Starter, Turn};
use super::outcome::{FailureKind, SimulationFailure, SimulationOutcome};
use super::process::{Ending, Process, Stopped};
use super::quiet::Quiet;
use super::trace::Trace;
use super::upkeep::{Touched, Watched};

/// The process of the test itself.
pub const TEST: usize = 0;

/// How long the simulation must be quiet before it counts as being at rest, in milliseconds.
const REST_MS: u64 = 30_000;

/// How long it takes at most until a planned fault of weight 1 happens again, in thousandths of the
/// time until then.
const RECUR_PER_MILLE: u64 = 6_000;

/// The default lease time of workers, in milliseconds, which bounds the drift of clocks.
const LEASE_TTL_MS: u64 = 30_000;

/// An event to come.
#[derive(Debug)]
pub enum SceneEvent {
    /// A request arrives; `reply_after`: how long its reply takes, if it has one.
    Arrives { call: u64, reply_after: Option<u64> },
    /// A reply arrives.
    Answers(u64),
    /// A sender gives up; `known`: and knows that the call never left.
    Fails { call: u64, known: bool },
    /// A subscriber is woken.
    WakeUp(u64, Option<Wake>),
    /// A process starts again.
    Restart(usize),
    /// A paused process continues.
    PauseEnds(usize),
    /// A partition of a process ends.
    Reconnect(usize),
    /// The store is not slow any more.
    SlowStoreEnds,
    /// A planned fault happens.
    Planned(FaultKind),
    /// A planned fault happens, and plans the next one of its kind.
    Recurs(FaultKind),
    /// A request that was held back in a quiet time is sent.
    Released(u64),
}

/// A process that runs or is down.
pub struct Slot {
    pub name: Arc<str>,
    starter: Starter,
    pub process: Option<Process>,
    starts: u64,
    pub paused: bool,
    /// When its latest pause ended.
    pub continued_at: u64,
    /// Whether it is cut off from the store, and the store from it.
    pub cut_off: (bool, bool),
    /// How many calls it has made.
    pub calls: u64,
    /// The calls that it waits for.
    pub waits_for: BTreeSet<u64>,
    /// The worker whose upkeep is checked.
    pub watched: Option<Watched>,
    /// Its latest requests about each execution.
    pub touched: Touched,
    /// When it last sent a request that writes.
    pub wrote_at: u64,
    /// When it last started.
    pub started_at: u64,
    /// When a fault last met it since then.
    pub disturbed_at: Option<u64>,
}

/// A subscription to wake-ups.
pub struct Subscription {
    pub slot: usize,
    pub topics: Vec<Topic>,
    pub sender: mpsc::UnboundedSender<Option<Wake>>,
}

/// A broken rule, or a failed assertion.
pub struct Wrong {
    pub kind: FailureKind,
    pub detail: String,
}

/// The state of a simulation.
pub struct Scene {
    pub seed: u64,
    pub conditions: Conditions,
    pub chances: Chances,
    pub now: u64,
    pub server: Server,
    pub slots: Vec<Slot>,
    pub calls: BTreeMap<u64, Call>,
    pub subscriptions: BTreeMap<u64, Subscription>,
    pub trace: Trace,
    pub service_calls: u64,
    /// Calls of services in flight.
    pub in_flight: BTreeSet<u64>,
    /// Times in which nothing happens.
    pub quiet: Quiet,
    /// When the upkeep of the workers was checked last.
    pub checked_at: u64,
    /// The present delay of the store, in milliseconds.
    pub slow_ms: u64,
    pub rings: u64,
    pub planned: u64,
    queue: Queue<SceneEvent>,
    turn: Turn,
    faults: BTreeMap<FaultKind, u64>,
    pub faults_ended_at: Option<u64>,
    pub limit_ms: u64,
    settling: Option<oneshot::Sender<()>>,
    ended: Option<Result<(), Ending>>,
}

impl Scene {
    /// An empty scene, with the planned faults of the seed.
    pub fn new(seed: u64, faults: &Faults, limit: Duration, traced: bool, turn: Turn) -> Self {
        let conditions = Conditions::draw(seed, faults);
        let chances = Chances::new(Plan::from(seed), conditions.weights.clone(), Vec::new());
        let mut scene = Self {
            seed,
            conditions,
            chances,
            now: 0,
            server: Server::new(StoreKind::default(), seed),
            slots: Vec::new(),
            calls: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            trace: Trace::new(traced),
            service_calls: 0,
            in_flight: BTreeSet::new(),
            quiet: Quiet::default(),
            checked_at: 0,
            slow_ms: 0,
            rings: 0,
            planned: 0,
            queue: Queue::new(),
            turn,
            faults: BTreeMap::new(),
            faults_ended_at: None,
            limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            settling: None,
            ended: None,
        };
        scene.server.model.watched = InvariantSet::OF_REQUESTS;
        scene.plan();
        scene
    }

    fn plan(&mut self) {
        let Conditions { until_ms, weights, .. } = self.conditions.clone();
        let kinds = [
            FaultKind::Crash,
            FaultKind::Pause,
            FaultKind::ConnectionsDropped,
            FaultKind::Partition,
            FaultKind::SlowStore,
        ];
        for kind in kinds {
            let mut times = stream(self.seed, "simulation: planned faults", kind as u64);
            for _ in 0..weights.on(kind).unwrap_or(0) {
                // Most tests are busy in the beginning.
                let until = if happens(&mut times, 700) { 10_000 } else { until_ms };
                self.later(between(&mut times, 0, until), SceneEvent::Planned(kind));
            }
            if weights.on(kind).is_some() {
                self.recur(kind, until_ms);
            }
        }
    }

    /// Plans the next fault of a kind. The later it is, the longer until the next one: faults meet
    /// work of any length, and leave time for work that takes long to end.
    fn recur(&mut self, kind: FaultKind, after_ms: u64) {
        let often = self.conditions.weights.on(kind).unwrap_or(1);
        let mut times = stream(self.seed, "simulation: recurring faults", after_ms);
        let wait = after_ms * between(&mut times, 1, RECUR_PER_MILLE / often) / 1_000;
        self.later(after_ms + wait, SceneEvent::Recurs(kind));
    }

    /// Applies a planned fault, and plans the next one of its kind.
    pub fn recurs(&mut self, kind: FaultKind) {
        self.planned_fault(kind);
        self.recur(kind, self.now);
    }

    /// Runs a test, from its start to its end.
    pub fn run(mut self, test: Starter) -> Result<SimulationOutcome, SimulationFailure> {
        self.add("test".into(), test);
        loop {
            if let Err(wrong) = self.step() {
                return Err(self.failure(wrong));
            }
            match self.ended.take() {
                None => {}
                Some(Ok(())) => return Ok(self.outcome()),
                Some(Err(Ending::Error(detail) | Ending::Panic(detail))) => {
                    let kind = FailureKind::Assertion;
                    return Err(self.failure(Wrong { kind, detail }));
                }
            }
        }
    }

    fn step(&mut self) -> Result<(), Wrong> {
        let next = self.queue.next_at().unwrap_or(u64::MAX);
        let ahead = self.quiet.ahead_ms(self.now);
        let mut until = next.max(self.now).min(self.now + ahead);
        for slot in 0..self.slots.len() {
            until = self.run_process(slot, until)?;
        }
        self.now = until;
        while self.ended.is_none()
            && self.queue.next_at().is_some_and(|at| at <= self.now)
            && let Some((_, event)) = self.queue.pop()
        {
            self.apply(event)?;
        }
        self.check_upkeep()?;
        self.check_end()
    }

    /// Runs a process until then at most; returns how far the others may run.
    fn run_process(&mut self, slot: usize, mut until: u64) -> Result<u64, Wrong> {
        loop {
            let Slot { process, paused, .. } = &mut self.slots[slot];
            let Some(process) = process else { return Ok(until) };
            if process.clock >= until || self.ended.is_some() {
                return Ok(until);
            }
            if *paused {
                process.pause(until);
                return Ok(until);
            }
            match process.run(until) {
                Stopped::Reached => return Ok(until),
                Stopped::Sent => {
                    for (at, letter) in process.letters(until) {
                        self.receive(slot, at, letter);
                    }
                    // No message of it arrives earlier than this.
                    let next = self.queue.next_at().unwrap_or(u64::MAX);
                    until = until.min(next.max(self.now));
                }
                Stopped::Ended(ended) => self.process_ended(slot, ended)?,
            }
        }
    }

    fn receive(&mut self, slot: usize, at: u64, letter: Letter) {
        if self.slots[slot].process.is_none() {
            return; // It has crashed at what it sent before.
        }
        match letter.content {
            Content::Call(call) => {
                if let Some(call) = self.hold(slot, at, call) {
                    self.send(slot, at, call);
                }
            }
            Content::Subscribe(topics, sender) => {
                self.rings += 1;
                self.subscriptions.insert(self.rings, Subscription { slot, topics, sender });
            }
            Content::Start(name, starter) => self.add(name.into(), starter),
            Content::Watch(watched) => self.slots[slot].watched = Some(watched),
            Content::Settle(sender) => {
                self.end_faults();
                self.settling = Some(sender);
            }
            Content::Note(text) => {
                let name = self.slots[slot].name.clone();
                self.trace.line(at, &name, || text);
            }
        }
    }

    fn process_ended(&mut self, slot: usize, ended: Result<(), Ending>) -> Result<(), Wrong> {
        let name = self.slots[slot].name.clone();
        if slot == TEST {
            self.ended = Some(ended);
            return Ok(());
        }
        self.slots[slot].process = None;
        self.forget(slot);
        match ended {
            Ok(()) => self.trace.line(self.now, &name, || "has finished".to_owned()),
            Err(Ending::Error(error)) => {
                self.trace.line(self.now, &name, || format!("ended with an error: {error}"));
                self.later(self.now + 1_000, SceneEvent::Restart(slot));
            }
            Err(Ending::Panic(text)) => {
                let detail = format!("{name} panicked outside a handler: {text}");
                return Err(Wrong { kind: FailureKind::Assertion, detail });
            }
        }
        Ok(())
    }

    fn add(&mut self, name: Arc<str>, starter: Starter) {
        self.slots.push(Slot {
            name,
            starter,
            process: None,
            starts: 0,
            paused: false,
            continued_at: 0,
            cut_off: (false, false),
            calls: 0,
            waits_for: BTreeSet::new(),
            watched: None,
            touched: Touched::new(),
            wrote_at: 0,
            started_at: 0,
            disturbed_at: None,
        });
        self.start(self.slots.len() - 1);
    }

    /// Starts a process, for the first time or again.
    pub fn start(&mut self, number: usize) {
        let slot = &mut self.slots[number];
        let count = slot.starts;
        slot.starts += 1;
        let mut entropy = stream(self.seed, "simulation: process", number as u64 * 1_000 + count);
        let offset = offset_at_start(&mut self.chances, number, count);
        let drift = drift_at_start(&mut self.chances, LEASE_TTL_MS, number, count);
        let same_instance = happens(&mut entropy, 300);
        let seed = entropy.next_u64();
        let wall = store_time(self.now).shifted(offset);
        let outbox = Arc::new(Outbox::default());
        let name = slot.name.to_string();
        let start = Start { name, count, same_instance, seed, wall, outbox };
        let process = Process::start(&slot.starter, start, self.turn.clone(), self.now, drift);
        (slot.started_at, slot.disturbed_at) = (self.now, None);
        slot.process = Some(process);
        let name = slot.name.clone();
        self.trace.line(self.now, &name, || {
            let mut text = if count == 0 { "starts" } else { "starts again" }.to_owned();
            if offset != 0 {
                text += &format!(", its wall clock off by {offset} ms");
            }
            if drift != 0 {
                text += &format!(", its clock {drift} ppm too fast");
            }
            text
        });
        self.count_if(offset != 0, FaultKind::ClockOffset);
        self.count_if(drift != 0, FaultKind::ClockDrift);
    }

    /// Schedules an event.
    pub fn later(&mut self, at: u64, event: SceneEvent) {
        self.queue.push(at, event);
    }

    /// Counts a fault.
    pub fn count(&mut self, fault: FaultKind) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub fn count_if(&mut self, happened: bool, fault: FaultKind) {
        if happened {
            self.count(fault);
        }
    }

    /// Ends all faults.
    pub fn end_faults(&mut self) {
        if self.faults_ended_at.is_some() {
            return;
        }
        self.faults_ended_at = Some(self.now);
        self.chances.end();
        let planned = |event: &_| matches!(event, SceneEvent::Planned(_) | SceneEvent::Recurs(_));
        self.queue.retain(|event| !planned(event));
        self.slow_ms = 0;
        for slot in &mut self.slots {
            slot.disturbed_at = Some(self.now);
            if std::mem::take(&mut slot.paused) {
                slot.continued_at = self.now;
            }
            slot.cut_off = (false, false);
        }
        self.quiet.longest_ms = 0;
        self.trace.line(self.now, "faults", || "are over".to_owned());
    }

    fn check_end(&mut self) -> Result<(), Wrong> {
        if self.now >= self.horizon() {
            self.end_faults();
        }
        if self.settling.is_some() && self.is_at_rest() {
            if let Some(waiting) = self.settling.take() {
                let _ = waiting.send(());
            }
            self.trace.line(self.now, "everything", || "is at rest".to_owned());
        }
        match self.stuck() {
            None => Ok(()),
            Some(why) => {
                let detail = format!("{why}; {}", self.pending());
                Err(Wrong { kind: FailureKind::Liveness, detail })
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        let quiet_since = self.quiet.since.max(self.faults_ended_at.unwrap_or(self.now));
        self.now >= quiet_since + REST_MS
            && self.in_flight.is_empty()
            && self.server.model.records.values().all(|record| is_over(&record.phase))
    }

    fn pending(&self) -> String {
        let now = store_time(self.now);
        let records = self.server.model.records.values();
        let open = records.filter(|record| !is_over(&record.phase));
        let words = open.map(|record| format!("{} ({})", record.id, situation(record, now)));
        let words: Vec<String> = words.take(10).collect();
        match words.len() {
            0 => "every execution is over, but the test still waits".to_owned(),
            _ => format!("pending executions: {}", words.join(", ")),
        }
    }

    fn outcome(self) -> SimulationOutcome {
        let now = store_time(self.now);
        let records = self.server.model.records.values();
        SimulationOutcome {
            seed: self.seed,
            hash: self.trace.hash(self.server.hash),
            simulated: Duration::from_millis(self.now),
            store_calls: self.server.calls,
            service_calls: self.service_calls,
            executions: records.map(|record| snapshot(record, now)).collect(),
            faults: self.faults,
            trace: self.trace.lines(),
        }
    }

    fn failure(self, wrong: Wrong) -> SimulationFailure {
        SimulationFailure {
            seed: self.seed,
            at: Duration::from_millis(self.now),
            kind: wrong.kind,
            detail: wrong.detail,
            trace: self.trace.lines(),
            again: format!("Simulation::new({}).trace(true).run(..)", self.seed),
        }
    }
}

pub const fn is_over(phase: &Phase) -> bool {
    matches!(phase, Phase::Terminal(_))
}
