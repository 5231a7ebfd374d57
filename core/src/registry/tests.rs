//! The rules of the registry, and any sequence of them by three processes with one instance id.

use proptest::prelude::*;

use crate::capability::Capabilities;
use crate::error::{Rejection, RejectionKind};
use crate::id::{ExecutionKind, LaneId, Namespace, Nonce, WorkerId, WorkerInstanceId};
use crate::kinds::Kinds;
use crate::partition::PartitionConfig;
use crate::resource::{Change, Facts, Kept, NextResource, WRITERS};
use crate::store::bounds::MAX_RECORD_BYTES;
use crate::store::codec::{FORMAT, encode};
use crate::time::{DurationMs, TimestampMs};

use super::*;

const TTL: u64 = 10_000;

fn info() -> WorkerInfo {
    WorkerInfo {
        namespace: Namespace::new("ns"),
        worker: WorkerId::new("w"),
        instance: WorkerInstanceId::new("w-1"),
        lanes: vec![LaneId::new("mail")],
        kinds: Kinds::All,
        capabilities: Capabilities::default(),
        version: "1.0".to_owned(),
        slots: 4,
    }
}

fn register(nonce: u64, take_over: bool) -> Register {
    Register {
        info: info(),
        nonce: Nonce(nonce),
        ttl: DurationMs::new(TTL),
        take_over,
        partitions: PartitionConfig::default(),
    }
}

fn heartbeat(nonce: u64) -> Heartbeat {
    let WorkerInfo { namespace, instance, .. } = info();
    let partitions = PartitionConfig::default();
    Heartbeat { namespace, instance, nonce: Nonce(nonce), active: 2, draining: false, partitions }
}

fn deregister(nonce: u64) -> Deregister {
    let WorkerInfo { namespace, instance, .. } = info();
    let partitions = PartitionConfig::default();
    Deregister { namespace, instance, nonce: Nonce(nonce), partitions }
}

fn drain() -> DrainWorker {
    let WorkerInfo { namespace, instance, .. } = info();
    DrainWorker { namespace, instance, partitions: PartitionConfig::default() }
}

fn mark_dead() -> MarkDead {
    let WorkerInfo { namespace, instance, .. } = info();
    MarkDead { namespace, instance, partitions: PartitionConfig::default() }
}

/// The record after a change; it must be allowed at `now`.
fn apply<C>(record: &mut Option<Worker>, change: &C, now: u64) -> Result<(), Rejection>
where
    C: Change<Record = Worker, Beside = Worker, Outcome = ()>,
{
    let facts = Facts { record: record.as_ref(), beside: &[], late: 0 };
    let changed = change.decide(&facts, TimestampMs::new(now))?;
    assert!(changed.window.contains(TimestampMs::new(now)), "{changed:?} at {now}");
    match changed.next {
        NextResource::Put(worker) => *record = Some(worker),
        NextResource::Remove => *record = None,
        NextResource::Keep => {}
    }
    Ok(())
}

fn kind(result: Result<(), Rejection>) -> Option<RejectionKind> {
    result.err().map(|rejection| rejection.kind())
}

#[test]
fn a_second_process_waits_for_the_end_of_the_first_or_takes_over() {
    let mut record = None;
    apply(&mut record, &register(1, false), 100).unwrap();
    let until = TimestampMs::new(100 + TTL);
    let refused = apply(&mut record, &register(2, false), 100 + TTL - 1).unwrap_err();
    let instance = info().instance;
    assert_eq!(refused, Rejection::WorkerInstanceInUse { instance, until });
    let facts = Facts { record: record.as_ref(), beside: &[], late: 0 };
    let late = register(2, false).decide(&facts, until).unwrap();
    assert_eq!(late.window.not_before, until, "not before the first one has ended");
    let mut taken = record.clone();
    apply(&mut taken, &register(2, true), 200).unwrap();
    assert_eq!(kind(apply(&mut taken, &heartbeat(1), 300)), Some(RejectionKind::WorkerSuperseded));
    assert_eq!(kind(apply(&mut taken, &register(1, false), 300)), Some(IN_USE));
    apply(&mut taken, &deregister(1), 300).unwrap();
    assert_eq!(taken.as_ref().map(|worker| worker.nonce), Some(Nonce(2)));
    apply(&mut taken, &deregister(2), 300).unwrap();
    assert_eq!(taken, None);
    apply(&mut taken, &register(3, false), 301).unwrap();
}

