//! The choice of inputs to keep: the few that reach the most for their length.

use std::collections::{BTreeMap, BTreeSet};

/// How many inputs are kept of a target, and how many bytes.
const MOST: usize = 32;
const MOST_BYTES: usize = 4_000;
/// The cost of an input that has no bytes, in bytes.
const COST: usize = 200;

/// Chooses from what libFuzzer's merge control file says each input reaches: the number of files,
/// one line more, their names, and then lines `STARTED index size` and `FT index feature...`.
pub fn inputs(control: &str) -> Vec<String> {
    let mut lines = control.lines();
    let count: usize = lines.next().and_then(|line| line.trim().parse().ok()).unwrap_or(0);
    let names: Vec<&str> = lines.by_ref().skip(1).take(count).collect();
    let mut sizes = BTreeMap::<usize, usize>::new();
    let mut features = BTreeMap::<usize, Vec<u64>>::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let (kind, index) = (words.next(), words.next().and_then(|word| word.parse().ok()));
        let mut numbers = words.filter_map(|word| word.parse::<u64>().ok());
        match (kind, index) {
            (Some("STARTED"), Some(index)) => {
                sizes.insert(index, numbers.next().unwrap_or(0) as usize);
            }
            (Some("FT"), Some(index)) => {
                features.insert(index, numbers.collect());
            }
            _ => {}
        }
    }
    let (mut used, mut reached, mut chosen) = (0, BTreeSet::new(), Vec::new());
    while chosen.len() < MOST {
        let worth = |(index, reaches): (&usize, &Vec<u64>)| {
            let size = sizes.get(index).copied().unwrap_or(0);
            let fits = used + size <= MOST_BYTES;
            let new = reaches.iter().filter(|feature| !reached.contains(*feature)).count();
            // Comparable as whole numbers.
            (fits && new > 0).then_some((new * 1_000_000 / (size + COST), *index, size))
        };
        let Some((_, index, size)) = features.iter().filter_map(worth).max() else { break };
        used += size;
        reached.extend(features.remove(&index).unwrap_or_default());
        chosen.extend(names.get(index).map(|name| (*name).to_owned()));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::inputs;

    /// A feature that several inputs reach counts once, and long inputs cost more.
    #[test]
    fn the_inputs_that_reach_the_most_for_their_length_are_chosen() {
        let control = "3\n0\na\nb\nc\nSTARTED 0 10\nFT 0 1 2 3\nSTARTED 1 3000\nFT 1 1 2 3 4\n\
                       STARTED 2 10\nFT 2 2 3\n";
        assert_eq!(inputs(control), ["a", "b"]);
    }
}
