//! A state of a small world, and its choices.

use std::rc::Rc;

use ff_core::agent::WorkerAgent;
use ff_core::entropy::Entropy;
use ff_core::execution::IssuedWaitpoint;
use ff_core::id::{GrantId, LeaseId};
use ff_core::op::{ApplyDue, CarryCommand, Event, Patience};
use ff_core::store::{Member, Request};
use ff_core::time::{HostTime, TimestampMs};

use crate::determinism::clock::store_time;
use crate::exhaustive::carrier::{AnyOutput, Carrier, Work};
use crate::invariant::health;
use crate::model::identity::{CommandIdentity, identity_of};
use crate::report::StoreKind;
use crate::report::{Broken, ensure};
use crate::store::Server;

use super::canon::{FAR_MS, Hash128, Hasher, Names};
use super::parts::{Exchange, Kept, Late, Message, Part, Worker};
use super::worlds::{PARTITIONS, SmallWorld, context, id, profile};

/// The slot of a running operation. Each slot has at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// A worker claims work.
    Claim(usize),
    /// A worker gives its lease back.
    Finish(usize),
    /// A worker renews its lease.
    Renew(usize),
    /// The timekeeper makes its round.
    Round,
    /// An operator calls.
    Call,
    /// The signaller signals.
    Signal,
}

/// All slots.
pub const SLOTS: [Slot; 9] = [
    Slot::Claim(0),
    Slot::Finish(0),
    Slot::Renew(0),
    Slot::Claim(1),
    Slot::Finish(1),
    Slot::Renew(1),
    Slot::Round,
    Slot::Call,
    Slot::Signal,
];

/// A choice: an event that can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// An idle worker draws work.
    Claim(usize),
    /// A handler completes.
    Complete(usize),
    /// A handler fails.
    Fail(usize),
    /// A worker renews its lease, or gives it up.
    Tend(usize),
    /// A worker crashes and restarts.
    Crash(usize),
    /// The timekeeper begins a round.
    Round,
    /// An operator cancels the first execution.
    Cancel,
    /// An operator revokes the lease of the first execution.
    Revoke,
    /// An operator resumes the first execution.
    Resume,
    /// A handler opens a waitpoint before it suspends.
    Open(usize),
    /// A handler suspends.
    Suspend(usize),
    /// The signaller signals.
    Signal,
    /// A request reaches the store.
    Arrive(Slot),
    /// A reply reaches its operation.
    Deliver(Slot),
    /// An operation gets an error instead of its reply, before the store has received the request.
    LoseRequest(Slot),
    /// The same, after the store has served the request.
    LoseReply(Slot),
    /// A request arrives that no operation waits for any more.
    Late(usize),
    /// Time moves on to the next instant that makes a difference.
    Time,
}

/// A state of a small world.
#[derive(Debug)]
pub struct State {
    /// The world.
    pub world: SmallWorld,
    /// The clock of the store and all processes, in milliseconds.
    pub now: u64,
    /// The store.
    pub server: Server,
    /// Its records, by the numbers of their executions.
    pub records: Vec<Part<Kept>>,
    /// The workers.
    pub workers: [Part<Worker>; 2],
    /// The running operations, in the order of [`SLOTS`].
    pub running: [Option<Part<Exchange>>; SLOTS.len()],
    /// Requests that no operation waits for any more.
    pub late: Vec<Part<Late>>,
    /// The waitpoint whose token was issued last.
    pub issued: Option<Part<IssuedWaitpoint>>,
    /// The remaining number of each kind of event.
    pub left: SmallWorld,
    /// Operations that were started.
    pub operations: u64,
}

impl Clone for State {
    fn clone(&self) -> Self {
        Self {
            world: self.world,
            now: self.now,
            server: self.server.copied().expect("the reference store can be copied"),
            records: self.records.clone(),
            workers: self.workers.clone(),
            running: self.running.clone(),
            late: self.late.clone(),
            issued: self.issued.clone(),
            left: self.left,
            operations: self.operations,
        }
    }
}

/// The number of a slot.
pub fn slot_number(slot: Slot) -> usize {
    SLOTS.iter().position(|one| *one == slot).expect("every slot is listed")
}

/// A worker process.
pub fn worker(number: usize, start: u32) -> Part<Worker> {
    let entropy = Entropy::from_u64(1_000 * number as u64 + u64::from(start)).without_jitter();
    let agent = WorkerAgent::new(profile(number, start), entropy);
    Part::new(Worker { agent, start, job: None, renewing: None })
}

