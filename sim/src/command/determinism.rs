//! `ff-sim determinism`: each seed twice in lockstep, and once more in another process.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::Ordering;

use ff_sim::{Plan, Violation};
use serde_json::json;

use super::args::{DeterminismArgs, Store};
use super::ending::{Ending, Unusable, print};
use super::progress::Progress;
use super::seeds::{each, interruption};
use super::worlds::{options, store_name};

/// Compares the runs of each seed.
pub fn determinism(args: &DeterminismArgs) -> Result<Ending, Unusable> {
    let options = options(&args.world)?;
    let stop = interruption()?;
    let (mut hashes, mut worst) = (BTreeMap::new(), None::<Box<Violation>>);
    let mut progress = Progress::new("seeds", Some(args.seeds.seeds));
    let one = |seed| {
        let plan = Plan::from(seed);
        match args.hashes {
            true => ff_sim::run_plan(&plan, options.clone()),
            false => ff_sim::check_determinism(&plan, options.clone()),
        }
    };
    each(&args.seeds, None, &stop, one, |done| {
        match done.result {
            Ok(report) => {
                hashes.insert(done.seed, report.state_hash);
            }
            Err(violation) => worst = Some(violation),
        }
        if !args.hashes {
            progress.more("");
        }
        worst.is_none()
    });
    progress.finish();
    if args.hashes {
        for (seed, hash) in &hashes {
            print(&format!("{seed} {hash:016x}\n"));
        }
    } else if let Some(violation) = &worst {
        print(&format!("{violation}\n"));
    }
    if let Some(violation) = worst {
        return Ok(Ending::of(violation.tag));
    }
    if stop.load(Ordering::Relaxed) {
        return Ok(Ending::Interrupted);
    }
    if args.hashes {
        return Ok(Ending::Clean);
    }
    compare(args, &hashes)
}

/// Compares the hashes with those of a second process.
fn compare(args: &DeterminismArgs, hashes: &BTreeMap<u64, u64>) -> Result<Ending, Unusable> {
    let other = second_process(args)?;
    let differs = hashes.iter().find(|(seed, hash)| other.get(seed) != Some(hash));
    if args.output.json {
        let object = json!({
            "from": args.seeds.from,
            "seeds": hashes.len(),
            "store": store_name(args.world.store),
            "differs": differs.map(|(seed, _)| seed),
        });
        print(&format!("{object}\n"));
    } else if differs.is_none() {
        print(&format!(
            "{} seeds ran three times each in two processes: no difference\n",
            hashes.len()
        ));
    }
    let Some((seed, hash)) = differs else { return Ok(Ending::Clean) };
    if !args.output.json {
        let theirs = other.get(seed).map_or_else(|| "nothing".to_owned(), |h| format!("{h:016x}"));
        print(&format!(
            "seed {seed} has the hash {hash:016x} in this process and {theirs} in the second one\n"
        ));
    }
    Ok(Ending::Different)
}

fn second_process(args: &DeterminismArgs) -> Result<BTreeMap<u64, u64>, Unusable> {
    let wrong = |error: &dyn std::fmt::Display| Unusable::new(format!("second process: {error}"));
    let mut command = Command::new(std::env::current_exe().map_err(|error| wrong(&error))?);
    command.args(["determinism", "--hashes"]);
    command.args(["--seeds", &args.seeds.seeds.to_string()]);
    command.args(["--from", &args.seeds.from.to_string()]);
    if args.world.store != Store::Memory {
        command.args(["--store", store_name(args.world.store)]);
    }
    let output = command.output().map_err(|error| wrong(&error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let pair = |line: &str| {
        let (seed, hash) = line.split_once(' ')?;
        Some((seed.parse().ok()?, u64::from_str_radix(hash, 16).ok()?))
    };
    Ok(text.lines().filter_map(pair).collect())
}
