//! The search for planted bugs, in builds that contain them: without a bug no invariant breaks, and
//! an invariant that sees a bug also sees it alone. `ff-sim bugs` searches for all of them.

use std::fs;
use std::path::Path;

use ff_sim::bugs::{Limits, PlantedBug, hunt, hunt_with, select, sightings};
use ff_sim::{Invariant, InvariantSet, Options, Plan, World, run_plan, shrink};

/// One test, because the selected bug applies to the whole process.
#[test]
fn bugs_are_found() {
    an_invariant_sees_by_itself_what_it_sees_among_others();
    the_documented_seeds_find_the_bugs();
    the_plans_of_bugs_find_them();
    shrunk_plans_are_small();
}

/// A plan of the corpus that is named after a planted bug finds it: held-entry-kept.json finds
/// `HeldEntryKept`. The others are kept for the fault alone.
fn the_plans_of_bugs_find_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/corpus");
    let mut found = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap().to_string_lossy().replace('-', "");
        let named = |bug: &&PlantedBug| bug.to_string().eq_ignore_ascii_case(&name);
        let Some(bug) = PlantedBug::ALL.iter().find(named) else { continue };
        let plan: Plan = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        select(Some(*bug));
        let result = run_plan(&plan, Options::default());
        select(None);
        assert!(result.is_err(), "{} does not find {bug}", file.display());
        found += 1;
    }
    assert!(found >= 3, "{found} plans of planted bugs");
}

/// A shrunk plan has few faults and actions, and still breaks the rule. `ff-sim bugs --shrink`
/// shrinks the plans of all bugs.
fn shrunk_plans_are_small() {
    for (bug, seed) in [(PlantedBug::EpochNotRaised, 0), (PlantedBug::RevocationIgnored, 2)] {
        select(Some(bug));
        let options = Options::default();
        let shrunk = shrink(&Plan::from(seed), &options, &mut |runs, _| runs < 5_000);
        let shrunk = shrunk.expect("the seed finds the bug");
        let again = World::new(&shrunk.plan, options).run();
        select(None);
        assert_eq!(again.err().map(|violation| violation.tag), Some(shrunk.violation.tag));
        assert!(shrunk.after <= 15, "{bug}: {} of {} steps", shrunk.after, shrunk.before);
    }
}

/// Each row of the table in the documentation names its bug, the seed and the invariant that find
/// it, and all invariants that find it alone. At the seeds of the table, each invariant finds a bug
/// alone. `cargo xtask simulate --search` compares the whole table.
fn the_documented_seeds_find_the_bugs() {
    let page = include_str!("../../docs/simulation.md");
    let rows = page.lines().skip_while(|line| !line.starts_with("| bug |")).skip(2);
    let mut rows = rows.take_while(|line| line.starts_with('|'));
    let mut blind = InvariantSet::ALL;
    for bug in PlantedBug::ALL {
        let row = rows.next().unwrap_or_default();
        let columns: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, what, tag, seed, alone] = columns[..] else { panic!("{bug}: {row}") };
        assert_eq!((name, what), (format!("`{bug}`").as_str(), bug.description()));
        select(Some(*bug));
        let seen = sightings(seed.parse().expect("a seed"), InvariantSet::ALL);
        select(None);
        let seen: Vec<_> = seen.iter().map(|sighting| sighting.tag).collect();
        assert_eq!(seen.first(), Some(&tag), "{bug} at seed {seed}");
        for tag in seen {
            assert!(alone.split(", ").any(|listed| listed == tag), "{bug}: {tag} sees it too");
            if let Ok(invariant) = tag.parse() {
                blind = blind.without(invariant);
            }
        }
    }
    assert!(blind.is_empty(), "{:?} find no bug", blind.iter().collect::<Vec<_>>());
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
