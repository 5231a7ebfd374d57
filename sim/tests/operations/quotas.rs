//! Executions under a quota, and programs that lose replies (`docs/spec.md`, 7).

use std::time::Duration;

use ff_core::entropy::Entropy;
use ff_core::op::{ChangeResource, HandOver, OperationContext, ReadResources};
use ff_core::quota::{QuotaLimits, QuotaUse, SetQuota};
use ff_core::resource::ResourceId;
use ff_sim::scripted::{Fate, Scripted};

use super::before_call;
use super::carried::tick;
use crate::common::limits::quota;
use crate::common::{Submission, ms, offer};

/// Submits an execution under a quota that lets 3 run at the same time and 2 start in a minute.
/// Returns the use of the quota.
fn submit(world: &mut Scripted, context: &OperationContext) -> ResourceId {
    let mut submission = Submission::new().0;
    submission.limits.quotas = vec![quota()];
    let (namespace, partitions) = (submission.namespace.clone(), *context.partitions());
    let limits = QuotaLimits::new().concurrency(3).rate(2, Duration::from_secs(60));
    let set = SetQuota { namespace: namespace.clone(), id: quota().quota, limits, partitions };
    let set = ChangeResource::new(set, Scripted::patience(10_000));
    world.drive(set).expect("the store answers");
    world.transact(submission).expect("it is created");
    QuotaUse::key(&namespace, &quota(), &partitions)
}

/// The use of the quota, after the slots that were freed were given back.
fn settled(world: &mut Scripted, context: &OperationContext, id: ResourceId) -> QuotaUse {
    while let Some(task) = context.uses().take() {
        let work = HandOver::new(task, context, Entropy::from_u64(7));
        world.drive(work).expect("the store answers");
    }
    let read = ReadResources::<QuotaUse>::new(&[id], Scripted::patience(10_000));
    let mut found = world.drive(read).expect("the store answers");
    found.remove(0).expect("it exists").into_record()
}

/// An execution that has started stays counted towards the rate, although the program that started
/// it learns of that only after the lease has ended. \[INV-QUOTA-2\]
#[test]
fn a_start_whose_reply_was_lost_stays_counted() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let id = submit(&mut world, &context);
    let calls = world.script.calls.len();
    // It reads the record, asks the quota with two calls, and commits.
    world.script.fates = [Fate::Answered, Fate::Answered, Fate::Answered, Fate::ReplyLost].into();
    world.script.intervene = before_call(5, |other| {
        other.pass(1_001);
        tick(other);
    });
    let mut offer = offer(1);
    offer.claim.lease_ttl = ms(1_000);
    let claimed = world.carry(&context, offer).expect("it was claimed");
    assert!(claimed.repeat, "{claimed:?} after {:?}", &world.script.calls[calls..]);
    let usage = settled(&mut world, &context, id);
    assert_eq!((usage.holders.len(), usage.admitted(world.now())), (0, 1), "{usage:?}");
}
