//! `ff cancel`, `ff resume`, `ff replay` and `ff revoke`: an operator's commands on an execution.

use std::process::ExitCode;

use ff_sdk::core::entropy::Entropy;
use ff_sdk::core::execution::{AnyOutcome, Command, Event};
use ff_sdk::core::state::{LifecyclePhase, OwnershipState};
use ff_sdk::{
    BulkCommand, Client, EngineError, ExecutionId, Rejection, RejectionKind, SdkError, TimestampMs,
};
use serde_json::{Map, Value, json};

use crate::args::{CancelArgs, ManyArgs, OperateArgs};
use crate::backend;
use crate::bulk;
use crate::exit::{CliError, print_line};
use crate::report::time;

/// Runs `ff cancel`.
pub async fn cancel(args: CancelArgs) -> Result<ExitCode, CliError> {
    let CancelArgs { many, reason } = args;
    let operate = match many.one() {
        Ok(operate) => operate,
        Err(many) => return bulk::run(*many, new_id()?, BulkCommand::Cancel { reason }).await,
    };
    let command = |execution_id, request_id| Command::Cancel { execution_id, request_id, reason };
    execute(operate, "cancelled", command).await
}

/// Runs `ff resume`.
pub async fn resume(args: OperateArgs) -> Result<ExitCode, CliError> {
    let command = |execution_id, request_id| Command::Resume { execution_id, request_id };
    execute(args, "resumed", command).await
}

/// Runs `ff replay`.
pub async fn replay(args: ManyArgs) -> Result<ExitCode, CliError> {
    let args = match args.one() {
        Ok(args) => args,
        Err(many) if many.filter.state.is_empty() => {
            let message = "a replay by filter needs --state, for example --state failed";
            return Err(CliError::usage(message));
        }
        Err(many) => return bulk::run(*many, new_id()?, BulkCommand::Replay).await,
    };
    let command = |execution_id, request_id| Command::Replay { execution_id, request_id };
    execute(args, "replayed", command).await
}

/// Runs `ff revoke`.
pub async fn revoke(args: OperateArgs) -> Result<ExitCode, CliError> {
    let client = backend::client(&args.execution.store).await?;
    let (mut done, mut at) = ("revoked", None);
    // A repeat of the same request has done what it did.
    if args.request_id.is_none() {
        let seen = backend::describe(&client, &args.execution.id).await?;
        if seen.state.ownership_state == OwnershipState::LeaseRevoked {
            done = "already_revoked";
            at = revoked_at(&client, &args.execution.id).await?;
        }
    }
    // Sent in any case: it ends the lease if that was renewed or given to another worker since.
    let command = |execution_id, request_id| Command::RevokeLease { execution_id, request_id };
    execute_with(&client, args, done, at, command).await
}

/// When the latest lease that was revoked was so; `None` if the journal no longer has that.
pub async fn revoked_at(
    client: &Client,
    id: &ExecutionId,
) -> Result<Option<TimestampMs>, CliError> {
    let history =
        client.history(id).await.map_err(|error| backend::call_error(client, id, error))?;
    let revoked = history.events.iter().rev();
    let revoked = revoked.filter(|entry| matches!(entry.event, Event::LeaseRevoked { .. }));
    Ok(revoked.map(|entry| entry.at).next())
}

async fn execute(
    args: OperateArgs,
    done: &'static str,
    command: impl FnOnce(ExecutionId, String) -> Command,
) -> Result<ExitCode, CliError> {
    let client = backend::client(&args.execution.store).await?;
    execute_with(&client, args, done, None, command).await
}

