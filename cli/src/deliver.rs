//! `ff signal`: a signal to a waitpoint.

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

use crate::args::{SignalArgs, WaitpointRef};
use crate::operate::{fresh, refusal, unanswered};
use crate::outcome::{ALL_COMPLETED, Failed, print};
use crate::report::word;
use crate::{backend, confidential};

/// The variable that can have the token.
const TOKEN: &str = "FF_WAITPOINT_TOKEN";

/// Runs the command.
pub async fn signal(args: SignalArgs) -> Result<ExitCode, Failed> {
    let token = token(&args)?;
    let payload = match (&args.payload, &args.payload_file) {
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, Some(path)) => Some(payload(path)?),
        (None, None) => None,
    };
    let client = backend::client(&args.store).await?;
    let waitpoint = match &args.waitpoint {
        WaitpointRef::Id(id) => *id,
        WaitpointRef::Key(key) => find(&client, &args.id, key, &token).await?,
    };
    let key = args.idempotency_key.map_or_else(fresh, Ok)?;
    let mut signal = Signal::new(args.name.as_str(), token)?.idempotency_key(&key);
    if let Some(source) = &args.source {
        signal = signal.source(source.as_str())?;
    }
    if let Some(payload) = payload {
        signal = signal.payload(payload);
    }
    let delivered = client.deliver_signal(&args.id, &waitpoint, signal).await;
    let outcome = delivered.map_err(|error| failed(&error, &key))?;
    let (done, effect, told) = told(outcome);
    let line = match args.json {
        true => {
            let signal = SignalId::for_idempotency_key(waitpoint, &key);
            let object = json!({
                "id": args.id, "waitpoint_id": waitpoint, "outcome": done, "effect": effect,
                "signal_id": signal, "idempotency_key": key,
            });
            format!("{object}\n")
        }
        false => format!("{done}: {told} (idempotency key {key})\n"),
    };
    print(&line)?;
    Ok(ExitCode::from(ALL_COMPLETED))
}

fn token(args: &SignalArgs) -> Result<WaitpointToken, Failed> {
    let text = match &args.token_file {
        Some(path) => Some(confidential::in_file("token", path)?),
        None if args.token_stdin => Some(confidential::on_stdin("token")?),
        None => confidential::in_environment("token", TOKEN)?,
    };
    text.map(WaitpointToken::new).ok_or_else(|| {
        Failed::usage(format!(
            "no token: give the one that the waitpoint's worker has handed out with --token-file \
             PATH, --token-stdin or {TOKEN}"
        ))
    })
}

fn payload(path: &Path) -> Result<Vec<u8>, Failed> {
    let wrong = |problem: String| Failed::usage(format!("{}: {problem}", path.display()));
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_SIGNAL_PAYLOAD as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| wrong(error.to_string()))?;
    match bytes.len() > MAX_SIGNAL_PAYLOAD {
        true => Err(wrong("it has more than 256 KiB; send where it can be found".to_owned())),
        false => Ok(bytes),
    }
}

/// The waitpoint of a name: the one that the token is of, or else the one that is open, or the one
/// that closed last, which recognises what it has had.
async fn find(
    client: &Client,
    id: &ExecutionId,
    key: &WaitpointKey,
    token: &WaitpointToken,
) -> Result<WaitpointId, Failed> {
    let seen = client.describe(id).await?.ok_or_else(|| backend::not_found(client))?;
    let all = seen.waitpoints.iter().chain(&seen.closed_waitpoints);
    let mut named = all.filter(|waitpoint| waitpoint.key == *key);
    let first = named.clone().next();
    let fingerprint = token.fingerprint().to_string();
    let found = named.find(|waitpoint| waitpoint.fingerprint == fingerprint).or(first);
    found.map(|waitpoint| waitpoint.waitpoint_id).ok_or_else(|| {
        Failed::runtime(format!(
            "the execution knows no waitpoint {key}; ff waitpoints {id} lists those that are open"
        ))
    })
}

/// The outcome, what the signal did, and both for people.
fn told(outcome: SignalOutcome) -> (&'static str, Option<String>, &'static str) {
    match outcome {
        SignalOutcome::Accepted { effect } => {
            let told = match effect {
                SignalEffect::Buffered => "it is kept until a suspension uses the waitpoint",
                SignalEffect::Counted => "it counts, and more is needed",
                SignalEffect::Recorded => "it is kept, and does not count",
                SignalEffect::Resumed => "it was the last one needed",
            };
            ("accepted", Some(word(effect)), told)
        }
        SignalOutcome::TriggeredResume => {
            ("resumed", Some(word(SignalEffect::Resumed)), "it was the last one needed")
        }
        SignalOutcome::Duplicate { .. } => {
            ("duplicate", None, "the waitpoint has taken it before, and nothing was changed")
        }
    }
}

fn failed(error: &SdkError, key: &str) -> Failed {
    let advice = match refusal(error) {
        Some(RejectionKind::InvalidToken) => {
            "give the token that was handed out for this waitpoint of this execution; one whose \
             secret was replaced is good for its grace (ff secret list)"
        }
        Some(RejectionKind::WaitpointClosed) => {
            "its suspension is over, or it ran out; ff waitpoints lists those that are open"
        }
        _ => return unanswered(error, &format!("--idempotency-key {key}")),
    };
    Failed::runtime(format!("{error}\n{advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_as_an_id_is_one_and_all_else_a_name() {
        let id = "00000000-0000-0000-0000-000000000007";
        assert!(matches!(id.parse(), Ok(WaitpointRef::Id(_))));
        assert!(matches!("approval".parse(), Ok(WaitpointRef::Key(_))));
        assert!("a b".parse::<WaitpointRef>().is_err());
    }

    #[test]
    fn a_payload_that_is_too_large_is_refused_before_it_is_sent() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("payload");
        for (bytes, fits) in [(MAX_SIGNAL_PAYLOAD, true), (MAX_SIGNAL_PAYLOAD + 1, false)] {
            std::fs::write(&path, vec![b'x'; bytes]).expect("it is written");
            assert_eq!(payload(&path).is_ok(), fits, "{bytes}");
        }
    }
}
