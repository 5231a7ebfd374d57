//! `ff secret`: rotates and lists the secrets that sign waitpoint tokens.

use std::process::ExitCode;

use ff_sdk::core::token::{Rotation, SecretInfo};
use ff_sdk::{FlowFabricAdminClient, RejectionKind, RotateWaitpointSecretRequest, SdkError};
use ff_server::view::hex;
use serde_json::json;

use crate::advice;
use crate::args::{ListSecretsArgs, RotateArgs, SecretCommand, SecretSource};
use crate::exit::{CliError, print, print_line};
use crate::operate::rejection;
use crate::report::{table, time, wire_name};
use crate::terminal::fitted;
use crate::{backend, confidential};

/// The number of bytes of a generated secret.
const GENERATED_BYTES: usize = 32;

/// Runs the command.
pub async fn secret(command: SecretCommand) -> Result<ExitCode, CliError> {
    match command {
        SecretCommand::Rotate(args) => rotate(args).await?,
        SecretCommand::List(args) => list(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn rotate(args: RotateArgs) -> Result<(), CliError> {
    let RotateArgs { store, kid, source, grace, json } = args;
    let secret = read_secret(&source)?;
    let store = backend::open_shared(&store.backend, backend::Wait::Briefly).await?;
    let admin = FlowFabricAdminClient::connect_with(store.backend).await?;
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    let request = RotateWaitpointSecretRequest::new(kid.as_str(), secret, grace_ms);
    let rotated = admin.rotate_waitpoint_secret(request).await;
    let rotation = rotated.map_err(|error| rotation_error(&error))?.outcome;
    if json {
        let outcome = wire_name(rotation);
        return print_line(json!({"kid": kid, "outcome": outcome, "grace_ms": grace_ms}));
    }
    match rotation {
        Rotation::Rotated => print_line(format_args!(
            "rotated: {kid} signs new tokens, and the tokens of the old secret are accepted for {}",
            humantime::format_duration(grace)
        )),
        Rotation::Noop => {
            print_line(format_args!("nothing changed: {kid} already signs new tokens"))
        }
    }
}

/// The secret as hexadecimal digits.
fn read_secret(source: &SecretSource) -> Result<String, CliError> {
    match &source.secret_file {
        Some(path) => confidential::from_file("secret", path),
        None if source.secret_stdin => confidential::from_stdin("secret"),
        None => {
            let mut random = [0; GENERATED_BYTES];
            getrandom::fill(&mut random).map_err(CliError::runtime)?;
            Ok(hex(&random))
        }
    }
}

fn rotation_error(error: &SdkError) -> CliError {
    match rejection(error) {
        Some(RejectionKind::InvalidSecretHex | RejectionKind::InvalidGraceMs) => {
            CliError::usage(error.to_string())
        }
        Some(_) => CliError::runtime(error),
        None => CliError::runtime(format!(
            "{error}\ncheck with {} whether the store has the new kid",
            advice::ff("secret list")
        )),
    }
}

async fn list(args: ListSecretsArgs) -> Result<(), CliError> {
    let store = backend::open_existing(&args.store.backend).await?;
    let admin = FlowFabricAdminClient::connect_with(store.backend).await?;
    let secrets = admin.list_waitpoint_secrets().await?;
    match args.json {
        true => print_line(json!({"secrets": secrets})),
        false => print(&text(&secrets)),
    }
}

fn text(secrets: &[SecretInfo]) -> String {
    if secrets.is_empty() {
        return "no secret yet: the first waitpoint creates one\n".to_owned();
    }
    let mut table = table(&["kid", "current", "accepted until"]);
    for secret in secrets {
        let current = if secret.current { "yes" } else { "no" };
        let until = secret.good_until.map_or_else(|| "the next rotation".to_owned(), time);
        table.add_row(vec![secret.kid.to_string(), current.to_owned(), until]);
    }
    fitted(table)
}
