//! What a handler comes to.

use ff_core::time::TimestampMs;
use serde::Serialize;

use crate::suspension::Suspension;

/// What becomes of a task when its handler has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskOutcome {
    /// It is done, with or without a result.
    Complete(Option<Vec<u8>>),
    /// The attempt failed; the retry policy decides.
    Fail(HandlerError),
    /// It is given back until a time of the store's clock; the same attempt goes on then.
    Delay(TimestampMs),
    /// It is given back until no child of it is open; the same attempt goes on then.
    WaitForChildren,
    /// It is not wanted any more.
    Cancel(String),
    /// It is given back until it is resumed; the same attempt goes on then, and the handler is
    /// called again with the signals ([`Signals`](super::Signals)). Tokens are for waitpoints that
    /// the handler has opened before with [`create_pending_waitpoint`]. Where the signals were
    /// there already, the handler is called again at once.
    ///
    /// [`create_pending_waitpoint`]: crate::ClaimedTask::create_pending_waitpoint
    Suspend(Box<Suspension>),
}

/// Why a handler failed. Any error becomes one of category `handler_error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerError {
    /// By which the retry policy decides.
    pub category: String,
    /// For people.
    pub reason: String,
    /// Whether a retry cannot help.
    pub permanent: bool,
}

impl HandlerError {
    /// A failure that the retry policy decides on.
    pub fn new(category: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { category: category.into(), reason: reason.into(), permanent: false }
    }

    /// The same failure, which no retry can help.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.permanent = true;
        self
    }
}

impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::new("handler_error", error.to_string())
    }
}

/// A result that is written as JSON.
#[derive(Clone, Debug)]
pub struct Json<T>(
    /// The value.
    pub T,
);

/// What a handler may return.
pub trait IntoTaskOutcome {
    /// What becomes of the task.
    fn into_task_outcome(self) -> TaskOutcome;
}

impl IntoTaskOutcome for TaskOutcome {
    fn into_task_outcome(self) -> TaskOutcome {
        self
    }
}

impl IntoTaskOutcome for Suspension {
    fn into_task_outcome(self) -> TaskOutcome {
        TaskOutcome::Suspend(Box::new(self))
    }
}

impl IntoTaskOutcome for () {
    fn into_task_outcome(self) -> TaskOutcome {
        TaskOutcome::Complete(None)
    }
}

impl IntoTaskOutcome for Vec<u8> {
    fn into_task_outcome(self) -> TaskOutcome {
        TaskOutcome::Complete(Some(self))
    }
}

impl IntoTaskOutcome for String {
    fn into_task_outcome(self) -> TaskOutcome {
        TaskOutcome::Complete(Some(self.into_bytes()))
    }
}

impl<T: Serialize> IntoTaskOutcome for Json<T> {
    fn into_task_outcome(self) -> TaskOutcome {
        match serde_json::to_vec(&self.0) {
            Ok(result) => TaskOutcome::Complete(Some(result)),
            Err(error) => {
                let reason = format!("the result is no JSON: {error}");
                TaskOutcome::Fail(HandlerError::new("invalid_result", reason).permanent())
            }
        }
    }
}

impl<T: IntoTaskOutcome, E: Into<HandlerError>> IntoTaskOutcome for Result<T, E> {
    fn into_task_outcome(self) -> TaskOutcome {
        match self {
            Ok(value) => value.into_task_outcome(),
            Err(error) => TaskOutcome::Fail(error.into()),
        }
    }
}
