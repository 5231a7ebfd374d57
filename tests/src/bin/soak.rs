//! The soak: runs every crash scenario with many executions, many times.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use comfy_table::Table;
use ff_tests::crash::{Plan, Report, Scenario, binary};
use serde_json::{Value, json};

/// Runs every crash scenario with many executions, many times.
///
/// Starts worker processes, a submitter and a real server, and injects faults: processes are killed
/// or stopped, connections are cut, memory is full. Afterwards every execution must have ended
/// exactly once.
///
/// Exit code: 0 when there are no problems, 1 otherwise; then the files of the run stay on disk.
#[derive(Debug, Parser)]
struct Arguments {
    /// The number of executions of each run.
    #[arg(long, value_name = "N", default_value_t = 5_000,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    executions: u32,
    /// The number of runs of each scenario.
    #[arg(long, value_name = "N", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Run only this scenario; may be repeated.
    #[arg(long, value_name = "NAME", value_parser = scenario)]
    only: Vec<Scenario>,
    /// The seed of the faults. It does not repeat a run exactly, since processes are not
    /// deterministic.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// The approximate time of the executions of one run without faults, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 8_000)]
    lasting_ms: u64,
    /// Also write the summary to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let found = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = Scenario::ALL.into_iter().map(Scenario::name).collect();
        format!("unknown scenario `{name}`: the scenarios are {}", names.join(", "))
    })
}

/// The summary of the runs of one scenario.
struct Row {
    scenario: Scenario,
    runs: usize,
    failed: usize,
    faults: usize,
    restarts: usize,
    repeats: usize,
    /// The longest healing time of a run.
    healing: Duration,
    took: Duration,
}

impl Row {
    const fn new(scenario: Scenario) -> Self {
        let (healing, took) = (Duration::ZERO, Duration::ZERO);
        Self { scenario, runs: 0, failed: 0, faults: 0, restarts: 0, repeats: 0, healing, took }
    }

    fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.failed += usize::from(!report.problems.is_empty());
        self.faults += report.faults;
        self.restarts += report.restarts;
        self.repeats += report.repeats;
        self.healing = self.healing.max(report.healing);
        self.took += report.took;
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let chosen = match &arguments.only[..] {
        [] => Scenario::ALL.to_vec(),
        only => only.to_vec(),
    };
    let mut rows: Vec<Row> = chosen.into_iter().map(Row::new).collect();
    let begin = Instant::now();
    let ff = binary::ff();
    // Round by round, so that the first round shows the problems of all scenarios.
    for time in 0..arguments.times {
        for row in &mut rows {
            let plan = Plan {
                ff: ff.clone(),
                scenario: row.scenario,
                executions: arguments.executions as usize,
                lasting: Duration::from_millis(arguments.lasting_ms),
                seed: arguments.seed.wrapping_add(u64::from(time)),
            };
            let report = plan.run();
            row.add(&report);
            print(&plan, time + 1, arguments.times, &report);
        }
    }
    println!("{}", table(&rows));
    if let Some(path) = &arguments.report {
        let text = summary(&rows, arguments.executions).to_string();
        if let Err(error) = std::fs::write(path, text) {
            eprintln!("cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    println!("{:.0} s", begin.elapsed().as_secs_f64());
    ExitCode::from(u8::from(rows.iter().any(|row| row.failed > 0)))
}

fn print(plan: &Plan, time: u32, times: u32, report: &Report) {
    let Report { faults, restarts, repeats, recovery, healing, took, problems, evidence } = report;
    let result = if problems.is_empty() { "ok" } else { "FAILED" };
    println!(
        "{:<18} {time}/{times}  seed {}  {result}  {:.1} s, {:.1} s of them to heal  {faults} \
         faults, {restarts} commands and {repeats} submissions repeated",
        plan.scenario.name(),
        plan.seed,
        took.as_secs_f64(),
        healing.as_secs_f64()
    );
    if plan.scenario.recovers_within().is_some() {
        println!("    every worker ran again after {:.1} s", recovery.as_secs_f64());
    }
    for problem in problems {
        println!("    {problem}");
    }
    for path in evidence {
        println!("    evidence: {}", path.display());
    }
}

fn summary(rows: &[Row], executions: u32) -> Value {
    let row = |row: &Row| {
        json!({
            "scenario": row.scenario.name(), "runs": row.runs, "failed": row.failed,
            "executions": row.runs * executions as usize, "faults": row.faults,
            "restarts": row.restarts, "repeats": row.repeats,
            "longest_healing_ms": row.healing.as_millis() as u64,
        })
    };
    json!({ "scenarios": rows.iter().map(row).collect::<Vec<_>>() })
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([
        "scenario",
        "runs",
        "failed",
        "faults",
        "restarts",
        "repeats",
        "s to heal",
        "s a run",
    ]);
    for row in rows {
        table.add_row([
            row.scenario.name().to_owned(),
            row.runs.to_string(),
            row.failed.to_string(),
            row.faults.to_string(),
            row.restarts.to_string(),
            row.repeats.to_string(),
            format!("{:.1}", row.healing.as_secs_f64()),
            format!("{:.1}", row.took.as_secs_f64() / row.runs.max(1) as f64),
        ]);
    }
    table
}
