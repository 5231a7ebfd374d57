//! The figures of a scenario, and how they are printed.

use comfy_table::Table;
use serde_json::{Map, Value, json};

use crate::report;

/// Figures by name, in the order in which they are printed.
pub type Figures = Map<String, Value>;

/// The figures of a JSON object.
pub fn figures(object: Value) -> Figures {
    match object {
        Value::Object(figures) => figures,
        other => unreachable!("{other} is an object"),
    }
}

/// The figures as a table.
pub fn table(figures: &Figures) -> Table {
    let mut table = report::table(&["figure", "value"]);
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

/// The p50, p95 and p99 of times in microseconds, in milliseconds.
pub fn percentiles_ms(mut times_us: Vec<u64>) -> Value {
    let [p50, p95, p99] = percentiles_us(&mut times_us).map(|us| rounded(us as f64 / 1_000.0));
    json!({ "p50": p50, "p95": p95, "p99": p99 })
}

/// The p50, p95 and p99 of times. Sorts the times.
pub fn percentiles_us(times_us: &mut [u64]) -> [u64; 3] {
    times_us.sort_unstable();
    [50, 95, 99].map(|percent| report::percentile(times_us, percent).unwrap_or_default())
}

/// The number with at most two decimals.
pub fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
