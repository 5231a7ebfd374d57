//! Fleets of timekeepers over one store, in virtual time: when each timer is applied, and how many
//! calls that costs (`docs/architecture.md`, Waking up).

use std::collections::BTreeMap;

use ff_core::agent::Timekeeper;
use ff_core::entropy::Entropy;
use ff_core::execution::{Cancel, CancelledBy, EventKind, OperatorCall, Start};
use ff_core::id::{ExecutionId, RequestId};
use ff_core::op::{ApplyDue, CarryCommand, Event, Operation, OperationContext, Patience, Step};
use ff_core::partition::{Partition, PartitionConfig};
use ff_core::policy::ExecutionPolicy;
use ff_core::store::codec::{Codec, FORMAT, decode};
use ff_core::store::{
    Cursor, JournalEntry, MemoryStore, Reply, ReplyBody, Request, StreamName, StreamPage, Topic,
    Wake,
};
use ff_core::time::{DurationMs, HostTime, TimestampMs};
use uuid::Uuid;

use crate::common::{START, Submission};

/// The time that a message takes, in milliseconds.
const LATENCY: u64 = 1;

/// A program that runs a timekeeper.
struct Program {
    timekeeper: Timekeeper,
    round: Option<ApplyDue>,
    /// The round of the message that it waits for.
    rounds: u64,
}

/// A message under way, or a time at which a program wakes.
enum Happening {
    Tick(usize),
    Resume(usize, u64, Box<Event>),
    Arrive(usize, u64, Box<Request>),
    Wake(usize, Wake),
    Submit(ExecutionId, u64),
}

/// The calls of a fleet.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    polls: u64,
    takes: u64,
    empty: u64,
    commits: u64,
}

struct Fleet {
    store: MemoryStore,
    config: PartitionConfig,
    programs: Vec<Program>,
    queue: BTreeMap<(u64, u64), Happening>,
    now: u64,
    number: u64,
    calls: Calls,
    /// Whether wake-ups are delivered.
    wakes: bool,
}

impl Fleet {
    fn new(programs: usize, partitions: u16) -> Self {
        let config = PartitionConfig { num_flow_partitions: partitions, ..Default::default() };
        let program = |number: usize| {
            let entropy = Entropy::from_u64(number as u64);
            let timekeeper = Timekeeper::new(config, context(), entropy);
            Program { timekeeper, round: None, rounds: 0 }
        };
        let programs: Vec<Program> = (0..programs).map(program).collect();
        let (store, queue) = (MemoryStore::new(1), BTreeMap::new());
        let calls = Calls::default();
        let mut fleet =
            Self { store, config, programs, queue, now: 0, number: 0, calls, wakes: true };
        for program in 0..fleet.programs.len() {
            fleet.later(0, Happening::Tick(program));
        }
        fleet
    }

    fn later(&mut self, after: u64, happening: Happening) {
        self.number += 1;
        self.queue.insert((self.now + after, self.number), happening);
    }

    fn host(&self) -> HostTime {
        HostTime { local: TimestampMs::new(self.now), store: self.store_now() }
    }

    fn store_now(&self) -> TimestampMs {
        TimestampMs::new(START + self.now)
    }

    /// Submits an execution after some time, to start or to end some time later.
    fn submit(&mut self, after: u64, id: ExecutionId, delay: u64) {
        self.later(after, Happening::Submit(id, delay));
    }

    fn handle(&mut self, request: Request) -> Reply {
        let mut reply = self.store.handle(request, self.store_now());
        if let ReplyBody::Poll(polled) = &mut reply.body {
            polled.listeners *= self.programs.len() as u64;
        }
        for wake in self.store.take_wakes() {
            if self.wakes && wake.topic == Topic::Due {
                for program in 0..self.programs.len() {
                    self.later(LATENCY, Happening::Wake(program, wake.clone()));
                }
            }
        }
        reply
    }

