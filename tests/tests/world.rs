//! The simulated world: a thousand seeds hold every invariant after every step
//! (`docs/architecture.md`, Simulation).

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ff_sim::run;

/// The number of seeds, unless `FF_SIM_SEEDS` sets another.
const SEEDS: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

#[test]
fn a_thousand_seeds_hold_every_invariant() {
    let seeds = number("FF_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let calls = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    let report = run(seed).unwrap_or_else(|violation| panic!("{violation}"));
                    calls.fetch_add(report.store_calls, Ordering::Relaxed);
                }
            });
        }
    });
    let calls = calls.into_inner();
    println!("{seeds} seeds, {calls} store calls");
    assert!(calls / seeds > 200, "{calls} calls are too few to find anything");
}
