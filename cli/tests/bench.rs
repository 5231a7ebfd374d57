//! `ff bench` with small numbers: every scenario prints its figures, and they are plausible.

use std::process::Output;

use serde_json::Value;

use crate::common;

fn bench(arguments: &[&str]) -> Output {
    let mut command = common::command();
    command.arg("bench").args(arguments).env_remove("FF_BACKEND");
    command.output().expect("ff runs")
}

/// The figures of a scenario on the memory backend.
fn figures(scenario: &str, arguments: &[&str]) -> Value {
    let common = ["--json", "--tasks", "300", "--partitions", "8", "--idle-seconds", "1"];
    let named = ["--scenario", scenario];
    let output = bench(&[&named[..], &common[..], arguments].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "no progress without a terminal");
    let figures: Value = serde_json::from_slice(&output.stdout).expect("one object");
    for (key, expected) in [("scenario", scenario), ("backend", "memory:")] {
        assert_eq!(figures[key], expected, "{figures}");
    }
    for (key, expected) in [("tasks", 300), ("workers", 16), ("slots", 1), ("partitions", 8)] {
        assert_eq!(figures[key], expected, "{figures}");
    }
    figures
}

#[track_caller]
fn number(figures: &Value, key: &str) -> f64 {
    figures[key].as_f64().unwrap_or_else(|| panic!("{key} is not a number in {figures}"))
}

/// The figure is a number within bounds that hold on any machine.
#[track_caller]
fn within(figures: &Value, key: &str, least: f64, most: f64) {
    let number = number(figures, key);
    assert!((least..=most).contains(&number), "{key} is {number} in {figures}");
}

#[track_caller]
fn percentiles(figures: &Value, key: &str) {
    let [p50, p95, p99] = ["p50", "p95", "p99"].map(|name| number(&figures[key], name));
    assert!(0.0 < p50 && p50 <= p95 && p95 <= p99, "{figures}");
}

#[test]
fn drain_prints_throughput_and_cost() {
    let figures = figures("drain", &["--payload", "100"]);
    for key in ["submit_per_s", "drain_per_s", "end_to_end_per_s"] {
        within(&figures, key, 1.0, 1e7);
    }
    let slower = number(&figures, "submit_per_s").min(number(&figures, "drain_per_s"));
    assert!(number(&figures, "end_to_end_per_s") <= slower, "{figures}");
    percentiles(&figures, "latency_ms");
    assert_eq!(figures["payload_bytes"], 100);
    // At least the payload and a part of a record.
    within(&figures, "pending_bytes_per_task", 150.0, 2_000.0);
    within(&figures, "completed_bytes_per_task", 150.0, 2_000.0);
    // The 16 workers need at least a take, a claim and a completion together.
    within(&figures, "store_calls_per_task", 3.0 / 16.0, 100.0);
    assert_eq!(figures.get("store_cpu_us_per_task"), Some(&Value::Null), "there is no server");
}

#[test]
fn a_worker_with_many_slots_drains_everything() {
    let figures = {
        let arguments = ["bench", "--json", "--tasks", "300", "--workers", "1", "--slots", "16"];
        let mut command = common::command();
        let output = command.args(arguments).env_remove("FF_BACKEND").output().expect("ff runs");
        serde_json::from_slice::<Value>(&output.stdout).expect("one object")
    };
    within(&figures, "drain_per_s", 1.0, 1e7);
    assert_eq!((&figures["workers"], &figures["slots"]), (&1.into(), &16.into()));
}

#[test]
fn submit_prints_only_its_throughput() {
    let figures = figures("submit", &[]);
    within(&figures, "submit_per_s", 1.0, 1e7);
    assert_eq!(figures.get("drain_per_s"), None);
}

#[test]
fn dispatch_prints_its_latency() {
    percentiles(&figures("dispatch", &["--payload", "10"]), "dispatch_ms");
}

#[test]
fn resume_prints_the_latency_of_suspend_and_resume() {
    let figures = figures("resume", &["--payload", "10"]);
    percentiles(&figures, "resume_ms");
    percentiles(&figures, "suspend_ms");
}

#[test]
fn frames_prints_throughput_and_the_cost_of_readers() {
    let figures = figures("frames", &["--payload", "5000"]);
    assert_eq!((&figures["frames"], &figures["payload_bytes"]), (&3_008.into(), &0.into()));
    within(&figures, "frames_per_s", 1.0, 1e7);
    within(&figures, "frames_without_tails_per_s", 1.0, 1e7);
    within(&figures, "append_p99_ratio", 0.0, 1e6);
    for key in ["append_ms", "append_without_tails_ms"] {
        let [p50, p95, p99] = ["p50", "p95", "p99"].map(|name| number(&figures[key], name));
        assert!(0.0 <= p50 && p50 <= p95 && p95 <= p99 && 0.0 < p99, "{figures}");
    }
}

#[test]
fn idle_prints_the_rate_of_calls() {
    let figures = figures("idle", &[]);
    // An idle worker polls the partitions and the due executions.
    within(&figures, "idle_calls_per_s", 0.1, 100.0);
    assert_eq!(figures.get("idle_commands_per_s"), Some(&Value::Null), "there is no server");
}

#[test]
fn memory_prints_bytes_per_execution_without_payload() {
    let figures = figures("memory", &["--payload", "5000"]);
    assert_eq!(figures["payload_bytes"], 0);
    within(&figures, "pending_bytes_per_task", 50.0, 2_000.0);
    within(&figures, "journal_bytes_per_task", 10.0, 2_000.0);
    let [pending, completed, added] = ["pending", "completed", "completed_added"]
        .map(|name| number(&figures, &format!("{name}_bytes_per_task")));
    assert!((completed - pending - added).abs() <= 1.0, "{figures}");
}

#[test]
fn all_prints_every_figure_in_one_object() {
    let figures = figures("all", &["--payload", "100"]);
    for key in [
        "submit_per_s",
        "drain_per_s",
        "end_to_end_per_s",
        "pending_bytes_per_task",
        "completed_bytes_per_task",
        "completed_added_bytes_per_task",
        "journal_bytes_per_task",
        "store_calls_per_task",
        "idle_calls_per_s",
        "frames_per_s",
        "append_p99_ratio",
    ] {
        number(&figures, key);
    }
    for key in ["store_cpu_us_per_task", "idle_commands_per_s"] {
        assert!(figures.get(key).is_some(), "{key} is missing in {figures}");
    }
    percentiles(&figures, "latency_ms");
    percentiles(&figures, "dispatch_ms");
    percentiles(&figures, "resume_ms");
    assert_eq!(figures["payload_bytes"], 100);
}

#[test]
fn the_table_has_the_figures() {
    let output = bench(&["--scenario", "submit", "--tasks", "20"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("submit_per_s") && text.contains("partitions"), "{text}");
}

#[test]
fn the_help_explains_every_figure() {
    let output = bench(&["--help"]);
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures = figures("all", &[]);
    for key in figures.as_object().expect("an object").keys() {
        let named = help.contains(key) || ["scenario", "backend"].contains(&key.as_str());
        assert!(named, "{key} is not explained in {help}");
    }
}
