//! `ff workers`: lists registered workers, lets them drain, and marks them as dead.

use std::process::ExitCode;

use comfy_table::ContentArrangement;
use ff_sdk::{Kinds, Worker};
use ff_server::view;
use serde_json::json;

use crate::advice;
use crate::args::{ListWorkersArgs, OneWorkerArgs, WorkersArgs, WorkersCommand};
use crate::backend;
use crate::exit::{CliError, print, print_line};
use crate::report::{printable, table};
use crate::terminal;

/// The width of the table if the width of the terminal is not known.
const WIDTH: u16 = 100;

/// Runs the command.
pub async fn workers(args: WorkersArgs) -> Result<ExitCode, CliError> {
    match args.command {
        None => list(args.list).await?,
        Some(WorkersCommand::Drain(OneWorkerArgs { instance, store, json })) => {
            let client = backend::client(&store).await?;
            client.drain_worker(&instance).await.map_err(CliError::runtime)?;
            if json {
                print_line(json!({ "instance": instance, "state": "draining" }))?;
            } else {
                print_line(format_args!(
                    "draining: worker {instance}\nfrom its next heartbeat on it claims nothing \
                     more; it finishes its tasks\nit does not claim again: stop its process, \
                     and start another worker"
                ))?;
            }
        }
        Some(WorkersCommand::Dead(OneWorkerArgs { instance, store, json })) => {
            let client = backend::client(&store).await?;
            client.mark_worker_dead(&instance).await.map_err(CliError::runtime)?;
            if json {
                print_line(json!({ "instance": instance, "state": "dead" }))?;
            } else {
                print_line(format_args!(
                    "dead: worker {instance}\nits instance id is free; if its process still runs, \
                     it claims nothing more after its next heartbeat; its leases expire"
                ))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListWorkersArgs) -> Result<(), CliError> {
    let client = backend::client(&args.store).await?;
    let (mut workers, mut next) = (Vec::new(), None);
    let at = loop {
        let page = client.workers(next).await.map_err(CliError::runtime)?;
        workers.extend(page.workers);
        next = page.next;
        if next.is_none() {
            break page.at;
        }
    };
    workers.sort_by(|one, other| one.info.instance.cmp(&other.info.instance));
    if args.json {
        return workers.iter().try_for_each(|worker| print_line(view::worker(worker, at)));
    }
    if workers.is_empty() {
        let namespace = client.namespace();
        return print_line(format_args!(
            "no worker is registered in the namespace {namespace}; start one: {}",
            advice::ff("work --exec COMMAND")
        ));
    }
    let mut rows = table(&["instance", "state", "tasks", "seen", "serves", "build"]);
    for worker in &workers {
        rows.add_row(vec![
            worker.info.instance.to_string(),
            worker.state_at(at).to_string(),
            format!("{}/{}", worker.active, worker.info.slots),
            format!("{} s ago", at.since(worker.last_seen).get() / 1_000),
            serves(worker),
            printable(&worker.info.version),
        ]);
    }
    rows.set_content_arrangement(ContentArrangement::Dynamic);
    rows.set_width(terminal::width().unwrap_or(WIDTH));
    print(&format!("{rows}\n"))
}

/// The lanes, kinds and capabilities of a worker.
fn serves(worker: &Worker) -> String {
    let mut parts = vec![format!("lanes {}", joined(&worker.info.lanes))];
    if let Kinds::Only(kinds) = &worker.info.kinds {
        parts.push(format!("kinds {}", joined(kinds)));
    }
    if !worker.info.capabilities.is_empty() {
        parts.push(format!("with {}", worker.info.capabilities));
    }
    printable(&parts.join("; "))
}

fn joined<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(",")
}