impl State {
    /// The initial state of a world: its executions wait.
    pub fn new(world: &SmallWorld) -> Result<Self, Broken> {
        let mut state = Self {
            world: *world,
            now: store_time(0).get(),
            server: Server::new(StoreKind::Memory, 1),
            records: Vec::new(),
            workers: [worker(0, 0), worker(1, 0)],
            running: Default::default(),
            late: Vec::new(),
            issued: None,
            left: *world,
            operations: 0,
        };
        for number in 0..world.executions {
            let patience = Patience::new(context(), state.entropy());
            let create = CarryCommand::new(state.world.submission(number).into(), patience);
            let mut carrier = state.carrier(2, Work::Command(create));
            let mut step = carrier.work.resume(Event::Start, state.time());
            while let ff_core::op::Step::Send(request) = step {
                let now = state.store();
                let reply = carrier.arrives(&mut state.server, request, now)?;
                step = carrier.work.resume(Event::Reply(reply), state.time());
            }
            let ff_core::op::Step::Done(output) = step else {
                unreachable!("without faults no operation waits");
            };
            carrier.ends(&mut state.server, &output)?;
            let created = matches!(output, AnyOutput::Command(Ok(_)));
            ensure!(created, "PREPARATION", "a submission returned {output:?}");
        }
        state.refresh()?;
        Ok(state)
    }

    /// The store's clock.
    pub const fn store(&self) -> TimestampMs {
        TimestampMs::new(self.now)
    }

    /// The clocks of any process: there is only one clock.
    pub const fn time(&self) -> HostTime {
        HostTime { local: self.store(), store: self.store() }
    }

    /// A new random stream, which decides only ids and nonces.
    pub fn entropy(&mut self) -> Entropy {
        self.operations += 1;
        Entropy::from_u64(1_000_000 + self.operations).without_jitter()
    }

    /// Assigns an operation to a process.
    pub fn carrier(&mut self, process: usize, work: Work) -> Carrier {
        self.operations += 1;
        Carrier::new(self.operations, process, work)
    }

    /// A round of a timekeeper.
    pub fn round(&mut self) -> Work {
        // The end of retention is far away.
        Work::Tick(ApplyDue::new(PARTITIONS, context(), self.entropy()).timers())
    }

    /// Takes over the records of the store.
    pub fn refresh(&mut self) -> Result<(), Broken> {
        for number in 0..self.world.executions {
            let id = id(number);
            let model = &self.server.model;
            let record = model.records.get(&id).cloned();
            let same = self.records.get(usize::from(number)).is_some_and(|part| {
                match (&part.get().record, &record) {
                    (Some(old), Some(new)) => Rc::ptr_eq(old, new),
                    (None, None) => true,
                    _ => false,
                }
            });
            if !same {
                let signals = model.waits.signals.get(&id).cloned().unwrap_or_default();
                let version = self.server.version(&id, TimestampMs::new(self.now))?;
                let part = Part::new(Kept { record, version, signals });
                match self.records.get_mut(usize::from(number)) {
                    Some(known) => *known = part,
                    None => self.records.push(part),
                }
            }
        }
        Ok(())
    }

    /// The hash of this state, the same for all states that differ only by names: either of the two
    /// workers may come first.
    pub fn hash(&self) -> Hash128 {
        self.hash_in([0, 1]).min(self.hash_in([1, 0]))
    }

    fn hash_in(&self, order: [usize; 2]) -> Hash128 {
        let (mut hasher, mut names) = (Hasher::new(), Names::default());
        let SmallWorld { renewals, lost_requests, lost_replies, crashes, calls, slow, .. } =
            self.left;
        let SmallWorld { failures, faults, suspensions, signals, .. } = self.left;
        let left = [renewals, lost_requests, lost_replies, crashes, calls, slow, failures, faults];
        hasher.number(u64::from_le_bytes(left));
        hasher.number(u64::from(suspensions) << 8 | u64::from(signals));
        for record in &self.records {
            record.sketch().add(&mut hasher, &mut names, self.now);
        }
        self.add_places(&mut hasher);
        let mut numbers = Vec::new();
        let mut add = |part: &Option<Part<Exchange>>, hasher: &mut Hasher, names: &mut Names| {
            let Some(part) = part else { return hasher.number(4) };
            numbers.push(part.get().carrier.caller.number);
            part.sketch().add(hasher, names, self.now);
        };
        add(&self.running[slot_number(Slot::Round)], &mut hasher, &mut names);
        add(&self.running[slot_number(Slot::Call)], &mut hasher, &mut names);
        add(&self.running[slot_number(Slot::Signal)], &mut hasher, &mut names);
        match &self.issued {
            Some(issued) => issued.sketch().add(&mut hasher, &mut names, self.now),
            None => hasher.number(5),
        }
        for worker in order {
            self.workers[worker].sketch().add(&mut hasher, &mut names, self.now);
            for slot in [Slot::Claim(worker), Slot::Finish(worker), Slot::Renew(worker)] {
                add(&self.running[slot_number(slot)], &mut hasher, &mut names);
            }
        }
        for late in &self.late {
            numbers.push(late.get().carrier.caller.number);
            late.sketch().add(&mut hasher, &mut names, self.now);
        }
        self.add_memories(&mut hasher, &names, &numbers);
        hasher.get()
    }

