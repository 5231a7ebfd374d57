//! `ff watch`: prints executions as they end.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use ff_sdk::core::backend::{CompletionFilter, CompletionItem, Completions, CursorError};
use ff_sdk::{Client, JournalCompletions, StoreId};
use ff_server::view;

use crate::args::WatchArgs;
use crate::backend;
use crate::cursor_file::CursorFile;
use crate::exit::{CliError, Stdout, warn};
use crate::report::{printable, time};
use crate::shutdown::{self, Requests, Shutdown};

/// How often the cursor is stored if nothing is printed. Otherwise the journals could drop the
/// entries after the cursor while the filter excludes all of them.
const STORE_EVERY: Duration = Duration::from_secs(10);
/// How often the command checks whether all partitions answer.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Runs the command.
pub async fn watch(args: WatchArgs) -> Result<ExitCode, CliError> {
    let tags = tags(&args.tag)?;
    let mut file = args.cursor_file.as_deref().map(CursorFile::open).transpose()?;
    let client = backend::client(&args.store).await?;
    let from = file.as_ref().and_then(CursorFile::stored).unwrap_or(&args.from).clone();
    let namespace = Some(client.namespace().clone());
    let filter = CompletionFilter { namespace, lane: args.lane, tags };
    let mut completions = JournalCompletions::new(client.backend().clone(), from, filter);
    let requests = shutdown::follow()?;
    let mut shutdown = requests.shutdown.clone();
    let (mut store_ticks, mut check_ticks) = (interval(STORE_EVERY), interval(CHECK_EVERY));
    let (mut unanswered, mut known) = (Unanswered(0), None);
    // If a partition does not answer, the others are watched without waiting for it.
    while !completions.is_ready() && unanswered.0 == 0 {
        tokio::select! {
            biased;
            () = shutdown::requested(&mut shutdown, Shutdown::Drain) => {
                return Ok(exit_code(&requests, args.count.is_some()));
            }
            ready = completions.ready() => ready.map_err(cursor_error)?,
            _ = check_ticks.tick() => unanswered.update(&client, &completions),
        }
    }
    let (mut out, mut printed, mut watching) = (Stdout::new(), 0, false);
    let reached = |printed| args.count == Some(printed);
    while !reached(printed) {
        if !watching && completions.is_ready() {
            store_cursor(&mut file, &completions)?;
            warn(&format!("ff: watching namespace {}\n", client.namespace()));
            watching = true;
        }
        report_replaced(&mut known, &completions);
        let item = tokio::select! {
            biased;
            () = shutdown::requested(&mut shutdown, Shutdown::Drain) => break,
            item = completions.next() => item.map_err(cursor_error)?,
            _ = check_ticks.tick() => {
                unanswered.update(&client, &completions);
                continue;
            }
            _ = store_ticks.tick() => {
                store_cursor(&mut file, &completions)?;
                continue;
            }
        };
        let Some(item) = item else {
            return Err(CliError::runtime("the store has ended the stream of completions"));
        };
        out.print(&text(&item, args.json)?)?;
        if out.is_closed() {
            // The reader has not seen the item: the cursor stays before it.
            return Ok(ExitCode::SUCCESS);
        }
        printed += 1;
        store_cursor(&mut file, &completions)?;
    }
    store_cursor(&mut file, &completions)?;
    Ok(exit_code(&requests, args.count.is_some() && !reached(printed)))
}

/// Warns if the store is no longer the known one. The gaps of its partitions follow.
fn report_replaced(known: &mut Option<StoreId>, completions: &JournalCompletions) {
    let Some(store) = completions.store_id() else { return };
    if let Some(before) = known.replace(store).filter(|before| *before != store) {
        warn(&format!(
            "ff: store {before} lost its data, now there is store {store}: watching that one\n"
        ));
    }
}

/// The number of partitions that did not answer at the last check.
struct Unanswered(usize);

impl Unanswered {
    /// Checks again. Warns when some partitions do not answer, and when all of them answer again.
    fn update(&mut self, client: &Client, completions: &JournalCompletions) {
        let (before, now) = (self.0, completions.unanswered().len());
        let all = client.partition_config().num_flow_partitions;
        if before == 0 && now > 0 {
            warn(&format!("ff: {now} of {all} partitions of the store do not answer, retrying\n"));
        } else if before > 0 && now == 0 {
            warn("ff: the store answers again\n");
        }
        self.0 = now;
    }
}

/// An interval whose first tick is after one period.
fn interval(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.reset();
    ticks
}

/// The exit code; `early` if lines of --count are missing.
fn exit_code(requests: &Requests, early: bool) -> ExitCode {
    if early { requests.exit_code() } else { ExitCode::SUCCESS }
}

/// The cursor belongs to another store.
fn cursor_error(error: CursorError) -> CliError {
    CliError::usage(error.to_string())
}

/// The tags of the options `--tag`, each of which may be repeated with the same value.
pub fn tags(pairs: &[(String, String)]) -> Result<BTreeMap<String, String>, CliError> {
    let mut tags = BTreeMap::new();
    for (key, value) in pairs {
        if let Some(other) = tags.insert(key.clone(), value.clone())
            && other != *value
        {
            return Err(CliError::usage(format!(
                "--tag {key} is given as `{other}` and as `{value}`: an execution has one value \
                 for a key"
            )));
        }
    }
    Ok(tags)
}

fn store_cursor(
    file: &mut Option<CursorFile>,
    completions: &JournalCompletions,
) -> Result<(), CliError> {
    match file {
        Some(file) => file.store(completions.cursor()),
        None => Ok(()),
    }
}

/// The line of an item.
fn text(item: &CompletionItem, as_json: bool) -> Result<String, CliError> {
    if let (true, Some(object)) = (as_json, view::completion(item)) {
        return Ok(format!("{object}\n"));
    }
    match item {
        CompletionItem::Completed { execution_id, lane, tags, outcome, failure, at, .. } => {
            let mut line = format!("{}  {execution_id}  {lane}  {outcome}", time(*at));
            if let Some(failure) = failure {
                line += &format!(" ({}: {})", failure.category, failure.reason.trim());
            }
            for (key, value) in tags.iter() {
                line += &format!("  {key}={value}");
            }
            Ok(format!("{}\n", printable(&line)))
        }
        CompletionItem::Gap { partition } => Ok(format!(
            "gap: the journal of partition {} dropped completions, or the store lost its latest \
             writes in a failover: check the executions that you wait for\n",
            partition.index
        )),
        other => {
            let problem = format!("unknown item, use a newer version of ff: {other:?}");
            Err(CliError::runtime(problem))
        }
    }
}
