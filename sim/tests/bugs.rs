//! The search for planted bugs, in builds that contain them: without a bug no invariant breaks, and
//! an invariant that sees a bug also sees it alone. `ff-sim bugs` searches for all of them.

use ff_sim::bugs::{Limits, PlantedBug, hunt, hunt_with, select, sightings};
use ff_sim::{Invariant, InvariantSet, Options, Plan, World};

/// One test, because the selected bug applies to the whole process.
#[test]
fn bugs_are_found() {
    an_invariant_sees_by_itself_what_it_sees_among_others();
    the_documented_seeds_find_the_bugs();
}

/// Each row of the table in the documentation names its bug, and a seed and an invariant that find
/// it. `cargo xtask simulate` compares the whole table.
fn the_documented_seeds_find_the_bugs() {
    let page = include_str!("../../docs/simulation.md");
    let rows = page.lines().skip_while(|line| !line.starts_with("| bug |")).skip(2);
    let mut rows = rows.take_while(|line| line.starts_with('|'));
    for bug in PlantedBug::ALL {
        let row = rows.next().unwrap_or_default();
        let columns: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, what, tag, seed, _] = columns[..] else { panic!("{bug}: {row}") };
        assert_eq!((name, what), (format!("`{bug}`").as_str(), bug.description()));
        let plan = Plan::from(seed.parse::<u64>().expect("a seed"));
        select(Some(*bug));
        let found = World::new(&plan, Options::default()).run();
        select(None);
        assert_eq!(found.err().map(|violation| violation.tag), Some(tag), "{bug} at seed {seed}");
    }
    assert_eq!(rows.next(), None, "it is not a planted bug");
}

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
