//! Tests of the rules of quotas.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use uuid::Uuid;

use crate::id::{ExecutionId, Namespace, QuotaId, SlotId};
use crate::partition::PartitionConfig;
use crate::quota_ref::QuotaRef;
use crate::resource::{Change, Facts, NextResource, Resource};
use crate::time::{DurationMs, TimestampMs};

use super::*;

/// Admitted, without a slot: the quota does not limit the concurrency.
const ADMITTED: Reserved = Reserved::Admitted { has_slot: false };
/// Admitted with a slot.
const TAKEN: Reserved = Reserved::Admitted { has_slot: true };

/// A quota with one use.
struct Bench {
    quota: Option<Quota>,
    usage: Option<QuotaUse>,
    now: u64,
    /// How many commits were too late.
    late: u32,
    /// The turns of those that wait for the rate.
    turns: BTreeMap<u128, TimestampMs>,
}

fn of() -> QuotaRef {
    QuotaRef { quota: QuotaId::new("q"), key: None }
}

fn execution(number: u128) -> ExecutionId {
    ExecutionId::from_parts(0, Uuid::from_u128(number))
}

fn slot(number: u128) -> SlotId {
    SlotId::from_uuid(Uuid::from_u128(number))
}

impl Bench {
    fn new(limits: QuotaLimits) -> Self {
        let mut bench =
            Self { quota: None, usage: None, now: 1_000_000, late: 0, turns: BTreeMap::new() };
        bench.set(limits);
        bench
    }

    fn set(&mut self, limits: QuotaLimits) {
        let (namespace, id) = (Namespace::new("n"), QuotaId::new("q"));
        let set = SetQuota { namespace, id, limits, partitions: PartitionConfig::default() };
        let facts = Facts { record: self.quota.as_ref(), beside: &[], late: 0 };
        let changed = set.decide(&facts, TimestampMs::new(self.now)).unwrap();
        if let NextResource::Put(quota) = changed.next {
            self.quota = Some(quota);
        }
    }

    fn reserve(&mut self, number: u128) -> Reserved {
        self.reserve_late(number, false)
    }

    /// Reserves. If it is late, the commit arrives at the end of its window.
    fn reserve_late(&mut self, number: u128, is_late: bool) -> Reserved {
        let reserve = Reserve {
            namespace: Namespace::new("n"),
            of: of(),
            execution: execution(number),
            slot: slot(number),
            replaces: None,
            turn: self.turns.get(&number).copied(),
            partitions: PartitionConfig::default(),
        };
        let beside = [self.quota.clone()];
        let facts = Facts { record: self.usage.as_ref(), beside: &beside, late: self.late };
        let changed = reserve.decide(&facts, TimestampMs::new(self.now)).unwrap();
        assert!(changed.window.contains(TimestampMs::new(self.now)), "it holds now");
        if let NextResource::Put(usage) = changed.next {
            self.usage = Some(usage);
            if is_late && changed.window.not_after < TimestampMs::MAX {
                self.now = changed.window.not_after.get() - 1;
            }
        }
        match changed.outcome {
            Reserved::Refused(RefusedBy::Rate { turn, .. }) => self.turns.insert(number, turn),
            _ => self.turns.remove(&number),
        };
        changed.outcome
    }

    fn update(&mut self, free: &[u128], promise: &[u128]) -> UseUpdated {
        let update = UpdateUse {
            namespace: Namespace::new("n"),
            of: of(),
            free: free.iter().map(|number| (slot(*number), false)).collect(),
            keep: Vec::new(),
            promise: promise.iter().map(|number| execution(*number)).collect(),
            partitions: PartitionConfig::default(),
        };
        let beside = [self.quota.clone()];
        let facts = Facts { record: self.usage.as_ref(), beside: &beside, late: 0 };
        let changed = update.decide(&facts, TimestampMs::new(self.now)).unwrap();
        if let NextResource::Put(usage) = changed.next {
            self.usage = Some(usage);
        }
        changed.outcome
    }
}

fn concurrency(max: u32) -> QuotaLimits {
    QuotaLimits { concurrency: Some(max), rate: None }
}

fn rate(max: u32, window: u64) -> QuotaLimits {
    let window = DurationMs::new(window);
    QuotaLimits { concurrency: None, rate: Some(Rate { max, window }) }
}

#[test]
fn a_slot_is_taken_once_and_freed_once() {
    let mut bench = Bench::new(concurrency(2));
    assert_eq!(bench.reserve(1), TAKEN);
    assert_eq!(bench.reserve(1), TAKEN, "the same slot");
    assert_eq!(bench.reserve(2), TAKEN);
    let retry_after = DurationMs::from_secs(10);
    let full = RefusedBy::Concurrency { limit: 2, checks: false, retry_after };
    assert_eq!(bench.reserve(3), Reserved::Refused(full));
    assert_eq!(bench.update(&[1, 1], &[]).room, 1, "freed twice is free once");
    assert_eq!(bench.update(&[1], &[]).room, 1);
}

