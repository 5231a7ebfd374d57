//! `ff work`: a worker whose handler is a command.

mod attempt;
mod shift;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::time::Duration;

use ff_sdk::{Capabilities, Client, ClientConfig, FlowFabricWorker, WorkerConfig};

use self::attempt::Exec;
use self::shift::{End, Limits, Shift, Tell};
use crate::args::WorkArgs;
use crate::outcome::{ALL_COMPLETED, Failed, INTERRUPTED, warn};
use crate::shell::ShellJob;
use crate::{backend, names, signals};

/// Runs the command.
pub async fn work(args: WorkArgs) -> Result<ExitCode, Failed> {
    let config = config(&args)?;
    let opened = backend::open_shared(&args.store).await?;
    let client_config = ClientConfig::new(args.store.namespace.as_str())?;
    let client = Client::connect(client_config, opened.backend.clone()).await?;
    // Before anything runs, so that no signal is missed.
    let wishes = signals::follow()?;
    let worker = FlowFabricWorker::connect_with(config, opened.backend, None).await?;
    let instance = &worker.config().worker_instance_id;
    warn(&format!("ff: {instance} works in namespace {}\n", args.store.namespace));
    let exec = Exec { job: ShellJob::Command(args.exec), kinds: args.kind };
    let limits = Limits {
        max: args.max.unwrap_or(u64::MAX),
        until_idle: args.until_idle,
        timeout: args.timeout_ms.map(Duration::from_millis),
    };
    let tell = match (args.json, args.verbose) {
        (true, _) => Tell::Json,
        (false, true) => Tell::Lines,
        (false, false) => Tell::Nothing,
    };
    let (end, sums) = Shift::new(worker, client, exec, limits, tell, wishes).run().await?;
    warn(&format!("ff: {sums}\n"));
    Ok(ExitCode::from(match end {
        End::AsTold => ALL_COMPLETED,
        End::Stopped => INTERRUPTED,
    }))
}

fn config(args: &WorkArgs) -> Result<WorkerConfig, Failed> {
    let worker = args.worker.as_ref().map_or_else(names::host, ToString::to_string);
    let instance = match &args.instance {
        Some(instance) => instance.to_string(),
        None => names::instance(&worker)?,
    };
    let mut config = WorkerConfig::new(worker, instance, args.store.namespace.as_str())?;
    config.lanes.clone_from(&args.lane);
    config.capabilities = Capabilities::try_new(&args.capability)
        .map_err(|error| Failed::usage(format!("--capability: {error}")))?;
    config.lease_ttl_ms = args.lease_ttl_ms;
    config.max_concurrent_tasks = slots(args.slots);
    Ok(config)
}

fn slots(wanted: Option<u32>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    wanted.map_or_else(cores, |wanted| wanted as usize)
}
