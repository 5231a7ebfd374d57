//! The simulator's own copy of suspensions, signals, tokens and output.

pub mod condition;
pub mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ff_core::condition::{Condition, ResumePolicy, TimeoutBehaviour};
use ff_core::execution::{
    AnyCommand, BindWaitpoint, Execution, Frame, Phase, ResumedBy, Resumption, SignalRecord,
    Waitpoint,
};
use ff_core::id::{AttemptIndex, ExecutionId, SignalId, SuspensionId, WaitpointId};
use ff_core::store::Bytes;
use ff_core::time::TimestampMs;

use crate::model::change::Change;

use secrets::Keys;

/// The simulator's memory of suspensions, signals, tokens and output.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    /// The signals of each execution, in order, including those that retention removed.
    pub signals: BTreeMap<ExecutionId, Vec<Rc<Taken>>>,
    /// The signals that retention removed.
    pub forgotten: BTreeSet<(ExecutionId, SignalId)>,
    /// Signals whose index entries were written without their records, when a function raised an
    /// error in its middle.
    pub partly_written: BTreeSet<(ExecutionId, SignalId)>,
    /// The suspension state of each execution.
    pub waiting: BTreeMap<ExecutionId, WaitingFor>,
    /// The output of each attempt, as it should be.
    pub frames: BTreeMap<ExecutionId, BTreeMap<AttemptIndex, Vec<Frame>>>,
    /// The secrets.
    pub keys: Keys,
}

/// A recorded signal.
#[derive(Debug)]
pub struct Taken {
    /// Its record.
    pub record: SignalRecord,
    /// Its payload.
    pub payload: Option<Bytes>,
    /// When it was committed, by the store's clock.
    pub at: TimestampMs,
    /// How often the store's clock or history had jumped then.
    pub jumps: u64,
}

/// The suspension state of an execution.
#[derive(Clone, Debug, Default)]
pub struct WaitingFor {
    /// Its suspension, while it is suspended.
    pub suspension: Option<Suspension>,
    /// The number of the first signal that counts at each waitpoint.
    pub counts_from: BTreeMap<WaitpointId, u32>,
    /// How its latest suspension was resumed, until the claim that it resumed.
    pub resumed: Option<Resumption>,
    /// The resumption of the present lease, or the one that satisfied its suspension while it was
    /// held.
    pub held: Option<Resumption>,
}

/// A suspension, as its worker requested it.
#[derive(Clone, Debug)]
pub struct Suspension {
    /// Its id.
    pub id: SuspensionId,
    /// The condition that resumes it.
    pub condition: Condition,
    /// Its waitpoints.
    pub bound: Vec<WaitpointId>,
    /// The time of its timeout, and the effect of the timeout.
    pub timeout: Option<(TimestampMs, TimeoutBehaviour)>,
    /// Its resume policy.
    pub policy: ResumePolicy,
    /// The signals that were sent to its waitpoints and can count, in order.
    pub heard: Vec<Rc<Taken>>,
}

impl Suspension {
    /// The suspension that a command requests, with the signals that were buffered for it.
    pub fn of(waits: &Waits, change: &Change<'_>) -> Option<Self> {
        use ff_core::condition::TimeoutAt;
        let Some(AnyCommand::Suspend(command)) = &change.caller.command else { return None };
        let decided_at = change.after.as_ref()?.updated_at;
        let timeout = command.timeout.map(|timeout| {
            let at = match timeout.when {
                TimeoutAt::At(at) => at,
                TimeoutAt::After(after) => decided_at.plus(after),
            };
            (at, timeout.behaviour)
        });
        let open = change.before.as_ref().and_then(|before| before.waiting.as_ref());
        let open = open.iter().flat_map(|waiting| &waiting.open);
        let open: Vec<_> = open.filter(|open| !open.is_expired(decided_at)).collect();
        let bound: Vec<_> = command.waitpoints.iter().map(|asked| bound(asked, &open)).collect();
        let heard = waits.buffered(&change.id, &bound);
        let (id, condition) = (command.suspension_id, command.condition.clone());
        Some(Self { id, condition, bound, timeout, policy: command.policy, heard })
    }

    /// The number after that of the signal that satisfies it: later signals are too late.
    pub fn satisfied_by(&self) -> Option<u32> {
        let records = self.records();
        let satisfies = |end: &usize| condition::is_satisfied(&self.condition, &records[..*end]);
        let end = (1..=records.len()).find(satisfies)?;
        Some(records[end - 1].number + 1)
    }

    /// The records of its signals.
    pub fn records(&self) -> Vec<&SignalRecord> {
        self.heard.iter().map(|taken| &taken.record).collect()
    }
}

/// The waitpoint that a suspension requests, given those that are open.
fn bound(asked: &BindWaitpoint, open: &[&Waitpoint]) -> WaitpointId {
    match asked {
        BindWaitpoint::Open { id } => *id,
        BindWaitpoint::New { id, key } => {
            open.iter().find(|open| open.key == *key).map_or(*id, |open| open.id)
        }
    }
}

impl Waits {
    /// The signals that were sent to these waitpoints and can count, in order.
    pub fn buffered(&self, id: &ExecutionId, bound: &[WaitpointId]) -> Vec<Rc<Taken>> {
        let from = self.waiting.get(id).map(|waiting| &waiting.counts_from);
        let counts = |taken: &&Rc<Taken>| {
            let SignalRecord { waitpoint_id, number, .. } = &taken.record;
            let from = from.and_then(|from| from.get(waitpoint_id)).copied().unwrap_or(0);
            bound.contains(waitpoint_id) && *number >= from
        };
        self.signals.get(id).into_iter().flatten().filter(counts).cloned().collect()
    }

