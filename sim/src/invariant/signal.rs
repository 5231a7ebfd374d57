//! \[INV-SIGNAL-1\] An acknowledged signal has its record, once, and keeps it and its payload until
//! retention removes both; numbers have no gaps, and no signal outlives its execution.

use ff_core::error::EngineError;
use ff_core::execution::{
    AnyCommand, AnyOutcome, Execution, Phase, ResumedBy, Resumption, SignalEffect, SignalOutcome,
    SignalRecord,
};
use ff_core::id::ExecutionId;
use ff_core::op::{Committed, ReceivedSignal};
use ff_core::store::bounds::MAX_PAGE_BYTES;
use ff_core::store::codec::{FORMAT, decode};
use ff_core::store::{
    Fetched, IndexName, Read, RecordKey, Reply, ReplyBody, Request, Scan, ScanEntry, ScanOrder,
    ValueKey,
};
use ff_core::time::TimestampMs;

use crate::invariant::frame;
use crate::model::Model;
use crate::model::caller::Caller;
use crate::model::change::Change;
use crate::model::identity::is_certain;
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure, when_watched};

const TAG: &str = "INV-SIGNAL-1";

/// A signal is recorded once, by the call that sent it, under the next number.
pub fn check(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    let signals = &change.side_writes.signals;
    let id = change.id;
    for (signal, payload) in signals {
        let sent = match &change.caller.command {
            Some(AnyCommand::DeliverSignal(sent)) => sent,
            // A user signals through the SDK, and the simulator does not know the signal.
            None if change.caller.is_unknown() => continue,
            _ => {
                ensure!(false, TAG, "{signal:?} of {id} was recorded without a command for it");
                continue;
            }
        };
        let same = signal.id == sent.signal_id
            && signal.waitpoint_id == sent.waitpoint_id
            && signal.name == sent.name
            && signal.source == sent.source
            && signal.creator == sent.creator
            && *payload == sent.payload;
        ensure!(same, TAG, "{sent:?} was recorded as {signal:?}");
        check_in_time(change, signal)?;
        let known = model.waits.signal(&id, signal.id);
        ensure!(known.is_none(), TAG, "{signal:?} of {id} was recorded before: {known:?}");
        let next = model.waits.count(&id);
        ensure!(signal.number == next, TAG, "{signal:?} of {id} does not have the number {next}");
        let resumed = change.suspended_before().is_some()
            && resumption(change.after.as_deref())
                .is_some_and(|found| found.by == ResumedBy::Signals)
            && change.suspended_after().is_none();
        let effect = (signal.effect == SignalEffect::Resumed) == resumed;
        ensure!(effect, TAG, "{signal:?} of {id} has resumed it: {resumed}");
    }
    ensure!(signals.len() <= 1, TAG, "{id} got {} signals in one step", signals.len());
    if let Some(after) = &change.after {
        let taken = after.waiting.as_ref().map_or(0, |waiting| waiting.signals);
        let expected = model.waits.count(&id) + signals.len() as u32;
        let expected = if change.before.is_some() { expected } else { 0 };
        ensure!(taken == expected, TAG, "{id} counts {taken} signals of {expected}");
        check_counts(model, change, after)?;
    }
    for signal in &change.side_writes.forgotten {
        let over = change.before.as_ref().is_some_and(|before| before.continuation.is_some());
        ensure!(over, TAG, "signal {signal} of {id} was removed before its retention was over");
    }
    Ok(())
}

/// A signal is recorded before the deadline of its execution and the expiry of its waitpoint.
fn check_in_time(change: &Change<'_>, signal: &SignalRecord) -> Result<(), Broken> {
    let Some(before) = &change.before else { return Ok(()) };
    let open = before.waiting.iter().flat_map(|waiting| &waiting.open);
    let own = open.filter(|waitpoint| waitpoint.id == signal.waitpoint_id);
    let ends = own.filter_map(|waitpoint| waitpoint.expires_at()).chain(before.deadline).min();
    let (id, now) = (change.id, change.now);
    ensure!(
        ends.is_none_or(|ends| now < ends),
        TAG,
        "{signal:?} of {id} was recorded at {now}, but its waitpoint took none after {ends:?}"
    );
    Ok(())
}

fn resumption(record: Option<&Execution>) -> Option<&Resumption> {
    record?.waiting.as_ref()?.resumption.as_ref()
}

