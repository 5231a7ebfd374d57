//! `ff-sim explore`: every interleaving of small worlds.

use ff_sim::explore::{
    ExploreProgress, ExploreReport, ExploreViolation, SmallWorld, WORLDS, explore as run, replay,
    world,
};
use serde_json::json;

use super::args::ExploreArgs;
use super::ending::{Ending, Unusable, print};
use super::progress::Progress;
use super::stopwatch::Stopwatch;
use super::table::{grouped, table};

/// Explores one world, or every world with known counts.
pub fn explore(args: &ExploreArgs) -> Result<Ending, Unusable> {
    let worlds = match &args.world {
        Some(name) => vec![world(name).ok_or_else(|| unknown(name))?],
        None => WORLDS.iter().filter(|world| ExploreReport::golden(world).is_some()).collect(),
    };
    if let Some(path) = &args.path {
        return walk(worlds[0], path);
    }
    let mut ending = Ending::Clean;
    let mut rows = table(&["world", "states#", "steps#", "ends#", "longest path#", "seconds#"]);
    for world in worlds {
        let mut progress = Progress::new("states", None);
        let stopwatch = Stopwatch::start();
        let result = run(world, |at: ExploreProgress| {
            progress.at(at.states, &format!("{}: {} deep", world.name, at.depth));
        });
        progress.finish();
        let report = match result {
            Ok(report) => report,
            Err(violation) => return Ok(broken(&violation, args.output.json)),
        };
        let known = ExploreReport::golden(world);
        let same = known.as_ref().is_none_or(|known| *known == report);
        if args.output.json {
            print(&format!("{}\n", to_json(&report, &stopwatch, same)));
        }
        let seconds = format!("{:.1}", stopwatch.elapsed_ms() as f64 / 1_000.0);
        let counts = [report.states, report.transitions, report.ends, report.depth].map(grouped);
        rows.add_row([&[world.name.to_owned()], &counts[..], &[seconds]].concat());
        if !same {
            let line = report.golden_line();
            super::ending::warn(&format!(
                "{} has other counts than in sim/src/exhaustive/explore/golden.txt; understand \
                 why, then put this line there:\n{line}\n",
                world.name
            ));
            ending = Ending::Missed;
        }
    }
    if !args.output.json {
        print(&format!("{rows}\n"));
    }
    Ok(ending)
}

fn unknown(name: &str) -> Unusable {
    let names: Vec<&str> = WORLDS.iter().map(|world| world.name).collect();
    Unusable::new(format!("unknown world {name:?}: expected one of {}", names.join(", ")))
}

/// Follows the path that a failure has printed.
fn walk(world: &SmallWorld, path: &str) -> Result<Ending, Unusable> {
    let steps = path.split('.').map(str::parse).collect::<Result<Vec<u16>, _>>();
    let steps = steps.map_err(|error| Unusable::new(format!("invalid path {path:?}: {error}")))?;
    match replay(world, &steps) {
        Ok(trace) => {
            print(&format!("{}\n", trace.join("\n")));
            Ok(Ending::Clean)
        }
        Err(violation) => Ok(broken(&violation, false)),
    }
}

fn broken(violation: &ExploreViolation, json: bool) -> Ending {
    if json {
        let object = json!({
            "world": violation.world,
            "passed": false,
            "tag": violation.tag,
            "detail": violation.detail,
            "path": violation.path,
            "trace": violation.trace,
        });
        print(&format!("{object}\n"));
    } else {
        let path: Vec<String> = violation.path.iter().map(u16::to_string).collect();
        print(&format!(
            "{violation}\nto reproduce: cargo run --release -p ff-sim -- explore --world {} \
             --path {}\n",
            violation.world,
            path.join(".")
        ));
    }
    Ending::of(violation.tag)
}

fn to_json(report: &ExploreReport, stopwatch: &Stopwatch, same: bool) -> serde_json::Value {
    json!({
        "world": report.world,
        "passed": true,
        "states": report.states,
        "transitions": report.transitions,
        "ends": report.ends,
        "depth": report.depth,
        "as_known": same,
        "elapsed_ms": stopwatch.elapsed_ms(),
    })
}
