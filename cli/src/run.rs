//! `ff run`: submit, work off, report.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ff_sdk::core::backend::{CompletionCursor, CompletionFilter, CompletionItem, Completions};
use ff_sdk::core::execution::CreateOutcome;
use ff_sdk::core::id::ExecutionId;
use ff_sdk::core::state::TerminalOutcome;
use ff_sdk::{Client, ClientConfig, JournalCompletions, SdkError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::args::RunArgs;
use crate::input::{self, Job};
use crate::outcome::{ALL_COMPLETED, Failed, INTERRUPTED, SOME_FAILED, print, warn};
use crate::pool::{self, Doing, PoolConfig};
use crate::progress::Progress;
use crate::report::Summary;
use crate::results::ResultsFile;
use crate::{backend, names, results, timeline};

/// How often the figures are shown.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// Runs the command.
pub async fn run(args: RunArgs) -> Result<ExitCode, Failed> {
    let opened = backend::open(&args.backend).await?;
    let mut config = ClientConfig::new(args.namespace.as_str())?;
    config.seed = args.seed;
    let client = Client::connect(config, opened.backend.clone()).await?;
    let jobs = input::read(&args.file, &client, opened.shared)?;
    let results_file =
        args.results.as_deref().map(|path| ResultsFile::create(path, &args.file)).transpose()?;
    let started = Instant::now();
    let submitted = submit(&client, jobs).await?;
    let doing = Arc::new(Doing::default());
    let pool = PoolConfig {
        backend: opened.backend.clone(),
        instance: match opened.shared {
            // Two runs on one store must not share a name.
            true => names::instance("ff-run")?,
            false => "ff-run".to_owned(),
        },
        namespace: args.namespace.clone(),
        workers: workers(args.workers),
        lease_ttl_ms: args.lease_ttl_ms,
        kill_every: args.kill_workers_every.map(Duration::from_millis),
        seed: args.seed,
    };
    let interrupted = work_off(pool, &client, &doing, &submitted).await?;
    let took = started.elapsed();
    let mut rows = Vec::with_capacity(submitted.ids.len());
    for (line, id) in &submitted.ids {
        rows.extend(results::read(&client, *line, *id).await?);
    }
    let written = results_file.map_or(Ok(()), |file| file.write(&rows));
    if args.verbose {
        let text = timeline::text(&client, &rows).await?;
        // Standard output is for the one object then.
        if args.json { warn(&text) } else { print(&text)? }
    }
    let killed = doing.killed.load(Ordering::Relaxed);
    let duplicates = submitted.duplicates;
    // Lines that stood for an earlier one are no executions of their own.
    let mut seen = BTreeSet::new();
    rows.retain(|row| seen.insert(row.id));
    let summary = Summary { results: &rows, duplicates, killed, took, interrupted };
    print(&format!("{}\n", if args.json { summary.json() } else { summary.table() }))?;
    written?;
    Ok(ExitCode::from(match interrupted {
        true => INTERRUPTED,
        false if rows.iter().all(|row| row.is_completed()) => ALL_COMPLETED,
        false => SOME_FAILED,
    }))
}

fn workers(wanted: Option<u32>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(2, usize::from).max(2);
    wanted.map_or_else(cores, |wanted| wanted as usize)
}

/// Executions that were submitted.
struct Submitted {
    /// Line and id, in the order of the input.
    ids: Vec<(usize, ExecutionId)>,
    duplicates: usize,
}

async fn submit(client: &Client, jobs: Vec<Job>) -> Result<Submitted, Failed> {
    let lines: Vec<usize> = jobs.iter().map(|job| job.line).collect();
    let outcomes = client.submit_many(jobs.into_iter().map(|job| job.submission)).await;
    let mut ids = Vec::with_capacity(outcomes.len());
    let mut duplicates = 0;
    for (line, outcome) in lines.into_iter().zip(outcomes) {
        let outcome = outcome.map_err(|error| Failed::runtime(format!("line {line}: {error}")))?;
        duplicates += usize::from(matches!(outcome, CreateOutcome::Duplicate(_)));
        ids.push((line, outcome.id()));
    }
    Ok(Submitted { ids, duplicates })
}

/// Works until everything is over, or until interrupted; tells which.
async fn work_off(
    pool: PoolConfig,
    client: &Client,
    doing: &Arc<Doing>,
    submitted: &Submitted,
) -> Result<bool, Failed> {
    let mut open: BTreeSet<ExecutionId> = submitted.ids.iter().map(|(_, id)| *id).collect();
    let mut progress = Progress::new(open.len() as u64);
    let namespace = Some(client.namespace().clone());
    let filter = CompletionFilter { namespace, ..CompletionFilter::default() };
    let backend = client.backend().clone();
    let mut completions = JournalCompletions::new(backend, CompletionCursor::start(), filter);
    // One stream, opened before anything runs, so that no interrupt is missed.
    let mut interrupted = signal(SignalKind::interrupt()).map_err(Failed::runtime)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(Failed::runtime)?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(Failed::runtime)?;
    let (drain, draining) = watch::channel(false);
    let mut workers = tokio::spawn(pool::run(pool, doing.clone(), draining));
    let mut shows = tokio::time::interval(SHOW_EVERY);
    let mut interrupts = 0;
    while !progress.is_over() {
        tokio::select! {
            biased;
            _ = interrupted.recv() => {
                interrupts += 1;
                if interrupts > 1 {
                    break;
                }
                progress.say("ff: draining: running commands end; press Ctrl-C again to stop them");
                drain.send_replace(true);
            }
            _ = terminated.recv() => {
                interrupts = 2;
                break;
            }
            _ = hung_up.recv() => {
                interrupts = 2;
                break;
            }
            _ = shows.tick() => progress.show(doing),
            item = completions.next() => match item.map_err(Failed::runtime)? {
                Some(CompletionItem::Gap { .. }) => look(client, &mut open, &mut progress).await?,
                item => note(item, &mut open, &mut progress),
            },
            ended = &mut workers => {
                progress.finish();
                joined(ended)?;
                return Ok(interrupts > 0);
            }
        }
    }
    progress.finish();
    drain.send_replace(true);
    if interrupts > 1 {
        // Aborting drops the workers, and that kills their commands.
        workers.abort();
    }
    match workers.await {
        Err(error) if error.is_cancelled() => Ok(true),
        ended => joined(ended).map(|()| interrupts > 0),
    }
}

fn note(item: Option<CompletionItem>, open: &mut BTreeSet<ExecutionId>, progress: &mut Progress) {
    if let Some(CompletionItem::Completed { execution_id, outcome, .. }) = item
        && open.remove(&execution_id)
    {
        progress.ended(outcome == TerminalOutcome::Success);
    }
}

/// Looks at what is open, where the journal has not kept all that happened.
async fn look(
    client: &Client,
    open: &mut BTreeSet<ExecutionId>,
    progress: &mut Progress,
) -> Result<(), Failed> {
    for id in open.clone() {
        let seen = client.describe(&id).await?;
        let outcome = seen.map_or(TerminalOutcome::None, |seen| seen.state.terminal_outcome);
        if outcome != TerminalOutcome::None && open.remove(&id) {
            progress.ended(outcome == TerminalOutcome::Success);
        }
    }
    Ok(())
}

fn joined(ended: Result<Result<(), SdkError>, tokio::task::JoinError>) -> Result<(), Failed> {
    match ended {
        Ok(result) => Ok(result?),
        Err(error) => Err(Failed::runtime(format!("a worker stopped: {error}"))),
    }
}
