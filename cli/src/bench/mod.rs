//! `ff bench`: figures that can be repeated.

mod args;
mod dispatch;
mod drain;
mod figures;
mod frames;
mod ground;
mod idle;
mod memory;
mod resume;
mod submit;
mod work;

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::backend;
use crate::outcome::{ALL_COMPLETED, Failed, print};

pub use args::{BenchArgs, Scenario};
use figures::{Figures, figures, table};
use ground::Ground;

/// The scenarios of `all`. Where two have a figure of one name, that of the later one is shown:
/// the scenario that is about it.
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
pub async fn bench(args: BenchArgs) -> Result<ExitCode, Failed> {
    let scenarios = match args.scenario {
        Scenario::All => ALL.to_vec(),
        one => vec![one],
    };
    let mut figures = Figures::new();
    let mut left_behind = Vec::new();
    for scenario in scenarios {
        let ground = Ground::open(&args).await?;
        if figures.is_empty() {
            figures = head(&args, &ground);
        }
        figures.append(&mut run(scenario, &args, &ground).await?);
        left_behind.extend(ground.left_behind());
    }
    if args.json {
        print(&format!("{}\n", Value::Object(figures)))?;
    } else {
        print(&format!("{}\n", table(&figures)))?;
    }
    if !left_behind.is_empty() {
        let namespaces = left_behind.join(" ");
        crate::outcome::warn(&format!(
            "ff: the executions of this run stay on the server for 24 h after their end, in \
             {namespaces}\n"
        ));
    }
    Ok(ExitCode::from(ALL_COMPLETED))
}

async fn run(scenario: Scenario, args: &BenchArgs, ground: &Ground) -> Result<Figures, Failed> {
    match scenario {
        Scenario::Drain | Scenario::All => drain::run(args, ground).await,
        Scenario::Submit => submit::run(args, ground).await,
        Scenario::Dispatch => dispatch::run(args, ground).await,
        Scenario::Resume => resume::run(args, ground).await,
        Scenario::Frames => frames::run(args, ground).await,
        Scenario::Idle => idle::run(args, ground).await,
        Scenario::Memory => memory::run(args, ground).await,
    }
}

/// What was measured.
fn head(args: &BenchArgs, ground: &Ground) -> Figures {
    let without_payload = matches!(args.scenario, Scenario::Memory | Scenario::Frames);
    figures(json!({
        "scenario": args.scenario.name(),
        "backend": backend::hidden(&ground.url),
        "tasks": args.tasks,
        "workers": args.workers,
        "slots": args.slots,
        "partitions": ground.client.partition_config().num_flow_partitions,
        "payload_bytes": if without_payload { 0 } else { args.payload },
    }))
}
