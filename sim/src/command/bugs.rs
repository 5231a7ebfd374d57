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
    use std::time::Duration;

    use ff_sim::bugs::{Limits, Matrix, PlantedBug, Row, Sighting, hunt_with, select, sightings};
    use ff_sim::{Invariant, InvariantSet, Options, Plan, World};
    use serde::Serialize;
    use serde_json::json;

    use crate::command::args::{BugsArgs, SeedsArgs};
    use crate::command::ending::{Ending, Unusable, print};
    use crate::command::progress::Progress;
    use crate::command::seeds::{each, interruption};
    use crate::command::stopwatch::Stopwatch;
    use crate::command::table::table;

    /// Searches for the bugs.
    pub fn bugs(args: &BugsArgs) -> Result<Ending, Unusable> {
        let bugs = match &args.bug {
            Some(name) => vec![name.parse::<PlantedBug>().map_err(Unusable::new)?],
            None => PlantedBug::ALL.to_vec(),
        };
        let stop = interruption()?;
        if args.shrink {
            return shrink_all(args, &bugs, &stop);
        }
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

    /// The most steps that a shrunk plan should have: in the median of all bugs, and at most.
    const WANTED: (usize, usize) = (15, 30);

    /// The shrunk plan of a bug.
    #[derive(Serialize)]
    struct Shrinking {
        bug: &'static str,
        seed: u64,
        tag: &'static str,
        /// The faults and actions in the original run, and those that are left.
        before: usize,
        after: usize,
        seconds: f64,
    }

    /// Shrinks the first failing seed of each bug.
    fn shrink_all(
        args: &BugsArgs,
        bugs: &[PlantedBug],
        stop: &AtomicBool,
    ) -> Result<Ending, Unusable> {
        let mut progress = Progress::new("bugs", Some(bugs.len() as u64));
        let (mut shrunk, mut missed) = (Vec::new(), Vec::new());
        for (number, bug) in bugs.iter().enumerate() {
            progress.at(number as u64, bug.name());
            select(Some(*bug));
            let seed = first_failing(args, stop);
            let found = seed.map(|seed| shrink_one(*bug, seed, args.seconds, stop));
            select(None);
            match found {
                _ if stop.load(Ordering::Relaxed) => {
                    progress.finish();
                    return Ok(Ending::Interrupted);
                }
                Some(found) => shrunk.push(found),
                None => missed.push(bug.name()),
            }
        }
        progress.finish();
        let mut left: Vec<usize> = shrunk.iter().map(|one| one.after).collect();
        left.sort_unstable();
        let median = left.get(left.len() / 2).copied().unwrap_or(0);
        let most = left.last().copied().unwrap_or(0);
        if args.output.json {
            let object =
                json!({ "bugs": shrunk, "missed": missed, "median": median, "most": most });
            print(&format!("{object}\n"));
        } else {
            let mut rows = table(&["bug", "found by", "seed#", "steps#", "left#", "seconds#"]);
            for one in &shrunk {
                rows.add_row(vec![
                    one.bug.to_owned(),
                    one.tag.to_owned(),
                    one.seed.to_string(),
                    one.before.to_string(),
                    one.after.to_string(),
                    format!("{:.1}", one.seconds),
                ]);
            }
            print(&format!("{rows}\n"));
            for bug in &missed {
                print(&format!("bug not found: {bug}\n"));
            }
            print(&format!("faults and actions left: {median} in the median, {most} at most\n"));
        }
        let small = median <= WANTED.0 && most <= WANTED.1;
        Ok(if small && missed.is_empty() { Ending::Clean } else { Ending::Missed })
    }

    /// The first seed that breaks a rule.
    fn first_failing(args: &BugsArgs, stop: &AtomicBool) -> Option<u64> {
        let range = SeedsArgs { seeds: args.seeds, from: 0, jobs: args.jobs };
        let run = |seed| World::new(&Plan::from(seed), Options::default()).run().is_err();
        let mut first: Option<u64> = None;
        each(&range, None, stop, run, |done| {
            if done.result {
                first = Some(first.map_or(done.seed, |first| first.min(done.seed)));
            }
            first.is_none()
        });
        first
    }

    fn shrink_one(bug: PlantedBug, seed: u64, seconds: u64, stop: &AtomicBool) -> Shrinking {
        let begun = Stopwatch::start();
        let limit = Duration::from_secs(seconds);
        let shrunk = ff_sim::shrink(&Plan::from(seed), &Options::default(), &mut |_, _| {
            begun.elapsed() < limit && !stop.load(Ordering::Relaxed)
        });
        let shrunk = shrunk.expect("the seed fails");
        let (tag, seconds) = (shrunk.violation.tag, begun.elapsed().as_secs_f64());
        let (before, after) = (shrunk.before, shrunk.after);
        Shrinking { bug: bug.name(), seed, tag, before, after, seconds }
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
