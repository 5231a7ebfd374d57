//! One run: submit, work and strike at once, then heal, then look at what is left.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ff_sdk::core::entropy::Entropy;
use ff_sdk::{Client, ClientConfig, ExecutionId, SdkError};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::check::{Evidence, check};
use super::fleet::{Fleet, Orders};
use super::gather::{count_over, gather};
use super::scenario::{Ground, PARTITIONS, Scenario, between};
use super::submitter::{Batch, Submitted};
use crate::ground::lane;

const NAMESPACE: &str = "crash";
const WORKERS: usize = 3;
const SLOTS: usize = 8;
/// Submission goes on during the whole run, so that it is struck too.
const BATCHES: usize = 10;
/// How long it is struck at most.
const STRUCK: Duration = Duration::from_secs(60);
/// How long what is left may take once nothing strikes any more.
const HEALING: Duration = Duration::from_secs(30);

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program `ff`.
    pub ff: PathBuf,
    /// What strikes.
    pub scenario: Scenario,
    /// How many executions.
    pub executions: usize,
    /// How long the executions alone take, about: so long there is something to strike.
    pub lasting: Duration,
    /// The seed of the strikes. Processes run as they like, so that it repeats no run exactly.
    pub seed: u64,
}

/// How a run went.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How often it was struck.
    pub strikes: usize,
    /// Commands that were started beyond the first of each execution.
    pub restarts: usize,
    /// Submissions that had to be repeated.
    pub repeats: usize,
    /// How long it took until everything was over once nothing struck any more.
    pub healing: Duration,
    /// How long all of it took.
    pub took: Duration,
    /// What was wrong.
    pub problems: Vec<String>,
    /// Where to look, when something was.
    pub evidence: Vec<PathBuf>,
}

impl Plan {
    /// Runs it. What is wrong stands in the report.
    pub fn run(&self) -> Report {
        let begin = Instant::now();
        let folder = tempfile::Builder::new().prefix("ff-crash-").tempdir();
        let mut folder = folder.expect("a temporary folder can be made");
        let mut ground = self.scenario.ground();
        let mut report = self.run_on(&mut ground, &folder).unwrap_or_else(|problem| {
            let problems = vec![problem];
            Report { problems, ..Report::default() }
        });
        if !report.problems.is_empty() {
            let text = report.problems.join("\n");
            let _ = fs::write(folder.path().join("problems.txt"), text);
            folder.disable_cleanup(true);
            report.evidence = ground.keep();
            report.evidence.push(folder.path().to_owned());
        }
        report.took = begin.elapsed();
        report
    }

    fn run_on(&self, ground: &mut Ground, folder: &TempDir) -> Result<Report, String> {
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        let client = connect(&runtime, &ground.direct_url())?;
        let started = Started { file: folder.path().join("started") };
        let mut fleet = Fleet::start(self.orders(ground, folder.path(), &started), WORKERS);
        let submitting = self.submit(ground, folder.path(), &started);

        let mut report =
            Report { strikes: self.strike(ground, &mut fleet, &started), ..Report::default() };
        if report.strikes == 0 {
            report.problems.push("nothing was struck".to_owned());
        }
        fleet.wake_all();
        let healing = runtime.block_on(self.heal(&client));
        report.healing = healing.map_err(|error| error.to_string())?;
        report.problems.extend(fleet.end());
        let submitted = submitting.join().expect("submitting does not panic");
        let submitted = submitted.unwrap_or_else(|problem| {
            report.problems.push(problem);
            Submitted::default()
        });
        let evidence = runtime.block_on(gather(&client, &lane()));
        let mut evidence =
            evidence.map_err(|error| format!("the store cannot be read: {error}"))?;
        evidence.expected = self.executions;
        (evidence.acknowledged, report.repeats) = (submitted.acknowledged, submitted.repeats);
        evidence.started = started.all();
        report.restarts = evidence.started.len().saturating_sub(self.executions);
        report.problems.extend(problems(&evidence));
        report.problems.extend(audit(&self.ff, &ground.direct_url()));
        Ok(report)
    }

    /// Strikes until almost everything has been started, and tells how often.
    fn strike(&self, ground: &mut Ground, fleet: &mut Fleet, started: &Started) -> usize {
        let (begin, almost_all) = (Instant::now(), self.executions * 19 / 20);
        let mut entropy = Entropy::from_u64(self.seed);
        let mut strikes = 0;
        while started.executions() < almost_all && !fleet.is_hopeless() {
            thread::sleep(between(&mut entropy, 50, 500));
            fleet.tend();
            strikes += usize::from(ground.strike(self.scenario, fleet, &mut entropy));
            if begin.elapsed() > STRUCK {
                break;
            }
        }
        strikes
    }

