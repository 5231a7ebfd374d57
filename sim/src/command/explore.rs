//! `ff-sim explore`: every interleaving of small worlds.

use std::cmp::Reverse;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ff_sim::explore::{
    ExploreProgress, ExploreReport, ExploreViolation, SmallWorld, WORLDS, explore as run, replay,
    world,
};
use serde_json::json;

use super::args::{ExploreArgs, SeedsArgs};
use super::ending::{Ending, Unusable, print};
use super::progress::Progress;
use super::seeds::{Done, each};
use super::table::{grouped, table};

/// Explores one world, or every world with known counts.
pub fn explore(args: &ExploreArgs) -> Result<Ending, Unusable> {
    let worlds = match &args.world {
        Some(name) => vec![world(name).ok_or_else(|| unknown(name))?],
        // The largest are the last. Begin with them, so that no thread ends long after the others.
        None => {
            let known = |world: &&SmallWorld| ExploreReport::golden(world).is_some();
            WORLDS.iter().rev().filter(known).collect()
        }
    };
    if let Some(path) = &args.path {
        return walk(worlds[0], path);
    }
    let mut ending = Ending::Clean;
    let mut rows = table(&["world", "states#", "steps#", "ends#", "longest path#", "seconds#"]);
    let mut explored = explore_each(&worlds, args.jobs);
    explored.sort_by_key(|done| Reverse(done.seed));
    for Done { seed: number, result, spent } in explored {
        let world = worlds[number as usize];
        let report = match result {
            Ok(report) => report,
            Err(violation) => return Ok(broken(&violation, args.output.json)),
        };
        let known = ExploreReport::golden(world);
        let same = known.as_ref().is_none_or(|known| *known == report);
        if args.output.json {
            print(&format!("{}\n", to_json(&report, spent, same)));
        }
        let seconds = format!("{:.1}", spent.as_secs_f64());
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

/// Explores worlds in parallel, each on one thread, until one breaks an invariant.
fn explore_each(
    worlds: &[&'static SmallWorld],
    jobs: Option<u32>,
) -> Vec<Done<Result<ExploreReport, ExploreViolation>>> {
    let progress = Mutex::new((Progress::new("states", None), vec![0; worlds.len()]));
    let look = |number: u64| {
        let world = worlds[number as usize];
        run(world, |at: ExploreProgress| {
            let (progress, states) = &mut *progress.lock().expect("no holder panics");
            states[number as usize] = at.states;
            progress.at(states.iter().sum(), &format!("{}: {} deep", world.name, at.depth));
        })
    };
    let all = SeedsArgs { seeds: worlds.len() as u64, from: 0, jobs };
    let mut explored = Vec::new();
    each(&all, None, &AtomicBool::new(false), look, |done| {
        let clean = done.result.is_ok();
        explored.push(done);
        clean
    });
    progress.lock().expect("no holder panics").0.finish();
    explored
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

fn to_json(report: &ExploreReport, spent: Duration, same: bool) -> serde_json::Value {
    json!({
        "world": report.world,
        "passed": true,
        "states": report.states,
        "transitions": report.transitions,
        "ends": report.ends,
        "depth": report.depth,
        "as_known": same,
        "elapsed_ms": spent.as_millis() as u64,
    })
}
