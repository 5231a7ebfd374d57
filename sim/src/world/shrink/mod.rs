//! Shrinks a failing plan: tries small worlds with other seeds, leaves out faults and actions
//! (delta debugging) and simplifies the settings, as long as the same rule breaks.

mod search;
mod simpler;

use crate::plan::Plan;
use crate::report::{Options, Violation};

use super::runs::run_once;
use search::Search;

/// The result of shrinking. A _step_ is a fault or an action of the run until the rule breaks.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest plan. Its seed may be another one.
    pub plan: Plan,
    /// Its violation, with the last events of its run.
    pub violation: Box<Violation>,
    /// The steps of the original run.
    pub before: usize,
    /// The steps that are left.
    pub after: usize,
    /// The number of runs that it took.
    pub runs: u64,
}

/// Shrinks a plan that breaks a rule until nothing helps; `None` when it breaks none. `watch` gets
/// the number of runs and of steps that are left after each run, and ends the search by returning
/// `false`.
pub fn shrink(
    plan: &Plan,
    options: &Options,
    watch: &mut dyn FnMut(u64, usize) -> bool,
) -> Option<Shrunk> {
    let options = Options { trace: false, ..options.clone() };
    let first = run_once(plan, options.clone()).err()?;
    let before = first.steps();
    let (best, runs) = Search::new(first, options.clone(), watch).run_all();
    let after = best.steps();
    let plan = best.plan.clone();
    let traced = Options { trace: true, ..options };
    let violation = run_once(&plan, traced).err().map_or(best, Violation::shorten);
    Some(Shrunk { plan, violation, before, after, runs: runs + 1 })
}
