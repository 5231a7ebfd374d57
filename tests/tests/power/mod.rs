//! Losses of power under a store in a SQLite file: a program runs jobs, each effect on its files is
//! recorded, and the disk is cut off after any of them. Sectors that were written since the last
//! sync are there or not.

mod disk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use ff_sdk::core::backend::FindingLevel;
use ff_sdk::core::entropy::Entropy;
use ff_sdk::core::execution::ValueKind;
use ff_sdk::{Auditor, Client, ClientConfig, ExecutionId, SqliteBackend};
use ff_tests::crash::binary;
use serde_json::Value;
use tempfile::TempDir;

use disk::{Effect, Left};

const STORE: &str = "work.db";
const RESULTS: &str = "results";
const JOBS: usize = 24;
/// How many losses of power are tried beside those before and after each sync.
const CUTS: u64 = 30;
/// Of how many files one is audited, which reads all partitions.
const AUDITED: usize = 24;

/// Compiles the library that records.
fn recorder(folder: &Path) -> PathBuf {
    let library = folder.join("recorder.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power/recorder.c");
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source);
    assert!(compile.status().expect("there is a C compiler").success());
    library
}

/// Runs jobs to their end on a new file, and returns what was done to the files.
fn run(durability: &str) -> Vec<(String, Effect)> {
    let folder = TempDir::new().expect("a folder");
    let (files, record) = (folder.path().join("files"), folder.path().join("record"));
    std::fs::create_dir(&files).expect("a folder");
    let job = |number| format!(r#"{{"kind": "shell", "payload": {{"command": "echo {number}"}}}}"#);
    let jobs = folder.path().join("jobs");
    std::fs::write(&jobs, (0..JOBS).map(job).collect::<Vec<_>>().join("\n")).expect("a file");
    let url = format!("sqlite:{}?durability={durability}", files.join(STORE).display());
    let mut ff = Command::new(binary::ff());
    ff.arg("run").arg(&jobs).args(["--workers", "4", "--backend", &url]);
    ff.arg("--results").arg(files.join(RESULTS)).stdout(Stdio::null());
    ff.env("LD_PRELOAD", recorder(folder.path()));
    ff.env("FF_POWER_FOLDER", format!("{}/", files.display())).env("FF_POWER_RECORD", &record);
    assert!(ff.status().expect("ff starts").success());
    let effects = disk::record(&record);
    // The record is complete: it leads to the files that are there.
    let all = disk::files(&effects, Left::All, &mut Entropy::from_u64(0));
    for name in [STORE, RESULTS] {
        let real = std::fs::read(files.join(name)).expect("the file can be read");
        assert!(real == all[name], "{name} is not as recorded");
    }
    effects
}

/// The executions whose end the program has reported by then, with their results.
fn reported(effects: &[(String, Effect)]) -> BTreeMap<ExecutionId, String> {
    let results = effects.iter().filter(|(name, _)| name == RESULTS).filter_map(|(_, effect)| {
        let Effect::Written { bytes, .. } = effect else { return None };
        let line: Value = serde_json::from_slice(bytes).expect("a line is one write");
        let text = |name: &str| line[name].as_str().expect("a text").to_owned();
        Some((text("execution_id").parse().expect("an ID"), text("result")))
    });
    results.collect()
}

/// Opens the store of these files, which must be whole. Returns the first execution that was
/// reported, and has not ended with that result.
async fn lost(
    files: &BTreeMap<String, Vec<u8>>,
    reported: &BTreeMap<ExecutionId, String>,
    is_audited: bool,
) -> Option<ExecutionId> {
    let folder = TempDir::new().expect("a folder");
    for (name, content) in files.iter().filter(|(name, _)| name.starts_with(STORE)) {
        std::fs::write(folder.path().join(name), content).expect("the file can be written");
    }
    let url = format!("sqlite:{}", folder.path().join(STORE).display());
    let backend = SqliteBackend::connect(&url).await.expect("the store opens");
    let auditor = Auditor::connect(Arc::new(backend.clone())).await;
    let auditor = auditor.expect("the store answers");
    let mut findings = auditor.examine().await.expect("it can be examined");
    let config = ClientConfig::new("ff").expect("a namespace");
    if is_audited {
        let report = auditor.audit(&config.namespace, 10_000, |_| {}).await;
        findings.extend(report.expect("it is audited").findings());
    }
    let problem = findings.iter().find(|finding| finding.level == FindingLevel::Problem);
    // A store that was not set up yet is empty.
    let is_new = auditor.meta().is_none() && reported.is_empty();
    assert!(is_new || problem.is_none(), "{problem:?}");
    let client = Client::connect(config, Arc::new(backend)).await.expect("a client");
    for (id, result) in reported {
        let seen = client.describe(id).await.expect("the store answers");
        let is_ended = seen.is_some_and(|seen| seen.ended_at.is_some());
        let stored = client.value(id, ValueKind::Result).await.ok().flatten();
        if !is_ended || stored.as_deref() != Some(result.as_bytes()) {
            return Some(*id);
        }
    }
    None
}

/// The first loss of power that loses what was reported.
async fn first_loss(effects: &[(String, Effect)]) -> Option<String> {
    let mut draws = Entropy::from_u64(7);
    let syncs = (0..effects.len()).filter(|at| effects[*at].1 == Effect::Synced);
    let mut moments: Vec<usize> = syncs.flat_map(|at| [at, at + 1]).collect();
    moments.extend((0..CUTS).map(|_| draws.below(effects.len() as u64 + 1) as usize));
    for (number, moment) in moments.into_iter().enumerate() {
        let left = [Left::Some, Left::Nothing, Left::Some, Left::All][number % 4];
        let done = &effects[..moment];
        let files = disk::files(done, left, &mut draws);
        if let Some(id) = lost(&files, &reported(done), number % AUDITED == 0).await {
            return Some(format!("{id} after {moment} effects, of which was left {left:?}"));
        }
    }
    None
}

#[tokio::test]
async fn a_loss_of_power_loses_nothing_that_was_reported() {
    let effects = run("full");
    let ended = reported(&effects).len();
    assert_eq!((ended, first_loss(&effects).await), (JOBS, None));
}

/// As the documentation of the option says. So this test can see a loss.
#[tokio::test]
async fn a_loss_of_power_can_lose_the_last_calls_of_a_relaxed_store_and_leaves_it_whole() {
    assert!(first_loss(&run("relaxed")).await.is_some());
}
