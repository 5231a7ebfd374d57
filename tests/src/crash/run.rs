//! One run: submits, works and injects faults at the same time, then waits until all executions
//! have ended, and checks the evidence.

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
use super::fleet::{Fleet, WorkerSetup};
use super::gather::{count_ended, gather};
use super::scenario::{Fixture, PARTITIONS, Scenario, between};
use super::submitter::{Batch, Submitted};
use crate::fixture::lane;

const NAMESPACE: &str = "crash";
const WORKERS: usize = 3;
const SLOTS: usize = 8;
/// Submissions are spread over the whole run, so that faults meet them too.
const BATCHES: usize = 10;
/// The longest time in which faults are injected.
const FAULT_TIME: Duration = Duration::from_secs(60);
/// The time limit for the remaining executions after the last fault.
const HEALING: Duration = Duration::from_secs(30);
/// The executions of a batch that is submitted to see whether every worker runs again.
const PROBES: usize = WORKERS * SLOTS;

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program `ff`.
    pub ff: PathBuf,
    /// The fault that is injected.
    pub scenario: Scenario,
    /// The number of executions.
    pub executions: usize,
    /// The approximate time of all executions without faults.
    pub lasting: Duration,
    /// The seed of the faults. It does not repeat a run exactly, since processes are not
    /// deterministic.
    pub seed: u64,
}

/// The report of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The number of injected faults.
    pub faults: usize,
    /// Commands that were started beyond the first of each execution.
    pub restarts: usize,
    /// Submissions that had to be repeated.
    pub repeats: usize,
    /// The time from the last fault until every worker had started another command; zero if the
    /// scenario has no limit for it.
    pub recovery: Duration,
    /// The time from the last fault until all executions had ended.
    pub healing: Duration,
    /// The time of the whole run.
    pub took: Duration,
    /// The problems that were found.
    pub problems: Vec<String>,
    /// The folders that were kept, if there are problems.
    pub evidence: Vec<PathBuf>,
}

impl Plan {
    /// Runs the plan. Problems are in the report.
    pub fn run(&self) -> Report {
        let begin = Instant::now();
        let folder = tempfile::Builder::new().prefix("ff-crash-").tempdir();
        let mut folder = folder.expect("a temporary folder can be made");
        let mut fixture = self.scenario.fixture();
        let mut report = self.run_on(&mut fixture, &folder).unwrap_or_else(|problem| {
            let problems = vec![problem];
            Report { problems, ..Report::default() }
        });
        if !report.problems.is_empty() {
            let text = report.problems.join("\n");
            let _ = fs::write(folder.path().join("problems.txt"), text);
            folder.disable_cleanup(true);
            report.evidence = fixture.keep();
            report.evidence.push(folder.path().to_owned());
        }
        report.took = begin.elapsed();
        report
    }

    fn run_on(&self, fixture: &mut Fixture, folder: &TempDir) -> Result<Report, String> {
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        let client = connect(&runtime, &fixture.direct_url())?;
        let started = Started { file: folder.path().join("started") };
        let mut fleet = Fleet::start(self.setup(fixture, folder.path(), &started), WORKERS);
        let submitting = self.submit(fixture, folder.path(), &started);

        let mut report = Report {
            faults: self.inject_faults(fixture, &mut fleet, &started),
            ..Report::default()
        };
        if report.faults == 0 {
            report.problems.push("no fault had an effect".to_owned());
        }
        fleet.wake_all();
        let probed = match self.scenario.recovers_within() {
            Some(limit) => self.recover(limit, &fleet, &started, &mut report, fixture, folder)?,
            None => Submitted::default(),
        };
        let expected = self.executions + probed.acknowledged.len();
        let healing = runtime.block_on(heal(&client, expected));
        report.healing = healing.map_err(|error| error.to_string())?;
        report.problems.extend(fleet.end());
        report.problems.extend(panics(folder.path()));
        let submitted = submitting.join().expect("submitting does not panic");
        let submitted = submitted.unwrap_or_else(|problem| {
            report.problems.push(problem);
            Submitted::default()
        });
        let evidence = runtime.block_on(gather(&client, &lane()));
        let mut evidence = evidence.map_err(|error| format!("cannot read the store: {error}"))?;
        evidence.expected = expected;
        (evidence.acknowledged, report.repeats) = (submitted.acknowledged, submitted.repeats);
        evidence.acknowledged.extend(probed.acknowledged);
        evidence.started = started.all();
        report.restarts = evidence.started.len().saturating_sub(expected);
        report.problems.extend(problems(&evidence));
        report.problems.extend(audit(&self.ff, &fixture.direct_url()));
        Ok(report)
    }

    /// Injects faults until almost all executions were started; returns their number.
    fn inject_faults(&self, fixture: &mut Fixture, fleet: &mut Fleet, started: &Started) -> usize {
        let (begin, almost_all) = (Instant::now(), self.executions * 19 / 20);
        let mut entropy = Entropy::from_u64(self.seed);
        let mut faults = 0;
        while started.executions() < almost_all && !fleet.has_too_many_problems() {
            thread::sleep(between(&mut entropy, 50, 500));
            fleet.maintain();
            faults += usize::from(fixture.inject(self.scenario, fleet, &mut entropy));
            if begin.elapsed() > FAULT_TIME {
                break;
            }
        }
        faults
    }

