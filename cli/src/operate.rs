//! `ff cancel`, `ff resume`, `ff replay` and `ff revoke`: what operators do to one execution.

use std::process::ExitCode;

use ff_sdk::core::entropy::Entropy;
use ff_sdk::core::execution::{AnyOutcome, Command};
use ff_sdk::{EngineError, Rejection, RejectionKind, SdkError};
use serde_json::{Map, Value, json};

use crate::args::{CancelArgs, OperateArgs};
use crate::backend;
use crate::outcome::{ALL_COMPLETED, Failed, print};

/// Runs `ff cancel`.
pub async fn cancel(args: CancelArgs) -> Result<ExitCode, Failed> {
    let CancelArgs { call, reason } = args;
    carry_out(call, "cancelled", |execution_id, request_id| Command::Cancel {
        execution_id,
        request_id,
        reason,
    })
    .await
}

/// Runs `ff resume`.
pub async fn resume(args: OperateArgs) -> Result<ExitCode, Failed> {
    carry_out(args, "resumed", |execution_id, request_id| Command::Resume {
        execution_id,
        request_id,
    })
    .await
}

/// Runs `ff replay`.
pub async fn replay(args: OperateArgs) -> Result<ExitCode, Failed> {
    carry_out(args, "replayed", |execution_id, request_id| Command::Replay {
        execution_id,
        request_id,
    })
    .await
}

/// Runs `ff revoke`.
pub async fn revoke(args: OperateArgs) -> Result<ExitCode, Failed> {
    carry_out(args, "revoked", |execution_id, request_id| Command::RevokeLease {
        execution_id,
        request_id,
    })
    .await
}

async fn carry_out(
    args: OperateArgs,
    done: &'static str,
    command: impl FnOnce(ff_sdk::ExecutionId, String) -> Command,
) -> Result<ExitCode, Failed> {
    let client = backend::client(&args.store).await?;
    let request_id = args.request_id.map_or_else(fresh, |id| Ok(id.to_string()))?;
    let outcome = match client.execute(command(args.id, request_id.clone())).await {
        Ok(outcome) => outcome,
        Err(SdkError::Engine(EngineError::NotFound { .. })) => {
            return Err(backend::not_found(&client));
        }
        Err(error) => return Err(unanswered(&error, &format!("--request-id {request_id}"))),
    };
    let told = told(&outcome);
    if args.json {
        let mut object = Map::new();
        object.insert("id".to_owned(), json!(args.id));
        object.insert("outcome".to_owned(), json!(done));
        object.insert("request_id".to_owned(), json!(request_id));
        object.extend(told.map(|(name, value)| (name.to_owned(), value)));
        print(&format!("{}\n", Value::Object(object)))?;
    } else {
        let told = told.map(|(name, value)| format!(", {} {value}", name.replace('_', " ")));
        let told = told.unwrap_or_default();
        print(&format!("{done} {}{told} (request id {request_id})\n", args.id))?;
    }
    Ok(ExitCode::from(ALL_COMPLETED))
}

/// What there is to tell of an outcome beside that it was carried out.
fn told(outcome: &AnyOutcome) -> Option<(&'static str, Value)> {
    match outcome {
        AnyOutcome::Replay(replayed) => Some(("life", json!(replayed.life))),
        AnyOutcome::RevokeLease(revoked) => Some(("lease_epoch", json!(revoked.lease_epoch))),
        AnyOutcome::Resume(resumed) => Some(("suspension_id", json!(resumed.suspension_id))),
        _ => None,
    }
}

/// A refusal is final; after anything else the same call can be made again, with this added.
pub fn unanswered(error: &SdkError, again: &str) -> Failed {
    match refusal(error) {
        Some(_) => Failed::runtime(error),
        None => Failed::runtime(format!("{error}\nto make the same call again add {again}")),
    }
}

/// Why the engine has refused a call, if it has.
pub fn refusal(error: &SdkError) -> Option<RejectionKind> {
    fn of(error: &EngineError) -> Option<RejectionKind> {
        match error {
            EngineError::Validation { kind, .. } => Some(*kind),
            EngineError::Contextual { source, .. } => of(source),
            error => error.rejection().map(Rejection::kind),
        }
    }
    error.engine().and_then(of)
}

/// A name for a call that nobody has used.
pub fn fresh() -> Result<String, Failed> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(Failed::runtime)?;
    Ok(Entropy::from_seed(seed).uuid().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    use ff_sdk::core::error::Applied;
    use ff_sdk::core::time::DurationMs;

    #[test]
    fn a_call_that_nobody_answered_can_be_made_again() {
        let elapsed = DurationMs::new(7);
        let timeout = EngineError::Timeout { op: "cancel", elapsed, applied: Applied::Unknown };
        let failed = unanswered(&timeout.into(), "--request-id r-1");
        assert!(failed.message().contains("--request-id r-1"), "{}", failed.message());
    }
}
