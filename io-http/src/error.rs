//! The body of an error, and its reading by a client.

use std::time::Duration;

use ff_core::error::{Applied, EngineError, ErrorClass, Rejection, RejectionKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The body of every error: `{ "error": { "kind", "message", "retryable", "details" } }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// An error, as the body of an answer holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// The kind of the error, in snake case: that of a rejection, such as `lease_expired`, or the
    /// variant of [`EngineError`], such as `timeout`. A server has further kinds for requests that
    /// do not reach the engine.
    pub kind: String,
    /// A sentence for people.
    pub message: String,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// The values of the error, an object; absent if it has none.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

impl ErrorBody {
    /// Creates the body of an error without details.
    pub fn new(kind: impl Into<String>, message: impl Into<String>, retryable: bool) -> Self {
        let (kind, message) = (kind.into(), message.into());
        Self { error: ErrorDetail { kind, message, retryable, details: Value::Null } }
    }

    /// Adds the values of the error.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.error.details = details;
        self
    }

    /// Creates the body of an engine's error. The status of the answer is
    /// [`EngineError::http_status`].
    pub fn of(error: &EngineError) -> Self {
        let retryable = error.class() == ErrorClass::Retryable;
        Self::new(kind(error), error.to_string(), retryable).with_details(details(error))
    }
}

/// Returns the kind of an error, in snake case.
fn kind(error: &EngineError) -> String {
    if let Some(kind) = error.rejection_kind() {
        return kind.wire_name();
    }
    match error {
        EngineError::Contextual { source, .. } => kind(source),
        EngineError::Contention { .. } => "contention".to_owned(),
        EngineError::Transport { .. } => "transport".to_owned(),
        EngineError::Unreachable { .. } => "unreachable".to_owned(),
        EngineError::ResourceExhausted { .. } => "resource_exhausted".to_owned(),
        EngineError::Timeout { .. } => "timeout".to_owned(),
        EngineError::StoreLost { .. } => "store_lost".to_owned(),
        _ => "bug".to_owned(),
    }
}

/// Returns the values of an error that a program may need; null if there are none.
fn details(error: &EngineError) -> Value {
    match error {
        EngineError::NotFound { entity } => json!({ "entity": entity }),
        EngineError::Conflict(rejection) | EngineError::State(rejection) => values(rejection),
        EngineError::Timeout { elapsed, applied, .. } => {
            json!({ "elapsed_ms": elapsed, "applied": applied })
        }
        EngineError::ResourceExhausted { what, given, bound } => {
            json!({ "what": what, "given": given, "bound": bound })
        }
        EngineError::Contextual { source, .. } => details(source),
        _ => Value::Null,
    }
}

/// Returns the values of a rejection; null if it has none.
fn values(rejection: &Rejection) -> Value {
    match serde_json::to_value(rejection) {
        Ok(Value::Object(values)) if !values.is_empty() => Value::Object(values),
        _ => Value::Null,
    }
}

/// An error that a server answered, as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server answered {status} ({}): {}", error.kind, error.message)]
#[non_exhaustive]
pub struct ApiError {
    /// The status of the answer.
    pub status: u16,
    /// The error in its body.
    pub error: ErrorDetail,
    /// How long to wait before the call is repeated, if the server says so.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// Reads an answer whose status is not one of success. `None` if its body is not that of an
    /// error: then the answer is not one of a FlowFabric server.
    pub fn read(status: u16, body: &[u8], retry_after: Option<Duration>) -> Option<Self> {
        let ErrorBody { error } = serde_json::from_slice(body).ok()?;
        let stated = || error.details.get("retry_after_ms").and_then(Value::as_u64);
        let retry_after = retry_after.or_else(|| stated().map(Duration::from_millis));
        Some(Self { status, error, retry_after })
    }

    /// Returns the kind of the rejection, if a rule refused the call.
    pub fn rejection_kind(&self) -> Option<RejectionKind> {
        RejectionKind::from_wire_name(&self.error.kind)
    }

    /// Returns whether something that the call names does not exist, or the caller does not see it.
    pub fn is_not_found(&self) -> bool {
        self.status == 404 && self.rejection_kind() == Some(RejectionKind::NotFound)
    }

    /// Returns whether the call may have taken effect.
    pub fn may_be_applied(&self) -> bool {
        let applied = self.error.details.get("applied");
        applied.is_some_and(|applied| *applied == json!(Applied::Unknown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_core::error::TABLE;
    use ff_core::time::{DurationMs, TimestampMs};

    fn round_trip(error: &EngineError) -> ApiError {
        let body = serde_json::to_vec(&ErrorBody::of(error)).unwrap();
        ApiError::read(error.http_status(), &body, None).expect("the body of an error")
    }

    #[test]
    fn a_rejection_is_read_back_with_its_kind_and_values() {
        let expires_at = TimestampMs::new(5);
        let read = round_trip(&Rejection::GrantAlreadyExists { expires_at }.into());
        assert_eq!((read.status, read.error.retryable), (409, true));
        assert_eq!(read.rejection_kind(), Some(RejectionKind::GrantAlreadyExists));
        assert_eq!(read.error.details, json!({ "expires_at": 5 }));
        assert!(!read.may_be_applied());

        let read = round_trip(&EngineError::from(Rejection::FenceRequired).context("complete"));
        assert_eq!((read.status, read.error.retryable), (400, false));
        assert_eq!(read.rejection_kind(), Some(RejectionKind::FenceRequired));
        assert_eq!(read.error.details, Value::Null);
    }

    #[test]
    fn a_timeout_says_whether_the_call_may_be_applied() {
        for (applied, unknown) in [(Applied::No, false), (Applied::Unknown, true)] {
            let elapsed = DurationMs::new(7);
            let read = round_trip(&EngineError::Timeout { op: "create", elapsed, applied });
            assert_eq!((read.status, read.error.kind.as_str()), (504, "timeout"));
            assert_eq!((read.may_be_applied(), read.rejection_kind()), (unknown, None));
            assert_eq!(read.error.details["elapsed_ms"], json!(7));
        }
    }

    #[test]
    fn a_body_is_json_with_stable_names() {
        let error = EngineError::from(Rejection::LeaseRevoked);
        let expected = json!({ "error": {
            "kind": "lease_revoked", "message": "the lease was revoked", "retryable": false,
        } });
        assert_eq!(serde_json::to_value(ErrorBody::of(&error)).unwrap(), expected);
    }

    #[test]
    fn kinds_have_distinct_names() {
        let mut names: Vec<String> = TABLE.iter().map(|row| row.kind.wire_name()).collect();
        names.extend(
            ["contention", "transport", "unreachable", "resource_exhausted", "timeout"]
                .map(str::to_owned),
        );
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn the_answer_of_another_server_is_not_an_error_of_this_api() {
        for body in ["", "<html>", "{}", r#"{ "error": "x" }"#, r#"{ "message": "Not Found" }"#] {
            assert_eq!(ApiError::read(404, body.as_bytes(), None), None, "{body}");
        }
        let body = br#"{ "error": { "kind": "x", "message": "m", "retryable": false, "new": 1 } }"#;
        assert!(ApiError::read(404, body, None).is_some());
    }

    #[test]
    fn the_wait_before_a_repeat_comes_from_the_header_or_the_details() {
        let body = ErrorBody::new("rate_limit_exceeded", "m", true)
            .with_details(json!({ "retry_after_ms": 1_500 }));
        let body = serde_json::to_vec(&body).unwrap();
        let wait = |header| ApiError::read(429, &body, header).unwrap().retry_after;
        assert_eq!(wait(None), Some(Duration::from_millis(1_500)));
        let second = Some(Duration::from_secs(1));
        assert_eq!(wait(second), second);
    }
}