    /// Submits batches until every worker has started a command since the last fault; a problem if
    /// that takes longer than the limit. Returns the submissions.
    fn recover(
        &self,
        limit: Duration,
        fleet: &Fleet,
        started: &Started,
        report: &mut Report,
        fixture: &Fixture,
        folder: &TempDir,
    ) -> Result<Submitted, String> {
        let (begin, before, mut all) = (Instant::now(), started.all().len(), Submitted::default());
        let mut batch = self.batch(fixture, folder.path(), self.executions, PROBES);
        let mut missing = fleet.names();
        while !missing.is_empty() && begin.elapsed() < HEALING {
            all.acknowledged.extend(batch.submit(begin + HEALING)?.acknowledged);
            batch.first += PROBES;
            let next = Instant::now() + self.pause() * 2;
            while !missing.is_empty() && Instant::now() < next {
                thread::sleep(Duration::from_millis(10));
                let workers = started.workers_since(before);
                missing.retain(|name| !workers.contains(name));
                report.recovery = begin.elapsed();
            }
        }
        if report.recovery > limit {
            let took = report.recovery;
            report.problems.push(format!("recovery took {took:?}; not recovered: {missing:?}"));
        }
        Ok(all)
    }

    /// How long a command takes.
    fn pause(&self) -> Duration {
        self.lasting * (WORKERS * SLOTS) as u32 / self.executions as u32
    }

    fn batch(&self, fixture: &Fixture, folder: &Path, first: usize, count: usize) -> Batch {
        let (ff, url, namespace) = (self.ff.clone(), fixture.url(), NAMESPACE.to_owned());
        Batch { ff, url, namespace, folder: folder.to_owned(), first, count }
    }

    fn setup(&self, fixture: &Fixture, folder: &Path, started: &Started) -> WorkerSetup {
        let pause = self.pause().as_secs_f64();
        WorkerSetup {
            ff: self.ff.clone(),
            url: fixture.url(),
            namespace: NAMESPACE.to_owned(),
            command: format!("{}; sleep {pause:.3}", started.command()),
            slots: SLOTS,
            logs: folder.to_owned(),
        }
    }

    /// Submits in a thread: a batch when about half of the one before was started. The rest must be
    /// acknowledged within the time limit after the last fault.
    fn submit(
        &self,
        fixture: &Fixture,
        folder: &Path,
        started: &Started,
    ) -> thread::JoinHandle<Result<Submitted, String>> {
        let share = self.executions.div_ceil(BATCHES);
        let (total, started, deadline) =
            (self.executions, started.clone(), Instant::now() + FAULT_TIME + HEALING);
        let mut batch = self.batch(fixture, folder, 0, share);
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

/// The log of started commands: each appends a line.
#[derive(Clone, Debug)]
struct Started {
    file: PathBuf,
}

impl Started {
    fn command(&self) -> String {
        let line = r#"printf '%s %s %s\n' "$FF_EXECUTION_ID" "$FF_LEASE_EPOCH" "$CRASH_WORKER""#;
        format!("{line} >> '{}'", self.file.display())
    }

    fn all(&self) -> Vec<(ExecutionId, u64)> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let parsed = text.lines().map(|line| {
            let mut parts = line.split(' ');
            Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
        });
        parsed.map(|start| start.expect("commands write whole lines")).collect()
    }

    /// The names of the workers that started a command after this number of starts.
    fn workers_since(&self, before: usize) -> BTreeSet<String> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let names = text.lines().skip(before).filter_map(|line| line.rsplit(' ').next());
        names.map(str::to_owned).collect()
    }

    /// The number of executions that were started at least once.
    fn executions(&self) -> usize {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let ids: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        ids.len()
    }
}

/// Waits until this number of executions has ended, at most until the time limit; returns the time.
async fn heal(client: &Client, expected: usize) -> Result<Duration, SdkError> {
    let begin = Instant::now();
    while count_ended(client).await? < expected && begin.elapsed() < HEALING {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(begin.elapsed())
}

/// The panics in the logs of workers and submitters.
fn panics(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    let panics = logs.flat_map(|path| {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines = text.lines().filter(|line| line.contains("panicked at"));
        lines.map(|line| format!("{}: {line}", path.display())).collect::<Vec<_>>()
    });
    panics.collect()
}

fn connect(runtime: &Runtime, url: &str) -> Result<Client, String> {
    let connected = runtime.block_on(async {
        let mut config = ClientConfig::new(NAMESPACE).map_err(|error| error.to_string())?;
        config.partition_config = Some(PARTITIONS);
        Client::connect(config, super::open(url).await?).await.map_err(|error| error.to_string())
    });
    connected.map_err(|error| format!("cannot open the store: {error}"))
}

/// The first problems of the evidence, as text.
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

/// The problem that `ff doctor` finds, if any.
fn audit(ff: &Path, url: &str) -> Option<String> {
    let doctor = Command::new(ff)
        .args(["doctor", "--json", "--backend", url, "--namespace", NAMESPACE])
        .output();
    let doctor = match doctor {
        Ok(doctor) => doctor,
        Err(error) => return Some(format!("cannot run ff doctor: {error}")),
    };
    let (output, errors) =
        (String::from_utf8_lossy(&doctor.stdout), String::from_utf8_lossy(&doctor.stderr));
    let ended = doctor.status;
    (!ended.success()).then(|| format!("ff doctor ended with {ended}: {output}{errors}"))
}
