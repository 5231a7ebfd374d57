//! Every interleaving of small worlds: two workers, a timekeeper, one or two executions, in some
//! worlds an operator, or a suspension and its signaller, and a few faults.
//!
//! The exploration drives the real operations and agents of core over the reference store, with
//! every check of the seeded world after every step, and one more where no event is left: all work
//! is over. A random search meets a rare order of steps by luck; this search leaves none out.
//!
//! A state consists of the store's records with their versions, the index entries, the running
//! operations with their messages, the workers with their leases and jobs, the remaining faults,
//! and the memory of the checks. States with the same future count as one:
//!
//! - _Names._ Uuids, nonces and the names of workers and processes count only by where else they
//!   appear. Rules compare them only for equality, so renaming them changes no future. The two
//!   workers are alike, and either may come first. Executions differ by their positions in the
//!   lane.
//! - _Time_ counts from the present instant. A limit (an expiry, the end of a window, a renewal's
//!   time) that is past is past, however long: rules only compare it with the present. Other
//!   instants keep their distance, except for those that no rule reads (creation, start, end).
//!   Instants more than half an hour ahead (retention, the patience of operations) are never
//!   reached.
//! - _Randomness._ Entropy has no jitter ([`ff_core::entropy::Entropy::without_jitter`]): it
//!   decides only ids and nonces, so equal states have equal futures.
//! - _The memory of the checks_ counts as far as it is about ids that the state still contains.
//!   Other ids cannot appear any more, since new ids are new.
//! - _The journal_ and wake-ups do not count: no operation here reads them.
//!
//! Each state has a number of choices: an idle worker draws work if there is some; a handler
//! completes, fails, opens a waitpoint or suspends; the signaller signals; a worker renews its
//! lease or finds it expired; the timekeeper begins a round if a timer is due; a request arrives; a
//! reply arrives or is lost; a worker crashes and restarts; time moves on to the next instant that
//! makes a difference (a timer is due, a lease must be renewed, the window of a request begins or
//! ends). The wake-up times of agents play no part: agents may wake at any time.
//!
//! Some interleavings are left out, because they are equivalent to others:
//!
//! - A request that only reads is answered, and its reply delivered, in one step: its result may be
//!   arbitrarily old when the commit follows. Reads of the secrets, which are never rotated here,
//!   polls, and the `Take` after a poll are carried out immediately: a slow one is equivalent to
//!   one that is sent later. A worker restarts its rotation with each draw, and does not look at
//!   empty lanes.
//! - If a process waits only for one reply, the reply is delivered before any other step: no other
//!   process can see the difference, and the delivery commutes with every step of others.
//! - The waits of operations between two tries, some milliseconds, take no time.
//!
//! The numbers of each world ([`SmallWorld`]) bound failures, renewals, lost requests, lost
//! replies, crashes and calls of operators, and how often time passes while requests are in flight.
//! Time does not pass while a reply is in flight. A lost request may still arrive, at any later
//! time or never, and so may those of a crashed worker.

mod canon;
mod parts;
mod state;
mod step;
mod trace;
mod waiting;
mod worlds;

use std::collections::BTreeSet;
use std::fmt;

use crate::report::{Broken, write_broken};

pub use worlds::{SmallWorld, WORLDS};

use state::{Choice, State};

/// The counts of the exploration of one world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExploreReport {
    /// The world.
    pub world: &'static str,
    /// States that differ by more than names.
    pub states: u64,
    /// Transitions between states.
    pub transitions: u64,
    /// States without choices.
    pub ends: u64,
    /// The number of steps of the longest path.
    pub depth: u64,
}

impl ExploreReport {
    /// The known counts of a world. They change only if operations, agents or these worlds change,
    /// and each change must be understood.
    pub fn golden(world: &SmallWorld) -> Option<Self> {
        let line = |line: &str| {
            let (name, counts) = line.split_once(' ')?;
            let counts: Option<Vec<u64>> =
                counts.split(' ').map(|count| count.parse().ok()).collect();
            let &[states, transitions, ends, depth] = counts?.as_slice() else { return None };
            (name == world.name).then_some(Self {
                world: world.name,
                states,
                transitions,
                ends,
                depth,
            })
        };
        include_str!("golden.txt").lines().find_map(line)
    }

    /// The line of the golden file for it.
    pub fn golden_line(&self) -> String {
        let Self { world, states, transitions, ends, depth } = self;
        format!("{world} {states} {transitions} {ends} {depth}")
    }
}

/// The progress of an exploration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExploreProgress {
    /// States so far.
    pub states: u64,
    /// Transitions so far.
    pub transitions: u64,
    /// The number of steps of the present path.
    pub depth: u64,
}

