//! The search for a smaller plan: its runs, its best plan, and its passes.

use crate::plan::{ActionId, ActionKind, FaultId, FaultKind, Parts, Plan};
use crate::report::{Options, Violation};
use crate::world::World;

use super::simpler::{simpler, small_world};

/// The number of small worlds that are tried after the last one that helped.
const SMALL_WORLDS: u64 = 2_000;

/// The number of small worlds that are shrunk after the last one that helped.
const SHRUNK_WORLDS: u64 = 20;

/// A plan with so few steps is small enough.
const ENOUGH: usize = 3;

/// The events of a small world until it counts as one that breaks nothing, at least.
const SMALL_WORLD_EVENTS: u64 = 20_000;

/// The most steps of a small world that are shrunk further.
const SMALL_WORLD_STEPS: usize = 200;

/// The most steps of which each pair is left out together.
const MAX_PAIRED: usize = 30;

/// The events that the passes over the plan's own seed may take together. It bounds the time of a
/// large plan, so that some is left for the small worlds.
const OWN_SEED_EVENTS: u64 = 4_000_000;

/// A fault or an action of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Fault(FaultId),
    Action(ActionId),
}

/// The kind of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fault(FaultKind),
    Action(ActionKind),
}

impl Step {
    const fn kind(self) -> Kind {
        match self {
            Self::Fault(fault) => Kind::Fault(fault.kind),
            Self::Action(action) => Kind::Action(action.kind),
        }
    }
}

/// The bounds of a run: beyond them a violation would not help.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    events: u64,
    steps: usize,
}

/// A search. The best violation so far holds the best plan.
pub(super) struct Search<'s> {
    best: Box<Violation>,
    options: Options,
    runs: u64,
    /// The events of all runs.
    events: u64,
    /// The events at which the present pass ends.
    limit: u64,
    /// The number of the latest small world.
    number: u64,
    continues: bool,
    watch: &'s mut dyn FnMut(u64, usize) -> bool,
}

impl<'s> Search<'s> {
    /// Begins with the violation of the original plan.
    pub(super) fn new(
        first: Box<Violation>,
        options: Options,
        watch: &'s mut dyn FnMut(u64, usize) -> bool,
    ) -> Self {
        let (limit, number) = (u64::MAX, 0);
        Self { best: first, options, runs: 1, events: 0, limit, number, continues: true, watch }
    }

    /// Shrinks as long as something helps. Returns the best violation, and the number of runs.
    pub(super) fn run_all(mut self) -> (Box<Violation>, u64) {
        let before = self.best.steps();
        self.try_small_worlds();
        if self.best.steps() == before {
            self.limit = self.events + OWN_SEED_EVENTS;
            self.simplify_settings();
            self.best = self.shrunk(self.best.clone());
            self.limit = u64::MAX;
        }
        // A smaller plan has fewer kinds of faults and actions, and so have its small worlds.
        loop {
            let before = self.best.steps();
            self.try_small_worlds();
            if self.best.steps() == before {
                break;
            }
        }
        self.best = self.shrunk(self.best.clone());
        (self.best, self.runs)
    }

    /// Simplifies the settings while all faults and actions may happen, as long as the run breaks
    /// the rule after fewer steps.
    fn simplify_settings(&mut self) {
        let mut helped = true;
        while helped {
            helped = false;
            let mut number = 0;
            // The candidates depend on the best plan.
            while let Some(plan) = simpler(&self.best.plan).into_iter().nth(number) {
                if !self.goes_on() {
                    return;
                }
                let bounds = Bounds {
                    events: self.best.step + 1_000,
                    steps: self.best.steps().saturating_sub(1),
                };
                match self.run(&plan, bounds) {
                    Some(found) => (self.best, helped) = (found, true),
                    None => number += 1,
                }
            }
        }
    }

    /// Tries small worlds with the kinds of faults and actions of the best plan, and shrinks those
    /// that break the rule.
    fn try_small_worlds(&mut self) {
        let origin = self.best.clone();
        let (mut tried, mut shrunk) = (0, 0);
        while tried < SMALL_WORLDS && shrunk < SHRUNK_WORLDS && self.best.steps() > ENOUGH {
            if !self.goes_on() {
                return;
            }
            (self.number, tried) = (self.number + 1, tried + 1);
            let plan = small_world(&origin, self.number);
            let events = SMALL_WORLD_EVENTS.max(2 * self.best.step);
            let bounds = Bounds { events, steps: SMALL_WORLD_STEPS };
            let Some(found) = self.run(&plan, bounds) else { continue };
            let found = self.shrunk(found);
            shrunk += 1;
            if found.steps() < self.best.steps() {
                (tried, shrunk) = (0, 0);
            }
            if cost(&found) < cost(&self.best) {
                self.best = found;
            }
        }
    }

    const fn goes_on(&self) -> bool {
        self.continues && self.events < self.limit
    }