const IN_USE: RejectionKind = RejectionKind::WorkerInstanceInUse;

#[test]
fn an_own_registration_never_stands_in_the_way() {
    let mut record = None;
    apply(&mut record, &register(1, false), 100).unwrap();
    apply(&mut record, &register(1, false), 200).unwrap();
    let worker = record.as_ref().unwrap();
    assert_eq!((worker.registered_at.get(), worker.expires_at.get()), (100, 200 + TTL));
    assert_eq!(kind(apply(&mut record, &heartbeat(1), 200 + TTL)), Some(NOT_FOUND));
    apply(&mut record, &register(1, false), 200 + TTL).unwrap();
    apply(&mut record, &heartbeat(1), 300 + TTL).unwrap();
    assert_eq!(record.unwrap().active, 2);
}

const NOT_FOUND: RejectionKind = RejectionKind::WorkerNotFound;

#[test]
fn a_process_that_was_marked_as_dead_stays_dead_and_its_id_is_free() {
    let mut record = None;
    assert_eq!(kind(apply(&mut record, &mark_dead(), 1)), Some(NOT_FOUND));
    apply(&mut record, &register(1, false), 100).unwrap();
    apply(&mut record, &mark_dead(), 200).unwrap();
    let dead = record.clone();
    apply(&mut record, &mark_dead(), 900).unwrap();
    assert_eq!(record, dead, "a repeat changes nothing");
    for now in [300, 100 + TTL, DEAD_FOR.get()] {
        let superseded = Some(RejectionKind::WorkerSuperseded);
        assert_eq!(kind(apply(&mut record, &heartbeat(1), now)), superseded);
        assert_eq!(kind(apply(&mut record, &register(1, true), now)), superseded);
        assert_eq!(kind(apply(&mut record, &drain(), now)), Some(NOT_FOUND));
    }
    apply(&mut record, &register(2, false), 300).unwrap();
    assert!(record.unwrap().claims(TimestampMs::new(300)));
}

#[test]
fn a_worker_that_drains_holds_its_id_and_claims_nothing() {
    let mut record = None;
    apply(&mut record, &register(1, false), 100).unwrap();
    let mut own = record.clone();
    apply(&mut own, &Heartbeat { draining: true, ..heartbeat(1) }, 150).unwrap();
    apply(&mut record, &drain(), 150).unwrap();
    for mut record in [own, record] {
        apply(&mut record, &heartbeat(1), 200).unwrap();
        apply(&mut record, &drain(), 250).unwrap();
        apply(&mut record, &register(1, false), 300).unwrap();
        let worker = record.as_ref().unwrap();
        assert_eq!(worker.state_at(TimestampMs::new(300)), WorkerState::Draining);
        assert!(worker.holds(TimestampMs::new(300)) && !worker.claims(TimestampMs::new(300)));
        assert_eq!(kind(apply(&mut record, &register(2, false), 300)), Some(IN_USE));
    }
}

#[test]
fn the_nearest_worker_lacks_the_least() {
    let named = |name: &str, lane: &str, tokens: &[&str], kinds: Kinds| {
        let mut record = None;
        apply(&mut record, &register(1, false), 1).unwrap();
        let mut worker = record.unwrap();
        worker.info.instance = WorkerInstanceId::new(name);
        worker.info.lanes = vec![LaneId::new(lane)];
        worker.info.capabilities = Capabilities::try_new(tokens).unwrap();
        worker.info.kinds = kinds;
        worker
    };
    let (lane, resize) = (LaneId::new("mail"), ExecutionKind::new("resize"));
    let required = Capabilities::try_new(["gpu", "eu"]).unwrap();
    let other = Kinds::from_iter([ExecutionKind::new("other")]);
    let workers = [
        named("a", "other", &["gpu", "eu"], other),
        named("b", "mail", &["eu"], Kinds::All),
        named("c", "mail", &[], Kinds::All),
    ];
    let now = TimestampMs::new(2);
    let found = nearest(&workers, &lane, &resize, &required, now).unwrap();
    assert_eq!(found.to_string(), "worker b lacks only capability gpu");
    let found = nearest(&workers[..1], &lane, &resize, &required, now).unwrap();
    assert_eq!(found.to_string(), "worker a lacks lane mail, kind resize");
    assert!(!workers[0].info.serves(&lane, &resize, &required));
    let none = Capabilities::default();
    assert!(nearest(&workers, &lane, &resize, &none, now).unwrap().lacks.is_empty());
    assert_eq!(nearest(&workers, &lane, &resize, &none, TimestampMs::new(1 + TTL)), None);
}