    /// Waits until everything is over, or until it should have been, and tells how long.
    async fn heal(&self, client: &Client) -> Result<Duration, SdkError> {
        let begin = Instant::now();
        while count_over(client).await? < self.executions && begin.elapsed() < HEALING {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(begin.elapsed())
    }

    fn orders(&self, ground: &Ground, folder: &Path, started: &Started) -> Orders {
        let pause = self.lasting.as_secs_f64() * (WORKERS * SLOTS) as f64 / self.executions as f64;
        Orders {
            ff: self.ff.clone(),
            url: ground.url(),
            namespace: NAMESPACE.to_owned(),
            command: format!("{}; sleep {pause:.3}", started.command()),
            slots: SLOTS,
            logs: folder.to_owned(),
        }
    }

    /// Submits in a thread, a batch when about half of the one before has been worked on. What is
    /// left when nothing strikes any more has to be acknowledged while everything heals.
    fn submit(
        &self,
        ground: &Ground,
        folder: &Path,
        started: &Started,
    ) -> thread::JoinHandle<Result<Submitted, String>> {
        let share = self.executions.div_ceil(BATCHES);
        let (total, started, deadline) =
            (self.executions, started.clone(), Instant::now() + STRUCK + HEALING);
        let (ff, folder, url) = (self.ff.clone(), folder.to_owned(), ground.url());
        let mut batch =
            Batch { ff, url, namespace: NAMESPACE.to_owned(), folder, first: 0, count: share };
        thread::spawn(move || {
            let mut all = Submitted::default();
            while batch.first < total {
                batch.count = share.min(total - batch.first);
                let submitted = batch.submit(deadline)?;
                all.acknowledged.extend(submitted.acknowledged);
                all.repeats += submitted.repeats;
                batch.first += batch.count;
                while started.executions() + share / 2 < batch.first && Instant::now() < deadline {
                    thread::sleep(Duration::from_millis(10));
                }
            }
            Ok(all)
        })
    }
}

/// The commands that were started: each appends a line.
#[derive(Clone, Debug)]
struct Started {
    file: PathBuf,
}

impl Started {
    fn command(&self) -> String {
        let line = r#"printf '%s %s\n' "$FF_EXECUTION_ID" "$FF_LEASE_EPOCH""#;
        format!("{line} >> '{}'", self.file.display())
    }

    fn all(&self) -> Vec<(ExecutionId, u64)> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        let parsed = pairs.map(|(id, epoch)| Some((id.parse().ok()?, epoch.parse().ok()?)));
        parsed.map(|start| start.expect("commands write whole lines")).collect()
    }

    /// How many executions were started at least once.
    fn executions(&self) -> usize {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let ids: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        ids.len()
    }
}

fn connect(runtime: &Runtime, url: &str) -> Result<Client, String> {
    let connected = runtime.block_on(async {
        let mut config = ClientConfig::new(NAMESPACE).map_err(|error| error.to_string())?;
        config.partition_config = Some(PARTITIONS);
        Client::connect(config, super::open(url).await?).await.map_err(|error| error.to_string())
    });
    connected.map_err(|error| format!("the store cannot be opened: {error}"))
}

/// What is wrong, as far as anybody reads.
fn problems(evidence: &Evidence) -> Vec<String> {
    const SHOWN: usize = 20;
    let found = check(evidence);
    let more = found.len().saturating_sub(SHOWN);
    let mut problems: Vec<String> = found.iter().take(SHOWN).map(ToString::to_string).collect();
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    problems
}

/// What the doctor finds.
fn audit(ff: &Path, url: &str) -> Option<String> {
    let doctor = Command::new(ff)
        .args(["doctor", "--json", "--backend", url, "--namespace", NAMESPACE])
        .output();
    let doctor = match doctor {
        Ok(doctor) => doctor,
        Err(error) => return Some(format!("ff doctor does not run: {error}")),
    };
    let (said, errors) =
        (String::from_utf8_lossy(&doctor.stdout), String::from_utf8_lossy(&doctor.stderr));
    let ended = doctor.status;
    (!ended.success()).then(|| format!("ff doctor ended with {ended}: {said}{errors}"))
}
