//! \[LISTS\] Lists show every record once, page by page, and nothing else: by partition, and newest
//! first.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use ff_core::entropy::Entropy;
use ff_core::execution::ExecutionSnapshot;
use ff_core::id::{ExecutionId, Namespace};
use ff_core::op::{
    Event, ListByTime, ListExecutions, ListFilter, ListOrder, ListPage, ListPosition, Operation,
    OperationContext, Patience, Step,
};
use ff_core::store::codec::Codec;
use ff_core::store::{Reply, ReplyBody, Request};
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
        check_pages(model, namespace, |from| {
            let context = OperationContext::new(DurationMs::from_secs(1), Codec::default());
            let (patience, filter) =
                (Patience::new(context, Entropy::from_u64(0)), ListFilter::default());
            let (partitions, namespace) = (&model.partitions, namespace.clone());
            let list = ListExecutions::new(partitions, namespace, filter, from, PAGE, patience);
            read(list, now, &mut store)
        })?;
        let newest_first = check_pages(model, namespace, |from| {
            let (partitions, filter) = (&model.partitions, ListFilter::default());
            let (order, namespace) = (ListOrder::NewestFirst, namespace.clone());
            let codec = Codec::default();
            let list = ListByTime::new(partitions, namespace, filter, order, from, PAGE, codec);
            read_by_time(list, now, &mut store)
        })?;
        ensure!(
            newest_first.is_sorted_by_key(|created| Reverse(*created)),
            TAG,
            "the newest executions are not first: {newest_first:?}"
        );
    }
    Ok(())
}

/// The pages show each record of the namespace as it is, once. Returns the times of creation.
fn check_pages(
    model: &Model,
    namespace: &Namespace,
    mut page: impl FnMut(Option<ListPosition>) -> Result<ListPage, Broken>,
) -> Result<Vec<TimestampMs>, Broken> {
    let (mut shown, mut created, mut from) = (BTreeSet::new(), Vec::new(), None);
    loop {
        let page = page(from)?;
        ensure!(page.unreadable == 0, TAG, "{} records are unreadable", page.unreadable);
        for seen in &page.executions {
            let new = shown.insert(seen.execution_id);
            ensure!(new, TAG, "{} is shown twice", seen.execution_id);
            check_shown(model, seen)?;
            created.push(seen.created_at);
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
    Ok(created)
}

fn read_by_time(
    mut list: ListByTime,
    now: TimestampMs,
    store: &mut impl FnMut(Request) -> Result<Reply, Broken>,
) -> Result<ListPage, Broken> {
    loop {
        let wanted = list.wanted();
        if wanted.is_empty() {
            return Ok(list.page());
        }
        for scan in wanted {
            let partition = scan.partition;
            match store(Request::Scan(scan))?.body {
                ReplyBody::Scan(scanned) => list.scanned(partition, &scanned, now),
                body => {
                    let detail = format!("the reply to a scan is {body:?}");
                    return Err(Broken { tag: TAG, detail });
                }
            }
        }
    }
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