/// Each waitpoint counts its signals.
fn check_counts(model: &Model, change: &Change<'_>, after: &Execution) -> Result<(), Broken> {
    if change.side_writes.signals.is_empty() {
        return Ok(());
    }
    let known = model.waits.signals.get(&change.id).into_iter().flatten();
    let new = change.side_writes.signals.iter().map(|(signal, _)| signal.waitpoint_id);
    let all: Vec<_> = known.map(|taken| taken.record.waitpoint_id).chain(new).collect();
    for waitpoint in after.waiting.iter().flat_map(|waiting| &waiting.open) {
        let had = all.iter().filter(|id| **id == waitpoint.id).count();
        ensure!(
            waitpoint.signals as usize == had,
            TAG,
            "{waitpoint:?} of {} had {had} signals",
            change.id
        );
    }
    Ok(())
}

/// The sender of a signal receives the effect that it had the first time. `at`, `jumps`: the
/// store's clock in the latest reply, and how often it had jumped then.
pub fn check_answer(
    model: &Model,
    caller: &Caller,
    at: TimestampMs,
    jumps: u64,
    result: &Result<Committed<AnyOutcome>, EngineError>,
) -> Result<(), Broken> {
    let Some(AnyCommand::DeliverSignal(sent)) = &caller.command else { return Ok(()) };
    when_watched!(model, Signal);
    let taken = model.waits.signals.get(&sent.execution_id).into_iter().flatten();
    let taken = taken.into_iter().find(|taken| taken.record.id == sent.signal_id);
    let signal = sent.signal_id;
    match result {
        Ok(committed) => {
            let AnyOutcome::DeliverSignal(outcome) = &committed.outcome else { return Ok(()) };
            let Some(taken) = taken else {
                let gone = !model.records.contains_key(&sent.execution_id);
                ensure!(gone, TAG, "signal {signal} was answered {outcome:?} and does not exist");
                return Ok(());
            };
            let SignalRecord { creator, effect, .. } = taken.record;
            let right = match outcome {
                SignalOutcome::Accepted { effect: told, .. } => {
                    creator == sent.creator && *told == effect && effect != SignalEffect::Resumed
                }
                SignalOutcome::TriggeredResume { .. } => {
                    creator == sent.creator && effect == SignalEffect::Resumed
                }
                SignalOutcome::Duplicate { .. } => creator != sent.creator,
            };
            let right = right && outcome.signal_id() == signal;
            ensure!(right, TAG, "{sent:?} was answered {outcome:?}, but was {taken:?}");
        }
        Err(error) => {
            use ff_core::error::Rejection;
            // Retention removes it, and leaves no trace.
            let kept = model.waits.signal(&sent.execution_id, signal).is_some();
            let taken = taken.filter(|_| kept);
            let first =
                taken.filter(|first| first.at < at && first.jumps == jumps && model.jumps == jumps);
            let contends = matches!(error, EngineError::Contention { .. });
            // The error for a bad token reveals nothing about the signal.
            let refused = is_certain(error)
                && !matches!(error, EngineError::Validation { .. })
                && error.rejection() != Some(&Rejection::InvalidToken);
            ensure!(
                first.is_none() || !(refused || contends),
                TAG,
                "signal {signal} was refused ({error}) but was recorded before: {first:?}"
            );
        }
    }
    Ok(())
}

/// A job reads exactly the signals that have resumed its execution, with their payloads.
pub fn check_read(
    model: &Model,
    id: &ExecutionId,
    resumption: &Resumption,
    read: &[ReceivedSignal],
) -> Result<(), Broken> {
    let kept = model.records.get(id).is_some_and(|record| record.continuation.is_none());
    if !kept || !model.watched.contains(Invariant::Signal) {
        return Ok(());
    }
    let known = model.waits.signals.get(id).into_iter().flatten();
    let wanted = known.filter(|taken| resumption.signals.contains(&taken.record.id));
    let expected: Vec<_> = wanted
        .map(|taken| (Some(taken.record.id), taken.record.name.as_str(), taken.payload.as_ref()))
        .collect();
    let found: Vec<_> = read
        .iter()
        .filter(|signal| signal.signal_id.is_some())
        .map(|signal| (signal.signal_id, signal.name.as_str(), signal.payload.as_ref()))
        .collect();
    ensure!(found == expected, TAG, "{id} read {found:?} instead of {expected:?}");
    let timed_out = matches!(resumption.by, ResumedBy::Timeout { signal: true, .. });
    let timeouts = read.len() - found.len();
    ensure!(timeouts == usize::from(timed_out), TAG, "{id} read {timeouts} signals of its timeout");
    Ok(())
}

