//! \[INV-FRAME-1\] The output of an attempt has every acknowledged frame, once and in order; a
//! worker that has lost its lease adds nothing to it.

use std::collections::BTreeMap;

use ff_core::error::EngineError;
use ff_core::execution::{
    AnyCommand, AnyOutcome, AppendFrame, Appended, Execution, Fence, Frame, LeaseFate,
};
use ff_core::id::{AttemptIndex, ExecutionId};
use ff_core::op::{Committed, FramePage};
use ff_core::store::codec::{FORMAT, decode};
use ff_core::store::{Cursor, Reply, ReplyBody, Request, StreamEntry, StreamName, StreamPage};

use crate::model::Model;
use crate::model::caller::Caller;
use crate::model::change::Change;
use crate::model::identity::is_certain;
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure, when_watched};

const TAG: &str = "INV-FRAME-1";

/// The owner of an attempt appends a frame, after the previous one.
pub fn check(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    let id = change.id;
    for (attempt, frame) in &change.side_writes.frames {
        let sent = match &change.caller.command {
            Some(AnyCommand::AppendFrame(sent)) => sent,
            // A user's handler appends through the SDK, and the simulator does not know its frames.
            None if change.caller.is_unknown() => continue,
            _ => {
                ensure!(false, TAG, "a frame of {id} was appended without a command for it");
                continue;
            }
        };
        ensure!(sent.frame == *frame, TAG, "a frame of {id} was appended as {frame:?}");
        let holds = change.active_before().is_some_and(|active| {
            let held = Fence {
                lease_id: active.lease.id,
                lease_epoch: active.lease.epoch,
                attempt_id: active.attempt.id,
            };
            sent.fence.complete() == Some(held)
                && active.fate == LeaseFate::Held
                && change.now < active.lease.expires_at
                && active.attempt.index == *attempt
        });
        ensure!(holds, TAG, "frame {} of {id} was appended by a stale owner", frame.sequence);
        let last = known(model, &id, *attempt).len() as u64;
        let next = frame.sequence == last + 1;
        ensure!(next, TAG, "frame {} of {id} follows frame {last}", frame.sequence);
        let counted = change.active_after().map(|active| active.attempt.frames);
        ensure!(counted == Some(frame.sequence), TAG, "{id} counts {counted:?} frames");
    }
    let begun = change.before.as_ref().is_some_and(|before| before.continuation.is_some());
    let over = begun || change.after.is_none() && change.is_removable();
    let early = !change.side_writes.dropped.is_empty() && !over;
    ensure!(!early, TAG, "output of {id} was removed before its retention was over");
    Ok(())
}

/// The number of the first frame that is kept, from 0, under the caps of the run.
fn first_kept(model: &Model, frames: &[Frame]) -> usize {
    frames.len().saturating_sub(model.stream_caps.frames)
}

fn known<'m>(model: &'m Model, id: &ExecutionId, attempt: AttemptIndex) -> &'m [Frame] {
    let frames = model.waits.frames.get(id).and_then(|attempts| attempts.get(&attempt));
    frames.map(Vec::as_slice).unwrap_or_default()
}

/// An acknowledged frame is there, and a refused frame is not. `seen`: the record on which the
/// answer was decided.
pub fn check_answer(
    model: &Model,
    caller: &Caller,
    seen: Option<&Execution>,
    result: &Result<Committed<AnyOutcome>, EngineError>,
) -> Result<(), Broken> {
    let Some(AnyCommand::AppendFrame(sent)) = &caller.command else { return Ok(()) };
    when_watched!(model, Frame);
    let (id, sequence) = (sent.execution_id, sent.frame.sequence);
    match result {
        Ok(committed) => {
            let right = committed.outcome == AnyOutcome::AppendFrame(Appended { sequence });
            ensure!(right, TAG, "frame {sequence} of {id} was answered {:?}", committed.outcome);
            // Retention may have removed it since.
            let kept = model.records.get(&id).is_some_and(|record| record.continuation.is_none());
            let all = model.waits.frames.get(&id);
            let has = |found: &dyn Fn(&Frame) -> bool| {
                all.is_some_and(|all| all.values().flatten().any(found))
            };
            let there = has(&|frame| *frame == sent.frame);
            // A failover lost it, and the next frame of the attempt got its sequence.
            let replaced =
                committed.repeat && model.jumps > 0 && has(&|frame| frame.sequence == sequence);
            ensure!(
                !kept || there || replaced,
                TAG,
                "frame {sequence} of {id} was acknowledged and does not exist"
            );
        }
        Err(error) if is_certain(error) => {
            let there = seen.is_some_and(|seen| is_there(seen, sent));
            ensure!(!there, TAG, "frame {sequence} of {id} was refused ({error}) but exists");
        }
        Err(_) => {}
    }
    Ok(())
}

