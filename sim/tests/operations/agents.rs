//! Agents and the operations that draw work, one step at a time: who gets what, what goes back, and
//! whom a worker believes (`docs/architecture.md`, Operations and agents).

use std::collections::BTreeSet;

use ff_core::agent::{
    ClaimedWork, DrawnWork, Scheduler, Served, Timekeeper, WorkerAgent, WorkerGrant, WorkerProfile,
    WorkerRequest,
};
use ff_core::entropy::Entropy;
use ff_core::error::{Bug, EngineError, Rejection};
use ff_core::execution::{
    ChangePriority, ClaimKind, DueKind, Phase, Renewed, Situation, situation,
};
use ff_core::id::{ExecutionId, ExecutionKind, LaneId, Namespace, WorkerId, WorkerInstanceId};
use ff_core::kinds::Kinds;
use ff_core::op::{Committed, DueReport, Event, HOLD, Operation, Step};
use ff_core::partition::{Partition, PartitionConfig};
use ff_core::policy::Priority;
use ff_core::score::Score;
use ff_core::store::codec::{FORMAT, checksummed};
use ff_core::store::{
    Commit, FirstOf, IndexName, IndexWrite, RecordKey, Request, Unit, Version, Wake,
};
use ff_core::time::{DurationMs, HostTime};
use ff_sim::scripted::{Fate, Scripted};
use uuid::Uuid;

use crate::common::{START, Submission, at, call, capabilities, execution_id, ms};

/// A store that always answers, at a time that a test sets.
pub struct World {
    pub store: Scripted,
    pub config: PartitionConfig,
}

impl World {
    pub fn new(partitions: u16) -> Self {
        let config = PartitionConfig { num_flow_partitions: partitions, ..Default::default() };
        let mut store = Scripted::new();
        store.script.latency = 0;
        Self { store, config }
    }

    fn now(&self) -> u64 {
        self.store.now().get()
    }

    pub fn host(&self) -> HostTime {
        self.store.host()
    }

    pub fn drive<O: Operation>(&mut self, operation: O) -> O::Output {
        self.store.drive(operation)
    }

    pub fn calls(&self) -> usize {
        self.store.script.calls.len()
    }

    /// Submits executions with these numbers as uuids, all in partition 0.
    pub fn submit(&mut self, numbers: impl IntoIterator<Item = u128>) {
        for number in numbers {
            self.submit_one(number, Submission::new());
        }
    }

    pub fn submit_one(&mut self, number: u128, submission: Submission) {
        let mut create = submission.0;
        create.execution_id = id(number);
        create.position = number as u16;
        self.store.transact(create).expect("it is created");
    }

    pub fn worker(&self, name: u64, tokens: &[&str]) -> WorkerAgent {
        let profile = WorkerProfile {
            namespace: namespace(),
            lanes: vec![lane()],
            kinds: Kinds::All,
            worker: WorkerId::try_new("worker").expect("a worker"),
            instance: WorkerInstanceId::try_new(format!("worker-{name}")).expect("an instance"),
            capabilities: capabilities(tokens),
            slots: 4,
            lease_ttl: ms(3_000),
            context: Scripted::context(),
            partitions: self.config,
        };
        WorkerAgent::new(profile, Entropy::from_u64(name))
    }

    pub fn claim(&mut self, worker: &mut WorkerAgent, count: usize) -> Vec<ClaimedWork> {
        let DrawnWork { mut work, queues, .. } =
            self.drive(worker.claim(count)).expect("the store answers");
        worker.claimed(&mut work, queues);
        work
    }

    pub fn timekeeper(&self) -> Timekeeper {
        Timekeeper::new(self.config, Scripted::context(), Entropy::from_u64(self.now()))
    }

    pub fn tick(&mut self) -> DueReport {
        let (mut timekeeper, now) = (self.timekeeper(), self.host());
        self.drive(timekeeper.apply_due(now)).expect("the store answers")
    }

    pub fn situation(&mut self, number: u128) -> Situation {
        let record = self.store.record(&id(number)).expect("it is there");
        situation(&record.execution, self.store.now())
    }

    pub fn entries(&mut self, name: &IndexName) -> Vec<(i64, u128)> {
        let entries = self.store.store().entries(Partition::flow(0));
        let entries = entries.filter(|(held, _)| *held == name);
        entries.map(|(_, entry)| (entry.score.get(), entry.member.as_u128())).collect()
    }

