//! Every interleaving of small worlds: two workers, a timekeeper, one or two executions, at times
//! an operator or a suspension and who signals to it, and a few faults, explored to exhaustion.
//!
//! It drives the real operations and agents of core over the reference store, with every check of
//! the seeded world after every step, and one more where nothing is left to happen: then all work
//! is over. Where random search meets a rare order of steps with luck, here none is left out.
//!
//! A state is the store's records with their versions, the index entries, the operations under way
//! with their messages, the workers with their leases and jobs, how much may still go wrong, and
//! what the checks remember. States that the future cannot tell apart count as one:
//!
//! - _Names._ Uuids, nonces and the names of workers and processes count by where else they stand.
//!   No rule compares them but for equality, so renaming them changes no future. The two workers
//!   are alike, and either may come first. Executions are told apart by their places in the lane.
//! - _Time_ counts from the present instant. A limit (an expiry, the end of a window, a renewal's
//!   time) that is past is past, however long: rules only ask whether it is. Other instants keep
//!   their distance, but for those that records only tell (creation, start, end). What lies more
//!   than half an hour ahead (retention, the patience of operations) is never reached.
//! - _Luck._ Entropy has no jitter ([`ff_core::entropy::Entropy::without_jitter`]): it decides ids
//!   and nonces alone, so equal states have equal futures.
//! - _Memory of the checks_ counts as far as it is about ids that the state still mentions. Others
//!   cannot be mentioned any more, since new ids are new.
//! - _The journal_ and wake-ups are left out: no operation here reads them.
//!
//! What can happen next is chosen in each state: a worker that is idle looks for work while there
//! is some, a handler completes, fails, opens a waitpoint or suspends, who got the token signals, a
//! worker renews its lease or finds it run out, the
//! timekeeper begins a round while something is due, a request arrives, a reply arrives or is lost,
//! a worker crashes and begins anew, time moves on to the next instant at which anything changes by
//! it (something is due, a lease wants to be renewed, the window of a request begins or ends). When
//! agents wake by themselves plays no part: they may at any time.
//!
//! What is left out, and why nothing is lost by it:
//!
//! - A request that only reads is answered, and its reply delivered, in one step: what it has read
//!   may be as old as one likes when the commit comes that it leads to. A look at the secrets,
//!   which nobody rotates, one over the partitions, and the `Take` that follows, are carried out at
//!   once: one that takes long does what one does that is sent later. A worker begins its rotation
//!   anew with each draw, and without work in a lane it does not look.
//! - A reply is delivered before anybody else acts, where its process has nothing else under way:
//!   nobody else can tell, and it commutes with every step of others.
//! - The waits of operations between two tries, some milliseconds, take no time.
//!
//! What is bounded, by each world's numbers ([`SmallWorld`]): failures, renewals, lost requests,
//! lost replies, crashes and calls of operators; and how often time passes while requests are on
//! their way. Time does not pass while a reply is. A request that is lost may still arrive, at any
//! later time or never; so may those of a worker that died.

mod canon;
mod parts;
mod state;
mod step;
mod trace;
mod visited;
mod waiting;
mod worlds;

use std::fmt;

use crate::report::Broken;

pub use worlds::{SmallWorld, WORLDS};

use state::{Choice, State};
use visited::Visited;

/// What an exploration of one world has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExploreReport {
    /// The world.
    pub world: &'static str,
    /// States that differ by more than names.
    pub states: u64,
    /// Steps from a state to a state.
    pub transitions: u64,
    /// States in which nothing is left to happen.
    pub ends: u64,
    /// Steps of the longest way that was gone.
    pub depth: u64,
}

impl ExploreReport {
    /// What a world is known to come to; a change of it is a change of what operations, agents or
    /// these worlds do, and has to be understood.
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

/// How far an exploration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExploreProgress {
    /// States so far.
    pub states: u64,
    /// Steps so far.
    pub transitions: u64,
    /// How deep the present way is.
    pub depth: u64,
}

/// A rule that was seen broken, and the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExploreViolation {
    /// The world.
    pub world: &'static str,
    /// The invariant, or `LIVENESS`.
    pub tag: &'static str,
    /// What is wrong.
    pub detail: String,
    /// The number of the choice in each state, for [`replay`].
    pub path: Vec<u16>,
    /// The choices in words.
    pub trace: Vec<String>,
}

