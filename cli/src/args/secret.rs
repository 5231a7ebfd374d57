//! The arguments of `ff secret`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use ff_sdk::core::token::Kid;

/// The arguments of `ff secret`.
#[derive(Debug, Args)]
pub struct SecretArgs {
    /// What to do.
    #[command(subcommand)]
    pub task: SecretTask,
}

/// What to do with the secrets.
#[derive(Debug, Subcommand)]
pub enum SecretTask {
    /// Sign new tokens with another secret; those of the secret before stay good for a while
    ///
    ///     ff secret rotate --kid 2026-08 --generate --grace 7d
    ///     ff secret rotate --kid 2026-08 --secret-file ./secret
    ///
    /// A secret is written in hexadecimal digits, 1 to 128 bytes; 32 random bytes are a good one.
    /// It is never an argument, because others see those in the list of processes, and never
    /// printed. It takes a second or two to reach every process.
    ///
    /// The same kid and secret again change nothing. With --generate the secret is new each time:
    /// when the store did not answer, look with ff secret list whether it has the kid.
    ///
    /// Exit code: 0, 1 when it was refused (the kid stands for another secret) or the store does
    /// not answer within 30 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Rotate(RotateArgs),
    /// List the secrets whose tokens are good: their names, never themselves
    ///
    /// The current one signs new tokens; the others were replaced and are good for a while.
    ///
    /// Exit code: 0, 1 when the store does not answer within 30 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    List(ListSecretsArgs),
}

/// The store of the secrets, which are those of all its namespaces.
#[derive(Debug, Args)]
pub struct WholeStoreArgs {
    /// The store, named here or in FF_BACKEND, for example valkey://127.0.0.1:6379; its secrets are
    /// those of all namespaces.
    #[arg(long, value_name = "URL", env = "FF_BACKEND", hide_env_values = true)]
    pub backend: Option<String>,
}

/// The arguments of `ff secret rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    #[command(flatten)]
    pub store: WholeStoreArgs,
    /// The name of the secret: 1 to 64 printable ASCII bytes without space and colon.
    #[arg(long, value_name = "KID", value_parser = kid)]
    pub kid: Kid,
    #[command(flatten)]
    pub from: SecretFrom,
    /// How long tokens of the secret before stay good, for example 90m or 7d, at most a year: as
    /// long as somebody may hold on to one.
    #[arg(long, value_name = "TIME", default_value = "1h",
        value_parser = humantime::parse_duration)]
    pub grace: Duration,
    /// Print one JSON object instead of a line.
    #[arg(long)]
    pub json: bool,
}

/// Where the secret comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SecretFrom {
    /// The file with the secret.
    #[arg(long, value_name = "PATH")]
    pub secret_file: Option<PathBuf>,
    /// Read the secret from standard input.
    #[arg(long)]
    pub secret_stdin: bool,
    /// Draw 32 random bytes, which only the store knows.
    #[arg(long)]
    pub generate: bool,
}

/// The arguments of `ff secret list`.
#[derive(Debug, Args)]
pub struct ListSecretsArgs {
    #[command(flatten)]
    pub store: WholeStoreArgs,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

fn kid(text: &str) -> Result<Kid, String> {
    Kid::try_new(text).map_err(|error| error.to_string())
}