    /// Overwrites a record with bytes that no program wrote.
    fn spoil(&mut self, number: u128, bytes: &[u8]) {
        let (uuid, version) = (Uuid::from_u128(number), self.store.record(&id(number)));
        let key = RecordKey::Execution(uuid);
        let version = version.map_or(Version::ABSENT, |loaded| loaded.version);
        let unit = Unit {
            expect: vec![(key.clone(), version)],
            put: vec![(key, bytes.into())],
            // At the head of the lane, before everything else.
            index: vec![IndexWrite { index: eligible(), member: uuid, score: Some(Score::MIN) }],
            ..Unit::new(ff_core::execution::Purpose::Admit, 1)
        };
        let commit = Commit { partition: Partition::flow(0), units: vec![unit] };
        self.store.spoil(Request::Commit(commit));
    }
}

pub fn id(number: u128) -> ExecutionId {
    ExecutionId::from_parts(0, Uuid::from_u128(number))
}

pub fn namespace() -> Namespace {
    Submission::new().0.namespace
}

pub fn lane() -> LaneId {
    Submission::new().0.lane
}

pub fn eligible() -> IndexName {
    IndexName::Eligible { namespace: namespace(), lane: lane(), kind: Submission::new().0.kind }
}

fn is_too_old(error: &EngineError) -> bool {
    matches!(error, EngineError::Bug(Bug::NewerFormat { .. }))
}

pub fn served(tokens: &[&str]) -> Served {
    let (namespace, lanes, capabilities) = (namespace(), vec![lane()], capabilities(tokens));
    Served { namespace, lanes, kinds: Kinds::All, capabilities }
}

pub fn numbers(work: &[ClaimedWork]) -> Vec<u128> {
    work.iter().map(|work| work.claimed.execution_id.uuid().as_u128()).collect()
}

#[test]
fn two_draws_that_run_side_by_side_never_get_the_same_execution() {
    let mut world = World::new(1);
    world.submit(1..=8);
    let (mut one, mut two) = (world.worker(1, &[]), world.worker(2, &[]));
    let (mut first, mut second) = (one.claim(4), two.claim(4));
    let mut steps = [
        Some(first.resume(Event::Start, world.host())),
        Some(second.resume(Event::Start, world.host())),
    ];
    let mut seen = BTreeSet::new();
    while steps.iter().any(Option::is_some) {
        for (step, operation) in steps.iter_mut().zip([&mut first, &mut second]) {
            match step.take() {
                Some(Step::Send(request)) => {
                    let reply = world.store.call(request).expect("a reply");
                    *step = Some(operation.resume(Event::Reply(reply), world.host()));
                }
                Some(Step::Done(Ok(DrawnWork { work, .. }))) => {
                    assert_eq!(work.len(), 4);
                    assert!(numbers(&work).into_iter().all(|number| seen.insert(number)));
                }
                Some(other) => panic!("{other:?}"),
                None => {}
            }
        }
    }
    assert_eq!(seen.len(), 8);
}

#[test]
fn a_claim_of_one_costs_a_take_and_a_commit_once_the_work_is_found() {
    let mut world = World::new(4);
    world.submit(1..=20);
    let mut worker = world.worker(1, &[]);
    assert_eq!(numbers(&world.claim(&mut worker, 1)), [1]);
    let before = world.calls();
    assert_eq!(numbers(&world.claim(&mut worker, 1)), [2]);
    assert_eq!(world.calls() - before, 2);
}

/// A worker renews a claim that was recognised as a repeat, and only that one.
#[test]
fn a_repeated_claim_is_confirmed_next_to_one_that_is_not_repeated() {
    let mut world = World::new(1);
    world.submit([1, 2]);
    let mut worker = world.worker(1, &[]);
    world.store.script.latency = 10;
    world.store.script.fates = [Fate::Answered, Fate::Answered, Fate::ReplyLost].into();
    let mut others_act = true;
    world.store.script.intervene = Some(Box::new(move |store| {
        let commits = matches!(store.script.calls.last(), Some(Request::Commit(_)));
        if commits && std::mem::take(&mut others_act) {
            // The first claim of this execution meets a conflict.
            let (execution_id, priority) = (id(2), Priority::clamped(1));
            let raise = ChangePriority { execution_id, call: call(1), priority };
            store.transact(raise).expect("its priority changes");
        }
    }));
    let work = world.claim(&mut worker, 2);
    assert_eq!(numbers(&work), [1, 2]);
    for ClaimedWork { claimed, .. } in work {
        let loaded = world.store.record(&claimed.execution_id).expect("it is there");
        let Phase::Active(active) = &loaded.execution.phase else { panic!("it is leased") };
        assert_eq!(active.lease.expires_at, claimed.expires_at, "{}", claimed.execution_id);
    }
}

