//! Simulations of users' handlers: wrong handlers are found, right ones pass, and a seed decides
//! everything.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ff_sdk::{Json, Payload, Submission};
use ff_sim::{FailureKind, FaultKind, Faults, Seeds, Sim, Simulation};

#[allow(dead_code)] // Its `main` is run by `cargo run`.
#[path = "../examples/charge_card.rs"]
mod charge_card;

/// A handler that charges whenever it runs is found, and the printed line reproduces the failure.
#[test]
fn a_handler_that_charges_twice_is_found() {
    let seeds = Seeds::new(200).command("cargo run");
    let failure = seeds.run(charge_card::naive).expect_err("the card is charged twice somewhere");
    assert_eq!(failure.kind, FailureKind::Assertion, "{failure}");
    assert!(failure.detail.contains("the card was charged"), "{failure}");
    assert_eq!(failure.again, format!("FF_SIM_SEED={} cargo run", failure.seed));
    let charges = |line: &&String| line.contains("carries out: charge");
    assert!(failure.trace.iter().filter(charges).count() > 1, "{failure}");
    let again = seeds.only(failure.seed).run(charge_card::naive).expect_err("it fails again");
    assert_eq!(again, failure);
}

/// The same handler with an idempotency key passes despite all faults.
#[ff_sim::test(seeds = 200)]
async fn a_handler_that_charges_once_passes(sim: Sim) {
    charge_card::idempotent(sim).await;
}

/// Without faults the naive handler charges once.
#[ff_sim::test(seeds = 20, faults = Faults::none())]
async fn without_faults_the_naive_handler_passes(sim: Sim) {
    charge_card::naive(sim).await;
}

/// A test with some work, part of which takes longer than its leases.
async fn some_work(sim: Sim) {
    let set_up = |config: &mut ff_sdk::WorkerConfig| {
        config.lease_ttl = Duration::from_secs(3);
        config.max_concurrent_tasks = 2;
    };
    sim.workers_with(3, set_up, |runtime| {
        runtime.handle("double", |Payload(number): Payload<u64>| async move {
            tokio::time::sleep(Duration::from_millis(number * 1_000)).await;
            Json(2 * number)
        })
    });
    let client = sim.client().await;
    let mut work = Vec::new();
    for number in 0..6 + sim.draw(4) {
        let key = format!("work-{number}");
        let submission = Submission::new("double").json(&number).unwrap().idempotency_key(key);
        work.push((number, client.submit(submission).await.unwrap().id()));
    }
    for (number, id) in work {
        let result = client.result(&id).await.unwrap();
        if result.is_success() {
            assert_eq!(result.json::<u64>().unwrap(), 2 * number);
        }
    }
    sim.settle().await;
}

/// A worker that no fault meets renews leases of any length in time: each handler runs once. A
/// worker that ignored an earlier wake-up would lose a lease that is shorter than its sleep.
#[test]
fn without_faults_no_lease_is_lost() {
    let test = |ttl_ms| {
        move |sim: Sim| async move {
            let set_up = move |config: &mut ff_sdk::WorkerConfig| {
                config.lease_ttl = Duration::from_millis(ttl_ms)
            };
            let runs = sim.service("runs", 0);
            let counted = runs.clone();
            sim.workers_with(2, set_up, move |runtime| {
                let counted = counted.clone();
                runtime.handle("work", move || {
                    let counted = counted.clone();
                    async move {
                        counted.look(|runs| *runs += 1);
                        tokio::time::sleep(Duration::from_secs(20)).await;
                    }
                })
            });
            let client = sim.client().await;
            let id = client.submit(Submission::new("work")).await.unwrap().id();
            assert!(client.result(&id).await.unwrap().is_success());
            assert_eq!(runs.look(|runs| *runs), 1);
        }
    };
    for ttl_ms in [600, 3_000, 30_000] {
        let seeds = Seeds::new(10).faults(Faults::none());
        seeds.run(test(ttl_ms)).unwrap_or_else(|failure| panic!("{ttl_ms}: {failure}"));
    }
}

/// A seed decides everything, step by step.
#[test]
fn the_same_seed_gives_the_same_run() {
    let mut hashes = BTreeSet::new();
    for seed in 0..10 {
        let run = || Simulation::new(seed).trace(true).run(some_work);
        let (first, second) = (run().unwrap(), run().unwrap());
        assert_eq!(first.trace, second.trace);
        assert_eq!(first, second);
        hashes.insert(first.hash);
    }
    assert_eq!(hashes.len(), 10, "different seeds give different runs");
}

