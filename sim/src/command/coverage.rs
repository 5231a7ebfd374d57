//! `ff-sim coverage`: the coverage of many seeds, and its gaps.

use std::sync::atomic::Ordering;

use ff_sim::coverage::{Gap, UNREACHABLE, transitions};
use ff_sim::{Coverage, Plan, Violation};
use serde_json::json;

use super::args::CoverageArgs;
use super::ending::{Ending, Unusable, print};
use super::progress::Progress;
use super::seeds::{each, interruption};
use super::table::{figures, table};
use super::worlds::{options, store_name};

/// How many of the rarest cells are shown.
const RAREST: usize = 8;

/// Runs the seeds and shows their coverage.
pub fn coverage(args: &CoverageArgs) -> Result<Ending, Unusable> {
    let options = options(&args.world)?;
    let stop = interruption()?;
    let (mut met, mut seeds, mut broken) = (Coverage::default(), 0, None::<Box<Violation>>);
    // The number of seeds after which the coverage was complete.
    let mut complete = None;
    let mut progress = Progress::new("seeds", Some(args.seeds.seeds));
    let one = |seed| ff_sim::run_plan(&Plan::from(seed), options.clone());
    each(&args.seeds, None, &stop, one, |done| {
        match done.result {
            Ok(report) => met.merge(&report.coverage),
            Err(violation) => broken = Some(violation),
        }
        seeds += 1;
        if complete.is_none() && met.missing().is_empty() {
            complete = Some(seeds);
        }
        progress.more(if complete.is_some() { "coverage complete" } else { "" });
        broken.is_none()
    });
    progress.finish();
    if let Some(violation) = broken {
        print(&format!("{violation}\n"));
        return Ok(Ending::of(violation.tag));
    }
    let missing = met.missing();
    if args.output.json {
        let texts = |gaps: &[Gap]| gaps.iter().map(Gap::to_string).collect::<Vec<_>>();
        let cells = met.cells();
        let object = json!({
            "from": args.seeds.from,
            "seeds": seeds,
            "store": store_name(args.world.store),
            "missing": texts(&missing),
            "complete_after_seeds": complete,
            "missing_effects": texts(&met.missing_effects()),
            "cells": cells.iter().map(|(cell, n)| (cell.to_string(), json!(n)))
                .collect::<serde_json::Map<_, _>>(),
        });
        print(&format!("{object}\n"));
    } else {
        show(&met, &missing, seeds, complete);
    }
    Ok(match missing.is_empty() {
        _ if stop.load(Ordering::Relaxed) => Ending::Interrupted,
        true => Ending::Clean,
        false => Ending::Missed,
    })
}

fn show(met: &Coverage, missing: &[Gap], seeds: u64, complete: Option<u64>) {
    let cells = met.cells();
    let hit = |count: usize, all: usize| format!("{count} of {all}");
    let effects = transitions().len();
    let reachable = met.rejections.values().filter(|count| **count > 0).count();
    let repeats = met.repeats();
    let table_of_all = figures(&[
        ("seeds", &seeds),
        (
            "commands in situations",
            &hit(cells.values().filter(|count| **count > 0).count(), cells.len()),
        ),
        ("effects of rules", &hit(effects - met.missing_effects().len(), effects)),
        ("rejections", &reachable),
        ("unreachable rejections", &UNREACHABLE.len()),
        ("events", &met.events.values().filter(|count| **count > 0).count()),
        ("faults", &met.faults.values().filter(|count| **count > 0).count()),
        (
            "commands recognised as repeats",
            &hit(repeats.values().filter(|count| **count > 0).count(), repeats.len()),
        ),
        ("leases of ids used before", &met.ids_used_again),
    ]);
    print(&format!("{table_of_all}\n"));
    let mut rarest: Vec<_> = cells.iter().map(|(cell, count)| (*count, cell)).collect();
    rarest.sort_unstable();
    let mut rare = table(&["rarest", "count#"]);
    for (count, cell) in rarest.into_iter().take(RAREST) {
        rare.add_row(vec![cell.to_string(), count.to_string()]);
    }
    print(&format!("{rare}\n"));
    for gap in missing {
        print(&format!("not covered: {gap}\n"));
    }
    match complete {
        Some(seeds) => print(&format!("coverage was complete after {seeds} seeds\n")),
        None => print(&format!("{} gaps in the coverage\n", missing.len())),
    }
}