/// The first entries of an execution's signals in the store.
fn stored(
    id: &ExecutionId,
    limit: u32,
    ask: &mut impl FnMut(Request) -> Result<Reply, Broken>,
) -> Result<Vec<ScanEntry>, Broken> {
    let index = IndexName::Signals { execution: id.uuid() };
    let bytes = MAX_PAGE_BYTES;
    let scan = Scan {
        partition: id.partition(),
        index,
        order: ScanOrder::Ascending,
        after: None,
        limit,
        bytes,
    };
    match ask(Request::Scan(scan))?.body {
        ReplyBody::Scan(page) => Ok(page.entries),
        _ => Ok(Vec::new()),
    }
}

/// The store holds the recorded signals of an execution, and no others.
pub fn check_stored(
    model: &Model,
    id: &ExecutionId,
    mut ask: impl FnMut(Request) -> Result<Reply, Broken>,
) -> Result<(), Broken> {
    when_watched!(model, Signal);
    let entries = stored(id, 1_000, &mut ask)?;
    let (found, alone): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.record.is_some());
    let known = model.waits.signals.get(id).into_iter().flatten();
    let kept: Vec<_> =
        known.filter(|taken| !model.waits.forgotten.contains(&(*id, taken.record.id))).collect();
    let count = kept.len();
    ensure!(found.len() == count, TAG, "{id} has {} signals in the store of {count}", found.len());
    for entry in alone {
        let signal = ff_core::id::SignalId::from_uuid(entry.position.member);
        let raised = model.waits.partly_written.contains(&(*id, signal));
        ensure!(raised, TAG, "{id} has an entry of signal {signal} without its record");
    }
    for (entry, taken) in found.iter().zip(&kept) {
        let record = entry.record.as_ref().map(|stored| decode(&stored.bytes, FORMAT));
        let same = matches!(&record, Some(Ok(record)) if taken.record == *record);
        ensure!(same, TAG, "{id} has {record:?} instead of {:?}", taken.record);
    }
    let value = |taken: &&std::rc::Rc<crate::model::waits::Taken>| ValueKey::Signal {
        execution: id.uuid(),
        signal: taken.record.id.uuid(),
    };
    let values = kept.iter().map(value).collect();
    let read = Read { partition: id.partition(), records: Vec::new(), values };
    let ReplyBody::Read(read) = ask(Request::Read(read))?.body else { return Ok(()) };
    for (taken, value) in kept.iter().zip(&read.values) {
        let same = match (value, &taken.payload) {
            (Fetched::Value(value), Some(payload)) => value == payload,
            (Fetched::Absent, None) | (Fetched::Deferred, Some(_)) => true,
            _ => false,
        };
        ensure!(same, TAG, "the payload of {:?} of {id} is {value:?}", taken.record);
    }
    Ok(())
}

/// No data remain of an execution whose record was removed.
pub fn check_gone(
    model: &Model,
    record: &Execution,
    mut ask: impl FnMut(Request) -> Result<Reply, Broken>,
) -> Result<(), Broken> {
    let id = record.id;
    when_watched!(model, Signal);
    let (partition, execution) = (id.partition(), id.uuid());
    let known = model.waits.signals.get(&id).into_iter().flatten();
    let signals: Vec<_> = known.map(|taken| taken.record.id.uuid()).collect();
    if !signals.is_empty() {
        let record =
            |signal: &ff_core::store::Member| RecordKey::Signal { execution, signal: *signal };
        let value =
            |signal: &ff_core::store::Member| ValueKey::Signal { execution, signal: *signal };
        let records = signals.iter().map(record).collect();
        let values = signals.iter().map(value).collect();
        let reply = ask(Request::Read(Read { partition, records, values }))?;
        if let ReplyBody::Read(read) = reply.body {
            let left = read.records.iter().flatten().count();
            let values = read.values.iter().filter(|value| **value != Fetched::Absent).count();
            ensure!(left + values == 0, TAG, "{left} signals, {values} payloads of {id} are left");
        }
    }
    let left = record.waiting.is_some() && !stored(&id, 1, &mut ask)?.is_empty();
    ensure!(!left, TAG, "entries of signals of {id} are left");
    for attempt in 0..if matches!(record.phase, Phase::Terminal(_)) { record.framed } else { 0 } {
        let attempt = ff_core::id::AttemptIndex(attempt);
        let left = !frame::stored(&id, attempt, 1, &mut ask)?.is_empty();
        ensure!(!left, TAG, "output of attempt {attempt} of {id} is left");
    }
    Ok(())
}
