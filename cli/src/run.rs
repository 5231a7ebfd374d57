//! `ff run`: submits the executions of a file, runs them in this process and prints a summary.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ff_sdk::core::backend::{CompletionCursor, CompletionFilter, CompletionItem, Completions};
use ff_sdk::core::execution::CreateOutcome;
use ff_sdk::core::id::ExecutionId;
use ff_sdk::core::state::TerminalOutcome;
use ff_sdk::{Client, ClientConfig, JournalCompletions, SdkError};
use tokio::signal::unix::SignalKind;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::args::RunArgs;
use crate::exit::{CliError, FAILED, print, print_line, warn};
use crate::input::{self, Job, Lives};
use crate::lines::Lines;
use crate::pool::{self, PoolConfig, PoolStats};
use crate::progress::Progress;
use crate::report::Summary;
use crate::results::{MAX_READS, Results, ResultsFile};
use crate::shutdown::{Signals, exit_code, waiting_message};
use crate::{backend, shell, timeline};

/// How often the progress is updated.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// Runs the command.
pub async fn run(args: RunArgs) -> Result<ExitCode, CliError> {
    let lines = Lines::open(&args.file)?;
    let store = backend::open(&args.store.backend, backend::Wait::Briefly).await?;
    let mut config = ClientConfig::new(args.namespace.as_str())?;
    config.seed = args.seed;
    let client = Client::connect(config, store.backend.clone()).await?;
    let mut progress = Progress::new();
    let lives = match store.shared {
        false => Lives::InThisRun,
        true if args.again => Lives::New,
        true => Lives::Resumed,
    };
    let jobs = input::read(lines, &client, lives, || progress.advance())?;
    let results_file =
        args.results.as_deref().map(|path| ResultsFile::create(path, &args.file)).transpose()?;
    let started = Instant::now();
    let submitted = submit(&client, jobs, &mut progress).await?;
    let stats = Arc::new(PoolStats::default());
    let pool = PoolConfig {
        backend: store.backend.clone(),
        instance: match store.shared {
            // Two runs on one store must not share a name.
            true => ff_sdk::unique_name("ff-run"),
            false => "ff-run".to_owned(),
        },
        namespace: args.namespace.clone(),
        workers: workers(args.workers),
        lease_ttl_ms: args.lease_ttl_ms,
        kill_every: args.kill_workers_every.map(Duration::from_millis),
        seed: args.seed,
    };
    let mut results = Results::new(client.clone(), &submitted.ids, results_file);
    let mut open = results.open();
    progress.run(open.len() as u64);
    if submitted.earlier > 0 {
        read_open(&client, &mut open, &mut progress, &mut results).await?;
        progress.print_line(&format!(
            "ff: {} of these executions are from an earlier run, and {} of them have ended; \
             --again runs lines without an idempotency key as new ones",
            submitted.earlier,
            results.open().len() - open.len()
        ));
    }
    let signal = run_submitted(pool, &client, &stats, open, &mut progress, &mut results).await?;
    let took = started.elapsed();
    let (mut rows, written) = results.finish().await?;
    progress.finish();
    if args.verbose {
        let text = timeline::text(&client, &rows).await?;
        // With --json, standard output is only for the object.
        if args.json { warn(&text) } else { print(&text)? }
    }
    let killed = stats.killed.load(Ordering::Relaxed);
    let (duplicates, earlier) = (submitted.duplicates, submitted.earlier);
    // A duplicate line is not counted as another execution.
    let mut seen = BTreeSet::new();
    rows.retain(|row| seen.insert(row.id));
    let interrupted = signal.is_some();
    let summary = Summary { results: &rows, duplicates, earlier, killed, took, interrupted };
    print_line(if args.json { summary.json() } else { summary.text() })?;
    written?;
    Ok(match signal {
        Some(signal) => exit_code(signal),
        None if rows.iter().all(|row| row.is_completed()) => ExitCode::SUCCESS,
        None => ExitCode::from(FAILED),
    })
}

fn workers(wanted: Option<u32>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(2, usize::from).max(2);
    wanted.map_or_else(cores, |wanted| wanted as usize)
}

/// The submitted executions.
struct Submitted {
    /// Lines and IDs, in the order of the input.
    ids: Vec<(usize, ExecutionId)>,
    /// How many lines have the idempotency key of a line before them.
    duplicates: usize,
    /// How many of the executions existed.
    earlier: usize,
}

