//! Runs many seeds: `cargo run --release -p ff-sim --example seeds -- <from> <count>`. With the
//! feature `lua`, a last argument `lua` has the function library answer.

use std::process::ExitCode;

use ff_sim::{Options, Report, StoreKind};

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).filter_map(|text| text.parse::<u64>().ok());
    let (from, count) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(1_000));
    let options = Options { store: store(), ..Options::default() };
    let mut total = Report::default();
    for seed in from..from + count {
        match ff_sim::run_plan(&ff_sim::Plan::from(seed), options.clone()) {
            Ok(report) => add(&mut total, &report),
            Err(violation) => {
                println!("{violation}");
                println!("after {} seeds", seed - from);
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{count} seeds, each on average:");
    let mean = |what, sum: u64| println!("  {:>8.1} {what}", sum as f64 / count.max(1) as f64);
    mean("steps", total.steps);
    mean("store calls", total.store_calls);
    mean("commits", total.commits);
    mean("executions", total.executions);
    mean("simulated ms", total.simulated_ms);
    println!("faults: {:?}", total.faults);
    println!("rejections: {:?}", total.rejections);
    println!("events: {:?}", total.events);
    println!("commands: {:?}", total.commands);
    ExitCode::SUCCESS
}

fn store() -> StoreKind {
    #[cfg(feature = "lua")]
    if std::env::args().any(|argument| argument == "lua") {
        return StoreKind::Lua;
    }
    StoreKind::default()
}

fn add(total: &mut Report, report: &Report) {
    total.steps += report.steps;
    total.store_calls += report.store_calls;
    total.commits += report.commits;
    total.executions += report.executions;
    total.simulated_ms += report.simulated_ms;
    for (kind, count) in &report.faults {
        *total.faults.entry(*kind).or_default() += count;
    }
    for (kind, count) in &report.rejections {
        *total.rejections.entry(*kind).or_default() += count;
    }
    for (kind, count) in &report.events {
        *total.events.entry(*kind).or_default() += count;
    }
    for (name, count) in &report.commands {
        *total.commands.entry(name).or_default() += count;
    }
}