/// Every fault happens, and the engine's invariants hold.
#[test]
fn every_fault_happens() {
    let summary = Seeds::new(100).run(some_work).unwrap_or_else(|failure| panic!("{failure}"));
    let met: BTreeSet<FaultKind> = summary.faults.keys().copied().collect();
    assert_eq!(met, FaultKind::of_simulations().collect());
}

/// Faults that are switched off do not happen.
#[test]
fn only_the_faults_that_are_on_happen() {
    let crashes = Seeds::new(20).faults(Faults::only([FaultKind::Crash]));
    let summary = crashes.run(some_work).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(summary.faults.into_keys().collect::<Vec<_>>(), [FaultKind::Crash]);
}

/// Work that no worker can do is reported, with its id.
#[test]
fn work_that_never_ends_is_reported() {
    let stuck = |sim: Sim| async move {
        let client = sim.client().await;
        let id = client.submit(Submission::new("nobody's")).await.unwrap().id();
        sim.note(format!("waits for {id}"));
        client.result(&id).await.unwrap();
    };
    let failure = Simulation::new(1).run(stuck).expect_err("no worker works on it");
    assert_eq!(failure.kind, FailureKind::Liveness, "{failure}");
    let waits = failure.trace.iter().find_map(|line| line.split("waits for ").nth(1));
    assert!(failure.detail.contains(waits.expect("the note is in the trace")), "{failure}");
}

/// A test with randomness from outside of the seed is reported.
#[test]
fn differences_between_runs_are_found() {
    let runs = Arc::new(AtomicU64::new(0));
    let differs = move |sim: Sim| {
        let run = runs.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(Duration::from_millis(5 * run)).await;
            sim.note("awake");
        }
    };
    let failure = Seeds::new(1).run(differs).expect_err("the second run waits longer");
    assert_eq!(failure.kind, FailureKind::Determinism, "{failure}");
}

/// A failing test prints the line that reproduces it.
#[ff_sim::test(seeds = 3)]
#[should_panic(expected = "FF_SIM_SEED=0 cargo test -p ff-tests \
                simulation::a_failing_test_prints_how_to_reproduce_it")]
async fn a_failing_test_prints_how_to_reproduce_it(_sim: Sim) -> Result<(), String> {
    Err("no".to_owned())
}

/// A service that panics fails the run, as an assertion does.
#[test]
fn a_service_that_panics_fails_the_run() {
    let test = |sim: Sim| async move {
        let service = sim.service("picky", ());
        let _ = service.call("anything", |()| panic!("not this")).await;
    };
    let failure = Simulation::new(1).faults(Faults::none()).run(test).expect_err("it panics");
    assert_eq!(failure.kind, FailureKind::Assertion);
    assert_eq!(failure.detail, "picky panicked: not this");
}

/// The guide shows the test that is run here.
#[test]
fn the_guide_shows_code_that_runs() {
    assert!(include_str!("../../docs/simulation.md").contains(include_str!("guide.rs")));
}

/// The guide shows the failure that the example prints, with the ends of long lines left out.
/// `UPDATE_DOCS=1` writes it.
#[test]
fn the_guide_shows_the_trace_of_the_example() {
    const WIDTH: usize = 100;
    let seeds = Seeds::new(200).command("cargo run -p ff-sim --example charge_card");
    let failure = seeds.run(charge_card::naive).expect_err("it charges twice").to_string();
    let cut = |line: &str| match line.char_indices().nth(WIDTH) {
        None => format!("{}\n", line.trim_end()),
        Some(_) => format!("{}...\n", line.chars().take(WIDTH - 3).collect::<String>()),
    };
    let printed: String = failure.trim_matches('\n').lines().map(cut).collect();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/simulation.md");
    let guide = std::fs::read_to_string(&page).expect("the guide");
    let (before, rest) = guide.split_once("```text\n").expect("a trace");
    let (shown, after) = rest.split_once("```").expect("its end");
    if std::env::var("UPDATE_DOCS").is_ok_and(|value| value == "1") {
        let guide = format!("{before}```text\n{printed}```{after}");
        return std::fs::write(&page, guide).expect("the guide can be written");
    }
    assert_eq!(shown, printed, "refresh it: cargo xtask docs");
}