impl fmt::Display for ExploreViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "[{}] {}", self.tag, self.detail)?;
        let path: Vec<String> = self.path.iter().map(u16::to_string).collect();
        write!(f, "in the world \"{}\" on the way {}", self.world, path.join("."))
    }
}

impl std::error::Error for ExploreViolation {}

/// The world of a name.
pub fn world(name: &str) -> Option<&'static SmallWorld> {
    WORLDS.iter().find(|world| world.name == name)
}

/// A state on the present way.
struct Frame {
    state: State,
    choices: Vec<Choice>,
    next: usize,
}

/// Steps between two reports of progress.
const PROGRESS_EVERY: u64 = 50_000;

/// Explores a world to exhaustion.
///
/// # Errors
///
/// The first rule that is seen broken, with the way there.
pub fn explore(
    world: &SmallWorld,
    mut progress: impl FnMut(ExploreProgress),
) -> Result<ExploreReport, ExploreViolation> {
    let mut report = ExploreReport { world: world.name, ..ExploreReport::default() };
    let mut visited = Visited::new();
    let first = State::new(world).map_err(|broken| violation(world, &[], broken))?;
    visited.insert(first.hash());
    let mut way = vec![frame(first)];
    while let Some(top) = way.last_mut() {
        let Some(choice) = top.choices.get(top.next).copied() else {
            way.pop();
            continue;
        };
        top.next += 1;
        let mut state = top.state.clone();
        let taken = state.take(choice);
        report.transitions += 1;
        if report.transitions.is_multiple_of(PROGRESS_EVERY) {
            let (states, transitions) = (visited.len() as u64, report.transitions);
            progress(ExploreProgress { states, transitions, depth: way.len() as u64 });
        }
        taken.map_err(|broken| violation(world, &way, broken))?;
        if !visited.insert(state.hash()) {
            continue;
        }
        way.push(frame(state));
        report.depth = report.depth.max(way.len() as u64 - 1);
        let top = way.last_mut().expect("it was just pushed");
        // A request that nobody waits for may never arrive.
        if top.choices.iter().all(|choice| matches!(choice, Choice::Late(_))) {
            report.ends += 1;
            let ended = top.state.check_end();
            ended.map_err(|broken| violation(world, &way, broken))?;
        }
    }
    report.states = visited.len() as u64;
    Ok(report)
}

fn frame(state: State) -> Frame {
    let choices = state.choices();
    Frame { state, choices, next: 0 }
}

fn violation(world: &SmallWorld, way: &[Frame], broken: Broken) -> ExploreViolation {
    let Broken { tag, detail, .. } = broken;
    let gone = way.iter().filter(|frame| frame.next > 0);
    let path: Vec<u16> = gone.map(|frame| (frame.next - 1) as u16).collect();
    let trace = told(world, &path);
    ExploreViolation { world: world.name, tag, detail, path, trace }
}

/// The choices of a way in words.
fn told(world: &SmallWorld, path: &[u16]) -> Vec<String> {
    let mut trace = Vec::new();
    let Ok(mut state) = State::new(world) else { return trace };
    let start = state.now;
    for number in path {
        let Some(choice) = state.choices().get(usize::from(*number)).copied() else { break };
        trace.push(format!("{:>6} ms  {}", state.now - start, state.tell(choice)));
        if state.take(choice).is_err() {
            break;
        }
    }
    trace
}

/// Goes a way again that was found before.
///
/// # Errors
///
/// The rule that is broken at its end.
pub fn replay(world: &SmallWorld, path: &[u16]) -> Result<Vec<String>, ExploreViolation> {
    let fails = |broken| {
        let Broken { tag, detail, .. } = broken;
        let (path, trace) = (path.to_vec(), told(world, path));
        ExploreViolation { world: world.name, tag, detail, path, trace }
    };
    let mut state = State::new(world).map_err(fails)?;
    for number in path {
        let Some(choice) = state.choices().get(usize::from(*number)).copied() else { break };
        state.take(choice).map_err(fails)?;
    }
    if state.choices().iter().all(|choice| matches!(choice, Choice::Late(_))) {
        state.check_end().map_err(fails)?;
    }
    Ok(told(world, path))
}
