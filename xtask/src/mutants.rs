//! Mutation testing: cargo-mutants changes one location of an area at a time, and a test must fail.
//! The suite of the area runs first; what it does not catch, the second suite must.
//! `docs/mutants.md` lists the mutants that are known to be harmless.

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use serde_json::json;

use crate::proof;
use crate::shell::{Failed, Outcome, cargo, root, status, target};

/// Arguments of mutation testing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The part of the mutants to try: from 0/5 to 4/5, a fifth each; 0/1 is all of them
    #[arg(default_value = "0/5")]
    shard: String,
    /// The code whose mutants are tried
    #[arg(long, value_enum, default_value_t)]
    area: Area,
}

/// The code whose mutants are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Area {
    /// The rules of executions (`core/src/execution`)
    #[default]
    Rules,
    /// The operations (`core/src/op`)
    Operations,
    /// The agents (`core/src/agent`)
    Agents,
    /// The upkeep of leases and wake-ups in the SDK (`sdk/src/upkeep.rs`, `sdk/src/drive.rs`)
    Upkeep,
}

/// The tests that try a mutant: arguments of cargo, and of the tests.
struct Suite {
    cargo: &'static [&'static str],
    tests: &'static [&'static str],
}

/// Core's own tests, without the crates that depend on it.
const CORE: Suite = Suite { cargo: &["--features=own-suite", "--test=core", "--lib"], tests: &[] };
/// Seeds of the simulator, and random sequences of commands.
const SEEDS: Suite = Suite {
    cargo: &["--package=ff-tests", "--test=simulator"],
    tests: &["two_hundred_seeds", "any_sequence_of_operations"],
};
/// The tests of operations and agents in the simulator, and its seeds.
const OPERATIONS: Suite = Suite {
    cargo: &["--package=ff-tests", "--test=simulator"],
    tests: &["operations::", "two_hundred_seeds", "crash_points::"],
};
/// The tests of the SDK, and those of programs whose store is lost or has a newer format.
const SDK: Suite = Suite {
    cargo: &["--package=ff-tests", "--test=suite"],
    tests: &["sdk::", "format::", "store_loss::"],
};
/// Simulations of users' handlers.
const SIMULATIONS: Suite = Suite {
    cargo: &["--package=ff-tests", "--test=simulator"],
    tests: &["simulation::", "approvals::"],
};

impl Area {
    const fn package(self) -> &'static str {
        match self {
            Self::Rules | Self::Operations | Self::Agents => "ff-core",
            Self::Upkeep => "ff-sdk",
        }
    }

    const fn files(self) -> &'static [&'static str] {
        match self {
            Self::Rules => &["core/src/execution/**"],
            Self::Operations => &["core/src/op/**"],
            Self::Agents => &["core/src/agent/**"],
            Self::Upkeep => &["sdk/src/upkeep.rs", "sdk/src/drive.rs"],
        }
    }

    const fn suites(self) -> (Suite, Suite) {
        match self {
            Self::Rules => (CORE, SEEDS),
            Self::Operations | Self::Agents => (CORE, OPERATIONS),
            Self::Upkeep => (SDK, SIMULATIONS),
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().expect("every area has a name").get_name().to_owned()
    }
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
    let area = args.area;
    let out = target().join("mutants").join(area.name());
    let (by_first, by_second) = (out.join("first"), out.join("second"));
    for folder in [&by_first, &by_second] {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder)
            .map_err(|error| Failed(format!("{}: {error}", folder.display())))?;
    }
    let (suite, other) = area.suites();
    let mut first = mutants(area, &by_first);
    first.args(["--shuffle", "--sharding", "round-robin", "--shard", &args.shard]);
    // A ruling has no default value, so these do not compile.
    first.args(["--exclude-re", "with Ruling::"]);
    judge(suite.on(first))?;
    let missed = names(&by_first, "missed");
    if !missed.is_empty() {
        let mut second = mutants(area, &by_second);
        for name in &missed {
            second.args(["--re", &format!("^{}$", escaped(name))]);
        }
        judge(other.on(second))?;
    }
    // cargo-mutants tries some again that the names above do not mean.
    let mut survivors = names(&by_second, "missed");
    survivors.retain(|name| missed.contains(name));
    let caught = names(&by_first, "caught").len();
    let endless = names(&by_first, "timeout").len() + names(&by_second, "timeout").len();
    let by_other = missed.len() - survivors.len();
    let viable = caught + names(&by_first, "timeout").len() + missed.len();
    println!("{viable} mutants compile, {} do not", names(&by_first, "unviable").len());
    println!("{caught} caught by the first suite, {by_other} more by the second");
    println!("{endless} of them did not end");
    println!("{} survived both", survivors.len());
    let found = json!({
        "area": area.name(), "shard": args.shard, "viable": viable, "survivors": survivors.len(),
    });
    proof::keep(&format!("mutants-{}", area.name()), &found)?;
    let listed = fs::read_to_string(root().join("docs/mutants.md"))
        .map_err(|error| Failed(format!("docs/mutants.md: {error}")))?;
    let known = |name: &&String| !listed.contains(&format!("`{}`", without_position(name)));
    let unknown: Vec<&str> = survivors.iter().filter(known).map(String::as_str).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Failed(format!("not listed in docs/mutants.md:\n  {}", unknown.join("\n  "))))
}

/// A run of cargo-mutants over an area. Each works on a copy of the tree; what is built once serves
/// all of them. Little is optimised, since each mutant is compiled again.
fn mutants(area: Area, to: &Path) -> Command {
    let mut command = cargo(&["mutants", "--package", area.package(), "--unviable"]);
    area.files().iter().for_each(|files| {
        command.args(["--file", files]);
    });
    command.args(["--gitignore", "true", "--minimum-test-timeout", "120"]);
    for (name, level) in [("ff-core", 1), ("ff-sim", 1)] {
        let config = format!("profile.dev.package.{name}.opt-level={level}");
        command.arg("--cargo-arg=--config").arg(format!("--cargo-arg={config}"));
    }
    command.args(["--cargo-arg=--locked", "--output"]).arg(to);
    command.env("CARGO_TARGET_DIR", target().join("mutants/build"));
    command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "1");
    command
}

impl Suite {
    /// Makes a run of cargo-mutants use this suite.
    fn on(&self, mut command: Command) -> Command {
        command.args(self.cargo.iter().map(|arg| format!("--cargo-arg={arg}")));
        if !self.tests.is_empty() {
            command.args(["--", "--"]).args(self.tests);
        }
        command
    }
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
