//! Faults of the store: its clock, failovers, and times in which it refuses requests or is slow.

use ff_core::execution::Purpose;
use ff_core::store::{Failure, Request};

use crate::determinism::random::{Draws, Source, between, happens, one_of};
use crate::plan::FaultKind;
use crate::plan::settings::Settings;

/// A step of the store's clock.
///
/// A lease that was marked expired stays expired, and a step forwards costs at most a reclaim.
/// After a step back, a lease ends in time by the clock after it, and all other timers wait until
/// the clock is there again.
#[derive(Clone, Copy, Debug)]
pub struct ClockStep {
    /// Its number.
    pub number: u64,
    /// When, in milliseconds.
    pub at: u64,
    /// By how many milliseconds.
    pub by_ms: i64,
}

const HOUR_MS: u64 = 60 * 60 * 1_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Further back than any lease of a run, and than the minute for which an expiry is trusted.
const FAR_BACK_MS: [u64; 3] = [75_000, HOUR_MS, DAY_MS];

/// The clock steps of a seed.
pub fn clock_steps(seed: u64, settings: &Settings) -> impl Iterator<Item = ClockStep> {
    planned(seed, settings, FaultKind::StoreClockStep).map(|(number, mut draws)| {
        let draws = &mut draws;
        let at = between(draws, 0, settings.busy_ms);
        // Only the first step goes far back or far ahead.
        let far = number == 0 && happens(draws, 250);
        let by_ms = if happens(draws, 500) {
            let ahead =
                if far { &[20_000, 600_000, DAY_MS + 60_000] } else { &[300, 1_500, 5_000] };
            let ahead = one_of(draws, ahead);
            between(draws, 1, ahead) as i64
        } else {
            let back = one_of(draws, if far { &FAR_BACK_MS } else { &[300, 1_500, 3_000] });
            -(between(draws, back / 2, back) as i64)
        };
        ClockStep { number, at, by_ms }
    })
}

/// A failover. From one instant on the replica receives nothing more; some time later it becomes
/// the store.
#[derive(Clone, Copy, Debug)]
pub struct Failover {
    /// Its number.
    pub number: u64,
    /// Until when the replica has received everything.
    pub heard_until: u64,
    /// When it takes over.
    pub at: u64,
}

/// The failovers of a seed. None begins before the previous one is over.
pub fn failovers(seed: u64, settings: &Settings) -> impl Iterator<Item = Failover> {
    let count = settings.weights.on(FaultKind::Failover).unwrap_or(1);
    planned(seed, settings, FaultKind::Failover).map(move |(number, mut draws)| {
        let each_ms = settings.busy_ms / count;
        let lag_ms = one_of(&mut draws, &[5, 50, 300, 1_500]).min(each_ms);
        let lag_ms = between(&mut draws, 0, lag_ms);
        let heard_until = number * each_ms + between(&mut draws, 0, each_ms - lag_ms);
        Failover { number, heard_until, at: heard_until + lag_ms }
    })
}

/// A time in which the store refuses requests or is slow.
#[derive(Clone, Copy, Debug)]
pub struct Episode {
    /// The kind of fault.
    pub kind: FaultKind,
    /// Its number among those of its kind.
    pub number: u64,
    /// When it begins, in milliseconds.
    pub at: u64,
    /// How long it lasts, in milliseconds.
    pub lasts_ms: u64,
}

/// The kinds that come in episodes, and how long the episodes last at most, in milliseconds.
const EPISODES: [(FaultKind, [u64; 3]); 5] = [
    (FaultKind::ReadOnly, [200, 1_000, 4_000]),
    (FaultKind::OutOfMemory, [500, 2_000, 6_000]),
    (FaultKind::Busy, [100, 500, 2_000]),
    (FaultKind::Loading, [200, 1_000, 5_000]),
    (FaultKind::SlowStore, [500, 2_000, 6_000]),
];

