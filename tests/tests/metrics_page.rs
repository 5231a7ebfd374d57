//! The page of metrics has exactly the declared ones; the alert rules and the dashboard use no
//! others.
#![allow(
    clippy::disallowed_methods,
    reason = "the tests read the pages, and write one if UPDATE_DOCS=1 is set"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ff_sdk::metrics::{ALL, Metric, MetricKind};
use regex::Regex;

const REFRESH: &str = "UPDATE_DOCS=1 cargo test -p ff-tests --test suite metrics_page";
const END: &str = "<!-- The end of the generated part. -->";

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(page(name)).expect("the page")
}

fn table() -> String {
    let mut table = String::from(
        "\n| metric | kind | unit | labels | meaning |\n| --- | --- | --- | --- | --- |\n",
    );
    for metric in ALL {
        let Metric { name, kind, unit, labels, meaning, .. } = metric;
        let (kind, unit) = (kind.as_str(), unit.as_str());
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
        writeln!(table, "| `{name}` | {kind} | {unit} | {labels} | {meaning} |").unwrap();
    }
    table.push('\n');
    table
}

#[test]
fn the_page_of_metrics_has_the_declared_ones() {
    let found = read("metrics.md");
    let begin = format!("<!-- Generated. Refresh with: {REFRESH} -->\n");
    let (before, rest) = found.split_once(&begin).expect("the page has a generated part");
    let (_, after) = rest.split_once(END).expect("the generated part ends");
    let expected = format!("{before}{begin}{}{END}{after}", table());
    if std::env::var("UPDATE_DOCS").is_ok_and(|value| value == "1") {
        std::fs::write(page("metrics.md"), expected).expect("the page can be written");
        return;
    }
    assert!(found == expected, "docs/metrics.md is out of date; refresh it: {REFRESH}");
}

/// The uses of metrics in rules and queries that are wrong: of one that does not exist, or with a
/// label that it does not have.
fn wrong_uses(text: &str) -> BTreeSet<String> {
    let uses = Regex::new(r#"\bff_[a-z_]+(\{(?:[^}"]|"[^"]*")*\})?"#).unwrap();
    let label = Regex::new(r"([a-z_]+)\s*(?:=~|!~|!=|=)").unwrap();
    let mut wrong = BTreeSet::new();
    for found in uses.captures_iter(text) {
        let name = found[0].split('{').next().unwrap_or_default();
        let Some(metric) = ALL.iter().find(|metric| is_series(metric, name)) else {
            wrong.insert(name.to_owned());
            continue;
        };
        let selector = found.get(1).map_or("", |selector| selector.as_str());
        let labels = label.captures_iter(selector).map(|label| label[1].to_owned());
        let unknown = labels.filter(|label| !metric.labels.contains(&label.as_str()));
        wrong.extend(unknown.map(|label| format!("{name}{{{label}}}")));
    }
    wrong
}

fn is_series(metric: &Metric, name: &str) -> bool {
    match name.strip_prefix(metric.name) {
        Some("") => metric.kind != MetricKind::Histogram,
        Some("_bucket" | "_count" | "_sum") => metric.kind == MetricKind::Histogram,
        _ => false,
    }
}

/// The labels by which rules and queries group.
fn groupings(text: &str) -> BTreeSet<String> {
    let by = Regex::new(r"\bby \(([^)]*)\)").unwrap();
    let all = by.captures_iter(text).flat_map(|by| {
        let labels = by[1].split(',').map(|label| label.trim().to_owned());
        labels.collect::<Vec<_>>()
    });
    all.collect()
}

#[test]
fn alerts_and_the_dashboard_use_only_declared_metrics_and_labels() {
    let labels: BTreeSet<&str> =
        ALL.iter().flat_map(|metric| metric.labels).copied().chain(["le"]).collect();
    for name in ["alerts.yml", "grafana.json"] {
        // Quotation marks of queries are escaped in JSON.
        let text = read(name).replace("\\\"", "\"");
        assert_eq!(wrong_uses(&text), BTreeSet::new(), "{name}");
        let unknown = groupings(&text);
        let unknown: Vec<_> = unknown.iter().filter(|label| !labels.contains(&***label)).collect();
        assert!(unknown.is_empty(), "{name} groups by {unknown:?}");
    }
    let wrong = wrong_uses(
        "ff_running{lane=\"a}b\"} ff_claims ff_handler_seconds ff_retries_total{worker!~\"x\"} \
         ff_handler_seconds_bucket",
    );
    let expected = ["ff_claims", "ff_handler_seconds", "ff_retries_total{worker}"];
    assert_eq!(wrong, expected.map(str::to_owned).into());
}

#[test]
fn every_metric_is_on_the_dashboard_and_every_alert_on_the_page() {
    let dashboard = read("grafana.json");
    serde_json::from_str::<serde_json::Value>(&dashboard).expect("it is JSON");
    let missing = ALL.iter().filter(|metric| !dashboard.contains(metric.name));
    assert_eq!(missing.map(|metric| metric.name).collect::<Vec<_>>(), [""; 0]);
    let (rules, page) = (read("alerts.yml"), read("metrics.md"));
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let rows: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `FlowFabric")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let named: Vec<&str> =
        alerts.iter().map(|name| name.strip_prefix("FlowFabric").expect("the prefix")).collect();
    assert!(!named.is_empty());
    assert_eq!(named, rows);
}
