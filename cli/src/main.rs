//! `ff`: run, submit and measure durable executions from the command line.

mod args;
mod backend;
mod bench;
mod confidential;
mod cursor;
mod cursor_file;
mod deliver;
mod describe;
mod doctor;
mod history;
mod input;
mod job_line;
mod lines;
mod list;
mod names;
mod operate;
mod outcome;
mod pool;
mod private_server;
mod progress;
mod report;
mod results;
mod run;
mod secret;
mod shell;
mod signals;
mod submit;
mod tail;
mod timeline;
mod waitpoints;
mod watch;
mod work;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::args::{Cli, Task};
use crate::outcome::Failed;

/// How long to wait at the end for what still runs to be dropped.
const SHUTDOWN: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("FF_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off")),
        )
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failed::usage(format!("no runtime: {error}")).report(),
    };
    let done = runtime.block_on(async {
        match cli.task {
            Task::Run(args) => run::run(args).await,
            Task::Bench(args) => bench::bench(args).await,
            Task::Doctor(args) => doctor::doctor(args).await,
            Task::Submit(args) => submit::submit(args).await,
            Task::Work(args) => work::work(args).await,
            Task::Describe(args) => describe::describe(args).await,
            Task::List(args) => list::list(args).await,
            Task::History(args) => history::history(args).await,
            Task::Watch(args) => watch::watch(args).await,
            Task::Tail(args) => tail::tail(args).await,
            Task::Waitpoints(args) => waitpoints::waitpoints(args).await,
            Task::Signal(args) => deliver::signal(args).await,
            Task::Resume(args) => operate::resume(args).await,
            Task::Secret(args) => secret::secret(args.task).await,
            Task::Cancel(args) => operate::cancel(args).await,
            Task::Replay(args) => operate::replay(args).await,
            Task::Revoke(args) => operate::revoke(args).await,
        }
    });
    // Dropping what still runs kills its commands; no command outlives this process.
    runtime.shutdown_timeout(SHUTDOWN);
    match done {
        Ok(code) => code,
        Err(failed) => failed.report(),
    }
}
