//! Shrinks a failing plan: leaves out faults and actions while the same rule still breaks (delta
//! debugging).

use crate::plan::{ActionId, FaultId, Plan};
use crate::report::{Options, Violation};
use crate::world::runs::run_once;

/// The result of shrinking.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest plan.
    pub plan: Plan,
    /// Its violation, with its steps.
    pub violation: Box<Violation>,
    /// The number of faults and actions in the original run.
    pub before: usize,
    /// The number of those that are left.
    pub after: usize,
    /// The number of runs that it took.
    pub runs: u64,
}

/// A part of a run that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Fault(FaultId),
    Action(ActionId),
}

/// Shrinks a plan that breaks a rule; `None` when it breaks none. `watch` gets the number of runs
/// and of parts that are left after each run, and ends the search by returning `false`.
pub fn shrink(
    plan: &Plan,
    options: &Options,
    watch: &mut dyn FnMut(u64, usize) -> bool,
) -> Option<Shrunk> {
    let first = run_once(plan, options.clone()).err()?;
    let mut search = Search { options, tag: first.tag, runs: 1, continues: true, watch };
    let mut parts = parts(&first);
    let before = parts.len();
    let mut best = (plan.clone(), first);
    let mut chunk = parts.len().div_ceil(2);
    while chunk > 0 && search.continues {
        let mut smaller = false;
        let mut from = 0;
        while from < parts.len() && search.continues {
            let gone = &parts[from..parts.len().min(from + chunk)];
            let found = search.still_breaks(&without(&best.0, gone), parts.len());
            // A part that is left out may remove others, or add some.
            let left = found.as_ref().map(|found| self::parts(&found.1));
            match (found, left) {
                (Some(found), Some(left)) if left.len() < parts.len() => {
                    (best, parts) = (found, left);
                    smaller = true;
                }
                _ => from += chunk,
            }
        }
        if chunk == 1 && !smaller {
            break;
        }
        chunk = if smaller && chunk == 1 { 1 } else { chunk / 2 };
    }
    let after = parts.len();
    let traced = Options { trace: true, ..options.clone() };
    let violation = run_once(&best.0, traced).err().map_or(best.1, Violation::shorten);
    Some(Shrunk { plan: best.0, violation, before, after, runs: search.runs + 1 })
}

struct Search<'s> {
    options: &'s Options,
    tag: &'static str,
    runs: u64,
    continues: bool,
    watch: &'s mut dyn FnMut(u64, usize) -> bool,
}

impl Search<'_> {
    /// The plan and its violation, if it breaks the same rule.
    fn still_breaks(&mut self, plan: &Plan, left: usize) -> Option<(Plan, Box<Violation>)> {
        self.runs += 1;
        self.continues = (self.watch)(self.runs, left);
        let violation = run_once(plan, self.options.clone()).err()?;
        (violation.tag == self.tag).then(|| (plan.clone(), violation))
    }
}

/// The parts of a run, the last ones first, because late parts matter least.
fn parts(violation: &Violation) -> Vec<Part> {
    let faults = violation.injected.iter().map(|fault| Part::Fault(*fault));
    let actions = violation.actions.iter().map(|action| Part::Action(*action));
    let mut parts: Vec<Part> = actions.chain(faults).collect();
    parts.reverse();
    parts
}

fn without(plan: &Plan, parts: &[Part]) -> Plan {
    let mut plan = plan.clone();
    for part in parts {
        match part {
            Part::Fault(fault) => {
                plan.without_faults.insert(*fault);
            }
            Part::Action(action) => {
                plan.without_actions.insert(*action);
            }
        }
    }
    plan
}
