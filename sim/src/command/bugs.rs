//! `ff-sim bugs`: the search for each planted bug, with all invariants and with each alone.

#[cfg(not(feature = "planted-bugs"))]
use super::args::BugsArgs;
#[cfg(not(feature = "planted-bugs"))]
use super::ending::{Ending, Unusable};

/// How to get a build that contains the bugs.
#[cfg(not(feature = "planted-bugs"))]
const HOW: &str = "this build contains no planted bugs; run a build that does:\n  \
                   cargo run --release -p ff-sim --features planted-bugs -- bugs";

/// Searches for the bugs.
#[cfg(not(feature = "planted-bugs"))]
pub fn bugs(_: &BugsArgs) -> Result<Ending, Unusable> {
    Err(Unusable::new(HOW))
}

#[cfg(feature = "planted-bugs")]
pub use hunt::bugs;

#[cfg(feature = "planted-bugs")]
mod hunt {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use ff_sim::bugs::{Limits, Matrix, PlantedBug, Row, Sighting, hunt_with, sightings};
    use ff_sim::{Invariant, InvariantSet};
    use serde_json::json;

    use crate::command::args::{BugsArgs, SeedsArgs};
    use crate::command::ending::{Ending, Unusable, print};
    use crate::command::progress::Progress;
    use crate::command::seeds::{each, interruption};
    use crate::command::table::table;

    /// Searches for the bugs.
    pub fn bugs(args: &BugsArgs) -> Result<Ending, Unusable> {
        let bugs = match &args.bug {
            Some(name) => vec![name.parse::<PlantedBug>().map_err(Unusable::new)?],
            None => PlantedBug::ALL.to_vec(),
        };
        let stop = interruption()?;
        let limits = Limits { seeds: args.seeds, ..Limits::default() };
        let mut progress = Progress::new("bugs", Some(bugs.len() as u64));
        let mut matrix = Matrix::default();
        for bug in bugs {
            progress.at(matrix.rows.len() as u64, bug.name());
            let row = hunt_with(bug, limits, |seeds, watched| {
                at_once(seeds, args.jobs, &stop, |seed| sightings(seed, watched))
            });
            if stop.load(Ordering::Relaxed) {
                progress.finish();
                return Ok(Ending::Interrupted);
            }
            matrix.rows.push(row);
        }
        progress.finish();
        let blind = match args.bug {
            Some(_) => Vec::new(),
            None => matrix.blind(InvariantSet::ALL),
        };
        show(args, &matrix, &blind);
        let complete = matrix.missed().is_empty() && blind.is_empty();
        Ok(if complete { Ending::Clean } else { Ending::Missed })
    }

    /// The sightings of each seed, in their order.
    fn at_once(
        seeds: &[u64],
        jobs: Option<u32>,
        stop: &AtomicBool,
        look: impl Fn(u64) -> Vec<Sighting> + Sync,
    ) -> Vec<Vec<Sighting>> {
        let from = seeds.first().copied().unwrap_or_default();
        let range = SeedsArgs { seeds: seeds.len() as u64, from, jobs };
        let seen = Mutex::new(vec![Vec::new(); seeds.len()]);
        each(&range, None, stop, look, |done| {
            let mut seen = seen.lock().expect("no thread panics while holding it");
            seen[(done.seed - from) as usize] = done.result;
            true
        });
        seen.into_inner().expect("no thread panics while holding it")
    }

    fn show(args: &BugsArgs, matrix: &Matrix, blind: &[Invariant]) {
        if args.output.json {
            let blind: Vec<&str> = blind.iter().map(|invariant| invariant.tag()).collect();
            let object = json!({ "bugs": matrix.rows, "missed": matrix.missed(), "blind": blind });
            print(&format!("{object}\n"));
            return;
        }
        if args.markdown {
            print(&matrix.markdown());
            return;
        }
        let mut rows = table(&["bug", "found by", "at seed#", "seen alone by"]);
        for Row { bug, found, seen_by, .. } in &matrix.rows {
            let by = found.as_ref().map_or("nothing", |found| found.tag);
            let seed =
                found.as_ref().map_or_else(|| "-".to_owned(), |found| found.seed.to_string());
            let seen: Vec<&str> = seen_by.keys().copied().collect();
            rows.add_row(vec![(*bug).to_owned(), by.to_owned(), seed, seen.join(", ")]);
        }
        print(&format!("{rows}\n"));
        for bug in matrix.missed() {
            print(&format!("bug not found: {bug}\n"));
        }
        for invariant in blind {
            print(&format!("no bug is seen by {invariant} alone\n"));
        }
        let found = matrix.rows.len() - matrix.missed().len();
        print(&format!("{found} of {} bugs found\n", matrix.rows.len()));
    }
}
