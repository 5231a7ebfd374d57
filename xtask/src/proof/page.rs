//! The text of `docs/proof.md`, from the kept results.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

/// Gives a kept result by its name: `{ commit, result }`.
pub type Kept<'a> = &'a dyn Fn(&str) -> Option<Value>;

const HEAD: &str = "\
# Proof

This page lists what was run to find defects in FlowFabric, with the figures and the command that
repeats each. `cargo xtask proof` generates it for each release, from the results of the last run
of each step. Each result names the commit at which it was measured.

";

const LIMITS: &str = "\
## What this does not prove

- Random seeds show that defects are rare, not that there are none. Each run starts from other
  random seeds, so each release runs other worlds.
- The simulator runs the operations and the agents on a reference store, or on the real function
  library in process. The conformance suite compares that store with real servers, and the soaks run
  real processes on them. A defect of the server itself, of its replication or of its disk is
  outside of all of these.
- A planted bug or a mutant shows that one mistake of its kind is found.
";

/// The rows of the tables of invariants in the architecture's page: tag, and what always holds.
pub fn invariants(architecture: &str) -> Vec<(String, String)> {
    let section = architecture.split("\n### Invariants\n").nth(1).unwrap_or_default();
    let section = section.split("\n### ").next().unwrap_or_default();
    let row = |line: &str| {
        let (tag, text) = line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | ")?;
        Some((tag.trim_matches(['[', ']']).to_owned(), text.to_owned()))
    };
    section.lines().filter_map(row).collect()
}

/// The whole page.
pub fn render(kept: Kept, invariants: &[(String, String)]) -> String {
    let sections = [
        seeds(kept),
        invariants_seen(kept, invariants),
        exhaustive(kept),
        bugs(kept),
        mutants(kept),
        conformance(kept),
        soaks(kept),
    ];
    format!("{HEAD}{}{LIMITS}", sections.concat())
}

/// An image of the main numbers, for the README.
pub fn badge(kept: Kept) -> String {
    let runs = kept("seeds-memory").map(|kept| kept["result"]["runs"].clone()).unwrap_or_default();
    let sum = |name: &str| list(&runs).iter().map(|run| number(&run[name])).sum::<u64>();
    let failures: usize = list(&runs).iter().map(|run| list(&run["failures"]).len()).sum();
    let bugs = kept("bugs").map(|kept| kept["result"].clone()).unwrap_or_default();
    let (all, missed) = (list(&bugs["bugs"]).len(), list(&bugs["missed"]).len());
    let text = format!(
        "{} seeds, {} simulated hours: {failures} failures | {} of {all} planted bugs found",
        grouped(sum("seeds")),
        grouped(sum("simulated_ms") / 3_600_000),
        all - missed,
    );
    let width = 7 * text.len() + 12;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"20\" role=\"img\" \
         aria-label=\"{text}\">\n\
         <rect width=\"{width}\" height=\"20\" rx=\"3\" fill=\"#2b4a5e\"/>\n\
         <text x=\"{}\" y=\"14\" fill=\"#fff\" font-family=\"DejaVu Sans,Verdana,sans-serif\" \
         font-size=\"11\" text-anchor=\"middle\">{text}</text>\n</svg>\n",
        width / 2,
    )
}

/// A section: its title, its command, and its text if there is a result.
fn section(
    title: &str,
    repeat: &str,
    kept: Option<Value>,
    text: impl Fn(&Value) -> String,
) -> String {
    let text = match kept {
        None => "Not run for this version.\n".to_owned(),
        Some(kept) => {
            let commit = kept["commit"].as_str().unwrap_or("an unknown commit");
            format!("Measured at {commit}. {}", text(&kept["result"]))
        }
    };
    format!("## {title}\n\n`{repeat}`\n\n{text}\n")
}

fn seeds(kept: Kept) -> String {
    let memory = section(
        "Seeds on the reference store",
        "cargo xtask proof --step seeds",
        kept("seeds-memory"),
        runs,
    );
    let library = section(
        "Seeds on the function library",
        "cargo xtask proof --step library",
        kept("seeds-lua"),
        runs,
    );
    memory + &library
}