#[test]
fn a_promised_slot_is_for_one_execution_only_until_its_time_is_over() {
    let mut bench = Bench::new(concurrency(1));
    bench.reserve(1);
    let updated = bench.update(&[1], &[7, 8]);
    assert_eq!(updated.promised, [execution(7)], "one slot, one promise");
    assert!(matches!(bench.reserve(9), Reserved::Refused(_)));
    assert_eq!(bench.reserve(7), TAKEN);
    bench.update(&[7], &[8]);
    bench.now += 2_000;
    assert_eq!(bench.reserve(9), TAKEN, "8 did not come");
}

/// Each of those that wait for a slot looks again by itself: one in a second, however many wait.
#[test]
fn the_looks_of_those_that_wait_are_spread() {
    let mut bench = Bench::new(concurrency(1));
    bench.reserve(1);
    let mut looks = Vec::new();
    for number in 2..1_000 {
        match bench.reserve(number) {
            Reserved::Refused(RefusedBy::Concurrency { retry_after, .. }) => {
                looks.push(retry_after.get());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(looks[..3], [10_000, 11_000, 12_000]);
    assert!(looks[291..].iter().all(|wait| (300_000..600_000).contains(wait)));
}

#[test]
fn a_slot_is_checked_after_10_seconds_also_if_the_clock_steps_back() {
    let mut bench = Bench::new(concurrency(1));
    bench.reserve(1);
    let checks = |bench: &mut Bench| match bench.reserve(2) {
        Reserved::Refused(RefusedBy::Concurrency { checks, .. }) => checks,
        other => panic!("{other:?}"),
    };
    assert!(!checks(&mut bench));
    bench.now += 10_000;
    assert!(checks(&mut bench));
    bench.now -= 100_000;
    assert!(checks(&mut bench));
}

/// A use with a leaked slot is visited when the slot is due, if one waits; otherwise later.
#[test]
fn a_use_for_which_executions_wait_is_visited_sooner() {
    let mut bench = Bench::new(concurrency(1));
    bench.reserve(1);
    let visit = |bench: &Bench| {
        let usage = bench.usage.as_ref().expect("a use");
        let is_due = usage.to_visit(TimestampMs::new(bench.now)).is_some();
        (usage.expires_at().map(TimestampMs::get), is_due)
    };
    assert_eq!(visit(&bench), (Some(1_310_000), false));
    bench.reserve(2);
    assert_eq!(visit(&bench), (Some(1_010_000), false));
    bench.now = 1_010_000;
    assert!(visit(&bench).1);
    bench.now = 600_000;
    assert!(visit(&bench).1, "the clock has stepped back");
}

#[test]
fn limits_can_be_lowered_and_raised_while_executions_run() {
    let mut bench = Bench::new(concurrency(3));
    (1..=3).for_each(|number| assert_eq!(bench.reserve(number), TAKEN));
    bench.set(concurrency(1));
    assert!(matches!(bench.reserve(4), Reserved::Refused(_)));
    assert_eq!(bench.update(&[1, 2], &[4]).promised, [], "one still runs");
    bench.set(concurrency(2));
    assert_eq!(bench.reserve(4), TAKEN);
}

/// The waits of some executions that ask one after the other, and when each starts.
fn starts(bench: &mut Bench, count: u128, apart: u64, late: u64) -> BTreeMap<u128, u64> {
    let began = bench.now;
    let mut next: BTreeSet<(u64, u128)> =
        (1..=count).map(|number| (began + number as u64 * apart, number)).collect();
    let mut starts = BTreeMap::new();
    while let Some((at, number)) = next.pop_first() {
        bench.now = bench.now.max(at);
        match bench.reserve(number) {
            Reserved::Refused(RefusedBy::Rate { retry_after, .. }) => {
                // Some come late for their turn.
                let late = if number % 3 == 0 { late } else { 0 };
                next.insert((bench.now + retry_after.get() + late, number));
            }
            _ => drop(starts.insert(number, bench.now - began)),
        }
    }
    starts
}

#[test]
fn those_that_wait_for_the_rate_start_in_the_order_in_which_they_asked() {
    for (max, window, count) in
        [(1, 60_000, 12), (1, 10_000, 6), (5, 10_000, 40), (100, 1_000, 900)]
    {
        let mut bench = Bench::new(rate(max, window));
        let starts = starts(&mut bench, count, 1, 0);
        let order: Vec<_> = starts.values().collect();
        assert!(order.is_sorted(), "{max} in {window}: {starts:?}");
        let (all, fair) = (starts[&count], count as u64 * window / u64::from(max));
        assert!(all <= fair * 104 / 100 + 300, "{max} in {window}: {all} instead of {fair}");
    }
}

#[test]
fn one_that_comes_late_for_its_turn_is_next() {
    let mut bench = Bench::new(rate(1, 10_000));
    let starts = starts(&mut bench, 12, 300, 3_000);
    for (number, at) in &starts {
        let fair = (*number as u64 - 1) * 10_160;
        assert!(*at <= fair + 24_000, "{number} at {at} instead of {fair}: {starts:?}");
    }
}

#[test]
fn turns_begin_anew_with_other_limits_and_move_with_the_clock() {
    let mut bench = Bench::new(rate(1, 60_000));
    for number in 1..=10 {
        bench.reserve(number);
    }
    bench.set(rate(100, 1_000));
    bench.now += 60_000;
    assert_eq!(bench.reserve(9), ADMITTED, "its turn was 8 minutes later");
    bench.set(rate(1, 60_000));
    for number in 11..=15 {
        bench.reserve(number);
    }
    bench.now -= 600_000;
    let Reserved::Refused(RefusedBy::Rate { turn, .. }) = bench.reserve(16) else {
        panic!("the window is full")
    };
    assert!(turn.get() < bench.now + 8 * 60_000, "{turn:?} at {}", bench.now);
}

#[test]
fn a_rate_that_is_asked_all_the_time_is_nearly_used_up() {
    for (max, window) in [(100, 1_000), (7, 1_000), (1_000, 60_000), (1, 5_000)] {
        let mut bench = Bench::new(rate(max, window));
        let (mut admitted, end) = (0, bench.now + 50 * window);
        while bench.now < end {
            while bench.reserve(u128::from(admitted)) == ADMITTED {
                admitted += 1;
            }
            bench.now += 1;
        }
        let least = 50 * max * 97 / 100;
        assert!(admitted >= least, "{admitted} of {least} for {max} in {window} ms");
    }
}

/// With a slow network a commit arrives after its window. The next ones have more time, and count
/// towards the rate for as much longer. \[INV-QUOTA-2\]
#[test]
fn an_admission_that_comes_too_late_gets_more_time() {
    let mut bench = Bench::new(rate(1, 1_000));
    let mut allowed = Vec::new();
    for late in 0..5 {
        (bench.late, bench.now) = (late, 1_000_000 + u64::from(late) * 100_000);
        let asked_at = bench.now;
        assert_eq!(bench.reserve_late(u128::from(late), true), ADMITTED);
        allowed.push(bench.now - asked_at);
        bench.late = 0;
        bench.now += 999;
        assert!(matches!(bench.reserve(99), Reserved::Refused(_)), "{late} too late");
        bench.now += 40;
        assert_eq!(bench.reserve(99), ADMITTED, "{late} too late");
    }
    assert!(allowed[0] < 15 && allowed[1] >= 100 && allowed[2] >= 400, "{allowed:?}");
    // At most 2 s, whatever the place in the step.
    assert!(allowed[3..].iter().all(|time| (2_000..2_030).contains(time)), "{allowed:?}");
}

#[test]
fn limits_out_of_bounds_are_refused() {
    let none = QuotaLimits::default();
    for limits in [none, concurrency(0), concurrency(1_001), rate(0, 1_000), rate(1, 999)] {
        assert!(limits.check().is_err(), "{limits:?}");
    }
    for limits in [concurrency(1), concurrency(1_000), rate(1_000_000, 1_000)] {
        limits.check().unwrap();
    }
}

proptest! {
    /// No window, wherever it begins, has more admissions than the maximum, however late their
    /// commits arrive. \[INV-QUOTA-2\]
    #[test]
    fn a_rate_is_never_exceeded(
        max in 1_u32..200,
        window in 1_000_u64..5_000,
        steps in proptest::collection::vec((0_u64..40, 0_u8..20), 400..1_500),
    ) {
        let mut bench = Bench::new(rate(max, window));
        let (mut number, mut admitted) = (0, Vec::new());
        for (step, late) in steps {
            bench.now += step;
            for _ in 0..max {
                number += 1;
                let is_late = late % 7 == 0;
                bench.late = u32::from(late) % 5;
                if bench.reserve_late(number, is_late) != ADMITTED {
                    break;
                }
                admitted.push(bench.now);
            }
        }
        for (place, at) in admitted.iter().enumerate() {
            let within = admitted[place..].iter().filter(|other| **other < at + window).count();
            prop_assert!(within <= max as usize, "{within} of {max} from {at} on");
        }
    }

    /// However calls and checks come, there are never more slots than the limit, and no slot is
    /// left once all were freed. \[INV-QUOTA-1\]
    #[test]
    fn slots_never_exceed_the_limit(
        max in 1_u32..5,
        calls in proptest::collection::vec((0_u8..4, 0_u128..8), 1..60),
    ) {
        let mut bench = Bench::new(concurrency(max));
        let mut held = BTreeSet::new();
        for (call, number) in calls {
            match call {
                0 | 1 => {
                    if bench.reserve(number) == TAKEN {
                        held.insert(number);
                    }
                }
                2 => {
                    bench.update(&[number], &[]);
                    held.remove(&number);
                }
                _ => bench.now += 700,
            }
            prop_assert!(held.len() <= max as usize);
            let slots = bench.usage.as_ref().map_or(0, |usage| usage.holders.len());
            prop_assert_eq!(slots, held.len());
        }
        bench.update(&(0..8).collect::<Vec<_>>(), &[]);
        prop_assert_eq!(bench.usage.map_or(0, |usage| usage.holders.len()), 0);
    }
}
