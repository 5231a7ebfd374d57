//! Changes of records beside executions, while replies are lost and others write.

use uuid::Uuid;

use crate::budget::{
    Budget, BudgetReset, Charge, CreateBudget, DeleteBudget, DimensionLimits, LookAtBudget,
    ReportUsage, ReportUsageResult,
};
use crate::entropy::Entropy;
use crate::error::{Applied, EngineError};
use crate::id::{BudgetId, Dimension, Namespace, RequestId};
use crate::op::{Event, Operation, OperationContext, Patience, Step};
use crate::partition::PartitionConfig;
use crate::resource::Change;
use crate::store::codec::Codec;
use crate::store::{Failure, MemoryStore, Request};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::{ChangeResource, LoadedResource, ResourceChanged, SweepExpired};

/// A store whose clock stands still unless a test or a wait moves it.
struct World {
    store: MemoryStore,
    now: u64,
    seeds: u64,
    /// The number of requests.
    calls: usize,
}

/// The fate of a request.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Answered,
    ReplyLost,
    Lost,
}

impl World {
    fn new() -> Self {
        let mut world = Self { store: MemoryStore::new(1), now: 1_000_000, seeds: 0, calls: 0 };
        world.create(1);
        world
    }

    fn create(&mut self, uid: u128) {
        let limits = DimensionLimits { dimension: Dimension::new("tokens"), soft: 0, hard: 100 };
        let create = CreateBudget {
            namespace: namespace(),
            id: id(),
            uid: Uuid::from_u128(uid),
            limits: vec![limits],
            reset: BudgetReset::Never,
            request_id: RequestId::new(format!("create-{uid}")),
            partitions: PartitionConfig::default(),
        };
        self.change(create, &[]).expect("it is created");
    }

    fn delete(&mut self, uid: u128) -> bool {
        let (uid, partitions) = (Uuid::from_u128(uid), PartitionConfig::default());
        let delete = DeleteBudget { namespace: namespace(), id: id(), uid, partitions };
        self.change(delete, &[Fate::Answered, Fate::ReplyLost]).expect("it is deleted").outcome
    }

    fn patience(&mut self) -> Patience {
        self.seeds += 1;
        let context = OperationContext::new(DurationMs::from_secs(20), Codec::default());
        Patience::new(context, Entropy::from_u64(self.seeds))
    }

    fn time(&self) -> HostTime {
        let now = TimestampMs::new(self.now);
        HostTime { local: now, store: now }
    }

    fn change<C: Change>(
        &mut self,
        change: C,
        fates: &[Fate],
    ) -> Result<ResourceChanged<C::Record, C::Outcome>, EngineError> {
        let operation = ChangeResource::new(change, self.patience());
        self.run(operation, fates, |_| {})
    }

    /// Runs an operation. Its first requests have these fates; after each of the others that is
    /// lost, others act.
    fn run<O: Operation>(
        &mut self,
        mut operation: O,
        fates: &[Fate],
        mut others: impl FnMut(&mut Self),
    ) -> O::Output {
        let (mut step, mut fates) = (operation.resume(Event::Start, self.time()), fates.iter());
        loop {
            step = match step {
                Step::Done(output) => return output,
                Step::Wait(wait) => {
                    self.now += wait.get();
                    operation.resume(Event::Wake, self.time())
                }
                Step::Send(request) => {
                    let fate = fates.next().copied().unwrap_or(Fate::Answered);
                    let event = self.call(request, fate);
                    if fate != Fate::Answered {
                        others(self);
                    }
                    operation.resume(event, self.time())
                }
            };
        }
    }

    fn call(&mut self, request: Request, fate: Fate) -> Event {
        self.calls += 1;
        if fate == Fate::Lost {
            return Event::Failure(Failure::MaybeApplied("lost".to_owned()));
        }
        let reply = self.store.handle(request, TimestampMs::new(self.now));
        match fate {
            Fate::Answered => Event::Reply(reply),
            _ => Event::Failure(Failure::MaybeApplied("the reply was lost".to_owned())),
        }
    }

    fn charge(&mut self, amount: u64, key: Option<&str>) -> ReportUsageResult {
        let changed = self.change(charges(&[(amount, key)]), &[]).expect("it is charged");
        changed.outcome[0].clone().expect("the dimension is known")
    }

    fn used(&mut self) -> u64 {
        let look = LookAtBudget {
            namespace: namespace(),
            id: id(),
            partitions: PartitionConfig::default(),
        };
        self.change(look, &[]).expect("it is read").outcome.dimensions[0].used
    }
}

fn namespace() -> Namespace {
    Namespace::new("ns")
}

fn id() -> BudgetId {
    BudgetId::new("llm")
}

fn charges(charges: &[(u64, Option<&str>)]) -> ReportUsage {
    let charges = charges.iter().map(|(amount, key)| {
        Charge::try_new(&[("tokens", *amount)], *key).expect("a valid charge")
    });
    ReportUsage::new(&namespace(), id(), charges.collect(), &PartitionConfig::default())
}

#[test]
fn a_charge_whose_reply_was_lost_is_applied_once() {
    for fate in [Fate::ReplyLost, Fate::Lost] {
        for others in [0, 1, 31] {
            let mut world = World::new();
            let operation = ChangeResource::new(charges(&[(7, None)]), world.patience());
            let fates = [Fate::Answered, fate];
            let changed = world.run(operation, &fates, |world| {
                (0..others).for_each(|_| _ = world.charge(1, None));
            });
            assert_eq!(changed.unwrap().outcome, [Ok(ReportUsageResult::Ok)]);
            assert_eq!(world.used(), 7 + others, "{others} others");
        }
    }
}

