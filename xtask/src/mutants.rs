//! Mutation testing of the rules: cargo-mutants changes one location in `core/src/execution` at a
//! time, and a test must fail: one of core's tests, or else 200 seeds of the simulator or its
//! random sequences of commands. `docs/mutants.md` lists the mutants that are known to be harmless.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::shell::{Failed, Outcome, cargo, root, status, target};

/// Arguments of mutation testing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The part of the mutants to try: from 0/5 to 4/5, about 80 each; 0/1 is all of them
    #[arg(default_value = "0/5")]
    shard: String,
}

/// Tries the mutants of a shard.
///
/// # Errors
///
/// When cargo-mutants is missing or fails, and when a mutant survives that is not listed.
pub fn run(args: &Args) -> Outcome {
    if !matches!(cargo(&["mutants", "--version"]).output(), Ok(output) if output.status.success()) {
        let how = "cargo install --locked cargo-mutants";
        return Err(Failed(format!("cargo-mutants is missing: {how}")));
    }
    let out = target().join("mutants");
    let (by_core, by_sim) = (out.join("core"), out.join("sim"));
    for folder in [&by_core, &by_sim] {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder)
            .map_err(|error| Failed(format!("{}: {error}", folder.display())))?;
    }
    let mut first = mutants(&out, &by_core);
    first.args(["--shuffle", "--sharding", "round-robin", "--shard", &args.shard]);
    // A ruling has no default value, so these do not compile.
    first.args(["--exclude-re", "with Ruling::"]);
    first.args(["--cargo-arg=--package=ff-tests", "--cargo-arg=--test=core"]);
    judge(first)?;
    let missed = names(&by_core, "missed");
    if !missed.is_empty() {
        let mut second = mutants(&out, &by_sim);
        for name in &missed {
            second.args(["--re", &format!("^{}$", escaped(name))]);
        }
        second.args(["--cargo-arg=--package=ff-tests", "--cargo-arg=--test=simulator"]);
        second.args(["--", "--", "two_hundred_seeds", "any_sequence_of_operations"]);
        judge(second)?;
    }
    // cargo-mutants tries some again that the names above do not mean.
    let mut survivors = names(&by_sim, "missed");
    survivors.retain(|name| missed.contains(name));
    let (caught, endless) = (names(&by_core, "caught").len(), names(&by_core, "timeout").len());
    let viable = caught + endless + missed.len();
    println!("{viable} mutants compile, {} do not", names(&by_core, "unviable").len());
    println!("{caught} caught by core's tests, {endless} more did not end");
    let (caught, endless) = (names(&by_sim, "caught").len(), names(&by_sim, "timeout").len());
    println!("{caught} of the others caught by the simulator, {endless} more did not end");
    let listed = fs::read_to_string(root().join("docs/mutants.md"))
        .map_err(|error| Failed(format!("docs/mutants.md: {error}")))?;
    let known = |name: &&String| !listed.contains(&format!("`{}`", without_position(name)));
    let unknown: Vec<&String> = survivors.iter().filter(known).collect();
    println!("{} survived both", survivors.len());
    if unknown.is_empty() {
        return Ok(());
    }
    let unknown: Vec<&str> = unknown.into_iter().map(String::as_str).collect();
    Err(Failed(format!("not listed in docs/mutants.md:\n  {}", unknown.join("\n  "))))
}

/// A run of cargo-mutants over the rules. Each works on a copy of the tree; what is built once
/// serves all of them.
fn mutants(out: &Path, to: &Path) -> Command {
    let mut command = cargo(&["mutants", "--package", "ff-core", "--unviable"]);
    command.args(["--file", "core/src/execution/**", "--gitignore", "true"]);
    command.args(["--cargo-arg=--locked", "--minimum-test-timeout", "120", "--output"]).arg(to);
    command.env("CARGO_TARGET_DIR", out.join("build"));
    command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "1");
    command
}

/// Runs cargo-mutants. Missed mutants (2) and mutants that never end (3) do not fail the run.
fn judge(mut command: Command) -> Outcome {
    match status(&mut command)?.code() {
        Some(0 | 2 | 3) => Ok(()),
        code => Err(Failed(format!("cargo mutants failed with {code:?}"))),
    }
}

/// The mutants of one outcome.
fn names(folder: &Path, outcome: &str) -> Vec<String> {
    let path = folder.join("mutants.out").join(format!("{outcome}.txt"));
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A mutant's name as a pattern for itself alone.
fn escaped(name: &str) -> String {
    let special = |c: char| r"[]\.*^$+?(){}|".contains(c);
    name.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// `file:line:column: what` without line and column, as `docs/mutants.md` has it.
fn without_position(name: &str) -> String {
    match name.split_once(": ") {
        Some((place, what)) => {
            let file = place.split(':').next().unwrap_or(place);
            format!("{file}: {what}")
        }
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{escaped, without_position};

    #[test]
    fn names_are_read_and_written() {
        assert_eq!(without_position("a/b.rs:7:3: replace + with -"), "a/b.rs: replace + with -");
        assert_eq!(escaped("f -> [u8] (+)"), r"f -> \[u8\] \(\+\)");
    }
}