#[test]
fn a_corrupt_record_goes_into_quarantine_and_blocks_nobody() {
    let mut world = World::new(1);
    world.submit([2]);
    world.spoil(1, &[FORMAT, 0xff, 0xff, 0, 0, 0, 0]);
    let mut worker = world.worker(1, &[]);
    assert_eq!(numbers(&world.claim(&mut worker, 1)), [2]);
    let quarantine = world.entries(&IndexName::Quarantine);
    assert_eq!(quarantine, [(START as i64, 1)]);
    assert!(world.entries(&IndexName::Due).iter().all(|(_, member)| *member != 1));
    // A command on it says so.
    let renew = crate::common::renew(ff_core::execution::FenceParts::MISSING, 1_000);
    let renew = ff_core::execution::Renew { execution_id: id(1), ..renew };
    let error = world.store.transact(renew).expect_err("it cannot be read");
    assert!(matches!(error, EngineError::Bug(Bug::CorruptRecord { .. })), "{error:?}");
}

/// A program that meets a record of a newer format puts its entry back, for a newer program, and
/// takes nothing more. What it claimed together with it, it keeps.
#[test]
fn a_program_that_meets_a_newer_format_takes_no_more() {
    for (count, claimed) in [(1, vec![]), (2, vec![2])] {
        let mut world = World::new(1);
        world.submit([2, 3]);
        world.spoil(1, &checksummed(vec![FORMAT + 1, 1, 2, 3]));
        let mut worker = world.worker(1, &[]);
        if !claimed.is_empty() {
            assert_eq!(numbers(&world.claim(&mut worker, count)), claimed);
        }
        for _ in 0..2 {
            assert!(is_too_old(&world.drive(worker.claim(count)).expect_err("it takes no more")));
        }
        // The entry stands in its place, and in `due` from the hold on.
        let hold = (START + HOLD.get()) as i64;
        let places = [(eligible(), Score::MIN.get()), (IndexName::Due, hold)];
        let stands = |world: &mut World| {
            for (index, score) in &places {
                assert!(world.entries(index).contains(&(*score, 1)), "{index:?}");
            }
            assert_eq!(world.entries(&IndexName::Quarantine), []);
        };
        stands(&mut world);
        world.store.set(START + HOLD.get());
        let entropy = Entropy::from_u64(1);
        let mut timekeeper = Timekeeper::new(world.config, Scripted::context(), entropy);
        let now = world.host();
        assert!(is_too_old(&world.drive(timekeeper.apply_due(now)).expect_err("it stops")));
        stands(&mut world);
    }
}

#[test]
fn the_timekeeper_applies_what_is_due_and_knows_when_the_next_thing_is() {
    let mut world = World::new(4);
    world.submit_one(1, Submission::new().deadline(START + 100));
    world.submit_one(2, Submission::new().deadline(START + 5_000));
    let report = world.tick();
    assert_eq!((&*report.applied, report.next_due()), ([].as_slice(), Some(at(START + 100))));
    world.store.pass(100);
    let report = world.tick();
    assert_eq!(report.applied, [DueKind::Deadline]);
    assert_eq!(world.situation(1), Situation::Terminal);
    let mut timekeeper = Timekeeper::new(world.config, Scripted::context(), Entropy::from_u64(1));
    timekeeper.applied(&Ok(report), world.host());
    look_at_retention(&mut world.store, &mut timekeeper);
    let sleeps = timekeeper.next_wakeup().since(at(world.now())).get();
    assert!(sleeps <= 1_000, "at most a second, not {sleeps} ms");
    timekeeper.learn(Partition::flow(0), at(world.now() + 30), world.host());
    assert_eq!(timekeeper.next_wakeup(), at(world.now() + 30));
}

