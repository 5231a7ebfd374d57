//! `ff-sim crash-points`: a crash at every effect boundary of every operation.

use ff_sim::crash_points::{self, CrashPointsProgress, CrashPointsReport, CrashPointsViolation};
use serde_json::json;

use super::args::CrashPointsArgs;
use super::ending::{Ending, Unusable, print};
use super::progress::Progress;
use super::table::{figures, grouped};

/// Enumerates the crash points.
pub fn crash_points(args: &CrashPointsArgs) -> Result<Ending, Unusable> {
    if args.list {
        for name in crash_points::names() {
            print(&format!("{name}\n"));
        }
        return Ok(Ending::Clean);
    }
    let operations = crash_points::names().count() as u64;
    let mut progress = Progress::new("operations", Some(operations));
    let result = match &args.only {
        Some(name) if crash_points::names().all(|case| !matches(name, case)) => {
            return Err(Unusable::new(format!(
                "unknown crash point {name:?}: --list shows the names"
            )));
        }
        Some(name) => crash_points::replay(name),
        None => crash_points::run(|at: CrashPointsProgress| {
            progress.at(at.done, &format!("{} runs", grouped(at.runs)));
        }),
    };
    progress.finish();
    if args.output.json {
        print(&format!("{}\n", to_json(&result)));
    } else {
        show(&result);
    }
    Ok(result.map_or_else(|violation| Ending::of(violation.tag), |_| Ending::Clean))
}

/// Whether a name begins with that of a case, or is the beginning of one.
fn matches(name: &str, case: &str) -> bool {
    case.starts_with(name) || name.starts_with(case)
}

fn to_json(result: &Result<CrashPointsReport, CrashPointsViolation>) -> serde_json::Value {
    match result {
        Ok(report) => json!({
            "passed": true,
            "operations": report.operations,
            "boundaries": report.boundaries,
            "runs": report.runs,
            "store_calls": report.store_calls,
        }),
        Err(violation) => json!({
            "passed": false,
            "run": violation.name,
            "tag": violation.tag,
            "detail": violation.detail,
            "trace": violation.trace,
        }),
    }
}

fn show(result: &Result<CrashPointsReport, CrashPointsViolation>) {
    match result {
        Ok(report) => {
            for line in &report.trace {
                print(&format!("{line}\n"));
            }
            let table = figures(&[
                ("operations in situations", &grouped(report.operations)),
                ("effect boundaries", &grouped(report.boundaries)),
                ("runs", &grouped(report.runs)),
                ("store calls", &grouped(report.store_calls)),
            ]);
            print(&format!("{table}\n"));
        }
        Err(violation) => {
            let again = "to reproduce: cargo run --release -p ff-sim -- crash-points --only";
            print(&format!("{violation}\n{again} '{}'\n", violation.name));
        }
    }
}