/// The runs of one store, and the faults that they met.
fn runs(result: &Value) -> String {
    let runs = list(&result["runs"]);
    let sum = |name: &str| runs.iter().map(|run| number(&run[name])).sum::<u64>();
    let mut text = format!(
        "{} seeds from {} random starts: {} failures.\n\n\
         | from | seeds | executions | store calls | simulated hours | failures |\n{}",
        grouped(sum("seeds")),
        runs.len(),
        runs.iter().map(|run| list(&run["failures"]).len()).sum::<usize>(),
        rule(6),
    );
    let mut row = |from: &str, run: &dyn Fn(&str) -> u64, failures: usize| {
        let hours = run("simulated_ms") / 3_600_000;
        let counts = ["seeds", "executions", "store_calls"].map(|name| grouped(run(name)));
        let line = format!("| {from} | {} | {} | {failures} |", counts.join(" | "), grouped(hours));
        text += &(line + "\n");
    };
    for run in runs {
        let failures = list(&run["failures"]).len();
        row(&number(&run["from"]).to_string(), &|name| number(&run[name]), failures);
    }
    let failures = runs.iter().map(|run| list(&run["failures"]).len()).sum();
    row("all", &sum, failures);
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    for (fault, times) in runs.iter().filter_map(|run| run["faults"].as_object()).flatten() {
        *faults.entry(fault).or_default() += number(times);
    }
    let all = grouped(faults.values().sum());
    let each: Vec<String> =
        faults.iter().map(|(fault, times)| format!("{fault} {}", grouped(*times))).collect();
    text + &format!("\nFaults that these seeds met, {all} in all: {}.\n", each.join(", "))
}

fn invariants_seen(kept: Kept, invariants: &[(String, String)]) -> String {
    let bugs = kept("bugs");
    let mut text = format!(
        "## Invariants\n\nEvery run checks all {} of these. The last column counts the planted \
         bugs \
         that the invariant\nfinds when no other one is enabled.\n\n\
         | invariant | what always holds | finds alone |\n{}",
        invariants.len(),
        rule(3),
    );
    for (tag, holds) in invariants {
        let sees = |bug: &&Value| bug["seen_by"].get(tag).is_some();
        let alone = bugs.as_ref().map_or("not run".to_owned(), |bugs| {
            list(&bugs["result"]["bugs"]).iter().filter(sees).count().to_string()
        });
        writeln!(text, "| `{tag}` | {holds} | {alone} |").expect("a String takes everything");
    }
    text + "\n"
}

fn exhaustive(kept: Kept) -> String {
    let points = section(
        "A crash at every effect boundary",
        "cargo run --release -p ff-sim -- crash-points",
        kept("crash-points"),
        |result| {
            let count = |name: &str| grouped(number(&result[name]));
            format!(
                "{} operations in situations, {} effect boundaries, {} runs: {}.\n",
                count("operations"),
                count("boundaries"),
                count("runs"),
                if result["passed"] == true { "no failure" } else { "FAILED" },
            )
        },
    );
    let worlds = section(
        "Every interleaving of small worlds",
        "cargo run --release -p ff-sim -- explore",
        kept("explore"),
        |result| {
            let mut text = "Each to exhaustion.\n\n| world | states | steps | failures |\n"
                .to_owned()
                + &rule(4);
            for world in list(&result["worlds"]) {
                let name = world["world"].as_str().unwrap_or_default();
                let counts = ["states", "transitions"].map(|count| grouped(number(&world[count])));
                let failures = u8::from(world["passed"] != true);
                text += &format!("| `{name}` | {} | {failures} |\n", counts.join(" | "));
            }
            text
        },
    );
    points + &worlds
}

fn bugs(kept: Kept) -> String {
    section("Planted bugs", "cargo xtask proof --step bugs", kept("bugs"), |result| {
        let bugs = list(&result["bugs"]);
        let mut seeds: Vec<u64> = bugs.iter().map(|bug| number(&bug["found"]["seed"])).collect();
        seeds.sort_unstable();
        let median = seeds.get(seeds.len() / 2).copied().unwrap_or_default();
        format!(
            "{} of {} are found; the median at seed {median}, the last at seed {}. \
             [simulation.md](simulation.md#the-planted-bugs)\nlists each with the invariants that \
             find it.\n",
            bugs.len() - list(&result["missed"]).len(),
            bugs.len(),
            seeds.last().copied().unwrap_or_default(),
        )
    })
}