#[test]
fn a_charge_is_in_doubt_once_the_record_may_have_forgotten_it() {
    let mut world = World::new();
    let operation = ChangeResource::new(charges(&[(7, None)]), world.patience());
    let changed = world.run(operation, &[Fate::Answered, Fate::ReplyLost], |world| {
        (0..40).for_each(|_| _ = world.charge(1, None));
    });
    let error = changed.unwrap_err();
    assert!(error.may_be_applied(), "{error}");
    assert_eq!(world.used(), 47);
}

/// As long as fewer than 32 writers have changed the record, it has forgotten none of them, however
/// often they did.
#[test]
fn a_few_busy_writers_leave_no_charge_in_doubt() {
    let mut world = World::new();
    let operation = ChangeResource::new(charges(&[(7, None)]), world.patience());
    let changed = world.run(operation, &[Fate::Answered, Fate::ReplyLost], |world| {
        let mut known: Option<LoadedResource<Budget>> = None;
        for _ in 0..40 {
            let patience = world.patience();
            let next = ChangeResource::knowing(charges(&[(1, None)]), 99, known.take(), patience);
            known = world.run(next, &[], |_| {}).expect("it is charged").record;
        }
    });
    assert_eq!(changed.unwrap().outcome, [Ok(ReportUsageResult::Ok)]);
    assert_eq!(world.used(), 47);
}

#[test]
fn a_charge_is_in_doubt_after_the_budget_was_deleted_or_created_anew() {
    for anew in [false, true] {
        let mut world = World::new();
        world.charge(1, None);
        let operation = ChangeResource::new(charges(&[(7, None)]), world.patience());
        let changed = world.run(operation, &[Fate::Answered, Fate::ReplyLost], |world| {
            world.delete(1);
            if anew {
                world.create(2);
            }
        });
        let Err(EngineError::Contextual { source, .. }) = changed else { panic!("{changed:?}") };
        assert!(matches!(*source, EngineError::Timeout { applied: Applied::Unknown, .. }));
        if anew {
            assert_eq!(world.used(), 0);
        }
    }
}

#[test]
fn a_delete_whose_reply_was_lost_ends_and_spares_a_later_budget() {
    let mut world = World::new();
    assert!(!world.delete(1), "the first reply was lost");
    world.create(2);
    assert!(!world.delete(1));
    assert_eq!(world.used(), 0, "the later budget is still there");
}

#[test]
fn a_known_record_saves_the_read_and_a_conflict_costs_one_call() {
    let mut world = World::new();
    let patience = world.patience();
    let first = ChangeResource::knowing(charges(&[(1, None)]), 9, None, patience);
    let known = world.run(first, &[], |_| {}).unwrap().record;
    let (calls, patience) = (world.calls, world.patience());
    let next = ChangeResource::knowing(charges(&[(1, Some("k"))]), 9, known.clone(), patience);
    world.run(next, &[], |_| {}).unwrap();
    assert_eq!(world.calls - calls, 1, "no read");
    let (calls, patience) = (world.calls, world.patience());
    let late = ChangeResource::knowing(charges(&[(1, None)]), 10, known, patience);
    world.run(late, &[], |_| {}).unwrap();
    assert_eq!(world.calls - calls, 2, "the conflict returns the present record");
    assert_eq!(world.used(), 3);
}

/// The conflict is with the record of the key, and that of the budget is as it was.
#[test]
fn a_repeated_key_is_recognised_although_the_budget_is_known() {
    let mut world = World::new();
    let patience = world.patience();
    let first = ChangeResource::knowing(charges(&[(1, Some("k"))]), 9, None, patience);
    let known = world.run(first, &[], |_| {}).unwrap().record;
    let patience = world.patience();
    let again = ChangeResource::knowing(charges(&[(1, Some("k"))]), 9, known, patience);
    let outcome = world.run(again, &[], |_| {}).unwrap().outcome;
    assert!(matches!(outcome[..], [Ok(ReportUsageResult::AlreadyApplied(_))]), "{outcome:?}");
    assert_eq!(world.used(), 1);
}

#[test]
fn an_old_record_never_decides_a_refusal() {
    let mut world = World::new();
    let patience = world.patience();
    let fill = ChangeResource::knowing(charges(&[(100, None)]), 9, None, patience);
    let full = world.run(fill, &[], |_| {}).unwrap().record;
    world.delete(1);
    world.create(2);
    let patience = world.patience();
    let late = ChangeResource::knowing(charges(&[(1, None)]), 9, full, patience);
    let outcome = world.run(late, &[], |_| {}).unwrap().outcome;
    assert_eq!(outcome, [Ok(ReportUsageResult::Ok)]);
}

#[test]
fn dedup_keys_are_removed_after_a_day() {
    let mut world = World::new();
    assert_eq!(world.charge(5, Some("k")), ReportUsageResult::Ok);
    assert!(matches!(world.charge(5, Some("k")), ReportUsageResult::AlreadyApplied(_)));
    let remove = |world: &mut World| {
        let (config, patience) = (PartitionConfig::default(), world.patience());
        let mut entropy = Entropy::from_u64(1);
        let sweep =
            SweepExpired::<crate::budget::ChargeRecord>::new(&config, patience, &mut entropy);
        world.run(sweep, &[], |_| {}).expect("it is removed")
    };
    world.now += 24 * 60 * 60 * 1_000 - 1;
    assert_eq!(remove(&mut world), 0);
    world.now += 1;
    assert_eq!([remove(&mut world), remove(&mut world)], [1, 0]);
    assert_eq!(world.charge(5, Some("k")), ReportUsageResult::Ok);
    assert_eq!(world.used(), 10);
}
