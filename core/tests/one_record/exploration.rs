//! A systematic walk through everything that can happen to one execution: from nothing, every
//! command with every kind of arguments and every passing of a due time, until no new kind of
//! record turns up.
//!
//! Records count as of one kind when the rules cannot tell them apart: the same situation, next
//! attempt, grant, blocks, counters at their limits and next due thing, or the same memory of
//! earlier calls. So the walk ends, and what it observed is the behaviour of the rules, found by
//! real commands and never by hand.

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::sync::LazyLock;

use ff_core::error::{Rejection, RejectionKind};
use ff_core::execution::{
    AnyCommand, AnyOutcome, BlockKind, Blocks, Decide, DueKind, EventKind, Grant, NextAttempt,
    OperatorOutcome, Phase, Resumes, Situation, SuspendedHow, Suspension, Waiting, due_times,
    next_due, situation, slot_of,
};
use ff_core::time::TimestampMs;

use super::arguments::arguments;
use crate::common::suspending::decide;
use crate::common::{Answer, Bench, START, at};

/// A situation, or no execution at all.
pub type Place = Option<Situation>;

/// The effect of a command or of the passing of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The record was written, or removed.
    Becomes(Place),
    /// The record stays; only its index entries are written again.
    Kept,
    /// The same command had been applied before.
    Repeat,
    /// A rule refused it.
    Refused(RejectionKind),
}

/// One thing that was seen to happen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Observation {
    pub from: Place,
    /// The command's name, or [`TIME`].
    pub command: &'static str,
    pub effect: Effect,
    pub events: Vec<EventKind>,
    /// The due timers that `on_due` applied.
    pub due: Vec<DueKind>,
}

/// Stands for a command where only time passes.
pub const TIME: &str = "time";

/// Everything that was observed, without repetitions.
pub static OBSERVED: LazyLock<BTreeSet<Observation>> = LazyLock::new(explore);

/// More kinds of records than this mean that the kinds no longer bound the walk.
const MOST_KINDS: usize = 20_000;

/// The columns of tables: no execution, and every situation.
pub fn places() -> impl Iterator<Item = Place> {
    std::iter::once(None).chain(Situation::ALL.map(Some))
}

pub fn place_name(place: Place) -> &'static str {
    place.map_or("absent", Situation::as_str)
}

/// The names of all commands, as the rules are called.
pub fn command_names() -> Vec<String> {
    let snake = |name: &&str| {
        let mut text = String::new();
        for (position, letter) in name.char_indices() {
            if letter.is_ascii_uppercase() && position > 0 {
                text.push('_');
            }
            text.push(letter.to_ascii_lowercase());
        }
        text
    };
    AnyCommand::NAMES.iter().map(snake).collect()
}

#[derive(Clone)]
struct Node {
    bench: Bench,
    now: TimestampMs,
}

impl Node {
    fn place(&self) -> Place {
        self.bench.record.as_ref().map(|record| situation(record, self.now))
    }
}

fn explore() -> BTreeSet<Observation> {
    let mut observed = BTreeSet::new();
    let (mut kinds, mut memories, mut waits) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut limited = BTreeSet::new();
    let mut pending = VecDeque::from([Node { bench: Bench::default(), now: at(START) }]);
    let mut fresh = 1_000;
    while let Some(node) = pending.pop_front() {
        let (new_kind, new_memory) = (kinds.insert(kind(&node)), memories.insert(memory(&node)));
        let new_limits = limited.insert(limits(&node));
        if !waits.insert(waiting(&node)) && !new_kind && !new_memory && !new_limits {
            continue;
        }
        assert!(kinds.len() < MOST_KINDS, "the walk does not end");
        fresh += 1;
        for command in arguments(&node.bench, node.now, fresh) {
            pending.extend(try_command(&node, &command, &mut observed));
        }
        pending.extend(let_time_pass(&node, &mut observed));
    }
    observed
}

