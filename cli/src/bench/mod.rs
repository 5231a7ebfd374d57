//! `ff bench`: repeatable measurements.

mod args;
mod dispatch;
mod drain;
mod figures;
mod fixture;
mod frames;
mod idle;
mod memory;
mod resume;
mod submit;
mod work;

use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::exit::{CliError, print_line, warn};

pub use args::{BenchArgs, Scenario};
use figures::{Figures, figures, table};
use fixture::Fixture;

/// The scenarios of `all`. If two of them report the same figure, the later one counts, which is
/// the more specific one.
const ALL: [Scenario; 7] = [
    Scenario::Drain,
    Scenario::Submit,
    Scenario::Dispatch,
    Scenario::Resume,
    Scenario::Frames,
    Scenario::Idle,
    Scenario::Memory,
];

/// Runs the command.
pub async fn bench(args: BenchArgs) -> Result<ExitCode, CliError> {
    let scenarios = match args.scenario {
        Scenario::All => ALL.to_vec(),
        one => vec![one],
    };
    let mut figures = Figures::new();
    let mut namespaces = Vec::new();
    for scenario in scenarios {
        let fixture = Fixture::open(&args).await?;
        if figures.is_empty() {
            figures = settings(&args, &fixture);
        }
        figures.append(&mut run(scenario, &args, &fixture).await?);
        namespaces.extend(fixture.remaining_namespace());
    }
    match args.json {
        true => print_line(Value::Object(figures))?,
        false => print_line(table(&figures))?,
    }
    if !namespaces.is_empty() {
        warn(&format!(
            "ff: the executions of this run stay on the server for 24 h after their end, in the \
             namespaces {}\n",
            namespaces.join(", ")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn run(scenario: Scenario, args: &BenchArgs, fixture: &Fixture) -> Result<Figures, CliError> {
    match scenario {
        Scenario::Drain | Scenario::All => drain::run(args, fixture).await,
        Scenario::Submit => submit::run(args, fixture).await,
        Scenario::Dispatch => dispatch::run(args, fixture).await,
        Scenario::Resume => resume::run(args, fixture).await,
        Scenario::Frames => frames::run(args, fixture).await,
        Scenario::Idle => idle::run(args, fixture).await,
        Scenario::Memory => memory::run(args, fixture).await,
    }
}

/// The settings of the measurement.
fn settings(args: &BenchArgs, fixture: &Fixture) -> Figures {
    let without_payload = matches!(args.scenario, Scenario::Memory | Scenario::Frames);
    let scenario = args.scenario.to_possible_value();
    figures(json!({
        "scenario": scenario.as_ref().map(clap::builder::PossibleValue::get_name),
        "backend": fixture.url,
        "tasks": args.tasks,
        "workers": args.workers,
        "slots": args.slots,
        "kinds": args.kinds,
        "partitions": fixture.client.partition_config().num_flow_partitions,
        "payload_bytes": if without_payload { 0 } else { args.payload },
    }))
}