/// Whether a record says that its latest owner has appended a frame.
fn is_there(record: &Execution, sent: &AppendFrame) -> bool {
    let Some(fence) = sent.fence.complete() else { return false };
    let attempt = record.attempt();
    (1..=attempt.map_or(0, |attempt| attempt.frames)).contains(&sent.frame.sequence)
        && record.last_fence == Some(fence)
        && attempt.is_some_and(|attempt| attempt.id == fence.attempt_id)
}

/// The position of the reader in the output of each attempt: the generation and the last sequence.
pub type Watched = BTreeMap<(ExecutionId, AttemptIndex), (u32, u64)>;

/// A page of output continues at its reader's position, or reports a gap.
pub fn check_page(
    model: &Model,
    watched: &mut Watched,
    id: ExecutionId,
    attempt: AttemptIndex,
    from: Cursor,
    page: &FramePage,
) -> Result<(), Broken> {
    let generation = model.generation(&id);
    let position = watched.remove(&(id, attempt)).filter(|(read_in, _)| *read_in == generation);
    let afresh = page.gap || from == Cursor::Start;
    let known = known(model, &id, attempt);
    let first_kept = first_kept(model, known) as u64 + 1;
    let kept = model.records.get(&id).is_some_and(|record| record.continuation.is_none());
    // Before the next frame; unknown after a page that could not be checked.
    let mut last = if afresh { Some(0) } else { position.map(|(_, last)| last) };
    for (index, stored) in page.frames.iter().enumerate() {
        let frame = &stored.frame;
        let right = match last {
            Some(_) if afresh && index == 0 => !kept || frame.sequence <= first_kept,
            Some(last) => frame.sequence == last + 1,
            None => true,
        };
        let same = !kept || known.get(frame.sequence as usize - 1) == Some(frame);
        ensure!(
            !model.watched.contains(Invariant::Frame) || (right && same),
            TAG,
            "a reader of attempt {attempt} of {id} got {frame:?} after frame {last:?}"
        );
        last = Some(frame.sequence);
    }
    watched.extend(last.map(|last| ((id, attempt), (generation, last))));
    Ok(())
}

/// The first entries of an attempt's output in the store.
pub fn stored(
    id: &ExecutionId,
    attempt: AttemptIndex,
    limit: u32,
    ask: &mut impl FnMut(Request) -> Result<Reply, Broken>,
) -> Result<Vec<StreamEntry>, Broken> {
    let stream = StreamName::Frames { execution: id.uuid(), attempt };
    let page = StreamPage { partition: id.partition(), stream, from: Cursor::Start, limit };
    match ask(Request::Stream(page))?.body {
        ReplyBody::Stream(page) => Ok(page.entries),
        _ => Ok(Vec::new()),
    }
}

/// The store holds the output that was appended to an execution's attempts.
pub fn check_stored(
    model: &Model,
    id: &ExecutionId,
    mut ask: impl FnMut(Request) -> Result<Reply, Broken>,
) -> Result<(), Broken> {
    when_watched!(model, Frame);
    for (attempt, frames) in model.waits.frames.get(id).into_iter().flatten() {
        let entries = stored(id, *attempt, 1_000, &mut ask)?;
        let decoded: Result<Vec<Frame>, _> =
            entries.iter().map(|entry| decode(&entry.entry, FORMAT)).collect();
        let expected = &frames[first_kept(model, frames)..];
        let same = decoded.as_ref().is_ok_and(|decoded| decoded == expected);
        ensure!(same, TAG, "attempt {attempt} of {id} has the output {decoded:?}");
    }
    Ok(())
}
