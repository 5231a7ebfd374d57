//! `ff-sim seed` and `ff-sim replay`: single runs with their reports.

use ff_sim::{Options, Plan, Report, Violation};
use serde_json::{Value, json};

use super::args::{ReplayArgs, SeedArgs, ShowArgs, Store};
use super::ending::{Ending, Unusable, print};
use super::plans::{files, read_plan};
use super::table::{figures, table};
use super::worlds::{options, store_name};

/// Runs one seed.
pub fn seed(args: &SeedArgs) -> Result<Ending, Unusable> {
    let ShowArgs { trace, world, output } = &args.show;
    let options = Options { trace: *trace, ..options(world)? };
    let result = ff_sim::run_plan(&Plan::from(args.seed), options);
    if output.json {
        print(&format!("{}\n", to_json(&result, world.store)));
    } else {
        show(&result);
    }
    Ok(ending(&result))
}

/// Replays plans.
pub fn replay(args: &ReplayArgs) -> Result<Ending, Unusable> {
    let ShowArgs { trace, world, output } = &args.show;
    let options = Options { trace: *trace, ..options(world)? };
    let mut worst = Ending::Clean;
    let mut passed = 0;
    for file in files(&args.plans)? {
        let result = ff_sim::run_plan(&read_plan(&file)?, options.clone());
        if output.json {
            let mut object = to_json(&result, world.store);
            object["file"] = json!(file.display().to_string());
            print(&format!("{object}\n"));
        } else {
            print(&format!("{}: {}\n", file.display(), summary(&result)));
            if *trace || result.is_err() {
                show(&result);
            }
        }
        match ending(&result) {
            Ending::Clean => passed += 1,
            bad if worst == Ending::Clean => worst = bad,
            _ => {}
        }
    }
    if !output.json {
        print(&format!("{passed} passed\n"));
    }
    Ok(worst)
}

fn summary(result: &Result<Report, Box<Violation>>) -> String {
    match result {
        Ok(report) => format!("passed, {} store calls", report.store_calls),
        Err(violation) => format!("[{}] {}", violation.tag, violation.detail),
    }
}

/// How the command ends after this run.
fn ending(result: &Result<Report, Box<Violation>>) -> Ending {
    result.as_ref().map_or_else(|violation| Ending::of(violation.tag), |_| Ending::Clean)
}

/// The result of a run, without values that depend on the machine or the time of day.
fn to_json(result: &Result<Report, Box<Violation>>, store: Store) -> Value {
    let store = store_name(store);
    match result {
        Ok(report) => json!({
            "seed": report.seed,
            "store": store,
            "passed": true,
            "state_hash": format!("{:016x}", report.state_hash),
            "steps": report.steps,
            "store_calls": report.store_calls,
            "executions": report.executions,
            "commits": report.commits,
            "simulated_ms": report.simulated_ms,
            "faults": named(&report.coverage.faults),
            "rejections": named(&report.coverage.rejections),
            "events": named(&report.coverage.events),
            "commands": report.commands,
            "trace": report.trace,
        }),
        Err(violation) => json!({
            "seed": violation.plan.seed,
            "store": store,
            "passed": false,
            "tag": violation.tag,
            "detail": violation.detail,
            "step": violation.step,
            "simulated_ms": violation.at,
            "trace": violation.trace,
        }),
    }
}

fn named<K: std::fmt::Debug>(counts: &std::collections::BTreeMap<K, u64>) -> Value {
    counts.iter().map(|(kind, count)| (format!("{kind:?}"), json!(count))).collect()
}

/// Shows the result of a run.
fn show(result: &Result<Report, Box<Violation>>) {
    match result {
        Ok(report) => {
            for line in &report.trace {
                print(&format!("{line}\n"));
            }
            let rows = figures(&[
                ("seed", &report.seed),
                ("state hash", &format!("{:016x}", report.state_hash)),
                ("steps", &report.steps),
                ("store calls", &report.store_calls),
                ("executions", &report.executions),
                ("commits", &report.commits),
                ("simulated ms", &report.simulated_ms),
            ]);
            print(&format!("{rows}\n"));
            let mut met = table(&["faults and rejections", "times#"]);
            for (kind, count) in &report.coverage.faults {
                met.add_row(vec![format!("{kind:?}"), count.to_string()]);
            }
            for (kind, count) in &report.coverage.rejections {
                met.add_row(vec![format!("{kind:?}"), count.to_string()]);
            }
            print(&format!("{met}\n"));
        }
        Err(violation) => print(&format!("{violation}\n")),
    }
}