    /// Runs the fleet for some time, in milliseconds.
    fn run(&mut self, lasts: u64) {
        let until = self.now + lasts;
        while let Some(entry) = self.queue.first_entry().filter(|next| next.key().0 <= until) {
            self.now = entry.key().0;
            match entry.remove() {
                Happening::Submit(id, delay) => self.create(id, delay),
                Happening::Arrive(program, round, request) => {
                    let request = *request;
                    let take = matches!(request, Request::Take(_));
                    self.calls.polls += u64::from(matches!(request, Request::Poll(_)));
                    self.calls.commits += u64::from(matches!(request, Request::Commit(_)));
                    let reply = self.handle(request);
                    if let ReplyBody::Take(taken) = &reply.body {
                        self.calls.empty += u64::from(taken.entries.is_empty());
                    }
                    self.calls.takes += u64::from(take);
                    let event = Box::new(Event::Reply(reply));
                    self.later(LATENCY, Happening::Resume(program, round, event));
                }
                Happening::Resume(program, round, event) => {
                    if self.programs[program].rounds == round {
                        self.resume(program, *event);
                    }
                }
                Happening::Wake(program, wake) => {
                    let now = self.host();
                    self.programs[program].timekeeper.wake(&wake, now);
                    self.tick(program);
                }
                Happening::Tick(program) => self.tick(program),
            }
        }
        self.now = until;
    }

    fn tick(&mut self, number: usize) {
        let now = self.host();
        let program = &mut self.programs[number];
        if program.round.is_some() {
            return;
        }
        let next = program.timekeeper.next_wakeup();
        if next > now.local {
            self.later(next.since(now.local).get(), Happening::Tick(number));
            return;
        }
        program.round = Some(program.timekeeper.apply_due(now));
        program.rounds += 1;
        self.resume(number, Event::Start);
    }

    fn resume(&mut self, number: usize, event: Event) {
        let now = self.host();
        let program = &mut self.programs[number];
        let Some(round) = &mut program.round else { return };
        let current = program.rounds;
        match round.resume(event, now) {
            Step::Send(request) => {
                self.later(LATENCY, Happening::Arrive(number, current, Box::new(request)));
            }
            Step::Wait(wait) => {
                let event = Box::new(Event::Wake);
                self.later(wait.get(), Happening::Resume(number, current, event));
            }
            Step::Done(report) => {
                program.round = None;
                program.timekeeper.applied(&report, now);
                self.tick(number);
            }
        }
    }

    fn create(&mut self, id: ExecutionId, delay: u64) {
        let start = Start::At(self.store_now().plus(DurationMs::new(delay)));
        let mut create = Submission::new().start(start).0;
        create.execution_id = id;
        let patience = Patience::new(context(), Entropy::from_u64(self.now));
        let created = self.carry(CarryCommand::new(create, patience));
        created.expect("it is created");
    }

    /// Creates an execution, and cancels it.
    fn create_over(&mut self, execution_id: ExecutionId) {
        let short = |policy: &mut ExecutionPolicy| policy.retention_ms = DurationMs::new(1);
        let mut create = Submission::new().policy(short).0;
        create.execution_id = execution_id;
        let patience = || Patience::new(context(), Entropy::from_u64(1));
        let created = self.carry(CarryCommand::new(create, patience()));
        created.expect("it is created");
        let call = OperatorCall::new(RequestId::try_new("over").expect("a request ID"));
        let by = CancelledBy::Operator(call);
        let cancel = Cancel { execution_id, by, reason: String::new() };
        self.carry(CarryCommand::new(cancel, patience())).expect("it is cancelled");
    }

    /// Carries a command to its end immediately.
    fn carry<O: Operation>(&mut self, mut operation: O) -> O::Output {
        let mut event = Event::Start;
        loop {
            event = match operation.resume(event, self.host()) {
                Step::Done(output) => return output,
                Step::Wait(_) => Event::Wake,
                Step::Send(request) => Event::Reply(self.handle(request)),
            }
        }
    }

    /// When each execution became runnable, in milliseconds since the start, by the journals.
    fn ended_delays(&mut self) -> BTreeMap<ExecutionId, u64> {
        let mut ended = BTreeMap::new();
        for partition in self.config.flow_partitions() {
            let mut from = Cursor::Start;
            loop {
                let stream = StreamName::Journal;
                let page = StreamPage { partition, stream, from, limit: 1_024 };
                let reply = self.store.handle(Request::Stream(page), self.store_now());
                let ReplyBody::Stream(streamed) = reply.body else { panic!("a page") };
                if streamed.entries.is_empty() {
                    break;
                }
                from = streamed.next;
                for entry in streamed.entries {
                    let read: JournalEntry = decode(&entry.entry, FORMAT).expect("an entry");
                    if read.events.iter().any(|event| event.kind() == EventKind::DelayOver) {
                        ended.insert(read.execution, entry.id.at.get() - START);
                    }
                }
            }
        }
        ended
    }
}

