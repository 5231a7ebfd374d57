//! The costs of a lifecycle on a server: commands, function calls and bytes, against a golden file.
//! A cost that rises by more than 2 % fails the test; so does one that falls, so that the file
//! states the present costs. Nothing is timed.
#![allow(clippy::disallowed_methods, reason = "reads and writes its own golden file")]

use std::fmt::Write;
use std::sync::Arc;

use ff_sdk::core::backend::EngineBackend;
use ff_sdk::core::partition::PartitionConfig;
use ff_sdk::{Client, ClientConfig, FlowFabricWorker, Submission, ValkeyBackend, WorkerConfig};
use ff_tests::server::{Server, text};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/costs.txt");
/// Executions of each phase: the few commands of wake-ups and looks do not count among so many.
const EXECUTIONS: usize = 512;
/// The difference to the golden file that is allowed.
const SLACK: f64 = 0.02;

/// The counts of a server since it started.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    commands: f64,
    functions: f64,
    received: f64,
    sent: f64,
}

fn counts(server: &Server) -> Counts {
    let reply = text(&server.expect(&["INFO", "commandstats"])).expect("text");
    let calls = |line: &str| -> Option<(bool, f64)> {
        let (name, fields) = line.trim().strip_prefix("cmdstat_")?.split_once(':')?;
        // This test's own commands, and those of connections.
        if ["info", "hello", "client|setinfo", "ping"].contains(&name) {
            return None;
        }
        let calls = fields.strip_prefix("calls=")?.split(',').next()?;
        Some((name.starts_with("fcall"), calls.parse().ok()?))
    };
    let all: Vec<(bool, f64)> = reply.lines().filter_map(calls).collect();
    let bytes = |field| server.info("stats", field).and_then(|value| value.parse().ok());
    Counts {
        commands: all.iter().map(|(_, calls)| calls).sum(),
        functions: all.iter().filter(|(is_function, _)| *is_function).map(|(_, calls)| calls).sum(),
        received: bytes("total_net_input_bytes").expect("a number"),
        sent: bytes("total_net_output_bytes").expect("a number"),
    }
}

/// The phases that were measured, as lines of the golden file.
struct Costs<'a> {
    server: &'a Server,
    before: Counts,
    /// The costs of the measurement itself.
    own: Counts,
    lines: String,
}

impl<'a> Costs<'a> {
    fn new(server: &'a Server) -> Self {
        let (first, second) = (counts(server), counts(server));
        let own = Counts {
            received: second.received - first.received,
            sent: second.sent - first.sent,
            ..Counts::default()
        };
        Self { server, before: second, own, lines: String::new() }
    }

    /// Notes the costs of the executions of a phase, since the phase before.
    fn phase(&mut self, name: &str) {
        let (now, before, own) = (counts(self.server), self.before, self.own);
        for (figure, cost) in [
            ("commands", now.commands - before.commands),
            ("function calls", now.functions - before.functions),
            ("bytes received", now.received - before.received - own.received),
            ("bytes sent", now.sent - before.sent - own.sent),
        ] {
            let each = cost / EXECUTIONS as f64;
            writeln!(self.lines, "{name}, {figure}: {each:.2}").expect("a string");
        }
        self.before = counts(self.server);
    }
}

/// The lines that differ by more than the slack.
fn differences(golden: &str, measured: &str) -> Vec<String> {
    let split = |line: &str| -> Option<(String, f64)> {
        let (name, value) = line.rsplit_once(": ")?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    let parsed = |text: &str| -> Vec<_> { text.lines().filter_map(split).collect() };
    let (golden, measured) = (parsed(golden), parsed(measured));
    if golden.len() != measured.len() {
        return vec![format!("{} lines instead of {}", golden.len(), measured.len())];
    }
    let differs = |((name, is), (was_name, was)): (&(String, f64), &(String, f64))| {
        let same = name == was_name && (is - was).abs() <= was * SLACK + 0.01;
        (!same).then(|| format!("{name}: {is} instead of {was} ({was_name})"))
    };
    measured.iter().zip(&golden).filter_map(differs).collect()
}

#[test]
fn a_difference_of_more_than_two_percent_is_found() {
    let golden = "submit, commands: 10.00\nsubmit, bytes sent: 400.00\n";
    assert_eq!(differences(golden, golden), [""; 0]);
    let slightly = golden.replace("400.00", "407.00").replace("10.00", "9.81");
    assert_eq!(differences(golden, &slightly), [""; 0]);
    assert_eq!(differences(golden, &golden.replace("10.00", "11.00")).len(), 1);
    assert_eq!(differences(golden, &golden.replace("400.00", "380.00")).len(), 1);
    assert_eq!(differences(golden, "submit, commands: 10.00\n").len(), 1);
}

#[tokio::test]
async fn a_lifecycle_costs_what_the_golden_file_says() {
    let server = Server::valkey();
    let backend: Arc<dyn EngineBackend> =
        Arc::new(ValkeyBackend::connect(&server.url()).await.unwrap());
    let mut config = ClientConfig::new("costs").unwrap();
    let partitions = PartitionConfig { num_flow_partitions: 1, ..PartitionConfig::default() };
    config.partition_config = Some(partitions);
    let client = Client::connect(config, backend.clone()).await.unwrap();
    let mut config = WorkerConfig::new("costs", "costs-1", "costs").unwrap();
    (config.timekeeper, config.max_concurrent_tasks) = (false, EXECUTIONS);
    let worker = FlowFabricWorker::connect_with(config, backend, None).await.unwrap();
    let submission = || Submission::new("work").payload(vec![b'x'; 100]);
    // What is done once for each connection.
    client.submit(submission()).await.unwrap();
    worker.claim_next().await.unwrap().unwrap().complete(None).await.unwrap();

    let mut costs = Costs::new(&server);
    for _ in 0..EXECUTIONS {
        client.submit(submission()).await.unwrap();
    }
    costs.phase("submitted one at a time");
    for _ in 0..EXECUTIONS {
        let task = worker.claim_next().await.unwrap().unwrap();
        task.complete(None).await.unwrap();
    }
    costs.phase("claimed and completed one at a time");
    for outcome in client.submit_many((0..EXECUTIONS).map(|_| submission())).await {
        outcome.unwrap();
    }
    costs.phase("submitted together");
    let mut tasks = Vec::new();
    while tasks.len() < EXECUTIONS {
        tasks.extend(worker.claim_many(16).await.unwrap());
    }
    costs.phase("claimed 16 at a time");
    for task in tasks {
        task.complete(None).await.unwrap();
    }
    costs.phase("completed one at a time");

    let measured = costs.lines;
    if std::env::var_os("UPDATE_COSTS").is_some() {
        std::fs::write(GOLDEN, &measured).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    let differences = differences(&golden, &measured);
    assert!(
        differences.is_empty(),
        "the costs changed: {differences:#?}\nif they should: \
         UPDATE_COSTS=1 cargo test -p ff-tests --test suite costs"
    );
}
