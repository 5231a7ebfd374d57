//! `ff secret`: the secrets that sign the tokens of waitpoints.

use std::process::ExitCode;

use ff_sdk::core::token::{Rotation, SecretInfo};
use ff_sdk::{FlowFabricAdminClient, RejectionKind, SdkError};
use serde_json::json;

use crate::args::{ListSecretsArgs, RotateArgs, SecretFrom, SecretTask, WholeStoreArgs};
use crate::operate::refusal;
use crate::outcome::{ALL_COMPLETED, Failed, print};
use crate::report::{table, time, word};
use crate::results::hex;
use crate::{backend, confidential};

/// How many bytes a secret has that is drawn here.
const RANDOM_BYTES: usize = 32;

/// Runs the command.
pub async fn secret(task: SecretTask) -> Result<ExitCode, Failed> {
    match task {
        SecretTask::Rotate(args) => rotate(args).await,
        SecretTask::List(args) => list(args).await,
    }
}

async fn rotate(args: RotateArgs) -> Result<ExitCode, Failed> {
    let RotateArgs { store, kid, from, grace, json } = args;
    let secret = given(&from)?;
    let admin = admin(&store).await?;
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    let rotated = admin.rotate_waitpoint_secret(kid.as_str(), &secret, grace_ms).await;
    let rotation = rotated.map_err(|error| failed(&error))?;
    let line = match (json, rotation) {
        (true, rotation) => {
            let object = json!({"kid": kid, "outcome": word(rotation), "grace_ms": grace_ms});
            format!("{object}\n")
        }
        (false, Rotation::Rotated) => format!(
            "rotated: new tokens are signed with {kid}, those of the secret before are good for \
             {}\n",
            humantime::format_duration(grace)
        ),
        (false, Rotation::Noop) => {
            format!("nothing to do: new tokens are signed with {kid} already\n")
        }
    };
    print(&line)?;
    Ok(ExitCode::from(ALL_COMPLETED))
}

/// The secret in hexadecimal digits.
fn given(from: &SecretFrom) -> Result<String, Failed> {
    match &from.secret_file {
        Some(path) => confidential::in_file("secret", path),
        None if from.secret_stdin => confidential::on_stdin("secret"),
        None => {
            let mut random = [0; RANDOM_BYTES];
            getrandom::fill(&mut random).map_err(Failed::runtime)?;
            Ok(hex(&random))
        }
    }
}

fn failed(error: &SdkError) -> Failed {
    match refusal(error) {
        Some(RejectionKind::InvalidSecretHex | RejectionKind::InvalidGraceMs) => {
            Failed::usage(error.to_string())
        }
        Some(_) => Failed::runtime(error),
        None => Failed::runtime(format!("{error}\nff secret list tells whether it has the kid")),
    }
}

async fn list(args: ListSecretsArgs) -> Result<ExitCode, Failed> {
    let secrets = admin(&args.store).await?.list_waitpoint_secrets().await?;
    let text = match args.json {
        true => format!("{}\n", json!({"secrets": secrets})),
        false => lines(&secrets),
    };
    print(&text)?;
    Ok(ExitCode::from(ALL_COMPLETED))
}

fn lines(secrets: &[SecretInfo]) -> String {
    if secrets.is_empty() {
        return "no secret yet: the first waitpoint makes one\n".to_owned();
    }
    let mut table = table(&["kid", "current", "good until"]);
    for secret in secrets {
        let current = if secret.current { "yes" } else { "no" };
        let until = secret.good_until.map_or_else(|| "until replaced".to_owned(), time);
        table.add_row(vec![secret.kid.to_string(), current.to_owned(), until]);
    }
    format!("{table}\n")
}

async fn admin(store: &WholeStoreArgs) -> Result<FlowFabricAdminClient, Failed> {
    let opened = backend::open_named(store.backend.as_deref()).await?;
    Ok(FlowFabricAdminClient::connect_with(opened.backend).await?)
}
