//! As much of the simulator as fits into some minutes. Every count is fixed, so that a slow machine
//! simulates the same as a quick one; long runs are `ff-sim run`, `ff-sim bugs` and the soak.

use std::fs;
use std::path::PathBuf;

use crate::shell::{Failed, Outcome, cargo, command, output, root, run as run_command, target};
use crate::steps::Steps;

/// Compiles the planted bugs in.
const PLANTED: &str = "ff-sim/planted-bugs";

/// Arguments of simulation.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many seeds of this commit to run
    #[arg(default_value_t = 3_000)]
    seeds: u64,
    /// On how many inputs the check of each fuzz target runs
    #[arg(long, value_name = "COUNT", default_value_t = 500)]
    fuzz_inputs: u64,
    /// Also search for each planted bug from seed 0 on, and compare the table in the documentation
    #[arg(long)]
    search: bool,
}

/// Runs it, and stops at the first step that fails.
///
/// # Errors
///
/// The failed step's.
pub fn run(args: &Args) -> Outcome {
    let mut steps = Steps::new("simulate");
    steps.step("planted bugs are found, as documented", || {
        run_command(cargo(&["test", "--workspace", "--features", PLANTED, "--test", "bugs"]))
    })?;
    // `./test` has built it: with the test, cargo chooses the same features. It takes the place of
    // the one with the planted bugs.
    steps.step("build of the simulator", || {
        run_command(cargo(&["test", "--workspace", "--no-run", "--test", "command"]))
    })?;
    let sim = target().join("debug/ff-sim");
    let ff_sim = |args: &[&str]| run_command(command(&sim, args));
    // Other commits run other seeds; the same commit runs the same again.
    let from = first_seed().to_string();
    steps.step("the same seed gives the same run", || {
        ff_sim(&["determinism", "--seeds", "100", "--from", &from])
    })?;
    steps
        .step("plans of faults that were found stay clean", || ff_sim(&["replay", "sim/corpus"]))?;
    steps.step(
        "seeds of this commit on the reference store, and all that they have to meet",
        || ff_sim(&["coverage", "--seeds", &args.seeds.to_string(), "--from", &from]),
    )?;
    steps.step("seeds of this commit, function library", || {
        ff_sim(&["run", "--seeds", "100", "--from", &from, "--store", "lua"])
    })?;
    steps.step("a crash at every effect boundary", || ff_sim(&["crash-points"]))?;
    steps.step("every interleaving of small worlds", || ff_sim(&["explore"]))?;
    if args.search {
        steps.step("the search for every planted bug from seed 0 on", find_all)?;
    }
    // The instrumented build of a fuzzer takes longer than all of this; the soak has it.
    steps.step("the checks of the fuzz targets, without a fuzzer", || {
        let mut test = cargo(&["test", "--workspace", "--test", "fuzz"]);
        test.env("FF_SEED", &from).env("FF_INPUTS", args.fuzz_inputs.to_string());
        run_command(test)
    })?;
    steps.passed();
    Ok(())
}

/// Builds the simulator for a release, and sets it aside under a name, since the next build
/// replaces it.
///
/// # Errors
///
/// When it does not compile.
pub fn release(name: &str, features: &[&str]) -> Outcome<PathBuf> {
    run_command(cargo(&[&["build", "--release", "--package", "ff-sim"], features].concat()))?;
    let (built, aside) = (target().join("release/ff-sim"), target().join("xtask"));
    let copy = || {
        fs::create_dir_all(&aside)?;
        fs::copy(&built, aside.join(name))
    };
    copy().map_err(|error| Failed(format!("cannot copy {}: {error}", built.display())))?;
    Ok(aside.join(name))
}

/// The first seed of this commit; 0 outside of a checkout.
pub fn first_seed() -> u64 {
    let commit = output(command("git", &["rev-parse", "HEAD"])).unwrap_or_default();
    commit.get(..12).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

/// Searches for every planted bug. The result is a part of `docs/simulation.md`.
fn find_all() -> Outcome {
    let planted = release("ff-sim-planted", &["--features", "planted-bugs"])?;
    let table = output(command(&planted, &["bugs", "--markdown"]))?;
    let page = root().join("docs/simulation.md");
    let text = fs::read_to_string(&page)
        .map_err(|error| Failed(format!("{}: {error}", page.display())))?;
    if text.contains(&table) {
        return Ok(());
    }
    println!("{table}");
    Err(Failed(format!("{} has another table than `ff-sim bugs --markdown`", page.display())))
}
