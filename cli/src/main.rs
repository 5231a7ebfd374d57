//! `ff`: submits, runs, watches and measures durable executions.

mod args;
mod backend;
mod bench;
mod confidential;
mod cursor;
mod cursor_file;
mod describe;
mod doctor;
mod exit;
mod generate;
mod history;
mod input;
mod job_line;
mod lines;
mod list;
mod names;
mod operate;
mod pool;
mod private_server;
mod progress;
mod report;
mod result;
mod results;
mod run;
mod secret;
mod shell;
mod shutdown;
mod signal;
mod submit;
mod tail;
mod terminal;
mod timeline;
mod waitpoints;
mod watch;
mod work;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::exit::CliError;

/// How long the process waits at its end until running tasks are dropped.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::report_usage(&error),
    };
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("FF_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off")),
        )
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return CliError::usage(format!("cannot start the async runtime: {error}")).report();
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => run::run(args).await,
            Command::Bench(args) => bench::bench(args).await,
            Command::Doctor(args) => doctor::doctor(args).await,
            Command::Submit(args) => submit::submit(args).await,
            Command::Work(args) => work::work(args).await,
            Command::Describe(args) => describe::describe(args).await,
            Command::Result(args) => result::result(args).await,
            Command::List(args) => list::list(args).await,
            Command::History(args) => history::history(args).await,
            Command::Watch(args) => watch::watch(args).await,
            Command::Tail(args) => tail::tail(args).await,
            Command::Waitpoints(args) => waitpoints::waitpoints(args).await,
            Command::Signal(args) => signal::signal(args).await,
            Command::Resume(args) => operate::resume(args).await,
            Command::Secret(args) => secret::secret(args.command).await,
            Command::Cancel(args) => operate::cancel(args).await,
            Command::Replay(args) => operate::replay(args).await,
            Command::Revoke(args) => operate::revoke(args).await,
            Command::Completions(args) => generate::completions(&args),
            Command::Man(args) => generate::man(&args),
        }
    });
    // Dropping the running tasks kills their commands, so that none outlives this process.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    result.unwrap_or_else(|error| error.report())
}
