//! Figures and how they are shown.

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::{Map, Value, json};

/// Figures by name, in the order in which they are shown.
pub type Figures = Map<String, Value>;

/// The figures of a JSON object.
pub fn figures(object: Value) -> Figures {
    match object {
        Value::Object(figures) => figures,
        other => unreachable!("{other} is an object"),
    }
}

/// The figures as people read them.
pub fn table(figures: &Figures) -> Table {
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
pub fn percentiles_ms(mut times_us: Vec<u64>) -> Value {
    let [p50, p95, p99] = percentiles_us(&mut times_us).map(|us| short(us as f64 / 1_000.0));
    json!({ "p50": p50, "p95": p95, "p99": p99 })
}

/// The median and the tail of times: p50, p95 and p99. They are sorted.
pub fn percentiles_us(times_us: &mut [u64]) -> [u64; 3] {
    times_us.sort_unstable();
    [50, 95, 99].map(|percent| {
        let place = (times_us.len() * percent / 100).min(times_us.len().saturating_sub(1));
        times_us.get(place).copied().unwrap_or_default()
    })
}

/// A number with at most two decimals.
pub fn short(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
