//! \[LISTS\] Lists show every record once, page by page, and nothing else.

use std::collections::BTreeSet;

use ff_core::entropy::Entropy;
use ff_core::execution::ExecutionSnapshot;
use ff_core::id::{ExecutionId, Namespace};
use ff_core::op::{
    Event, ListExecutions, ListFilter, ListPage, Operation, OperationContext, Patience, Step,
};
use ff_core::store::codec::Codec;
use ff_core::store::{Reply, Request};
use ff_core::time::{DurationMs, HostTime, TimestampMs};

use crate::model::Model;
use crate::report::{Broken, ensure, when_watched};

const TAG: &str = "LISTS";

/// Few enough that lists have several pages.
const PAGE: usize = 3;

/// A list over everything shows each record as it is, once.
pub fn check(
    model: &Model,
    now: TimestampMs,
    mut store: impl FnMut(Request) -> Result<Reply, Broken>,
) -> Result<(), Broken> {
    let namespaces: BTreeSet<&Namespace> = model.records.values().map(|r| &r.namespace).collect();
    when_watched!(model, Lists);
    for namespace in namespaces {
        let mut shown = BTreeSet::new();
        let mut from = None;
        loop {
            let context = OperationContext::new(DurationMs::from_secs(1), Codec::default());
            let (patience, filter) =
                (Patience::new(context, Entropy::from_u64(0)), ListFilter::default());
            let (partitions, namespace) = (&model.partitions, namespace.clone());
            let list = ListExecutions::new(partitions, namespace, filter, from, PAGE, patience);
            let page = read(list, now, &mut store)?;
            ensure!(page.unreadable == 0, TAG, "{} records are unreadable", page.unreadable);
            for seen in &page.executions {
                let new = shown.insert(seen.execution_id);
                ensure!(new, TAG, "{} is shown twice", seen.execution_id);
                check_shown(model, seen)?;
            }
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        let all = model.records.values().filter(|record| record.namespace == *namespace);
        let missing: Vec<ExecutionId> =
            all.map(|record| record.id).filter(|id| !shown.contains(id)).collect();
        ensure!(missing.is_empty(), TAG, "a list does not show {missing:?}");
    }
    Ok(())
}

fn read(
    mut list: ListExecutions,
    now: TimestampMs,
    store: &mut impl FnMut(Request) -> Result<Reply, Broken>,
) -> Result<ListPage, Broken> {
    let host = HostTime { local: TimestampMs::ZERO, store: now };
    let mut step = list.resume(Event::Start, host);
    loop {
        step = match step {
            Step::Send(request) => list.resume(Event::Reply(store(request)?), host),
            Step::Wait(_) => list.resume(Event::Wake, host),
            Step::Done(Ok(page)) => return Ok(page),
            Step::Done(Err(error)) => {
                let detail = format!("a list could not be read: {error}");
                return Err(Broken { tag: TAG, detail });
            }
        }
    }
}

fn check_shown(model: &Model, seen: &ExecutionSnapshot) -> Result<(), Broken> {
    let record = model.records.get(&seen.execution_id);
    let same = record.is_some_and(|record| {
        seen.lane == record.lane
            && seen.priority == record.priority
            && seen.counts == record.counts
            && seen.lease_epoch == record.epoch
            && seen.attempts_total == record.attempts_total
            && seen.updated_at == record.updated_at
    });
    ensure!(same, TAG, "a list shows {seen:?}, but the record is {record:?}");
    Ok(())
}