    /// Adds the index entries of the executions.
    fn add_places(&self, hasher: &mut Hasher) {
        for number in 0..self.world.executions {
            let positions = self.server.model.positions.get(&id(number));
            let due = positions.and_then(|positions| positions.due).map(|due| due.instant().get());
            hasher
                .number(u64::from(positions.is_some_and(|positions| positions.eligible.is_some())));
            hasher.number(match due {
                None => u64::MAX,
                Some(due) if due <= self.now => u64::MAX - 1,
                Some(due) if due > self.now + FAR_MS => u64::MAX - 2,
                Some(due) => due - self.now,
            });
        }
    }

    /// Adds the memory of the checks about the ids in this state. Their memory of other ids is left
    /// out: no step can contain those any more.
    fn add_memories(&self, hasher: &mut Hasher, names: &Names, numbers: &[u64]) {
        let model = &self.server.model;
        let live = |number: Option<&u64>| {
            let known = number.and_then(|number| numbers.iter().position(|live| live == number));
            known.map_or(0, |at| at as u64 + 1)
        };
        for (number, id) in names.all().iter().enumerate() {
            let uuid = Member::from_u128(*id);
            let (lease, grant) = (LeaseId::from_uuid(uuid), GrantId::from_uuid(uuid));
            let facts = u64::from(model.withdrawn.contains(&lease))
                | u64::from(model.given_back.contains(&lease)) << 1
                | u64::from(model.consumed.contains_key(&grant)) << 2
                | u64::from(model.leases.contains_key(&lease)) << 3
                | u64::from(model.applied.contains_key(&CommandIdentity::Lease(lease))) << 4;
            if facts != 0 {
                hasher.number((number as u64) << 8 | facts);
                hasher.number(live(model.leases.get(&lease)));
            }
        }
        let running = self.running.iter().flatten().map(|part| &part.get().carrier);
        for carrier in running.chain(self.late.iter().map(|late| &late.get().carrier)) {
            let Some(command) = &carrier.caller.command else { continue };
            if let Some(identity) = identity_of(command, 1) {
                hasher.number(u64::from(model.applied.contains_key(&identity)));
                hasher.number(live(model.applied_by.get(&identity)));
            }
        }
    }

