//! Handlers that sleep for long: faults meet them as they meet short ones, and a sleep is not a
//! test that is stuck.

use std::time::Duration;

use ff_sdk::{BoxError, Payload, State, Submission, TaskContext};
use ff_sim::{FailureKind, Faults, Seeds, Service, Sim, Simulation, SimulationFailure, Summary};

/// The charges of a card, each with its idempotency key.
#[derive(Default)]
struct Payments(Vec<String>);

/// An order: how long its handler sleeps, and whether it charges each time it runs.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
struct Order {
    seconds: u64,
    naively: bool,
}

/// Sleeps and charges, under the execution's id unless it is naive.
async fn charge(
    task: TaskContext,
    Payload(order): Payload<Order>,
    payments: State<Service<Payments>>,
) -> Result<(), BoxError> {
    tokio::time::sleep(Duration::from_secs(order.seconds)).await;
    let key = task.execution_id().to_string();
    let charge = move |payments: &mut Payments| {
        if order.naively || !payments.0.contains(&key) {
            payments.0.push(key);
        }
    };
    payments.call("charge", charge).await?;
    Ok(())
}

/// An order whose handler sleeps that long. It is charged at most once.
async fn order(sim: Sim, seconds: u64, naively: bool) {
    let payments = sim.service("payments", Payments::default());
    let given = payments.clone();
    sim.workers(2, move |runtime| runtime.handle("charge", charge).state(given.clone()));
    let client = sim.client().await;
    let order = Order { seconds, naively };
    let order = Submission::new("charge").json(&order).unwrap().idempotency_key("order-17");
    let id = client.submit(order).await.expect("the order is accepted").id();
    let result = loop {
        match client.result(&id).await {
            // The store does not answer for longer than the client's patience.
            Err(error) if error.is_retryable() => {}
            ended => break ended.expect("the order ends"),
        }
    };
    sim.settle().await;
    let charges = payments.look(|payments| payments.0.len());
    assert!(charges <= 1, "the card was charged {charges} times");
    assert!(!result.is_success() || charges == 1, "the order succeeded without a charge");
}

#[allow(clippy::result_large_err)] // One for each test.
fn orders(seeds: u64, seconds: u64, naively: bool) -> Result<Summary, SimulationFailure> {
    Seeds::new(seeds).run(move |sim| order(sim, seconds, naively))
}

/// A handler that charges whenever it runs is found, however long it sleeps before.
#[test]
fn a_double_payment_after_a_sleep_is_found() {
    for seconds in [5, 120, 3_600] {
        let failure = orders(50, seconds, true).expect_err("the card is charged twice somewhere");
        assert_eq!(failure.kind, FailureKind::Assertion, "{failure}");
        println!("a sleep of {seconds} s: seed {}", failure.seed);
    }
}

/// A correct handler passes, however long it sleeps. Quiet time is cheap: a run costs what
/// the store's calls cost.
#[test]
fn a_charge_under_a_key_passes_after_a_sleep() {
    for (seeds, seconds) in [(95, 300), (5, 3_600)] {
        let summary = orders(seeds, seconds, false).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(summary.simulated > seeds as u32 * Duration::from_secs(seconds));
        let (calls, simulated) = (summary.store_calls, summary.simulated.as_secs());
        assert!(calls < 4 * simulated, "{calls} calls in {simulated} simulated seconds");
    }
}

/// A handler counts as stuck after 144 time limits without an event: a day by default.
#[test]
fn a_handler_that_sleeps_for_longer_than_the_limit_is_stuck() {
    let calm = |minutes: u64| {
        let test = move |sim: Sim| order(sim, minutes * 60, false);
        let limit = Duration::from_secs(60);
        Simulation::new(1).faults(Faults::none()).time_limit(limit).run(test)
    };
    calm(140).unwrap_or_else(|failure| panic!("{failure}"));
    let failure = calm(150).expect_err("it sleeps for more than 144 minutes");
    assert_eq!(failure.kind, FailureKind::Liveness, "{failure}");
}