/// A broken rule, and the path to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExploreViolation {
    /// The world.
    pub world: &'static str,
    /// The invariant, or `LIVENESS`.
    pub tag: &'static str,
    /// The violation in words.
    pub detail: String,
    /// The number of the choice in each state, for [`replay`].
    pub path: Vec<u16>,
    /// The choices as text.
    pub trace: Vec<String>,
}

impl fmt::Display for ExploreViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_broken(f, &self.trace, &self.tag, &self.detail)?;
        let path: Vec<String> = self.path.iter().map(u16::to_string).collect();
        write!(f, "in the world \"{}\" on the path {}", self.world, path.join("."))
    }
}

impl std::error::Error for ExploreViolation {}

/// The world of that name.
pub fn world(name: &str) -> Option<&'static SmallWorld> {
    WORLDS.iter().find(|world| world.name == name)
}

/// A state on the present path.
struct Frame {
    state: State,
    choices: Vec<Choice>,
    next: usize,
}

/// The number of transitions between two reports of progress.
const PROGRESS_EVERY: u64 = 50_000;

/// Explores a world to exhaustion.
///
/// # Errors
///
/// The first rule that breaks, with the path to it.
pub fn explore(
    world: &SmallWorld,
    mut progress: impl FnMut(ExploreProgress),
) -> Result<ExploreReport, ExploreViolation> {
    let mut report = ExploreReport { world: world.name, ..ExploreReport::default() };
    // Hashes alone: 16 bytes for each state.
    let mut visited = BTreeSet::new();
    let first = State::new(world).map_err(|broken| violation(world, &[], broken))?;
    visited.insert(first.hash());
    let mut path = vec![frame(first)];
    while let Some(top) = path.last_mut() {
        let Some(choice) = top.choices.get(top.next).copied() else {
            path.pop();
            continue;
        };
        top.next += 1;
        let mut state = top.state.clone();
        let taken = state.take(choice);
        report.transitions += 1;
        if report.transitions.is_multiple_of(PROGRESS_EVERY) {
            let (states, transitions) = (visited.len() as u64, report.transitions);
            progress(ExploreProgress { states, transitions, depth: path.len() as u64 });
        }
        taken.map_err(|broken| violation(world, &path, broken))?;
        if !visited.insert(state.hash()) {
            continue;
        }
        path.push(frame(state));
        report.depth = report.depth.max(path.len() as u64 - 1);
        let top = path.last_mut().expect("it was just pushed");
        // A request that no operation waits for may never arrive.
        if top.choices.iter().all(|choice| matches!(choice, Choice::Late(_))) {
            report.ends += 1;
            let ended = top.state.check_end();
            ended.map_err(|broken| violation(world, &path, broken))?;
        }
    }
    report.states = visited.len() as u64;
    Ok(report)
}

fn frame(state: State) -> Frame {
    let choices = state.choices();
    Frame { state, choices, next: 0 }
}

fn violation(world: &SmallWorld, path: &[Frame], broken: Broken) -> ExploreViolation {
    let gone = path.iter().filter(|frame| frame.next > 0);
    violation_on(world, gone.map(|frame| (frame.next - 1) as u16).collect(), broken)
}

fn violation_on(world: &SmallWorld, path: Vec<u16>, broken: Broken) -> ExploreViolation {
    let trace = trace_of(world, &path);
    ExploreViolation { world: world.name, tag: broken.tag, detail: broken.detail, path, trace }
}

/// The choices of a path as text.
fn trace_of(world: &SmallWorld, path: &[u16]) -> Vec<String> {
    let mut trace = Vec::new();
    let Ok(mut state) = State::new(world) else { return trace };
    let start = state.now;
    for number in path {
        let Some(choice) = state.choices().get(usize::from(*number)).copied() else { break };
        trace.push(format!("{:>6} ms  {}", state.now - start, state.describe(choice)));
        if state.take(choice).is_err() {
            break;
        }
    }
    trace
}

/// Follows a path.
///
/// # Errors
///
/// The rule that breaks on it.
pub fn replay(world: &SmallWorld, path: &[u16]) -> Result<Vec<String>, ExploreViolation> {
    let fails = |broken| violation_on(world, path.to_vec(), broken);
    let mut state = State::new(world).map_err(fails)?;
    for number in path {
        let Some(choice) = state.choices().get(usize::from(*number)).copied() else { break };
        state.take(choice).map_err(fails)?;
    }
    if state.choices().iter().all(|choice| matches!(choice, Choice::Late(_))) {
        state.check_end().map_err(fails)?;
    }
    Ok(trace_of(world, path))
}