    /// The choices.
    pub fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        if let Some(slot) = self.alone() {
            choices.push(Choice::Deliver(slot));
            if self.left.may(self.left.lost_replies) {
                choices.push(Choice::LoseReply(slot));
            }
            if let Slot::Claim(number) | Slot::Finish(number) | Slot::Renew(number) = slot
                && self.left.may(self.left.crashes)
            {
                choices.push(Choice::Crash(number));
            }
            return choices;
        }
        self.add_work(&mut choices);
        for slot in SLOTS {
            let Some(part) = &self.running[slot_number(slot)] else { continue };
            match &part.get().message {
                Message::Request(request) => {
                    choices.push(Choice::Arrive(slot));
                    if self.left.may(self.left.lost_requests) && !request.is_read_only() {
                        choices.push(Choice::LoseRequest(slot));
                    }
                }
                Message::Reply(_) => {
                    choices.push(Choice::Deliver(slot));
                    if self.left.may(self.left.lost_replies) {
                        choices.push(Choice::LoseReply(slot));
                    }
                }
            }
        }
        choices.extend((0..self.late.len()).map(Choice::Late));
        if self.may_pass() && self.next_instant().is_some() {
            choices.push(Choice::Time);
        }
        choices
    }

    /// An operation whose reply is in flight, and the only one of its process: no other process can
    /// see when the reply arrives, so it arrives first.
    fn alone(&self) -> Option<Slot> {
        let back = |slot: &Slot| {
            let part = self.running[slot_number(*slot)].as_ref();
            part.is_some_and(|part| matches!(part.get().message, Message::Reply(_)))
        };
        let alone = |slot: &Slot| match *slot {
            Slot::Claim(number) | Slot::Finish(number) | Slot::Renew(number) => {
                let own = &self.running[number * 3..number * 3 + 3];
                own.iter().flatten().count() == 1
            }
            Slot::Round | Slot::Call | Slot::Signal => true,
        };
        SLOTS.into_iter().find(|slot| back(slot) && alone(slot))
    }

    /// The number of requests in flight.
    pub fn travelling(&self) -> usize {
        let there = |part: &&Part<Exchange>| matches!(part.get().message, Message::Request(_));
        self.running.iter().flatten().filter(there).count()
    }

    /// Whether time may pass: not while a reply is in flight, and only so often while a request is.
    fn may_pass(&self) -> bool {
        let there = self.travelling();
        let under_way = self.running.iter().flatten().count();
        there == under_way && (there == 0 || self.left.slow > 0)
    }

    /// Adds the operations that processes may start.
    fn add_work(&self, choices: &mut Vec<Choice>) {
        let free = |slot| self.running[slot_number(slot)].is_none();
        let positions = || self.server.model.positions.values();
        let waiting = positions().any(|positions| positions.eligible.is_some());
        for (number, part) in self.workers.iter().enumerate() {
            let Worker { agent, job, .. } = part.get();
            let idle = job.is_none() && free(Slot::Claim(number)) && free(Slot::Finish(number));
            if idle && agent.leases.is_empty() && waiting {
                choices.push(Choice::Claim(number));
            }
            if let Some(job) = job
                && free(Slot::Finish(number))
            {
                choices.push(Choice::Complete(number));
                if job.ending.is_none() && self.left.failures > 0 {
                    choices.push(Choice::Fail(number));
                }
                if job.ending.is_none() && self.left.suspensions > 0 {
                    choices.push(Choice::Suspend(number));
                    if !job.opens && self.issued.is_none() {
                        choices.push(Choice::Open(number));
                    }
                }
            }
            if self.tends(number) {
                choices.push(Choice::Tend(number));
            }
            let busy = !idle || SLOTS[number * 3..number * 3 + 3].iter().any(|slot| !free(*slot));
            if self.left.may(self.left.crashes) && busy {
                choices.push(Choice::Crash(number));
            }
        }
        let is_due = |due: ff_core::score::Score| due.instant().get() <= self.now;
        if free(Slot::Round) && positions().any(|positions| positions.due.is_some_and(is_due)) {
            choices.push(Choice::Round);
        }
        if self.left.calls > 0 && free(Slot::Call) {
            choices.extend([Choice::Cancel, Choice::Revoke]);
            if self.world.suspensions > 0 {
                choices.push(Choice::Resume);
            }
        }
        if self.left.signals > 0 && self.issued.is_some() && free(Slot::Signal) {
            choices.push(Choice::Signal);
        }
    }

    /// Whether a worker can renew its lease or give it up.
    fn tends(&self, number: usize) -> bool {
        let leases = &self.workers[number].get().agent.leases;
        let due = leases.next_wakeup().is_some_and(|at| at.get() <= self.now);
        due && (self.may_renew(number) || leases.believed(self.time()).next().is_none())
    }

    fn may_renew(&self, number: usize) -> bool {
        self.left.renewals > 0 && self.running[slot_number(Slot::Renew(number))].is_none()
    }

    /// The next instant at which the passing of time makes a difference.
    pub fn next_instant(&self) -> Option<u64> {
        let due = self.server.model.positions.values().filter_map(|positions| positions.due);
        let due = due.map(|due| due.instant().get());
        let tended = (0..2).filter(|worker| self.may_renew(*worker));
        let tended = tended.filter_map(|worker| {
            self.workers[worker].get().agent.leases.next_wakeup().map(TimestampMs::get)
        });
        let running = self.running.iter().flatten().flat_map(|part| match &part.get().message {
            Message::Request(request) => windows(request),
            Message::Reply(_) => Vec::new(),
        });
        let late = self.late.iter().flat_map(|late| windows(&late.get().request));
        let all = due.chain(tended).chain(running).chain(late);
        all.filter(|at| *at > self.now && *at <= self.now + FAR_MS).min()
    }

    /// Checks the invariants of every state.
    pub fn check(&self) -> Result<(), Broken> {
        for part in &self.workers {
            let (model, leases) = (&self.server.model, &part.get().agent.leases);
            health::check(model, leases, self.time(), self.store())?;
        }
        Ok(())
    }

    /// Checks a state without choices.
    pub fn check_end(&mut self) -> Result<(), Broken> {
        for number in 0..self.world.executions {
            let record = self.server.model.records.get(&id(number));
            let over = crate::model::change::is_terminal(record.map(Rc::as_ref));
            ensure!(over, "LIVENESS", "no event is left, and execution {number} is {record:?}");
        }
        let now = self.store();
        self.server.check_all(now)
    }
}

/// The ends of the windows in a request.
fn windows(request: &Request) -> Vec<u64> {
    let Request::Commit(commit) = request else { return Vec::new() };
    let windows = commit.units.iter().map(|unit| unit.window);
    windows.flat_map(|window| [window.not_before.get(), window.not_after.get()]).collect()
}