#[test]
fn a_timekeeper_with_a_wrong_estimate_sleeps_until_the_next_thing_is_due() {
    let mut world = World::new(1);
    world.submit_one(1, Submission::new().deadline(START + 100));
    let hour = DurationMs::new(3_600_000);
    for store in [at(world.now()).plus(hour), at(world.now()).minus(hour)] {
        let now = HostTime { local: at(7), store };
        let mut timekeeper =
            Timekeeper::new(world.config, Scripted::context(), Entropy::from_u64(1));
        // One round for timers, and one for retention, which take no time.
        for _ in 0..2 {
            let mut round = timekeeper.apply_due(now);
            let Step::Send(request) = round.resume(Event::Start, now) else { panic!("a request") };
            let reply = world.store.call(request).expect("a reply");
            let Step::Done(report) = round.resume(Event::Reply(reply), now) else {
                panic!("nothing is due, and no retention ends")
            };
            timekeeper.applied(&report, now);
        }
        assert_eq!(timekeeper.next_wakeup(), at(107));
    }
}

/// Runs the round for retention that follows one for timers.
fn look_at_retention(store: &mut Scripted, timekeeper: &mut Timekeeper) {
    let round = timekeeper.apply_due(store.host());
    let report = store.drive(round);
    timekeeper.applied(&report, store.host());
}

#[test]
fn a_scheduler_grants_by_the_situation_and_to_the_worker_who_asked() {
    let mut world = World::new(1);
    world.submit([1]);
    let mut scheduler = Scheduler::new(world.config, Scripted::context(), Entropy::from_u64(1));
    let request = |tokens: &[&str]| WorkerRequest {
        served: served(tokens),
        worker: WorkerId::try_new("worker").expect("a worker"),
        audit: Default::default(),
        grant_ttl: DurationMs::new(1_000),
    };
    let drawn = world.drive(scheduler.claim_for_worker(request(&[]))).expect("answered");
    let granted = scheduler.admitted(served(&[]), drawn);
    let Some(WorkerGrant::Claim(grant)) = granted else { panic!("{granted:?}") };
    assert_eq!((grant.execution_id, grant.expires_at_ms), (id(1), at(START + 1_000)));
    assert_eq!(world.situation(1), Situation::Granted);
    let drawn = world.drive(scheduler.claim_for_worker(request(&[]))).expect("answered");
    assert_eq!(scheduler.admitted(served(&[]), drawn), None, "there is no more work");
}

#[test]
fn a_lost_lease_is_offered_like_an_eligible_execution() {
    let mut world = World::new(1);
    world.submit([1]);
    let (mut dead, mut worker) = (world.worker(1, &[]), world.worker(2, &[]));
    let first = world.claim(&mut dead, 1).remove(0).claimed;
    world.store.pass(3_000);
    assert_eq!(world.tick().applied, [DueKind::LeaseExpiry]);
    let second = world.claim(&mut worker, 1).remove(0).claimed;
    assert_eq!(second.how, ClaimKind::Reclaimed);
    assert_eq!(second.lease_epoch, first.lease_epoch.next());
    assert_eq!(second.attempt.index.0, first.attempt.index.0 + 1);
}

#[test]
fn leases_are_renewed_at_a_third_of_their_ttl() {
    let mut world = World::new(1);
    world.submit([1]);
    let mut worker = world.worker(1, &[]);
    let lease = world.claim(&mut worker, 1).remove(0).claimed.lease_id;
    assert_eq!(worker.leases.next_wakeup(), Some(at(START + 1_000)));
    world.store.pass(999);
    assert!(worker.renewals(world.host()).is_empty());
    world.store.pass(1);
    let renewal = worker.renewals(world.host()).remove(0);
    assert!(worker.renewals(world.host()).is_empty(), "it is under way");
    let result = world.drive(renewal.operation);
    assert!(worker.leases.renewed(lease, result, world.host()).is_none());
    assert_eq!(worker.leases.next_wakeup(), Some(at(START + 2_000)));
}