    /// Leaves out steps and simplifies settings in turns.
    fn shrunk(&mut self, mut best: Box<Violation>) -> Box<Violation> {
        loop {
            let before = cost(&best);
            best = self.fewer_kinds(best);
            best = self.fewer_steps(best);
            best = self.simpler_settings(best);
            best = self.without_pairs(best);
            if cost(&best) >= before || !self.goes_on() {
                return best;
            }
        }
    }

    /// Leaves out all steps of a kind, for each kind.
    fn fewer_kinds(&mut self, mut best: Box<Violation>) -> Box<Violation> {
        let mut kinds: Vec<Kind> = Vec::new();
        for step in steps(&best) {
            if !kinds.contains(&step.kind()) {
                kinds.push(step.kind());
            }
        }
        for kind in kinds {
            let mut kept = steps(&best);
            kept.retain(|step| step.kind() != kind);
            if self.goes_on()
                && let Some(found) = self.keeps(&best, kept)
            {
                best = found;
            }
        }
        best
    }

    /// Leaves out runs of neighbouring steps, down to single ones.
    fn fewer_steps(&mut self, mut best: Box<Violation>) -> Box<Violation> {
        let mut steps = steps(&best);
        let mut chunk = steps.len().div_ceil(2);
        while chunk > 0 {
            let (mut helped, mut from) = (false, 0);
            while from < steps.len() {
                if !self.goes_on() {
                    return best;
                }
                let to = steps.len().min(from + chunk);
                match self.keeps(&best, [&steps[..from], &steps[to..]].concat()) {
                    Some(found) => {
                        (best, helped) = (found, true);
                        steps = self::steps(&best);
                    }
                    None => from += chunk,
                }
            }
            chunk = if chunk == 1 && helped { 1 } else { chunk / 2 };
        }
        best
    }

    /// Leaves out pairs of steps.
    fn without_pairs(&mut self, mut best: Box<Violation>) -> Box<Violation> {
        'again: loop {
            let steps = steps(&best);
            if steps.len() > MAX_PAIRED {
                return best;
            }
            for second in 1..steps.len() {
                for first in 0..second {
                    if !self.goes_on() {
                        return best;
                    }
                    let mut kept = steps.clone();
                    kept.remove(second);
                    kept.remove(first);
                    if let Some(found) = self.keeps(&best, kept) {
                        best = found;
                        continue 'again;
                    }
                }
            }
            return best;
        }
    }

    /// Simplifies settings while the number of steps does not rise.
    fn simpler_settings(&mut self, mut best: Box<Violation>) -> Box<Violation> {
        let mut number = 0;
        while let Some(plan) = simpler(&best.plan).into_iter().nth(number) {
            if !self.goes_on() {
                return best;
            }
            let bounds = Bounds { events: best.step * 3 / 2 + 1_000, steps: best.steps() };
            match self.run(&plan, bounds) {
                Some(found) => best = found,
                None => number += 1,
            }
        }
        best
    }

    /// Runs the plan of a violation with only these steps.
    fn keeps(&mut self, best: &Violation, steps: Vec<Step>) -> Option<Box<Violation>> {
        let bounds = Bounds { events: best.step * 3 / 2 + 1_000, steps: steps.len() };
        self.run(&only(&best.plan, steps), bounds)
    }

    /// Runs a plan within bounds. Returns the violation, if it breaks the same rule.
    fn run(&mut self, plan: &Plan, bounds: Bounds) -> Option<Box<Violation>> {
        let mut world = World::new(plan, self.options.clone());
        let broken = loop {
            let steps = world.report.actions.len() + world.chances.injected().len();
            if world.report.steps > bounds.events || steps > bounds.steps {
                break None;
            }
            match world.advance() {
                Ok(true) => {}
                Ok(false) => break None,
                Err(broken) => break Some(broken),
            }
        };
        self.runs += 1;
        self.events += world.report.steps;
        self.continues &= (self.watch)(self.runs, self.best.steps());
        let tag = self.best.tag;
        let violation = world.violation(broken.filter(|broken| broken.tag == tag)?);
        (violation.steps() <= bounds.steps).then_some(violation)
    }
}

/// Fewer steps are better, then fewer events.
fn cost(violation: &Violation) -> (usize, u64) {
    (violation.steps(), violation.step)
}

/// The steps of a run, the last ones first, because late steps matter least.
fn steps(violation: &Violation) -> Vec<Step> {
    let faults = violation.injected.iter().map(|fault| Step::Fault(*fault));
    let actions = violation.actions.iter().map(|action| Step::Action(*action));
    let mut steps: Vec<Step> = actions.chain(faults).collect();
    steps.reverse();
    steps
}

/// The plan with only these steps.
fn only(plan: &Plan, steps: Vec<Step>) -> Plan {
    let mut parts = Parts::default();
    for step in steps {
        match step {
            Step::Fault(fault) => parts.faults.insert(fault),
            Step::Action(action) => parts.actions.insert(action),
        };
    }
    let overrides = plan.overrides.clone();
    Plan { only: Some(parts), overrides, ..Plan::from(plan.seed) }
}