    /// A signal of an execution, unless retention removed it.
    pub fn signal(&self, id: &ExecutionId, signal: SignalId) -> Option<&Rc<Taken>> {
        let taken = self.signals.get(id)?.iter().find(|taken| taken.record.id == signal);
        taken.filter(|_| !self.forgotten.contains(&(*id, signal)))
    }

    /// How many signals an execution received.
    pub fn count(&self, id: &ExecutionId) -> u32 {
        self.signals.get(id).map_or(0, |signals| signals.len() as u32)
    }

    /// Takes over the effect of a step.
    pub fn note(&mut self, change: &Change<'_>, jumps: u64) {
        let id = change.id;
        if change.before.is_none() && change.after.is_some() {
            self.forget(&id);
        }
        let count_before = self.count(&id);
        for (record, payload) in &change.side_writes.signals {
            let (record, payload) = (record.clone(), payload.clone());
            let taken = Rc::new(Taken { record, payload, at: change.now, jumps });
            self.partly_written.remove(&(id, taken.record.id));
            self.signals.entry(id).or_default().push(taken);
        }
        for signal in &change.side_writes.forgotten {
            self.partly_written.remove(&(id, *signal));
            self.forgotten.insert((id, *signal));
        }
        if !change.side_writes.frames.is_empty() {
            let frames = self.frames.entry(id).or_default();
            for (attempt, frame) in &change.side_writes.frames {
                frames.entry(*attempt).or_default().push(frame.clone());
            }
        }
        if let (false, Some(frames)) =
            (change.side_writes.dropped.is_empty(), self.frames.get_mut(&id))
        {
            frames.retain(|attempt, _| !change.side_writes.dropped.contains(attempt));
        }
        if let Some(after) = &change.after
            && (after.waiting.is_some() || self.waiting.contains_key(&id))
            && !change.kept
        {
            self.note_waiting(change, after, count_before);
        }
        if change.after.is_none() {
            self.forget(&id);
        }
    }

    /// Forgets a removed execution.
    fn forget(&mut self, id: &ExecutionId) {
        self.waiting.remove(id);
        self.frames.remove(id);
        for taken in self.signals.remove(id).into_iter().flatten() {
            self.forgotten.remove(&(*id, taken.record.id));
        }
    }

    fn note_waiting(&mut self, change: &Change<'_>, after: &Execution, count_before: u32) {
        let id = change.id;
        let count = self.count(&id);
        let begun = began(change).and_then(|_| Suspension::of(self, change));
        let waiting = self.waiting.entry(id).or_default();
        for waitpoint in after.waiting.iter().flat_map(|waiting| &waiting.open) {
            waiting.counts_from.entry(waitpoint.id).or_insert(count_before);
        }
        let suspended = change.suspended_after().is_some();
        let resumption = after.waiting.as_ref().and_then(|waiting| waiting.resumption.clone());
        if let Some(begun) = begun {
            if suspended {
                (waiting.suspension, waiting.resumed) = (Some(begun), None);
            } else {
                waiting.leave(&begun, begun.satisfied_by().unwrap_or(count));
                waiting.held = resumption;
            }
            return;
        }
        if matches!(after.phase, Phase::Terminal(_)) {
            (waiting.resumed, waiting.held) = (None, None);
        }
        if let Some(suspension) = &mut waiting.suspension {
            let taken = self.signals.get(&id).into_iter().flatten();
            let new = taken.skip(count_before as usize);
            let at_own = |taken: &&Rc<Taken>| suspension.bound.contains(&taken.record.waitpoint_id);
            let new: Vec<_> = new.filter(at_own).cloned().collect();
            suspension.heard.extend(new);
            if suspended {
                if change.suspended_after().is_some_and(|after| after.suspension.timeout.is_none())
                {
                    suspension.timeout = None;
                }
                return;
            }
        }
        if let Some(suspension) = waiting.suspension.take() {
            let by = resumption.as_ref().map(|resumption| resumption.by);
            let until = if by == Some(ResumedBy::Signals) { count } else { count_before };
            waiting.leave(&suspension, until);
            let resumed = matches!(after.phase, Phase::Runnable(_));
            waiting.resumed = resumption.filter(|_| resumed);
        } else if change.new_lease().is_some() {
            waiting.held = waiting.resumed.take();
        } else if let Some(AnyCommand::DelayExecution(delay)) = &change.caller.command
            && change.active_before().is_some()
        {
            let held = waiting.held.take();
            waiting.resumed = held.filter(|_| delay.keeps_resumption);
        }
    }
}

impl WaitingFor {
    /// Sets the number from which signals count after a suspension.
    fn leave(&mut self, suspension: &Suspension, count: u32) {
        if suspension.policy.consume_signals {
            for waitpoint in &suspension.bound {
                self.counts_from.insert(*waitpoint, count);
            }
        }
    }
}

/// The suspension that a step began, or found satisfied already.
pub fn began(change: &Change<'_>) -> Option<SuspensionId> {
    let Some(AnyCommand::Suspend(command)) = &change.caller.command else { return None };
    let id = command.suspension_id;
    let latest = |record: Option<&Execution>| {
        let latest = record?.waiting.as_ref()?.latest.as_ref()?;
        Some(latest.id)
    };
    let (before, after) = (latest(change.before.as_deref()), latest(change.after.as_deref()));
    (!change.kept && before != Some(id) && after == Some(id)).then_some(id)
}
