//! A handler that charges a card, while replies are lost and workers crash: a naive handler charges
//! twice, a handler with an idempotency key does not.
//!
//! ```text
//! cargo run -p ff-sim --example charge_card
//! ```

use std::collections::BTreeMap;
use std::process::ExitCode;

use ff_sdk::{BoxError, Payload, State, Submission, TaskContext, WorkerRuntime};
use ff_sim::{Seeds, Service, Sim};

/// A payment service outside of all workers.
#[derive(Default)]
pub struct Payments {
    /// Each charge that was made.
    pub charges: Vec<u64>,
    /// The charges that were made under a key.
    by_key: BTreeMap<String, usize>,
}

impl Payments {
    fn charge(&mut self, cents: u64) -> usize {
        self.charges.push(cents);
        self.charges.len()
    }

    /// Returns the charge that was made under the key, or makes it.
    fn charge_once(&mut self, key: String, cents: u64) -> usize {
        if let Some(receipt) = self.by_key.get(&key) {
            return *receipt;
        }
        let receipt = self.charge(cents);
        self.by_key.insert(key, receipt);
        receipt
    }
}

/// Charges whenever it runs. It runs again when the reply is lost, or the worker crashes.
pub async fn charge_naively(
    Payload(cents): Payload<u64>,
    payments: State<Service<Payments>>,
) -> Result<String, BoxError> {
    let receipt = payments.call("charge", move |payments| payments.charge(cents)).await?;
    Ok(format!("receipt {receipt}"))
}

/// Charges under the execution's id, which is the same in every attempt.
pub async fn charge_once(
    task: TaskContext,
    Payload(cents): Payload<u64>,
    payments: State<Service<Payments>>,
) -> Result<String, BoxError> {
    let key = task.execution_id().to_string();
    let charge = move |payments: &mut Payments| payments.charge_once(key, cents);
    let receipt = payments.call("charge", charge).await?;
    Ok(format!("receipt {receipt}"))
}

/// Two workers and one order. Whatever fails, the card is charged at most once, and exactly once if
/// the order succeeds.
pub async fn order(sim: Sim, handlers: fn(WorkerRuntime) -> WorkerRuntime) {
    let payments = sim.service("payments", Payments::default());
    let given = payments.clone();
    sim.workers(2, move |runtime| handlers(runtime).state(given.clone()));

    let client = sim.client().await;
    let order = Submission::new("charge").payload("4200").idempotency_key("order-17");
    let id = client.submit(order).await.expect("the order is accepted").id();
    let result = client.result(&id).await.expect("the order ends");
    sim.settle().await;

    let charges = payments.look(|payments| payments.charges.clone());
    assert!(charges.len() <= 1, "the card was charged {} times", charges.len());
    assert!(!result.is_success() || charges == [4200], "the order succeeded without a charge");
}

/// The order with the naive handler.
pub async fn naive(sim: Sim) {
    order(sim, |runtime| runtime.handle("charge", charge_naively)).await;
}

/// The order with the handler that charges once.
pub async fn idempotent(sim: Sim) {
    order(sim, |runtime| runtime.handle("charge", charge_once)).await;
}

fn main() -> ExitCode {
    let seeds =
        Seeds::new(200).command("cargo run -p ff-sim --example charge_card").from_environment();
    println!("the naive handler:");
    match seeds.run(naive) {
        Ok(summary) => println!("no failure in {} seeds", summary.seeds),
        Err(failure) => println!("{failure}"),
    }
    println!("\nthe idempotent handler:");
    match seeds.run(idempotent) {
        Ok(summary) => {
            for line in &summary.trace[..summary.trace.len() * usize::from(summary.seeds == 1)] {
                println!("  {line}");
            }
            println!("{} seeds passed", summary.seeds);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}
