//! `ff cancel` and `ff replay` on all executions that a filter selects.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ff_sdk::core::time::TimestampMs;
use ff_sdk::{
    Bulk, BulkCommand, BulkOutcome, BulkPage, Client, ListOrder, ListPosition, PublicState,
    SdkError,
};
use ff_server::PageCursor;
use indicatif::ProgressBar;
use serde_json::json;

use crate::args::ManyArgs;
use crate::backend;
use crate::exit::{CliError, FAILED, print, print_line, warn};
use crate::list::executions_table;
use crate::progress;
use crate::report::{counted, printable, time};
use crate::shutdown::{self, Shutdown};

/// The most executions of one page. Ctrl-C waits for the page in progress.
const PAGE: usize = 200;
/// The most executions that are counted before the command asks, and that are read in one call of
/// a dry run.
const COUNTED: usize = 1_000;
/// The most executions that a dry run shows.
const SHOWN: usize = 50;
/// The most failures that are printed with their reasons.
const MAX_FAILURES: u64 = 20;
/// How often progress is printed if standard error is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Applies a command to all executions that the arguments select. `id`: the ID of the bulk, unless
/// the arguments have one.
pub async fn run(args: ManyArgs, id: String, command: BulkCommand) -> Result<ExitCode, CliError> {
    let words = Words::of(&command);
    let client = backend::client(&args.store).await?;
    let now = client.store_time().await?;
    let id = args.bulk_id.as_ref().map_or(id, ToString::to_string);
    let bulk = Bulk::new(&id, command, args.filter.filter(now), now).map_err(usage)?;
    let from = args.after.map(|cursor| cursor.0);
    if args.dry_run {
        return dry_run(&client, &bulk, &args, from, &words).await;
    }
    if !args.yes
        && std::io::stdin().is_terminal()
        && !confirmed(&client, &bulk, &args, &words).await?
    {
        warn("ff: nothing was changed\n");
        return Ok(ExitCode::from(FAILED));
    }
    let requests = shutdown::follow()?;
    let mut stop = requests.shutdown.clone();
    let mut progress = Progress::new(words);
    let (mut from, mut interrupted) = (from, false);
    let end = loop {
        interrupted |= *stop.borrow() >= Shutdown::Drain;
        let limit = args.limit.map_or(PAGE as u64, |most| most - progress.total().min(most));
        if interrupted || limit == 0 {
            break Ok(from);
        }
        let limit = usize::try_from(limit).map_or(PAGE, |limit| limit.min(PAGE));
        // A second signal gives the calls in progress up.
        let page = tokio::select! {
            biased;
            () = shutdown::requested(&mut stop, Shutdown::Stop) => {
                interrupted = true;
                break Ok(from);
            }
            page = client.bulk_page(&bulk, from, limit) => page,
        };
        match page {
            Ok(page) => {
                progress.add(&page);
                from = page.next;
                if from.is_none() {
                    break Ok(None);
                }
            }
            Err(error) => break Err(error),
        }
    };
    tokio::select! {
        biased;
        () = shutdown::requested(&mut stop, Shutdown::Stop) => {}
        () = client.settle() => {}
    }
    progress.bar.finish_and_clear();
    let next = *end.as_ref().unwrap_or(&from);
    progress.report(&args, &id, &bulk, next)?;
    if let Err(error) = end {
        return Err(CliError::runtime(error));
    }
    Ok(match (interrupted && next.is_some(), progress.failed > 0) {
        (true, _) => requests.exit_code(),
        (false, true) => ExitCode::from(FAILED),
        (false, false) => ExitCode::SUCCESS,
    })
}

fn usage(error: SdkError) -> CliError {
    CliError::usage(error.to_string())
}

/// The words for a command.
struct Words {
    /// The command.
    verb: &'static str,
    /// The state of an execution after it.
    done: &'static str,
}

impl Words {
    const fn of(command: &BulkCommand) -> Self {
        match command {
            BulkCommand::Replay => Self { verb: "replay", done: "replayed" },
            _ => Self { verb: "cancel", done: "cancelled" },
        }
    }
}

