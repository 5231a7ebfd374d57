//! The arguments of `ff secret`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use ff_sdk::core::token::Kid;

use super::store::DEFAULT_STORE;

/// The arguments of `ff secret`.
#[derive(Debug, Args)]
pub struct SecretArgs {
    /// The subcommand.
    #[command(subcommand)]
    pub command: SecretCommand,
}

/// The subcommands of `ff secret`.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Sign new tokens with a new secret, and accept old tokens for a grace period
    ///
    ///     ff secret rotate --kid 2026-08 --generate --grace 7d
    ///     ff secret rotate --kid 2026-08 --secret-file ./secret
    ///
    /// A secret is 1 to 128 bytes, written as hexadecimal digits. Use 32 random bytes. A secret
    /// cannot be an argument, because other users see arguments in the list of processes, and it is
    /// never printed. Within two seconds every process uses the new secret.
    ///
    /// Repeating the command with the same kid and secret changes nothing. With --generate every
    /// call makes a new secret. If the store did not answer, check with ff secret list whether it
    /// knows the kid.
    ///
    /// Exit code: 0 on success, 1 if the kid is already the name of another secret or the store
    /// does not answer within 30 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Rotate(RotateArgs),
    /// List the names of the secrets whose tokens are accepted
    ///
    /// The current secret signs new tokens. The others were replaced, and their tokens are accepted
    /// until the grace period ends. The secrets themselves are never printed.
    ///
    /// Exit code: 0 on success, 1 if the store does not answer within 30 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    List(ListSecretsArgs),
}

/// The store. All its namespaces share its secrets.
#[derive(Debug, Args)]
pub struct SecretStoreArgs {
    /// The URL of the store, for example valkey://127.0.0.1:6379. All namespaces of a store share
    /// its secrets.
    #[arg(long, value_name = "URL", default_value = DEFAULT_STORE, env = "FF_BACKEND",
        hide_env_values = true)]
    pub backend: String,
}

/// The arguments of `ff secret rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    #[command(flatten)]
    pub store: SecretStoreArgs,
    /// The name of the new secret (its key ID): 1 to 64 printable ASCII characters without spaces
    /// and colons.
    #[arg(long, value_name = "KID", value_parser = kid)]
    pub kid: Kid,
    #[command(flatten)]
    pub source: SecretSource,
    /// How long the tokens of the old secret are accepted, for example 90m or 7d, at most a year.
    #[arg(long, value_name = "TIME", default_value = "1h",
        value_parser = humantime::parse_duration)]
    pub grace: Duration,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Where the secret comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SecretSource {
    /// Read the secret from this file.
    #[arg(long, value_name = "PATH")]
    pub secret_file: Option<PathBuf>,
    /// Read the secret from standard input.
    #[arg(long)]
    pub secret_stdin: bool,
    /// Generate a secret of 32 random bytes. Only the store knows it.
    #[arg(long)]
    pub generate: bool,
}

/// The arguments of `ff secret list`.
#[derive(Debug, Args)]
pub struct ListSecretsArgs {
    #[command(flatten)]
    pub store: SecretStoreArgs,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

fn kid(text: &str) -> Result<Kid, String> {
    Kid::try_new(text).map_err(|error| error.to_string())
}