/// Tries a command and, if it was applied, its repeat.
fn try_command(
    node: &Node,
    command: &AnyCommand,
    observed: &mut BTreeSet<Observation>,
) -> Option<Node> {
    let mut next = Node { bench: node.bench.clone(), now: node.now };
    next.bench.history.clear();
    // What the command lacks before anything was read for it.
    if let Err(rejection @ Rejection::Unread { .. }) =
        decide(command, node.bench.record.as_ref(), node.now)
    {
        let (from, effect) = (node.place(), Effect::Refused(rejection.kind()));
        let (events, due) = (Vec::new(), Vec::new());
        observed.insert(Observation { from, command: command.name(), effect, events, due });
    }
    let answer = next.bench.apply(command.clone(), node.now.get());
    let events: Vec<EventKind> = next.bench.history.iter().map(|event| event.kind()).collect();
    let mut due = Vec::new();
    let effect = match answer {
        Ok(Answer::Applied(AnyOutcome::OnDue(outcome))) => {
            due = outcome.applied;
            Effect::Becomes(next.place())
        }
        Ok(Answer::Applied(_)) => Effect::Becomes(next.place()),
        Ok(Answer::Kept(_)) => Effect::Kept,
        Ok(Answer::Repeated(_)) => Effect::Repeat,
        Err(rejection) => Effect::Refused(rejection.kind()),
    };
    observed.insert(Observation {
        from: node.place(),
        command: command.name(),
        effect,
        events,
        due,
    });
    if !matches!(effect, Effect::Becomes(_)) {
        return None;
    }
    if let Ok(Answer::Repeated(_)) = next.bench.clone().apply(command.clone(), node.now.get()) {
        let (from, effect) = (next.place(), Effect::Repeat);
        let (events, due) = (Vec::new(), Vec::new());
        observed.insert(Observation { from, command: command.name(), effect, events, due });
    }
    Some(next)
}

/// The same record at each of its due times that is still to come.
fn let_time_pass(node: &Node, observed: &mut BTreeSet<Observation>) -> Vec<Node> {
    let Some(record) = &node.bench.record else { return Vec::new() };
    let times: BTreeSet<TimestampMs> =
        due_times(record).map(|(at, _)| at).filter(|at| *at > node.now).collect();
    let mut later = Vec::new();
    for now in times {
        let next = Node { bench: node.bench.clone(), now };
        observed.insert(Observation {
            from: node.place(),
            command: TIME,
            effect: Effect::Becomes(next.place()),
            events: Vec::new(),
            due: Vec::new(),
        });
        later.push(next);
    }
    later
}

/// The differences that the rules can see, as a text.
fn kind(node: &Node) -> String {
    let Some(record) = &node.bench.record else { return "absent".to_owned() };
    let now = node.now;
    let policy = &record.policy;
    let phase = match &record.phase {
        Phase::Runnable(runnable) => {
            let delay = runnable.not_before.map(|delay| (delay.reason, now < delay.until));
            let (grant, blocks) = (grant_kind(record.grant(), now), block_kinds(&runnable.blocks));
            format!("{} {delay:?} {grant} {blocks}", next_kind(&runnable.next))
        }
        Phase::Active(active) => {
            let (fate, expired) = (active.fate, active.is_expired(now));
            let (grant, blocks) = (grant_kind(record.grant(), now), block_kinds(&active.blocks));
            format!("{:?} {fate:?} {expired} {grant} {blocks}", active.lease.how)
        }
        Phase::Suspended(suspended) => suspension_kind(&suspended.suspension, now),
        Phase::Terminal(terminal) => {
            let category = terminal.outcome.failure().map(|failure| &failure.category);
            format!("{:?} {category:?} {}", terminal.outcome.word(), terminal.attempt.is_some())
        }
    };
    let counts = (
        record.counts.retries >= policy.retry.max_retries,
        record.counts.reclaims >= policy.max_reclaim_count,
        record.counts.replays >= policy.max_replay_count,
    );
    let due = next_due(record).map(|(at, kind)| (kind, at <= now));
    let deadline = record.deadline.map(|deadline| now < deadline);
    let submission = (record.content.is_some(), record.requires.is_empty());
    format!("{phase} {counts:?} {due:?} {deadline:?} {submission:?}")
}

