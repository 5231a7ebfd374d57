//! As much of the simulator as fits into some minutes. Every count is fixed, so that a slow machine
//! simulates the same as a quick one; long runs are `ff-sim run`, `ff-sim bugs` and the soak.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fuzz;
use crate::shell::{
    Failed, Outcome, cargo, command, output, root, run as run_command, status, target,
};
use crate::steps::Steps;

/// Arguments of simulation.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many seeds of this commit to run
    #[arg(default_value_t = 6_000)]
    seeds: u64,
    /// On how many inputs each fuzz target runs
    #[arg(long, value_name = "COUNT", default_value_t = 2_000)]
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
    let sim = steps.step("build of the simulator", || {
        let only_build = ["--no-run", "--test", "command"];
        build("ff-sim", &only_build)
    })?;
    let planted = steps.step("build and test of the simulator with planted bugs", || {
        build("ff-sim-planted", &["--features", "ff-sim/planted-bugs", "--test", "bugs"])
    })?;
    let ff_sim = |args: &[&str]| run_command(command(&sim, args));
    // Other commits run other seeds; the same commit runs the same again.
    let from = first_seed().to_string();
    steps.step("the same seed gives the same run", || {
        ff_sim(&["determinism", "--seeds", "200", "--from", &from])
    })?;
    steps
        .step("plans of faults that were found stay clean", || ff_sim(&["replay", "sim/corpus"]))?;
    steps.step("plans of planted bugs still find them", || find_again(&planted))?;
    steps.step("seeds of this commit, reference store", || {
        ff_sim(&["run", "--seeds", &args.seeds.to_string(), "--from", &from])
    })?;
    steps.step("seeds of this commit, function library", || {
        ff_sim(&["run", "--seeds", "200", "--from", &from, "--store", "lua"])
    })?;
    steps.step("a crash at every effect boundary", || ff_sim(&["crash-points"]))?;
    steps.step("every interleaving of small worlds", || ff_sim(&["explore"]))?;
    if args.search {
        steps.step("every planted bug is found, as documented", || find_all(&planted))?;
    }
    steps.step("nothing goes unmet", || ff_sim(&["coverage", "--seeds", "2000"]))?;
    steps.step("fuzz targets", || {
        let seed = first_seed() % 1_000_000;
        fuzz::run_all(args.fuzz_inputs, u32::try_from(seed).unwrap_or_default())
    })?;
    steps.passed();
    Ok(())
}

/// Builds the simulator for a test of it, and sets it aside under a name. `cargo test --workspace`
/// builds with the same features, so nothing is built twice.
fn build(name: &str, test: &[&str]) -> Outcome<PathBuf> {
    run_command(cargo(&[&["test", "--workspace"], test].concat()))?;
    set_aside(&target().join("debug/ff-sim"), name)
}

/// Copies a program that the next build replaces, and gives the path of the copy.
///
/// # Errors
///
/// When it cannot be copied.
pub fn set_aside(built: &Path, name: &str) -> Outcome<PathBuf> {
    let aside = target().join("xtask");
    let copy = || {
        fs::create_dir_all(&aside)?;
        fs::copy(built, aside.join(name))
    };
    copy().map_err(|error| Failed(format!("cannot copy {}: {error}", built.display())))?;
    Ok(aside.join(name))
}

/// The first seed of this commit; 0 outside of a checkout.
fn first_seed() -> u64 {
    let commit = output(command("git", &["rev-parse", "HEAD"])).unwrap_or_default();
    commit.get(..12).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

/// Searches for every planted bug. The result is a part of `docs/simulation.md`.
fn find_all(planted: &Path) -> Outcome {
    let table = output(command(planted, &["bugs", "--markdown"]))?;
    let page = root().join("docs/simulation.md");
    let text = fs::read_to_string(&page)
        .map_err(|error| Failed(format!("{}: {error}", page.display())))?;
    if text.contains(&table) {
        return Ok(());
    }
    println!("{table}");
    Err(Failed(format!("{} has another table than `ff-sim bugs --markdown`", page.display())))
}

/// Replays each plan with the bug that it is named after: held-entry-kept.json has to find
/// `HeldEntryKept`. A plan without such a bug is kept for the fault alone.
fn find_again(planted: &Path) -> Outcome {
    let corpus = root().join("sim/corpus");
    let entries =
        fs::read_dir(&corpus).map_err(|error| Failed(format!("{}: {error}", corpus.display())))?;
    let mut plans: Vec<PathBuf> = entries.filter_map(Result::ok).map(|e| e.path()).collect();
    plans.sort();
    for plan in plans.iter().filter(|plan| plan.extension().is_some_and(|e| e == "json")) {
        let name = plan.file_stem().unwrap_or_default().to_string_lossy();
        let bug: String = name.split('-').map(capitalized).collect();
        let mut replay = command(planted, &["replay", "--planted", &bug]);
        match status(replay.arg(plan).stdout(std::process::Stdio::null()))?.code() {
            Some(1 | 2) => println!("{name} finds {bug}"),
            Some(64) => println!("{name}: there is no planted bug {bug}"),
            _ => return Err(Failed(format!("{} does not find {bug}", plan.display()))),
        }
    }
    Ok(())
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}
