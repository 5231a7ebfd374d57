//! `ff signal`: sends a signal to a waitpoint.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use ff_sdk::core::execution::MAX_SIGNAL_PAYLOAD;
use ff_sdk::core::id::{SignalId, WaitpointId, WaitpointKey};
use ff_sdk::{
    Client, ExecutionId, RejectionKind, SdkError, Signal, SignalEffect, SignalOutcome,
    WaitpointToken,
};
use serde_json::json;

use crate::advice;
use crate::args::{SignalArgs, WaitpointRef};
use crate::exit::{CliError, print_line};
use crate::operate::{new_id, rejection, with_retry_advice};
use crate::report::wire_name;
use crate::{backend, confidential};

/// The environment variable with the token.
const TOKEN: &str = "FF_WAITPOINT_TOKEN";

/// Runs the command.
pub async fn signal(args: SignalArgs) -> Result<ExitCode, CliError> {
    let token = token(&args)?;
    let payload = match (&args.payload, &args.payload_file) {
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, Some(path)) => Some(read_payload(path)?),
        (None, None) => None,
    };
    let client = backend::client(&args.store).await?;
    let waitpoint = match &args.waitpoint {
        WaitpointRef::Id(id) => *id,
        WaitpointRef::Key(key) => find(&client, &args.id, key, &token).await?,
    };
    let key = args.idempotency_key.map_or_else(new_id, Ok)?;
    let mut signal = Signal::new(args.name.as_str(), token)?.idempotency_key(&key);
    if let Some(source) = &args.source {
        signal = signal.source(source.as_str())?;
    }
    if let Some(source_type) = &args.source_type {
        signal = signal.source_type(source_type.as_str())?;
    }
    if let Some(category) = &args.category {
        signal = signal.category(category.as_str())?;
    }
    if let Some(correlation_id) = &args.correlation_id {
        signal = signal.correlation_id(correlation_id.as_str())?;
    }
    if let Some(payload) = payload {
        signal = signal.payload(payload);
    }
    let delivered = client.deliver_signal(&args.id, &waitpoint, signal).await;
    let (outcome, effect, description) =
        describe(delivered.map_err(|error| delivery_error(&error, &args.id, &key))?);
    if args.json {
        print_line(json!({
            "execution_id": args.id,
            "waitpoint_id": waitpoint,
            "outcome": outcome,
            "effect": effect,
            "signal_id": SignalId::for_idempotency_key(waitpoint, &key),
            "idempotency_key": key,
        }))?;
    } else {
        print_line(format_args!("{outcome}: {description} (idempotency key {key})"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn token(args: &SignalArgs) -> Result<WaitpointToken, CliError> {
    let text = match &args.token_file {
        Some(path) => Some(confidential::from_file("token", path)?),
        None if args.token_stdin => Some(confidential::from_stdin("token")?),
        None => confidential::from_environment("token", TOKEN)?,
    };
    text.map(WaitpointToken::new).ok_or_else(|| {
        CliError::usage(format!(
            "no token given: pass the token of the waitpoint with --token-file PATH, --token-stdin \
             or {TOKEN}"
        ))
    })
}

fn read_payload(path: &Path) -> Result<Vec<u8>, CliError> {
    let error = |problem: &dyn std::fmt::Display| {
        CliError::usage(format!("--payload-file {}: {problem}", path.display()))
    };
    let file = File::open(path).map_err(|problem| error(&problem))?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_SIGNAL_PAYLOAD as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|problem| error(&problem))?;
    match bytes.len() > MAX_SIGNAL_PAYLOAD {
        true => Err(error(
            &"a payload has at most 256 KiB: store the data elsewhere, and send a reference to it",
        )),
        false => Ok(bytes),
    }
}

/// Finds a waitpoint by its name. If several waitpoints had the name: the one of the token, else
/// the open one, else the one that closed last, which recognises repeated signals.
async fn find(
    client: &Client,
    id: &ExecutionId,
    key: &WaitpointKey,
    token: &WaitpointToken,
) -> Result<WaitpointId, CliError> {
    let snapshot = backend::describe(client, id).await?;
    let all = snapshot.waitpoints.iter().chain(&snapshot.closed_waitpoints);
    let mut named = all.filter(|waitpoint| waitpoint.key == *key);
    let first = named.clone().next();
    let fingerprint = token.fingerprint().to_string();
    let found = named.find(|waitpoint| waitpoint.fingerprint == fingerprint).or(first);
    found.map(|waitpoint| waitpoint.waitpoint_id).ok_or_else(|| {
        CliError::runtime(format!(
            "the execution has no waitpoint `{key}`: list the open waitpoints with {}",
            advice::ff(format!("waitpoints {id}"))
        ))
    })
}

/// The outcome and the effect for programs, and a description for people.
fn describe(outcome: SignalOutcome) -> (&'static str, Option<String>, &'static str) {
    let (outcome, effect) = match outcome {
        SignalOutcome::Accepted { effect, .. } => ("accepted", effect),
        SignalOutcome::TriggeredResume { .. } => ("resumed", SignalEffect::Resumed),
        SignalOutcome::Duplicate { .. } => {
            return ("duplicate", None, "the waitpoint already took this signal; nothing changed");
        }
    };
    let description = match effect {
        SignalEffect::Buffered => "it is kept until the execution suspends on this waitpoint",
        SignalEffect::Counted => "it counts, and the execution waits for more signals",
        SignalEffect::Recorded => "it is recorded, but does not count",
        SignalEffect::Resumed => "it was the last signal that the execution waited for",
    };
    (outcome, Some(wire_name(effect)), description)
}

fn delivery_error(error: &SdkError, id: &ExecutionId, key: &str) -> CliError {
    let advice = match rejection(error) {
        Some(RejectionKind::InvalidToken) => {
            format!(
                "use the token that was issued for this waitpoint of this execution. If its \
                 secret was rotated, the grace period may be over: see {}",
                advice::ff("secret list")
            )
        }
        Some(RejectionKind::WaitpointClosed) => {
            format!(
                "its suspension has ended, or the waitpoint has expired: list the open waitpoints \
                 with {}",
                advice::ff(format!("waitpoints {id}"))
            )
        }
        _ => return with_retry_advice(error, &format!("--idempotency-key {key}")),
    };
    CliError::runtime(format!("{error}\n{advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waitpoint_is_an_id_if_it_parses_as_one_and_else_a_name() {
        let id = "00000000-0000-0000-0000-000000000007";
        assert!(matches!(id.parse(), Ok(WaitpointRef::Id(_))));
        assert!(matches!("approval".parse(), Ok(WaitpointRef::Key(_))));
        assert!("a b".parse::<WaitpointRef>().is_err());
    }

    #[test]
    fn a_payload_file_over_the_limit_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("payload");
        for (bytes, fits) in [(MAX_SIGNAL_PAYLOAD, true), (MAX_SIGNAL_PAYLOAD + 1, false)] {
            std::fs::write(&path, vec![b'x'; bytes]).expect("the file can be written");
            assert_eq!(read_payload(&path).is_ok(), fits, "{bytes}");
        }
    }
}
