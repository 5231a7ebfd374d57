//! The search for planted bugs, in builds that contain them: without a bug no invariant breaks, and
//! an invariant that sees a bug also sees it alone. `ff-sim bugs` searches for all of them.

use ff_sim::bugs::{Limits, PlantedBug, hunt, hunt_with, select, sightings};
use ff_sim::{Invariant, InvariantSet, Options, Plan, World};

/// One test, because the selected bug applies to the whole process.
#[test]
fn an_invariant_sees_by_itself_what_it_sees_among_others() {
    for seed in 0..20 {
        assert_eq!(sightings(seed, InvariantSet::ALL), []);
    }
    let limits = Limits { seeds: 200, look: 16 };
    for bug in [PlantedBug::EpochNotRaised, PlantedBug::GrantKept, PlantedBug::PriorityLost] {
        let row = hunt(bug, limits);
        let found = row.found.clone().unwrap_or_else(|| panic!("{bug} is not found"));
        assert_eq!(row.seeds, found.seed + 1);
        assert_eq!(row.seen_by.get(found.tag), Some(&found.seed));
        for (tag, seed) in &row.seen_by {
            let invariant: Invariant = tag.parse().expect("an invariant's tag");
            select(Some(bug));
            let invariants = InvariantSet::only(invariant);
            let options = Options { invariants, ..Options::default() };
            let alone = World::new(&Plan::from(*seed), options).run();
            select(None);
            assert_eq!(alone.err().map(|violation| violation.tag), Some(*tag), "{bug}");
        }
        // With more threads the table is the same.
        let reversed = hunt_with(bug, limits, |seeds, watched| {
            let mut seen: Vec<_> = seeds.iter().rev().map(|s| sightings(*s, watched)).collect();
            seen.reverse();
            seen
        });
        assert_eq!(row, reversed);
    }
}
