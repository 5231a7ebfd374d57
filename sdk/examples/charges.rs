//! Measures how many charges of one budget the tasks of one process report in a second.
//!
//!     cargo run --release -p ff-sdk --example charges -- valkey://127.0.0.1:6379 64 5
//!
//! The arguments are the URL, the number of tasks and the seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ff_sdk::{BudgetId, BudgetSettings, FlowFabric};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "memory:".to_owned());
    let tasks: usize = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let client = FlowFabric::connect(&url).await?.client().clone();
    let budget = BudgetId::new("charges-example");
    // Several processes may measure together, so the budget may exist.
    let created = client.create_budget(&budget, BudgetSettings::new().limit("calls", 0, 0)?).await;
    println!("budget created: {}", created.is_ok());
    let (charges, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let until = started + Duration::from_secs(seconds);
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let (client, budget, charges) = (client.clone(), budget.clone(), charges.clone());
        running.spawn(async move {
            while Instant::now() < until {
                client.report_usage(&budget, &[("calls", 1)], None).await?;
                charges.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), ff_sdk::SdkError>(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let (charges, elapsed) = (charges.load(Ordering::Relaxed), started.elapsed());
    let used = client.budget(&budget).await?.dimensions[0].used;
    let rate = charges as f64 / elapsed.as_secs_f64();
    println!("{charges} charges in {elapsed:.1?}: {rate:.0} per second; the budget has {used}");
    Ok(())
}