/// The calls that the record remembers, in each situation.
fn memory(node: &Node) -> String {
    let Some(record) = &node.bench.record else { return "absent".to_owned() };
    let release = record.last_release.as_ref().map(|release| {
        let latest = Some(release.fence) == record.last_fence;
        (mem::discriminant(&release.outcome), latest)
    });
    let cancelled = |(_, outcome): &(_, OperatorOutcome)| *outcome == OperatorOutcome::Cancelled;
    let requests = (record.requests.iter().any(cancelled), record.requests.is_empty());
    format!("{:?} {release:?} {requests:?}", node.place())
}

/// The slot that its limits have given it and the quota that it waits for, in each situation.
fn limits(node: &Node) -> String {
    let record = node.bench.record.as_ref();
    let limits = record.and_then(|record| {
        let limited = record.limits.as_ref()?;
        let blocks = record.blocks().map(block_kinds);
        Some((slot_of(record).is_some(), limited.waits_for.is_some(), blocks))
    });
    format!("{:?} {limits:?}", node.place())
}

/// Its present and past waits, in each situation: its waitpoints, its suspension, how it
/// was resumed, its output, and how far retention is.
fn waiting(node: &Node) -> String {
    let Some(record) = &node.bench.record else { return "absent".to_owned() };
    let waitpoints = record.waiting.as_deref().map(|waiting| waitpoint_kinds(waiting, node.now));
    let resumption = record.waiting.as_ref().and_then(|waiting| waiting.resumption.as_ref());
    let resumption = resumption.map(|by| (mem::discriminant(&by.by), by.signals.is_empty()));
    let suspension = record.suspension().map(|now_on| suspension_kind(now_on, node.now));
    let frames = (record.attempt().is_some_and(|attempt| attempt.frames > 0), record.framed > 0);
    let going = record.continuation.as_ref().map(mem::discriminant);
    let going = (going, next_due(record).is_some_and(|(at, _)| at <= node.now));
    format!("{:?} {waitpoints:?} {resumption:?} {suspension:?} {frames:?} {going:?}", node.place())
}

fn waitpoint_kinds(waiting: &Waiting, now: TimestampMs) -> String {
    let open: BTreeSet<_> = waiting
        .open
        .iter()
        .map(|open| {
            let buffered = open.signals > 0 && open.counts_from < waiting.signals;
            (open.expires_at().is_some(), open.is_expired(now), buffered)
        })
        .collect();
    let latest = waiting
        .latest
        .as_ref()
        .map(|latest| matches!(latest.outcome, SuspendedHow::AlreadySatisfied(_)));
    format!("{open:?} {} {latest:?} {}", waiting.closed.is_empty(), waiting.signals == 0)
}

fn suspension_kind(suspension: &Suspension, now: TimestampMs) -> String {
    let resumes = match &suspension.resumes {
        Resumes::Signals(tallies) => {
            let counted: usize = tallies.parts.iter().map(|tally| tally.counted.len()).sum();
            format!("signals {} {counted}", tallies.parts.len())
        }
        other => format!("{other:?}"),
    };
    let timeout = suspension.timeout.map(|timeout| (timeout.behaviour, timeout.at <= now));
    let policy = suspension.policy;
    let policy = (policy.resume_delay_ms, policy.close_waitpoints, policy.consume_signals);
    format!("{resumes} {timeout:?} {:?} {policy:?}", suspension.escalated_at.is_some())
}

fn next_kind(next: &NextAttempt) -> String {
    match next {
        NextAttempt::Resume { interruption, .. } => format!("resume {interruption:?}"),
        other => format!("{other:?}"),
    }
}

fn grant_kind(grant: Option<&Grant>, now: TimestampMs) -> &'static str {
    match grant {
        None => "no grant",
        Some(grant) if grant.is_live(now) => "live grant",
        Some(_) => "dead grant",
    }
}

/// The reasons that no rule treats alike.
fn block_kinds(blocks: &Blocks) -> String {
    let first = blocks.first().map(|block| match block.kind {
        BlockKind::Operator | BlockKind::Lane | BlockKind::Dependencies => "until it is let go",
        BlockKind::Budget | BlockKind::Quota => "admission",
        BlockKind::Route => "route",
    });
    format!("{first:?} {}", blocks.iter().count().min(2))
}
