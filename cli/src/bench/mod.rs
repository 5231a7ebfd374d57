//! `ff bench`: figures that can be repeated.

mod args;
mod dispatch;
mod drain;
mod ground;
mod idle;
mod memory;
mod submit;
mod work;

use std::process::ExitCode;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::{Map, Value, json};

use crate::outcome::{ALL_COMPLETED, Failed, print};

pub use args::{BenchArgs, Scenario};
use ground::Ground;

/// Figures by name, in the order in which they are shown.
type Figures = Map<String, Value>;

/// The scenarios of `all`. Where two have a figure of one name, that of the later one is shown:
/// the scenario that is about it.
const ALL: [Scenario; 5] =
    [Scenario::Drain, Scenario::Submit, Scenario::Dispatch, Scenario::Idle, Scenario::Memory];

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
        Scenario::Idle => idle::run(args, ground).await,
        Scenario::Memory => memory::run(args, ground).await,
    }
}

/// What was measured.
fn head(args: &BenchArgs, ground: &Ground) -> Figures {
    figures(json!({
        "scenario": args.scenario.name(),
        "backend": ground.url,
        "tasks": args.tasks,
        "workers": args.workers,
        "slots": args.slots,
        "partitions": ground.client.partition_config().num_flow_partitions,
        "payload_bytes": if args.scenario == Scenario::Memory { 0 } else { args.payload },
    }))
}

fn figures(object: Value) -> Figures {
    match object {
        Value::Object(figures) => figures,
        other => unreachable!("{other} is an object"),
    }
}

fn table(figures: &Figures) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(vec!["figure", "value"]);
    for (name, value) in figures {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            Value::Object(parts) => {
                let part = |(name, value): (&String, &Value)| format!("{name} {value}");
                parts.iter().map(part).collect::<Vec<_>>().join("  ")
            }
            other => other.to_string(),
        };
        table.add_row(vec![name.clone(), text]);
    }
    table
}

/// The median and the tail of times in microseconds, in milliseconds.
fn percentiles_ms(mut times_us: Vec<u64>) -> Value {
    times_us.sort_unstable();
    let at = |percent: usize| {
        let place = (times_us.len() * percent / 100).min(times_us.len().saturating_sub(1));
        times_us.get(place).map_or(0.0, |us| (*us as f64 / 10.0).round() / 100.0)
    };
    json!({ "p50": at(50), "p95": at(95), "p99": at(99) })
}

/// A number with at most two decimals.
fn short(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
