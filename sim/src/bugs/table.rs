//! The result of a hunt: each bug and the invariants that see it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::report::invariants::{Invariant, InvariantSet};

/// An invariant has seen a bug.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// The tag of the invariant.
    pub tag: &'static str,
    /// The seed of the run.
    pub seed: u64,
    /// The text of its violation.
    pub detail: String,
}

/// One bug, and who sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The bug's name.
    pub bug: &'static str,
    /// The mistake, in one sentence.
    pub description: &'static str,
    /// The rule that it breaks.
    pub rule: &'static str,
    /// The first sighting with all invariants switched on.
    pub found: Option<Sighting>,
    /// How many seeds were run until then; all of them if nothing did.
    pub seeds: u64,
    /// For each invariant that sees it by itself, its tag and the first seed at which it does,
    /// among those that were run.
    pub seen_by: BTreeMap<&'static str, u64>,
    /// Seeds that were run for `seen_by`.
    pub looked: u64,
}

/// Every bug, and who sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Matrix {
    /// One for each bug that was hunted.
    pub rows: Vec<Row>,
}

impl Matrix {
    /// The bugs that nothing has found.
    pub fn missed(&self) -> Vec<&'static str> {
        self.rows.iter().filter(|row| row.found.is_none()).map(|row| row.bug).collect()
    }

    /// The invariants of a set that see no bug by themselves.
    pub fn blind(&self, invariants: InvariantSet) -> Vec<Invariant> {
        let sees = |of: &Invariant| self.rows.iter().any(|row| row.seen_by.contains_key(of.tag()));
        invariants.iter().filter(|invariant| !sees(invariant)).collect()
    }

    /// The table for people, in Markdown: a row for each bug with what found it first and at which
    /// seed, and with every invariant that sees it by itself.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| bug | what is done wrong | found by | at seed | seen by each of these alone |\n\
             | --- | --- | --- | --- | --- |\n",
        );
        for row in &self.rows {
            let found = row.found.as_ref();
            let by = found.map_or("nothing", |found| found.tag);
            let seed = found.map_or("-".to_owned(), |found| found.seed.to_string());
            let seen: Vec<&str> = row.seen_by.keys().copied().collect();
            let (bug, what, seen) = (row.bug, row.description, seen.join(", "));
            writeln!(text, "| `{bug}` | {what} | {by} | {seed} | {seen} |")
                .expect("a String takes everything");
        }
        text.push_str("\n| invariant | bugs that it sees by itself |\n| --- | --- |\n");
        for invariant in Invariant::ALL {
            let sees = |row: &&Row| row.seen_by.contains_key(invariant.tag());
            let bugs: Vec<String> =
                self.rows.iter().filter(sees).map(|row| format!("`{}`", row.bug)).collect();
            writeln!(text, "| {invariant} | {} |", bugs.join(", "))
                .expect("a String takes everything");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bug: &'static str, tag: Option<&'static str>) -> Row {
        let detail = String::from("a detail");
        Row {
            bug,
            description: "something is done wrong",
            rule: "a rule",
            found: tag.map(|tag| Sighting { tag, seed: 7, detail }),
            seeds: 8,
            seen_by: tag.map(|tag| (tag, 7)).into_iter().collect(),
            looked: 16,
        }
    }

    /// The table reports a bug that no invariant sees and an invariant that sees nothing.
    #[test]
    fn the_table_tells_what_is_missing() {
        let matrix = Matrix { rows: vec![row("Seen", Some("INV-LEASE-1")), row("Unseen", None)] };
        assert_eq!(matrix.missed(), ["Unseen"]);
        let two = InvariantSet::only(Invariant::Lease).with(Invariant::Fence);
        assert_eq!(matrix.blind(two), [Invariant::Fence]);
        let text = matrix.markdown();
        let line = "| `Seen` | something is done wrong | INV-LEASE-1 | 7 | INV-LEASE-1 |\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("| `Unseen` | something is done wrong | nothing | - |  |\n"));
        assert!(text.contains("| INV-LEASE-1 | `Seen` |\n"));
    }
}