/// \[INV-HEALTH-1\]
#[test]
fn a_lease_is_not_believed_in_after_three_failures_or_when_it_must_have_run_out() {
    let mut world = World::new(1);
    world.submit([1]);
    let mut worker = world.worker(1, &[]);
    let lease = world.claim(&mut worker, 1).remove(0).claimed.lease_id;
    let failure = || EngineError::Unreachable { op: "renew", message: "unplugged".to_owned() };
    for failures in 1..=3 {
        assert!(worker.leases.health(lease, world.host()).expect("it is held").healthy);
        world.store.set(worker.leases.next_wakeup().expect("a renewal").get());
        assert_eq!(worker.renewals(world.host()).len(), 1);
        assert!(worker.leases.renewed(lease, Err(failure()), world.host()).is_none());
        let health = worker.leases.health(lease, world.host()).expect("it is held");
        assert_eq!(health.consecutive_failures, failures);
    }
    assert!(!worker.leases.health(lease, world.host()).expect("it is held").healthy);
    assert!(worker.leases.ran_out(world.host()).is_empty(), "it may still be renewed");
    let renewed = |now: u64, left: u64| Committed {
        outcome: Renewed { expires_at: at(now + left) },
        repeat: false,
        values: Vec::new(),
        at: at(now),
        first_sent: at(now),
        record: None,
    };
    let result = Ok(renewed(world.now(), 3_000));
    assert!(worker.leases.renewed(lease, result, world.host()).is_none());
    assert!(worker.leases.health(lease, world.host()).expect("it is held").healthy);
    assert_eq!(worker.leases.believed(world.host()).count(), 1);
    // A tenth of it, at most 250 ms, before it ends.
    world.store.pass(2_750);
    assert!(!worker.leases.health(lease, world.host()).expect("it is held").healthy);
    assert_eq!(worker.leases.believed(world.host()).count(), 0);
    // A slow clock does not outlast the rest, however short it is.
    let result = Ok(renewed(world.now(), 9));
    assert!(worker.leases.renewed(lease, result, world.host()).is_none());
    world.store.pass(8);
    assert!(!worker.leases.health(lease, world.host()).expect("it is held").healthy);
    assert_eq!(worker.leases.ran_out(world.host()).len(), 1);
    assert_eq!(worker.leases.health(lease, world.host()), None);
}

#[test]
fn a_renewal_that_is_refused_loses_the_lease() {
    let mut world = World::new(1);
    world.submit([1]);
    let mut worker = world.worker(1, &[]);
    let lease = world.claim(&mut worker, 1).remove(0).claimed.lease_id;
    let lost = worker.leases.renewed(lease, Err(Rejection::LeaseRevoked.into()), world.host());
    assert_eq!(lost.expect("it is lost").execution_id, id(1));
    assert!(worker.leases.is_empty());
    assert_ne!(id(1), execution_id());
}

#[test]
fn an_entry_in_the_queue_of_another_kind_is_not_offered() {
    let mut world = World::new(1);
    world.submit([1]);
    let other = ExecutionKind::try_new("other").expect("a kind");
    let index = IndexName::Eligible { namespace: namespace(), lane: lane(), kind: other.clone() };
    let stray = IndexWrite { index, member: Uuid::from_u128(1), score: Some(Score::MIN) };
    let unit = Unit { index: vec![stray], ..Unit::new(ff_core::execution::Purpose::Finish, 0) };
    let leave = |world: &mut World| {
        let commit = Commit { partition: Partition::flow(0), units: vec![unit.clone()] };
        world.store.spoil(Request::Commit(commit));
    };
    leave(&mut world);
    let mut worker = world.worker(1, &[]);
    let mut of_other = world.worker(2, &[]);
    of_other.serve(Kinds::Only([other].into()));
    assert_eq!(numbers(&world.claim(&mut of_other, 4)), [0_u128; 0]);
    leave(&mut world);
    assert_eq!(
        numbers(&world.claim(&mut worker, 4)),
        [1],
        "once, although it stands in two queues"
    );
}

#[test]
fn a_wake_up_that_arrives_during_a_claim_is_not_forgotten() {
    let mut world = World::new(4);
    let mut worker = world.worker(1, &[]);
    let draw = worker.claim(1);
    // Work arrives in partition 0 while the claim is under way.
    let first = Some(FirstOf { index: eligible(), score: Score::MIN });
    let topic = eligible().topic().expect("a lane has a topic");
    worker.wake(Some(&Wake { topic, partition: Partition::flow(0), first }));
    let DrawnWork { mut work, queues, .. } = world.drive(draw).expect("the store answers");
    worker.claimed(&mut work, queues);
    world.submit([1]);
    let before = world.calls();
    assert_eq!(numbers(&world.claim(&mut worker, 1)), [1]);
    assert_eq!(
        world.calls() - before,
        2,
        "it takes from the queue that the wake-up named, without looking around"
    );
}