/// The episodes of a seed.
pub fn episodes(seed: u64, settings: &Settings) -> impl Iterator<Item = Episode> {
    EPISODES.into_iter().flat_map(move |(kind, lengths_ms)| {
        planned(seed, settings, kind).map(move |(number, mut draws)| {
            let at = between(&mut draws, 0, settings.busy_ms);
            let longest = one_of(&mut draws, &lengths_ms);
            Episode { kind, number, at, lasts_ms: between(&mut draws, longest / 4, longest) }
        })
    })
}

/// When servers without the function library take over, each with its number.
pub fn missing_libraries(seed: u64, settings: &Settings) -> impl Iterator<Item = (u64, u64)> {
    planned(seed, settings, FaultKind::LibraryMissing)
        .map(|(number, mut draws)| (number, between(&mut draws, 0, settings.busy_ms)))
}

/// When the store loses everything, each with its number.
pub fn emptyings(seed: u64, settings: &Settings) -> impl Iterator<Item = (u64, u64)> {
    planned(seed, settings, FaultKind::StoreEmptied)
        .map(|(number, mut draws)| (number, between(&mut draws, 0, settings.busy_ms)))
}

/// Each planned fault of a kind: its number, and its stream.
fn planned(
    seed: u64,
    settings: &Settings,
    kind: FaultKind,
) -> impl Iterator<Item = (u64, Draws<'static>)> {
    let count = settings.weights.on(kind).unwrap_or(0);
    (0..count).map(move |number| (number, Draws::new(seed, kind as u64, number)))
}

/// How long a call waits at the store during a slow episode, in milliseconds.
pub fn slow_ms(seed: u64, episode: u64, call: &mut impl Source) -> u64 {
    // The times of the episodes have the numbers below.
    const SPEEDS: u64 = 1 << 32;
    let draws = &mut Draws::new(seed, FaultKind::SlowStore as u64, SPEEDS + episode);
    let longest = one_of(draws, &[20, 200, 800]);
    between(call, 1, longest)
}

/// Where in a function an error is raised.
///
/// Units are all or nothing, and run one after the other: those before the error are carried out.
/// Of the unit in which it is raised either nothing is written, or only its index entries, which go
/// first: they follow from the records, so that the next commit of the record, or the timekeeper,
/// corrects them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// How many units are carried out before.
    pub units: usize,
    /// Whether the index entries of the next one are written.
    pub indexes: bool,
}

/// Where an error is raised in a call of that many units, if it is.
pub fn raised(source: &mut impl Source, per_mille: u64, units: usize) -> Option<Raised> {
    let raised = happens(source, per_mille);
    let indexes = happens(source, 500);
    let units = source.below(units as u64 + 1) as usize;
    raised.then_some(Raised { units, indexes })
}

/// The failure that the caller receives for an error inside a function.
pub fn error_inside() -> Failure {
    let text =
        "WRONGTYPE Operation against a key holding the wrong kind of value script: ff_commit";
    Failure::MaybeApplied(text.to_owned())
}

/// How a store in an episode of that kind refuses a request, if it does.
pub fn refusal(kind: FaultKind, request: &Request) -> Option<Failure> {
    let text = match kind {
        FaultKind::Loading => "LOADING Valkey is loading the dataset in memory",
        FaultKind::Busy => "BUSY Valkey is busy running a script.",
        FaultKind::ReadOnly if !request.is_read_only() => {
            "READONLY You can't write against a read only replica."
        }
        // Units that finish work are allowed, and so is taking entries: otherwise a full store
        // could never be emptied.
        FaultKind::OutOfMemory if begins_work(request) => {
            "OOM command not allowed when used memory > 'maxmemory'."
        }
        FaultKind::LibraryMissing => "ERR Function not found",
        _ => return None,
    };
    Some(Failure::Refused(text.to_owned()))
}

fn begins_work(request: &Request) -> bool {
    let Request::Commit(commit) = request else { return false };
    !commit.units.iter().all(|unit| unit.purpose == Purpose::Finish)
}

/// Whether a request is answered by a function of the library.
pub const fn needs_function(request: &Request) -> bool {
    !matches!(request, Request::Poll(_))
}
