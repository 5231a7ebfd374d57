//! `ff watch`: completions as they happen.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use ff_sdk::core::backend::{CompletionFilter, CompletionItem, Completions, CursorError};
use ff_sdk::{Client, JournalCompletions};
use serde_json::json;

use crate::args::WatchArgs;
use crate::backend;
use crate::cursor_file::CursorFile;
use crate::outcome::{ALL_COMPLETED, Failed, INTERRUPTED, Out, warn};
use crate::report::{printable, time};
use crate::signals::{self, Wish};

/// How often the place is kept though nothing was printed, so that it does not fall behind what the
/// journals keep while the filter leaves everything out.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether the store answers.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs the command.
pub async fn watch(args: WatchArgs) -> Result<ExitCode, Failed> {
    let tags = tags(&args.tag)?;
    let mut file = args.cursor_file.as_deref().map(CursorFile::open).transpose()?;
    let client = backend::client(&args.store).await?;
    let from = file.as_ref().and_then(CursorFile::kept).unwrap_or(&args.from).clone();
    let namespace = Some(client.namespace().clone());
    let filter = CompletionFilter { namespace, lane: args.lane, tags };
    let mut completions = JournalCompletions::new(client.backend().clone(), from, filter);
    let mut wishes = signals::follow()?;
    let (mut keeping, mut looking) = (interval(KEEP_EVERY), interval(LOOK_EVERY));
    let mut away = Away(0);
    // Without a partition that does not answer the others are watched.
    while !completions.is_ready() && away.0 == 0 {
        tokio::select! {
            biased;
            () = signals::asked(&mut wishes, Wish::Drain) => return Ok(ended(args.count.is_some())),
            ready = completions.ready() => ready.map_err(refused)?,
            _ = looking.tick() => away.tell(&client, &completions),
        }
    }
    let (mut out, mut printed, mut watches) = (Out::new(), 0, false);
    let reached = |printed| args.count == Some(printed);
    while !reached(printed) {
        if !watches && completions.is_ready() {
            keep(&mut file, &completions)?;
            warn(&format!("ff: watches namespace {}\n", client.namespace()));
            watches = true;
        }
        let item = tokio::select! {
            biased;
            () = signals::asked(&mut wishes, Wish::Drain) => break,
            item = completions.next() => item.map_err(refused)?,
            _ = looking.tick() => {
                away.tell(&client, &completions);
                continue;
            }
            _ = keeping.tick() => {
                keep(&mut file, &completions)?;
                continue;
            }
        };
        let Some(item) = item else {
            return Err(Failed::runtime("the store is gone"));
        };
        out.print(&text(&item, args.json)?)?;
        if out.is_closed() {
            // Nobody has seen it: the place stays before it.
            return Ok(ExitCode::from(ALL_COMPLETED));
        }
        printed += 1;
        keep(&mut file, &completions)?;
    }
    keep(&mut file, &completions)?;
    Ok(ended(args.count.is_some() && !reached(printed)))
}

/// How many partitions did not answer when that was told last.
struct Away(usize);

impl Away {
    /// Tells when some do not answer, and when all do again.
    fn tell(&mut self, client: &Client, completions: &JournalCompletions) {
        let (before, now) = (self.0, completions.unanswered().len());
        let all = client.partition_config().num_flow_partitions;
        if before == 0 && now > 0 {
            warn(&format!(
                "ff: the store: {now} of {all} partitions do not answer; trying again\n"
            ));
        } else if before > 0 && now == 0 {
            warn("ff: the store answers again\n");
        }
        self.0 = now;
    }
}

/// Ticks from one period on.
fn interval(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.reset();
    ticks
}

/// The code to end with; lines of --count may be missing.
fn ended(too_early: bool) -> ExitCode {
    ExitCode::from(if too_early { INTERRUPTED } else { ALL_COMPLETED })
}

/// The cursor is of another store.
fn refused(error: CursorError) -> Failed {
    Failed::usage(error.to_string())
}

fn tags(given: &[(String, String)]) -> Result<BTreeMap<String, String>, Failed> {
    let mut tags = BTreeMap::new();
    for (key, value) in given {
        if tags.insert(key.clone(), value.clone()).is_some_and(|other| other != *value) {
            return Err(Failed::usage(format!("--tag {key}: an execution has one value of it")));
        }
    }
    Ok(tags)
}

fn keep(file: &mut Option<CursorFile>, completions: &JournalCompletions) -> Result<(), Failed> {
    match file {
        Some(file) => file.keep(completions.cursor()),
        None => Ok(()),
    }
}

/// A line for an item.
fn text(item: &CompletionItem, as_json: bool) -> Result<String, Failed> {
    match item {
        CompletionItem::Completed { execution_id, namespace, lane, tags, outcome, failure, at } => {
            if as_json {
                let object = json!({
                    "item": "completed", "execution_id": execution_id, "namespace": namespace,
                    "lane": lane, "tags": tags, "outcome": outcome, "failure": failure, "at": at,
                });
                return Ok(format!("{object}\n"));
            }
            let mut line = format!("{}  {execution_id}  {lane}  {outcome}", time(*at));
            if let Some(failure) = failure {
                line += &format!(" ({}: {})", failure.category, failure.reason.trim());
            }
            for (key, value) in tags.iter() {
                line += &format!("  {key}={value}");
            }
            Ok(format!("{}\n", printable(&line)))
        }
        CompletionItem::Gap { partition } if as_json => {
            Ok(format!("{}\n", json!({"item": "gap", "partition": partition.index})))
        }
        CompletionItem::Gap { partition } => Ok(format!(
            "gap: partition {} has not kept all completions, or has another history: look again at \
             what you wait for (ff list)\n",
            partition.index
        )),
        other => Err(Failed::runtime(format!("this program does not know the item {other:?}"))),
    }
}
