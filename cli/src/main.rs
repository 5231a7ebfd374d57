//! `ff`: submits, runs, watches and measures durable executions.

mod advice;
mod args;
mod backend;
mod bench;
mod budgets;
mod bulk;
mod confidential;
mod config;
mod cursor_file;
mod describe;
mod doctor;
mod exit;
mod generate;
mod history;
mod input;
mod lanes;
mod limits;
mod lines;
mod list;
mod names;
mod operate;
mod pool;
mod private_server;
mod progress;
mod quotas;
mod reasons;
mod report;
mod result;
mod results;
mod run;
mod secret;
mod serve;
mod settings;
mod shell;
mod shutdown;
mod signal;
mod stats;
mod submit;
mod tail;
mod terminal;
mod timeline;
mod waitpoints;
mod watch;
mod why;
mod work;
mod workers;

use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::exit::CliError;
use crate::settings::Settings;

/// How long the process waits at its end until running tasks are dropped.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let Parsed { cli, settings, matches } = match parse() {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    // The log of a service is read. Other commands print what they do.
    let is_service = matches!(cli.command, Command::Work(_) | Command::Serve(_));
    let default_filter = if is_service { "info" } else { "off" };
    match log_filter(default_filter) {
        Ok(filter) => tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_target(false)
            .with_writer(std::io::stderr)
            .init(),
        Err(error) => return error.report(),
    }
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
            Command::Serve(args) => serve::serve(args).await,
            Command::Token(args) => serve::token(&args),
            Command::Secret(args) => secret::secret(args.command).await,
            Command::Why(args) => why::why(args).await,
            Command::Budgets(args) => budgets::budgets(args).await,
            Command::Quotas(args) => quotas::quotas(args).await,
            Command::Lanes(args) => lanes::lanes(args).await,
            Command::Workers(args) => workers::workers(args).await,
            Command::Stats(args) => stats::stats(args).await,
            Command::Cancel(args) => operate::cancel(args).await,
            Command::Replay(args) => operate::replay(args).await,
            Command::Revoke(args) => operate::revoke(args).await,
            Command::Config(args) => config::config(&args, &settings, &matches),
            Command::Completions(args) => generate::completions(&args),
            Command::Man(args) => generate::man(&args),
        }
    });
    // Dropping the running tasks kills their commands.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    result.unwrap_or_else(|error| error.report())
}

/// The command line, with the values of a profile.
struct Parsed {
    cli: Cli,
    settings: Settings,
    matches: ArgMatches,
}

/// Parses the command line twice: first for the profile, whose values are then the defaults. Prints
/// an error or a help text, and returns the exit code.
fn parse() -> Result<Parsed, ExitCode> {
    let usage = |error: clap::Error| exit::report_usage(&error);
    let cli = Cli::try_parse().map_err(usage)?;
    let settings = match &cli.command {
        Command::Completions(_) | Command::Man(_) => Settings::default(),
        _ => Settings::load(cli.profile.as_deref()).map_err(|error| error.report())?,
    };
    let matches = settings.apply(Cli::command()).try_get_matches().map_err(usage)?;
    advice::remember(&matches);
    let cli = Cli::from_arg_matches(&matches).map_err(usage)?;
    Ok(Parsed { cli, settings, matches })
}

/// The filter of the log: that of FF_LOG, of RUST_LOG, or the default.
fn log_filter(default: &str) -> Result<EnvFilter, CliError> {
    for name in ["FF_LOG", "RUST_LOG"] {
        let Some(filter) = std::env::var_os(name).filter(|filter| !filter.is_empty()) else {
            continue;
        };
        let filter = filter.to_string_lossy();
        return EnvFilter::try_new(&filter).map_err(|error| {
            CliError::usage(format!(
                "{name} is `{filter}`: {error}; use for example {name}=debug or \
                 {name}=ff_sdk=debug,warn"
            ))
        });
    }
    Ok(EnvFilter::new(default))
}
