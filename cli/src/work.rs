//! `ff work`: a worker that handles executions with a command.

mod attempt;
mod health;
mod printer;
#[cfg(test)]
mod tests;
mod work_loop;

use std::process::ExitCode;
use std::time::Duration;

use ff_sdk::{Capabilities, Client, ClientConfig, FlowFabricWorker, WorkerConfig};

use self::work_loop::{Limits, Output, WorkLoop};
use crate::args::WorkArgs;
use crate::exit::{CliError, FAILED, warn};
use crate::shell::ShellJob;
use crate::{backend, names, shutdown};

/// Runs the command.
pub async fn work(args: WorkArgs) -> Result<ExitCode, CliError> {
    let config = config(&args)?;
    let store = backend::open_shared(&args.store.backend, backend::Wait::Always).await?;
    let mut client_config = ClientConfig::new(args.store.namespace.as_str())?;
    client_config.keep_counts = config.keep_counts;
    let client = Client::connect(client_config, store.backend.clone()).await?;
    // Registered before anything runs, so that no signal is missed.
    let requests = shutdown::follow()?;
    if let Some(address) = args.health {
        health::start(address, store.backend.clone()).await?;
    }
    let worker = FlowFabricWorker::connect_with(config, store.backend, None).await?;
    let instance = &worker.config().worker_instance_id;
    warn(&format!("ff: worker {instance} started in namespace {}\n", args.store.namespace));
    if shutdown::ignores_interrupts() {
        warn("ff: SIGINT is ignored, as in a background job: stop this worker with SIGTERM\n");
    }
    let job = ShellJob::Command(args.exec);
    let limits = Limits {
        max: args.max.unwrap_or(u64::MAX),
        until_idle: args.until_idle,
        timeout: args.timeout_ms.map(Duration::from_millis),
        grace: Duration::from_millis(args.grace_ms),
    };
    let output = match (args.json, args.verbose) {
        (true, _) => Output::Json,
        (false, true) => Output::Lines,
        (false, false) => Output::Quiet,
    };
    let shutdown = requests.shutdown.clone();
    let ended = WorkLoop::new(worker, client, job, limits, output, shutdown).run().await?;
    warn(&format!("ff: {}\n", ended.counts));
    Ok(match ended.stopped {
        true => requests.exit_code(),
        false if ended.is_printed => ExitCode::SUCCESS,
        false => ExitCode::from(FAILED),
    })
}

fn config(args: &WorkArgs) -> Result<WorkerConfig, CliError> {
    let worker = args.worker.as_ref().map_or_else(names::host, ToString::to_string);
    let instance = match &args.instance {
        Some(instance) => instance.to_string(),
        None => ff_sdk::unique_name(&worker),
    };
    let mut config = WorkerConfig::new(worker, instance, args.store.namespace.as_str())?;
    config.keep_counts = !args.set_up.without_counts;
    config.take_over = args.take_over;
    config.lanes.clone_from(&args.lane);
    if !args.kind.is_empty() {
        config.kinds = args.kind.iter().cloned().collect();
    }
    config.capabilities = Capabilities::try_new(&args.capability)
        .map_err(|error| CliError::usage(format!("--capability: {error}")))?;
    config.lease_ttl = Duration::from_millis(args.lease_ttl_ms);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    config.max_concurrent_tasks = args.slots.map_or_else(cores, |slots| slots as usize);
    Ok(config)
}