fn context() -> OperationContext {
    OperationContext::new(DurationMs::from_secs(10), Codec::default())
}

fn id(partition: u16, number: u128) -> ExecutionId {
    ExecutionId::from_parts(Partition::flow(partition).index, Uuid::from_u128(number))
}

#[test]
fn two_timers_of_one_partition_are_applied_within_100_ms() {
    for programs in [1, 16] {
        let mut fleet = Fleet::new(programs, 256);
        fleet.submit(100, id(7, 1), 1_700);
        fleet.submit(100, id(7, 2), 1_750);
        fleet.run(5_000);
        let ended = fleet.ended_delays();
        for (number, due) in [(1, 1_800), (2, 1_850)] {
            let late = ended[&id(7, number)] - due;
            assert!(late <= 100, "{programs} programs: timer {number} was {late} ms late");
        }
    }
}

/// 100 delays over 10 s in as many partitions, half of them set in advance.
#[test]
fn delays_are_over_on_time() {
    for programs in [1, 4, 16] {
        let mut fleet = Fleet::new(programs, 256);
        let mut due = BTreeMap::new();
        let mut entropy = Entropy::from_u64(9);
        for number in 0..100_u16 {
            let (at, delay) = (entropy.below(500), 1 + entropy.below(10_000));
            let id = id(entropy.below(256) as u16, u128::from(number));
            fleet.submit(at, id, delay);
            due.insert(id, at + delay);
        }
        fleet.run(15_000);
        let ended = fleet.ended_delays();
        let mut late: Vec<u64> = due.iter().map(|(id, due)| ended[id] - due).collect();
        late.sort_unstable();
        assert!(late[98] <= 100, "{programs} programs: {late:?}");
    }
}

/// 16 programs and 500 timers per second: one program takes a due timer, and the others do not.
#[test]
fn timekeepers_do_not_stampede() {
    let mut fleet = Fleet::new(16, 256);
    let mut entropy = Entropy::from_u64(9);
    fleet.run(2_000);
    fleet.calls = Calls::default();
    let mut due = BTreeMap::new();
    for number in 0..5_000_u16 {
        let id = id(entropy.below(256) as u16, u128::from(number));
        let (after, delay) = (entropy.below(10_000), 1 + entropy.below(3_000));
        fleet.submit(after, id, delay);
        due.insert(id, 2_000 + after + delay);
    }
    fleet.run(14_000);
    let calls = fleet.calls;
    let ended_at = fleet.ended_delays();
    let ended = ended_at.len();
    let mut late: Vec<u64> = due.iter().map(|(id, due)| ended_at[id] - due).collect();
    late.sort_unstable();
    assert!(late[4_950] <= 100, "{late:?}");
    assert!(calls.takes - calls.empty <= ended as u64);
    assert!(calls.empty * 10 <= calls.takes, "most takes find something: {calls:?}");
}

/// 20,000 executions whose retention ends at the same time, and one whose delay ends a little
/// later, in each partition.
#[test]
fn ends_of_retention_hold_up_no_timer() {
    const PARTITIONS: u16 = 16;
    const OVER: u16 = 20_000;
    let mut fleet = Fleet::new(1, PARTITIONS);
    let over = |number: u16| id(number % PARTITIONS, u128::from(number));
    for number in 0..OVER {
        fleet.create_over(over(number));
    }
    for partition in 0..PARTITIONS {
        fleet.submit(0, id(partition, 1 << 80), 60_500);
    }
    fleet.run(59_900);
    fleet.calls = Calls::default();
    fleet.run(1_500);
    let ended = fleet.ended_delays();
    let late = ended.values().map(|at| at - 60_500).max().expect("they are over");
    assert_eq!(ended.len(), usize::from(PARTITIONS));
    assert!(late <= 100, "{late} ms late after {:?}", fleet.calls);
    // Each is removed in one unit, and 64 of them in one call.
    fleet.run(30_000);
    let left = fleet.config.flow_partitions().map(|at| fleet.store.records(at).count());
    assert_eq!(left.sum::<usize>(), usize::from(PARTITIONS), "those with a delay");
    let most = u64::from(OVER) / 64 + 3 * u64::from(PARTITIONS);
    assert!(fleet.calls.commits <= most, "{:?}", fleet.calls);
}
