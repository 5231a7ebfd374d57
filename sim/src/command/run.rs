//! `ff-sim run`: runs many seeds and prints a summary.

use std::sync::atomic::Ordering;

use ff_sim::{Plan, Violation};

use super::args::RunArgs;
use super::ending::{Ending, Unusable, print, warn};
use super::figures::{FailedSeed, Figures};
use super::plans::write_plan;
use super::progress::Progress;
use super::seeds::{each, interruption};
use super::stopwatch::Stopwatch;
use super::table::{distributions, figures, grouped};
use super::worlds::{options, store_name};

/// Runs the seeds.
pub fn run(args: &RunArgs) -> Result<Ending, Unusable> {
    let options = options(&args.world)?;
    let stop = interruption()?;
    let (from, store) = (args.seeds.from, store_name(args.world.store));
    let mut all = Figures { from, store, ..Figures::default() };
    let mut progress = Progress::new("seeds", Some(args.seeds.seeds));
    let begun = Stopwatch::start();
    let mut trouble = None;
    let one = |seed| ff_sim::run_plan(&Plan::from(seed), options.clone());
    each(&args.seeds, args.time_limit, &stop, one, |done| {
        match done.result {
            Ok(report) => all.passed(&report, done.spent),
            Err(violation) => match failure(args, &violation) {
                Ok(failed) => all.failed(failed),
                Err(error) => trouble = Some(error),
            },
        }
        progress.more(&match all.failures.len() {
            0 => String::new(),
            count => format!("{count} failed"),
        });
        (all.failures.len() as u64) < args.max_failures && trouble.is_none()
    });
    progress.finish();
    if let Some(error) = trouble {
        return Err(error);
    }
    all.elapsed_ms = begun.elapsed_ms();
    all.interrupted = stop.load(Ordering::Relaxed) && all.seeds < args.seeds.seeds;
    all.finish();
    show(&all, args.output.json);
    Ok(match all.failures.first() {
        Some(failed) => Ending::of(&failed.tag),
        None if all.interrupted => Ending::Interrupted,
        None => Ending::Clean,
    })
}

/// Writes the plan of a failing seed to a file, and prints the violation.
fn failure(args: &RunArgs, violation: &Violation) -> Result<FailedSeed, Unusable> {
    let path = args.plans.join(format!("ff-sim-{}.json", violation.plan.seed));
    write_plan(&path, &violation.plan)?;
    if !args.output.json {
        warn(&format!("{violation}\nplan written to {}\n\n", path.display()));
    }
    Ok(FailedSeed::new(violation, Some(path.display().to_string())))
}

fn show(all: &Figures, json: bool) {
    if json {
        print(&format!("{}\n", serde_json::json!(all)));
        return;
    }
    let table = figures(&[
        ("seeds", &grouped(all.seeds)),
        ("failures", &all.failures.len()),
        ("store calls", &grouped(all.store_calls)),
        ("store calls per second and core", &grouped(all.calls_per_s)),
        ("executions", &grouped(all.executions)),
        ("simulated hours", &grouped(all.simulated_ms / 3_600_000)),
        ("seconds", &format!("{:.1}", all.elapsed_ms as f64 / 1_000.0)),
    ]);
    let by_seed = distributions(&[
        ("store calls", all.calls_per_seed),
        ("executions", all.executions_per_seed),
    ]);
    print(&format!("{table}\n{by_seed}\n"));
}