/// Asks on the terminal. Returns whether the answer is yes.
async fn confirmed(
    client: &Client,
    bulk: &Bulk,
    args: &ManyArgs,
    words: &Words,
) -> Result<bool, CliError> {
    let most = args
        .limit
        .map_or(COUNTED, |most| usize::try_from(most).map_or(COUNTED, |most| most.min(COUNTED)));
    let (filter, from) = (bulk.filter().clone(), args.after.map(|cursor| cursor.0));
    let page = client.list_by_time(filter, ListOrder::OldestFirst, from, most).await?;
    let count = counted(page.executions.len() as u64, "execution", "executions");
    let more = match page.next {
        Some(_) if args.limit != Some(page.executions.len() as u64) => " or more",
        _ => "",
    };
    warn(&format!("{} {count}{more} in the namespace {}? [y/N] ", words.verb, client.namespace()));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(CliError::runtime)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Shows the executions that the command would touch: the first ones, and how many there are.
async fn dry_run(
    client: &Client,
    bulk: &Bulk,
    args: &ManyArgs,
    mut from: Option<ListPosition>,
    words: &Words,
) -> Result<ExitCode, CliError> {
    let requests = shutdown::follow()?;
    let (mut shown, mut selected) = (Vec::new(), 0);
    let mut states: BTreeMap<PublicState, u64> = BTreeMap::new();
    let bar = progress::bar(0, "{spinner} {msg}");
    let mut interrupted = false;
    loop {
        interrupted |= *requests.shutdown.borrow() >= Shutdown::Drain;
        let limit = args.limit.map_or(COUNTED as u64, |most| most - selected);
        if interrupted || limit == 0 {
            break;
        }
        let (filter, order) = (bulk.filter().clone(), ListOrder::OldestFirst);
        let limit = usize::try_from(limit).map_or(COUNTED, |limit| limit.min(COUNTED));
        let page = client.list_by_time(filter, order, from, limit).await?;
        selected += page.executions.len() as u64;
        for seen in page.executions {
            *states.entry(seen.state.public_state).or_default() += 1;
            if shown.len() < SHOWN {
                shown.push(seen);
            }
        }
        bar.set_message(format!("{selected} found"));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    bar.finish_and_clear();
    if args.json {
        let next = from.map(|next| PageCursor(next).to_string());
        print_line(json!({"selected": selected, "next": next}))?;
    } else {
        print(&executions_table(&shown))?;
        let states = states.iter().map(|(state, count)| format!("{count} {state}"));
        let states = match selected {
            0 => String::new(),
            _ => format!(" ({})", states.collect::<Vec<_>>().join(", ")),
        };
        let count = counted(selected, "execution", "executions");
        let rest = if selected > SHOWN as u64 { "; the table has the oldest" } else { "" };
        print_line(format_args!("would {} {count}{states}{rest}", words.verb))?;
        if let Some(next) = from {
            warn(&format!("ff: there may be more: continue with --after {}\n", PageCursor(next)));
        }
    }
    Ok(if interrupted { requests.exit_code() } else { ExitCode::SUCCESS })
}

/// The figures of a running command.
struct Progress {
    words: Words,
    applied: u64,
    skipped: u64,
    failed: u64,
    unreadable: u64,
    bar: ProgressBar,
    next_line: Instant,
}

impl Progress {
    fn new(words: Words) -> Self {
        let bar = progress::bar(0, "{spinner} {msg}");
        let next_line = Instant::now() + LINE_EVERY;
        Self { words, applied: 0, skipped: 0, failed: 0, unreadable: 0, bar, next_line }
    }

    const fn total(&self) -> u64 {
        self.applied + self.skipped + self.failed
    }

    /// Counts the results of a page, and shows the figures.
    fn add(&mut self, page: &BulkPage) {
        self.unreadable += page.unreadable as u64;
        for result in &page.results {
            match &result.outcome {
                BulkOutcome::Applied => self.applied += 1,
                BulkOutcome::Skipped => self.skipped += 1,
                BulkOutcome::Failed(error) => {
                    self.failed += 1;
                    if self.failed <= MAX_FAILURES {
                        let (id, reason) = (result.execution.execution_id, error.to_string());
                        let line = format!("ff: {id}: {}\n", printable(&reason));
                        self.bar.suspend(|| warn(&line));
                    }
                }
                _ => {}
            }
        }
        let created = page.next.and_then(|next| next.after).map(|after| after.score.instant());
        let until = created.map_or_else(String::new, |at| format!("; created until {}", time(at)));
        let figures = format!("{}{until}", self.figures());
        if !self.bar.is_hidden() {
            self.bar.set_message(figures);
        } else if Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE_EVERY;
            warn(&format!("ff: {figures}\n"));
        }
    }

    fn figures(&self) -> String {
        let done = self.words.done;
        let mut figures = format!("{done} {}", counted(self.applied, "execution", "executions"));
        for (count, name) in [(self.skipped, "skipped"), (self.failed, "failed")] {
            if count > 0 {
                figures.push_str(&format!(", {count} {name}"));
            }
        }
        figures
    }

    /// Prints the summary, and how to continue.
    fn report(
        &self,
        args: &ManyArgs,
        id: &str,
        bulk: &Bulk,
        next: Option<ListPosition>,
    ) -> Result<(), CliError> {
        let created_before = bulk.filter().created_before.unwrap_or(TimestampMs::ZERO);
        let cursor = next.map(|next| PageCursor(next).to_string());
        if args.json {
            print_line(json!({
                "applied": self.applied,
                "skipped": self.skipped,
                "failed": self.failed,
                "bulk_id": id,
                "created_before": created_before,
                "next": cursor,
            }))?;
        } else {
            print_line(format_args!("{} (bulk ID {id})", self.figures()))?;
        }
        if self.unreadable > 0 {
            let count = counted(self.unreadable, "record", "records");
            warn(&format!("ff: skipped {count} that cannot be read\n"));
        }
        let before = format!("--bulk-id {id} --created-before {}", time(created_before));
        if let Some(cursor) = cursor {
            warn(&format!(
                "ff: there may be more: repeat the command with {before} --after {cursor}\n"
            ));
        }
        if self.failed > 0 {
            warn(&format!("ff: to try the failed ones again, repeat the command with {before}\n"));
        }
        Ok(())
    }
}