fn mutants(kept: Kept) -> String {
    let mut text = "## Mutants\n\n`cargo xtask mutants --area AREA SHARD`\n\n\
                    | area | shard | compile | caught | measured at |\n"
        .to_owned()
        + &rule(5);
    for area in ["rules", "operations", "agents", "upkeep"] {
        let row = match kept(&format!("mutants-{area}")) {
            None => "| not run | | | |".to_owned(),
            Some(kept) => {
                let result = &kept["result"];
                let (viable, alive) = (number(&result["viable"]), number(&result["survivors"]));
                let caught = viable - alive;
                let percent = 100 * caught / viable.max(1);
                let shard = result["shard"].as_str().unwrap_or_default();
                let commit = kept["commit"].as_str().unwrap_or_default();
                format!("| {shard} | {viable} | {caught} ({percent} %) | {commit} |")
            }
        };
        text += &format!("| {area} {row}\n");
    }
    text + "\n"
}

fn conformance(kept: Kept) -> String {
    let repeat = "cargo xtask proof --step conformance";
    section("Conformance with the reference store", repeat, kept("conformance"), |result| {
        format!(
            "{} random sequences of requests on each subject: the function library in process, \
             Valkey and\nRedis. Each request has to get the reply of the reference store.\n",
            grouped(number(&result["sequences"])),
        )
    })
}

fn soaks(kept: Kept) -> String {
    section("Soaks with real processes", "cargo xtask soak", kept("soak"), |result| {
        let mut text = "Every execution had to end exactly once.\n\n\
                        | scenario | runs | executions | faults | repeated | failed runs |\n"
            .to_owned()
            + &rule(6);
        for row in list(&result["scenarios"]) {
            let name = row["scenario"].as_str().unwrap_or_default();
            let counts = ["runs", "executions", "faults", "restarts", "failed"];
            let counts = counts.map(|count| grouped(number(&row[count])));
            text += &format!("| {name} | {} |\n", counts.join(" | "));
        }
        text
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// The line under the head of a table.
fn rule(columns: usize) -> String {
    format!("|{}\n", " --- |".repeat(columns))
}

/// A number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page() -> &'static str {
        include_str!("../../../docs/proof.md")
    }

    /// An invariant that was added since asks for a new page.
    #[test]
    fn the_page_lists_the_invariants_of_the_architecture() {
        let all = invariants(include_str!("../../../docs/architecture.md"));
        assert!(all.len() >= 20, "{all:?}");
        for (tag, holds) in all {
            assert!(page().contains(&format!("| `{tag}` | {holds} |")), "{tag}");
        }
    }

    #[test]
    fn a_step_that_was_not_run_is_not_hidden() {
        let text = render(&|_| None, &[]);
        assert_eq!(text.matches("Not run for this version.").count(), 7, "{text}");
        assert_eq!(text.matches("| not run |").count(), 4, "{text}");
    }

    #[test]
    fn failures_and_totals_are_shown() {
        let run = |from: u64, failures: Value| {
            json!({ "from": from, "seeds": 1_000, "executions": 2, "store_calls": 3,
                "simulated_ms": 7_200_000, "failures": failures, "faults": { "Crash": 4 } })
        };
        let runs = json!({ "runs": [run(5, json!([])), run(6, json!([{ "seed": 9 }]))] });
        let kept = |name: &str| {
            (name == "seeds-memory").then(|| json!({ "commit": "abc", "result": runs }))
        };
        let text = render(&kept, &[]);
        assert!(text.contains("Measured at abc. 2,000 seeds from 2 random starts: 1 failures."));
        assert!(text.contains("| 6 | 1,000 | 2 | 3 | 2 | 1 |\n| all | 2,000 | 4 | 6 | 4 | 1 |\n"));
        assert!(text.contains("met, 8 in all: Crash 8."), "{text}");
    }
}
