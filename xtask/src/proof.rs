//! `docs/proof.md` and its badge: what was run on this version, with figures and the command that
//! repeats each.

mod page;

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::shell::{Failed, Outcome, cargo, command, output, root, run as run_command, target};
use crate::simulate::release;
use crate::steps::Steps;

/// Starts are numbers of 45 bits, so that seeds stay short enough to be typed.
const START_BITS: u32 = 45;

/// Arguments of the proof.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each step keeps its result in target/proof, so a run that was interrupted is \
    continued with --step. `cargo xtask mutants` and `cargo xtask soak` keep theirs there too. The \
    page says of each result at which commit it was measured, and which were not measured."
)]
pub struct Args {
    /// Seeds on the reference store, in all
    #[arg(long, value_name = "COUNT", default_value_t = 500_000)]
    seeds: u64,
    /// Random numbers from which those seeds start
    #[arg(long, value_name = "COUNT", default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..))]
    starts: u64,
    /// Start here instead; may be repeated
    #[arg(long, value_name = "SEED", conflicts_with = "starts")]
    from: Vec<u64>,
    /// Seeds on the function library
    #[arg(long, value_name = "COUNT", default_value_t = 20_000)]
    library_seeds: u64,
    /// Random sequences for each subject of the conformance suite
    #[arg(long, value_name = "COUNT", default_value_t = 20_000)]
    sequences: u64,
    /// Run only these steps; may be repeated
    #[arg(long = "step", value_name = "STEP", value_enum)]
    steps: Vec<Step>,
    /// Run nothing; write the page from the results that are kept
    #[arg(long, conflicts_with = "steps")]
    page: bool,
}

/// A step of the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Step {
    /// Seeds on the reference store
    Seeds,
    /// Seeds on the function library
    Library,
    /// Crash points and small worlds
    Exhaustive,
    /// Planted bugs
    Bugs,
    /// Sequences of the conformance suite
    Conformance,
}

/// Runs the steps, and writes the page.
///
/// # Errors
///
/// The failed step's; or the page cannot be written.
pub fn run(args: &Args) -> Outcome {
    if !args.page {
        measure(args)?;
    }
    let files = [
        ("docs/proof.md", page::render(&read, &invariants()?)),
        ("docs/proof.svg", page::badge(&read)),
    ];
    for (file, text) in files {
        fs::write(root().join(file), text).map_err(|error| Failed(format!("{file}: {error}")))?;
        println!("{file} is written");
    }
    Ok(())
}

fn measure(args: &Args) -> Outcome {
    let wanted = |step| args.steps.is_empty() || args.steps.contains(&step);
    let mut steps = Steps::new("proof");
    let sim = steps.step("build of the simulator", || release("ff-sim", &[]))?;
    if wanted(Step::Seeds) {
        let starts =
            if args.from.is_empty() { random_starts(args.starts) } else { args.from.clone() };
        steps.step("seeds on the reference store", || {
            seeds(&sim, &starts, args.seeds.div_ceil(starts.len() as u64), "memory")
        })?;
    }
    if wanted(Step::Library) {
        let start =
            args.from.first().copied().map_or_else(|| random_starts(1), |start| vec![start]);
        steps.step("seeds on the function library", || {
            seeds(&sim, &start, args.library_seeds, "lua")
        })?;
    }
    if wanted(Step::Exhaustive) {
        steps.step("crash points and small worlds", || {
            keep("crash-points", &ask(&sim, &["crash-points", "--json"])?)?;
            let worlds = output(command(&sim, &["explore", "--json"]))?;
            let worlds: Vec<Value> = worlds.lines().map(parse).collect::<Outcome<_>>()?;
            keep("explore", &json!({ "worlds": worlds }))
        })?;
    }
    if wanted(Step::Bugs) {
        steps.step("planted bugs", || {
            let planted = release("ff-sim-planted", &["--features", "planted-bugs"])?;
            keep("bugs", &ask(&planted, &["bugs", "--json"])?)
        })?;
    }
    if wanted(Step::Conformance) {
        steps.step("sequences of the conformance suite", || conformance(args.sequences))?;
    }
    steps.passed();
    Ok(())
}

/// Numbers that no one chose.
fn random_starts(count: u64) -> Vec<u64> {
    let random = || RandomState::new().build_hasher().finish() >> (u64::BITS - START_BITS);
    (0..count).map(|_| random()).collect()
}

/// Runs this number of seeds from each start. Failing seeds are a part of the result, and their
/// plans are kept beside it.
fn seeds(sim: &Path, starts: &[u64], each: u64, store: &str) -> Outcome {
    let mut runs = Vec::new();
    let plans = folder()?.display().to_string();
    for start in starts {
        println!("{each} seeds from {start}");
        let (count, from) = (each.to_string(), start.to_string());
        let args = ["run", "--json", "--seeds", &count, "--from", &from, "--store", store];
        let mut run = command(sim, &[&args[..], &["--plans", &plans]].concat());
        let ended = run.stderr(Stdio::inherit()).output();
        let ended = ended.map_err(|error| Failed(format!("cannot run ff-sim: {error}")))?;
        let printed = String::from_utf8_lossy(&ended.stdout);
        runs.push(parse(printed.lines().last().unwrap_or_default())?);
    }
    let failures = |run: &Value| run["failures"].as_array().map_or(0, Vec::len);
    let failed: usize = runs.iter().map(failures).sum();
    keep(&format!("seeds-{store}"), &json!({ "runs": runs }))?;
    match failed {
        0 => Ok(()),
        count => Err(Failed(format!("{count} seeds failed; their plans are in {plans}"))),
    }
}

fn conformance(sequences: u64) -> Outcome {
    let mut tests = cargo(&["test", "--release", "--package", "ff-tests", "--test", "conformance"]);
    tests.env("FF_CONFORMANCE_CASES", sequences.to_string());
    run_command(tests)?;
    keep("conformance", &json!({ "sequences": sequences }))
}

/// The object that a command prints.
fn ask(program: &Path, args: &[&str]) -> Outcome<Value> {
    parse(output(command(program, args))?.lines().last().unwrap_or_default())
}

/// Reads a result.
///
/// # Errors
///
/// When it is not JSON.
pub fn parse(line: &str) -> Outcome<Value> {
    serde_json::from_str(line).map_err(|error| Failed(format!("{error} in {line}")))
}

/// Keeps the result of a step for the page, with the commit.
///
/// # Errors
///
/// When it cannot be written.
pub fn keep(name: &str, result: &Value) -> Outcome {
    let commit = output(command("git", &["rev-parse", "--short=9", "HEAD"])).unwrap_or_default();
    let text = json!({ "commit": commit, "result": result }).to_string();
    let path = path(name)?;
    fs::write(&path, text).map_err(|error| Failed(format!("{}: {error}", path.display())))
}

/// The path of a result.
///
/// # Errors
///
/// When its folder cannot be made.
pub fn path(name: &str) -> Outcome<PathBuf> {
    Ok(folder()?.join(format!("{name}.json")))
}

fn folder() -> Outcome<PathBuf> {
    let folder = target().join("proof");
    fs::create_dir_all(&folder)
        .map_err(|error| Failed(format!("{}: {error}", folder.display())))?;
    Ok(folder)
}

fn read(name: &str) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(path(name).ok()?).ok()?).ok()
}

/// The tags of all invariants and what always holds, from the architecture's page.
fn invariants() -> Outcome<Vec<(String, String)>> {
    let page = root().join("docs/architecture.md");
    let text = fs::read_to_string(&page)
        .map_err(|error| Failed(format!("{}: {error}", page.display())))?;
    Ok(page::invariants(&text))
}
