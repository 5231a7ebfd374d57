//! Many seeds in parallel. Each world runs on one thread and shares nothing with the others.
#![allow(clippy::disallowed_methods)] // The command's own threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::args::SeedsArgs;
use super::ending::Unusable;
use super::stopwatch::{Stopwatch, ThreadClock};

/// A flag that Ctrl-C sets; a second Ctrl-C ends the process immediately.
pub fn interruption() -> Result<Arc<AtomicBool>, Unusable> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let twice = signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone());
        twice
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(Unusable::new)?;
    }
    Ok(stop)
}

/// How many threads to use.
pub fn jobs(asked: Option<u32>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    asked.map_or_else(cores, |jobs| jobs as usize)
}

/// The result of one seed.
#[derive(Debug)]
pub struct Done<T> {
    /// The seed.
    pub seed: u64,
    /// The result of its run.
    pub result: T,
    /// The processor time that it took.
    pub spent: Duration,
}

/// Runs each seed and passes its result to `receive`, in the order in which they end, until there
/// are no more, the time is over, `stop` is set or `receive` returns `false`.
pub fn each<T: Send>(
    seeds: &SeedsArgs,
    time_limit: Option<Duration>,
    stop: &AtomicBool,
    run: impl Fn(u64) -> T + Sync,
    mut receive: impl FnMut(Done<T>) -> bool,
) {
    let next = AtomicU64::new(0);
    let enough = AtomicBool::new(false);
    let begun = Stopwatch::start();
    let continues = || {
        let over = time_limit.is_some_and(|limit| begun.elapsed() >= limit);
        !over && !stop.load(Ordering::Relaxed) && !enough.load(Ordering::Relaxed)
    };
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..jobs(seeds.jobs) {
            let (sender, next, run, continues) = (sender.clone(), &next, &run, &continues);
            scope.spawn(move || {
                while continues() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= seeds.seeds {
                        return;
                    }
                    let seed = seeds.from.wrapping_add(number);
                    let clock = ThreadClock::start();
                    let result = run(seed);
                    let done = Done { seed, result, spent: clock.spent() };
                    if sender.send(done).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for done in receiver {
            if !receive(done) {
                enough.store(true, Ordering::Relaxed);
            }
        }
    });
}
