//! Runs seeds with a bug until an invariant sees it.

use crate::plan::Plan;
use crate::report::Options;
use crate::report::invariants::{Invariant, InvariantSet};
use crate::world::World;

use super::planted::{PlantedBug, select};
use super::table::{Row, Sighting};

/// How long a bug is hunted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Seeds until it counts as missed.
    pub seeds: u64,
    /// Seeds that are run in any case, for the invariants that see it less often.
    pub look: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { seeds: 2_000, look: 48 }
    }
}

/// The number of seeds that run with the same set of invariants. A larger batch would give the same
/// table.
const BATCH: u64 = 8;

/// The selected bug of the process, for as long as this lives.
struct Selected;

impl Selected {
    fn new(bug: PlantedBug) -> Self {
        select(Some(bug));
        Self
    }
}

impl Drop for Selected {
    fn drop(&mut self) {
        select(None);
    }
}

/// Hunts a bug with one seed after the other.
pub fn hunt(bug: PlantedBug, limits: Limits) -> Row {
    hunt_with(bug, limits, |seeds, watched| {
        seeds.iter().map(|seed| sightings(*seed, watched)).collect()
    })
}

/// Hunts a bug; `run` is given seeds and answers for each what [`sightings`] does, in their order,
/// on as many threads as it likes.
pub fn hunt_with(
    bug: PlantedBug,
    limits: Limits,
    mut run: impl FnMut(&[u64], InvariantSet) -> Vec<Vec<Sighting>>,
) -> Row {
    let _selected = Selected::new(bug);
    let mut row = Row {
        bug: bug.name(),
        description: bug.description(),
        rule: bug.rule(),
        found: None,
        seeds: 0,
        seen_by: Default::default(),
        looked: 0,
    };
    let mut watched = InvariantSet::ALL;
    while !watched.is_empty() {
        let enough = if row.found.is_some() { limits.look } else { limits.seeds.max(limits.look) };
        let seeds: Vec<u64> = (row.looked..enough.min(row.looked + BATCH)).collect();
        if seeds.is_empty() {
            break;
        }
        row.looked += seeds.len() as u64;
        for sighting in run(&seeds, watched).into_iter().flatten() {
            if let Ok(invariant) = sighting.tag.parse::<Invariant>() {
                watched = watched.without(invariant);
            }
            row.seen_by.entry(sighting.tag).or_insert(sighting.seed);
            row.found.get_or_insert(sighting);
        }
    }
    row.seeds = row.found.as_ref().map_or(row.looked, |found| found.seed + 1);
    row
}

/// The sightings of each invariant of a set in a seed. An invariant that sees something is switched
/// off and the seed runs again, until no invariant sees anything. The first sighting is the one
/// with all of them switched on.
pub fn sightings(seed: u64, mut watched: InvariantSet) -> Vec<Sighting> {
    let mut seen = Vec::new();
    while !watched.is_empty() {
        let options = Options { invariants: watched, ..Options::default() };
        let Err(violation) = World::new(&Plan::from(seed), options).run() else { break };
        let (tag, detail) = (violation.tag, violation.detail);
        seen.push(Sighting { tag, seed, detail });
        match tag.parse::<Invariant>() {
            Ok(invariant) if watched.contains(invariant) => watched = watched.without(invariant),
            // Something that cannot be switched off: the run never gets further.
            _ => break,
        }
    }
    seen
}
