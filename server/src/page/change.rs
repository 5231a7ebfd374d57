//! The forms that change one execution.

use axum::response::Redirect;
use ff_sdk::{
    AnyOutcome, Command, ExecutionId, Priority, RequestId, Signal, SignalOutcome, WaitpointId,
    WaitpointToken,
};
use serde::Deserialize;

use super::layout::execution_path;
use super::visitor::{Id, Sent, Shown, Visitor};
use crate::answer::Refusal;

/// The id of a form, so that a repeat of it is recognised.
#[derive(Deserialize)]
pub(super) struct Call {
    request_id: RequestId,
}

/// The page of the execution, with a message.
fn back(visitor: &Visitor, id: &ExecutionId, done: &str) -> Redirect {
    Redirect::to(&execution_path(visitor, id).with("done", done).to_string())
}

async fn operate(visitor: &Visitor, command: Command) -> Shown<AnyOutcome> {
    visitor.may_operate()?;
    Ok(visitor.client.execute(command).await?)
}

#[derive(Deserialize)]
pub(super) struct Cancel {
    request_id: RequestId,
    #[serde(default)]
    reason: String,
}

/// Cancels an execution.
pub(super) async fn cancel(Id(execution_id): Id, sent: Sent<Cancel>) -> Shown<Redirect> {
    let Sent { visitor, fields: Cancel { request_id, reason } } = sent;
    let reason = match reason.trim() {
        "" => format!("cancelled by {}", visitor.caller.name),
        reason => reason.to_owned(),
    };
    let request_id = request_id.to_string();
    operate(&visitor, Command::Cancel { execution_id, request_id, reason }).await?;
    Ok(back(&visitor, &execution_id, "cancelled"))
}

/// Replays an execution.
pub(super) async fn replay(Id(execution_id): Id, sent: Sent<Call>) -> Shown<Redirect> {
    let Sent { visitor, fields: Call { request_id } } = sent;
    let request_id = request_id.to_string();
    operate(&visitor, Command::Replay { execution_id, request_id }).await?;
    Ok(back(&visitor, &execution_id, "replayed"))
}

/// Revokes the lease of an execution.
pub(super) async fn revoke(Id(execution_id): Id, sent: Sent<Call>) -> Shown<Redirect> {
    let Sent { visitor, fields: Call { request_id } } = sent;
    let request_id = request_id.to_string();
    operate(&visitor, Command::RevokeLease { execution_id, request_id }).await?;
    Ok(back(&visitor, &execution_id, "revoked"))
}

/// Resumes an execution although its signals are missing.
pub(super) async fn resume(Id(execution_id): Id, sent: Sent<Call>) -> Shown<Redirect> {
    let Sent { visitor, fields: Call { request_id } } = sent;
    let request_id = request_id.to_string();
    operate(&visitor, Command::Resume { execution_id, request_id }).await?;
    Ok(back(&visitor, &execution_id, "resumed"))
}

#[derive(Deserialize)]
pub(super) struct NewPriority {
    request_id: RequestId,
    priority: u16,
}

/// Changes the priority of an execution.
pub(super) async fn priority(Id(execution_id): Id, sent: Sent<NewPriority>) -> Shown<Redirect> {
    let Sent { visitor, fields: NewPriority { request_id, priority } } = sent;
    let most = Priority::MAX.get();
    if priority > most {
        let message = format!("priority: is {priority}; 0 to {most} can be");
        return Err(Refusal::invalid(message).into());
    }
    let (request_id, priority) = (request_id.to_string(), i64::from(priority));
    operate(&visitor, Command::ChangePriority { execution_id, request_id, priority }).await?;
    Ok(back(&visitor, &execution_id, "priority"))
}

#[derive(Deserialize)]
pub(super) struct NewSignal {
    request_id: String,
    waitpoint: WaitpointId,
    token: String,
    name: String,
    #[serde(default)]
    payload: String,
}

/// Sends a signal to a waitpoint, with its token.
pub(super) async fn signal(Id(id): Id, sent: Sent<NewSignal>) -> Shown<Redirect> {
    let Sent { visitor, fields: NewSignal { request_id, waitpoint, token, name, payload } } = sent;
    visitor.may_submit()?;
    let mut signal = Signal::new(name.trim(), WaitpointToken::new(token.trim()))?
        .source(&visitor.caller.name)?
        .source_type("user")?
        .idempotency_key(request_id);
    if !payload.is_empty() {
        signal = signal.payload(payload.into_bytes());
    }
    let outcome = visitor.client.deliver_signal(&id, &waitpoint, signal).await?;
    let done = match outcome {
        SignalOutcome::Duplicate { .. } => "repeated",
        _ => "signalled",
    };
    Ok(back(&visitor, &id, done))
}