#[test]
fn the_largest_record_fits_and_larger_ones_are_refused() {
    let long = |number: usize| format!("{number:0>64}");
    let mut largest = register(u64::MAX, false);
    largest.info.lanes = (0..MAX_SERVED).map(|number| LaneId::new(long(number))).collect();
    let kinds = (0..MAX_SERVED).map(|number| ExecutionKind::new(long(number)));
    largest.info.kinds = kinds.collect();
    let tokens = (0..256).map(|number| format!("{number:0>15}"));
    largest.info.capabilities = Capabilities::try_new(tokens).unwrap();
    largest.info.version = "v".repeat(MAX_VERSION_BYTES);
    let mut record = None;
    apply(&mut record, &largest, 1).unwrap();
    let bytes = encode(&Kept::new(record.unwrap()), FORMAT).len() + WRITERS * 20;
    assert!(bytes <= MAX_RECORD_BYTES, "{bytes} bytes");
    let mut larger = [largest.clone(), largest.clone(), largest];
    larger[0].info.lanes.push(LaneId::new("more"));
    larger[1].info.kinds =
        (0..=MAX_SERVED).map(|number| ExecutionKind::new(long(number))).collect();
    larger[2].info.version.push('v');
    for register in larger {
        let invalid = Some(RejectionKind::InvalidInput);
        assert_eq!(kind(apply(&mut None, &register, 1)), invalid);
    }
    assert_eq!(registration_ttl(DurationMs::from_secs(1)), LEAST_TTL);
    assert_eq!(registration_ttl(DurationMs::from_secs(30)), DurationMs::from_secs(60));
}

/// A call by one of three processes, or by an operator.
#[derive(Clone, Copy, Debug)]
enum Call {
    Register(u64, bool),
    Heartbeat(u64),
    Deregister(u64),
    Drain,
    MarkDead,
}

fn calls() -> impl Strategy<Value = Vec<(u64, Call)>> {
    let call = prop_oneof![
        (0..3_u64, any::<bool>()).prop_map(|(process, over)| Call::Register(process, over)),
        (0..3_u64).prop_map(Call::Heartbeat),
        (0..3_u64).prop_map(Call::Heartbeat),
        (0..3_u64).prop_map(Call::Deregister),
        Just(Call::Drain),
        Just(Call::MarkDead),
    ];
    proptest::collection::vec((0..TTL, call), 1..40)
}

proptest! {
    /// One process holds the instance id at a time; only its own calls keep it, only its end, an
    /// operator or a process that takes over frees it, and a process that has lost it never gets
    /// it back with a heartbeat. \[INV-REGISTRY-1\]
    #[test]
    fn one_process_holds_an_instance_id(calls in calls()) {
        let (mut record, mut now) = (None, 1);
        let (mut holder, mut until, mut dead) = (None, 0, None);
        for (wait, call) in calls {
            now += wait;
            let held_by = holder.filter(|_| now < until);
            let done = match call {
                Call::Register(process, over) => {
                    let done = apply(&mut record, &register(process, over), now);
                    let free = held_by.is_none_or(|held| held == process) || over;
                    prop_assert_eq!(done.is_ok(), free && dead != Some(process));
                    if done.is_ok() {
                        (holder, until, dead) = (Some(process), now + TTL, None);
                    }
                    done
                }
                Call::Heartbeat(process) => {
                    let done = apply(&mut record, &heartbeat(process), now);
                    prop_assert_eq!(done.is_ok(), held_by == Some(process));
                    if done.is_ok() {
                        until = now + TTL;
                    }
                    done
                }
                Call::Deregister(process) => {
                    let done = apply(&mut record, &deregister(process), now);
                    if holder == Some(process) {
                        holder = None;
                    }
                    dead = dead.filter(|dead| *dead != process);
                    done
                }
                Call::Drain => apply(&mut record, &drain(), now),
                Call::MarkDead => {
                    let done = apply(&mut record, &mark_dead(), now);
                    if done.is_ok() {
                        dead = holder.take().or(dead);
                    }
                    done
                }
            };
            let at = TimestampMs::new(now);
            let found = record.as_ref().filter(|worker| worker.holds(at));
            let found = found.map(|worker| worker.nonce.0);
            prop_assert_eq!(found, holder.filter(|_| now < until), "{:?}: {:?}", call, done);
        }
    }
}