/// Submits all lines. The first one that is refused, or that the store does not accept, ends it.
async fn submit(
    client: &Client,
    jobs: Vec<Job>,
    progress: &mut Progress,
) -> Result<Submitted, CliError> {
    let lines: Vec<usize> = jobs.iter().map(|job| job.line).collect();
    progress.submit(lines.len() as u64);
    let (mut ids, mut created, mut problem) = (Vec::new(), BTreeSet::new(), None);
    let each = |number: usize, result: Result<CreateOutcome, SdkError>| {
        progress.advance();
        match result {
            Ok(outcome) => {
                if let CreateOutcome::Created(id) = outcome {
                    created.insert(id);
                }
                ids.push((lines[number], outcome.id()));
                ControlFlow::Continue(())
            }
            Err(error) => {
                let line = lines[number];
                problem.get_or_insert(CliError::runtime(format!("line {line}: {error}")));
                ControlFlow::Break(())
            }
        }
    };
    client.submit_each(jobs.into_iter().map(|job| job.submission), each).await;
    ids.sort_unstable();
    let executions: BTreeSet<ExecutionId> = ids.iter().map(|(_, id)| *id).collect();
    let duplicates = ids.len() - executions.len();
    let earlier = executions.len() - created.len();
    problem.map_or(Ok(Submitted { ids, duplicates, earlier }), Err)
}

/// All completions of the namespace that the journals hold.
fn completions(client: &Client) -> JournalCompletions {
    let namespace = Some(client.namespace().clone());
    let filter = CompletionFilter { namespace, ..CompletionFilter::default() };
    JournalCompletions::new(client.backend().clone(), CompletionCursor::start(), filter)
}

/// Runs the pool until all executions have ended, or the run is interrupted. Returns the latest
/// signal.
async fn run_submitted(
    pool: PoolConfig,
    client: &Client,
    stats: &Arc<PoolStats>,
    mut open: BTreeSet<ExecutionId>,
    progress: &mut Progress,
    results: &mut Results,
) -> Result<Option<SignalKind>, CliError> {
    let mut completions = completions(client);
    // Registered before anything runs, so that no signal is missed.
    let mut signals = Signals::new()?;
    let (drain, draining) = watch::channel(false);
    let mut workers = tokio::spawn(pool::run(pool, stats.clone(), draining));
    let mut ticks = tokio::time::interval(SHOW_EVERY);
    let (mut latest, mut stops) = (None, false);
    while !progress.is_over() && !stops {
        tokio::select! {
            biased;
            signal = signals.next() => {
                stops = latest.is_some() || signal != SignalKind::interrupt();
                latest = Some(signal);
                if !stops {
                    let running = stats.running.load(Ordering::Relaxed);
                    progress.print_line(&waiting_message(running));
                    drain.send_replace(true);
                }
            }
            _ = ticks.tick() => progress.show(stats),
            read = results.next(), if !results.is_idle() => read?,
            item = completions.next(), if !results.is_busy() => {
                match item.map_err(CliError::runtime)? {
                    Some(CompletionItem::Gap { .. }) => {
                        read_open(client, &mut open, progress, results).await?;
                    }
                    Some(CompletionItem::Completed { execution_id, outcome, .. })
                        if open.remove(&execution_id) =>
                    {
                        progress.ended(outcome == TerminalOutcome::Success);
                        results.begin(execution_id);
                    }
                    _ => {}
                }
            }
            ended = &mut workers => {
                return joined(ended).map(|()| latest);
            }
        }
    }
    progress.collect();
    drain.send_replace(true);
    if stops {
        // Aborting drops the workers, which ends their commands.
        workers.abort();
    }
    let ended = workers.await;
    tokio::select! {
        () = shell::all_ended() => {}
        // The end of this process kills them.
        _ = signals.next() => {}
    }
    match ended {
        Err(error) if error.is_cancelled() => Ok(latest),
        ended => joined(ended).map(|()| latest),
    }
}

/// Reads the open executions, for completions that the journal does not have any more.
async fn read_open(
    client: &Client,
    open: &mut BTreeSet<ExecutionId>,
    progress: &mut Progress,
    results: &mut Results,
) -> Result<(), CliError> {
    let (mut waiting, mut reads) = (open.clone().into_iter(), JoinSet::new());
    loop {
        for id in waiting.by_ref().take(MAX_READS - reads.len()) {
            let client = client.clone();
            reads.spawn(async move { client.describe(&id).await });
        }
        let Some(read) = reads.join_next().await else { return Ok(()) };
        let Some(seen) = read.map_err(CliError::runtime)?? else { continue };
        let (id, outcome) = (seen.execution_id, seen.state.terminal_outcome);
        if outcome != TerminalOutcome::None && open.remove(&id) {
            progress.ended(outcome == TerminalOutcome::Success);
            results.begin(id);
        }
    }
}

fn joined(ended: Result<Result<(), SdkError>, tokio::task::JoinError>) -> Result<(), CliError> {
    match ended {
        Ok(result) => Ok(result?),
        Err(error) => Err(CliError::runtime(format!("a worker stopped unexpectedly: {error}"))),
    }
}