/// Executes a command whose effect there may be since the time `at`.
async fn execute_with(
    client: &Client,
    args: OperateArgs,
    done: &'static str,
    at: Option<TimestampMs>,
    command: impl FnOnce(ExecutionId, String) -> Command,
) -> Result<ExitCode, CliError> {
    let OperateArgs { execution, request_id } = args;
    let id = execution.id;
    let request_id = request_id.map_or_else(new_id, |id| Ok(id.to_string()))?;
    let outcome = match client.execute(command(id, request_id.clone())).await {
        Ok(outcome) => outcome,
        Err(error @ SdkError::Engine(EngineError::NotFound { .. })) => {
            return Err(backend::call_error(client, &id, error));
        }
        Err(error) => {
            let advised = || with_retry_advice(&error, &format!("--request-id {request_id}"));
            return Err(nothing_to_do(&error).unwrap_or_else(advised));
        }
    };
    // Executions may wait for the slots that the command has freed.
    client.settle().await;
    let detail = detail(&outcome);
    if execution.json {
        let mut object = Map::new();
        object.insert("execution_id".to_owned(), json!(id));
        object.insert("outcome".to_owned(), json!(done));
        object.insert("request_id".to_owned(), json!(request_id));
        object.extend(at.map(|at| ("at".to_owned(), json!(at))));
        object.extend(detail.map(|(name, value)| (name.to_owned(), value)));
        print_line(Value::Object(object))?;
    } else {
        let detail = detail.map(|(name, value)| format!(", {} {value}", name.replace('_', " ")));
        let (done, detail) = (done.replace('_', " "), detail.unwrap_or_default());
        let at = at.map_or_else(String::new, |at| format!(" at {}", time(at)));
        print_line(format_args!("{done} {id}{at}{detail} (request ID {request_id})"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The name and value of what else the outcome reports.
fn detail(outcome: &AnyOutcome) -> Option<(&'static str, Value)> {
    match outcome {
        AnyOutcome::Replay(replayed) => Some(("life", json!(replayed.life))),
        AnyOutcome::RevokeLease(revoked) => Some(("lease_epoch", json!(revoked.lease_epoch))),
        AnyOutcome::Resume(resumed) => Some(("suspension_id", json!(resumed.suspension_id))),
        _ => None,
    }
}

/// The error of a call that was too late, in words that say so.
fn nothing_to_do(error: &SdkError) -> Option<CliError> {
    let message = match error.engine().and_then(EngineError::rejection)? {
        Rejection::LeaseExpired { expired_at } => format!(
            "there is nothing to revoke: the lease expired at {}, and another worker can take the \
             execution over",
            time(*expired_at)
        ),
        Rejection::ExecutionNotSuspended { lifecycle_phase }
            if *lifecycle_phase != LifecyclePhase::Suspended =>
        {
            format!("there is nothing to resume: the execution is {lifecycle_phase}, not suspended")
        }
        _ => return None,
    };
    Some(CliError::runtime(message))
}

/// The error of a call. Unless it is a rejection, which is final, it says how to retry the call.
pub fn with_retry_advice(error: &SdkError, argument: &str) -> CliError {
    match rejection(error) {
        Some(_) => CliError::runtime(error),
        None => CliError::runtime(format!("{error}\nto retry safely, add {argument}")),
    }
}

/// The reason why the engine rejected a call, if it did.
pub fn rejection(error: &SdkError) -> Option<RejectionKind> {
    fn of(error: &EngineError) -> Option<RejectionKind> {
        match error {
            EngineError::Validation { kind, .. } => Some(*kind),
            EngineError::Contextual { source, .. } => of(source),
            error => error.rejection().map(Rejection::kind),
        }
    }
    error.engine().and_then(of)
}

/// A new ID for a call.
pub fn new_id() -> Result<String, CliError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(CliError::runtime)?;
    Ok(Entropy::from_seed(seed).uuid().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    use ff_sdk::core::error::Applied;
    use ff_sdk::core::time::DurationMs;

    #[test]
    fn the_error_of_a_call_without_an_answer_says_how_to_retry_it() {
        let elapsed = DurationMs::new(7);
        let timeout = EngineError::Timeout { op: "cancel", elapsed, applied: Applied::Unknown };
        let error = with_retry_advice(&timeout.into(), "--request-id r-1");
        assert!(error.message().contains("--request-id r-1"), "{}", error.message());
    }
}
