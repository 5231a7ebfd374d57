//! `ff-sim shrink`: the smallest plan that still breaks the rule.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ff_sim::{Options, Plan, Violation};
use serde_json::json;

use super::args::ShrinkArgs;
use super::ending::{Ending, Unusable, print};
use super::plans::{read_plan, write_plan};
use super::progress::Progress;
use super::seeds::interruption;
use super::stopwatch::Stopwatch;
use super::worlds::options;

/// Shrinks a failing seed or plan.
pub fn shrink(args: &ShrinkArgs) -> Result<Ending, Unusable> {
    let options = Options { trace: false, ..options(&args.world)? };
    let plan = match args.subject.parse::<u64>() {
        Ok(seed) => Plan::from(seed),
        Err(_) => read_plan(&PathBuf::from(&args.subject))?,
    };
    let stop = interruption()?;
    let mut progress = Progress::new("runs", None);
    let begun = Stopwatch::start();
    let limit = Duration::from_secs(args.seconds);
    let shrunk = ff_sim::shrink(&plan, &options, &mut |runs, left| {
        progress.at(runs, &format!("{left} faults and actions left"));
        begun.elapsed() < limit && !stop.load(Ordering::Relaxed)
    });
    progress.finish();
    let Some(shrunk) = shrunk else {
        print(&format!("seed {} breaks no rule, so there is nothing to shrink\n", plan.seed));
        return Ok(Ending::Clean);
    };
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| PathBuf::from(format!("ff-sim-{}.min.json", plan.seed)));
    write_plan(&out, &shrunk.plan)?;
    let violation = &shrunk.violation;
    if args.output.json {
        let object = json!({
            "seed": plan.seed,
            "tag": violation.tag,
            "detail": violation.detail,
            "runs": shrunk.runs,
            "before": shrunk.before,
            "after": shrunk.after,
            "plan": out.display().to_string(),
            "trace": violation.trace,
        });
        print(&format!("{object}\n"));
    } else {
        print(&format!(
            "{violation}\n{} of {} faults and actions are left after {} runs: {}\n\
             plan written to {}\n\
             to reproduce: cargo run --release -p ff-sim -- replay {} --trace\n",
            shrunk.after,
            shrunk.before,
            shrunk.runs,
            kinds(violation),
            out.display(),
            out.display(),
        ));
    }
    Ok(Ending::of(violation.tag))
}

/// The kinds of the actions and faults, in order.
fn kinds(violation: &Violation) -> String {
    let actions = violation.actions.iter().map(|action| format!("{:?}", action.kind));
    let faults = violation.injected.iter().map(|fault| format!("{:?}", fault.kind));
    actions.chain(faults).collect::<Vec<_>>().join(", ")
}
