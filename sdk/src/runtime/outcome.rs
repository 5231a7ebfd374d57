//! The outcomes of handlers.

use ff_core::time::TimestampMs;
use serde::Serialize;

use crate::suspension::Suspension;

use super::failure::{BoxError, HandlerError};

/// The outcome of a handler, which determines how the runtime finishes the task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskOutcome {
    /// Completes the execution, with or without a result; at most 1 MiB.
    Complete(Option<Vec<u8>>),
    /// Fails the attempt; the retry policy decides whether the execution is retried.
    Fail(HandlerError),
    /// Releases the execution until a time of the store's clock. Then the handler is called again
    /// in the same attempt.
    Delay(TimestampMs),
    /// Releases the execution until all its children have ended. Then the handler is called again
    /// in the same attempt.
    WaitForChildren,
    /// Cancels the execution, with a reason.
    Cancel(String),
    /// Suspends the execution. When it is resumed, the handler is called again in the same attempt,
    /// with the signals ([`Signals`](super::Signals)); immediately if the condition is already
    /// satisfied. To pass a waitpoint's token on, open the waitpoint before with
    /// [`create_pending_waitpoint`].
    ///
    /// An invalid suspension fails the execution permanently with category `invalid_suspension`.
    ///
    /// [`create_pending_waitpoint`]: super::TaskContext::create_pending_waitpoint
    Suspend(Box<Suspension>),
}

/// A result that is serialized as JSON. A value that cannot be serialized fails the execution
/// permanently with category `invalid_result`.
#[derive(Clone, Debug)]
pub struct Json<T>(
    /// The value.
    pub T,
);

/// A return type of handlers: `()`, bytes, text, [`Json`], [`Suspension`], [`TaskOutcome`], or a
/// `Result` of one of them and any error.
///
/// The error fails the attempt: with its own category if it is a [`HandlerError`] or has one among
/// its sources, otherwise with category `handler_error`, which the retry policy decides by. Any
/// error that converts to a [`BoxError`] will do: types that implement [`std::error::Error`],
/// `BoxError` itself, text, and the errors of `anyhow` and `eyre`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the outcome of a handler",
    label = "not an outcome of a task",
    note = "wrap a value in `Json`, or in `Ok(Json(..))`, to complete the execution with it",
    note = "the error of a `Result` must convert to `Box<dyn Error + Send + Sync>`"
)]
pub trait IntoTaskOutcome {
    /// Converts the value into the outcome of the task.
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
                let reason = format!("cannot serialize the result as JSON: {error}");
                TaskOutcome::Fail(HandlerError::permanent(reason).with_category("invalid_result"))
            }
        }
    }
}

impl<T: IntoTaskOutcome, E: Into<BoxError>> IntoTaskOutcome for Result<T, E> {
    fn into_task_outcome(self) -> TaskOutcome {
        match self {
            Ok(value) => value.into_task_outcome(),
            Err(error) => TaskOutcome::Fail(HandlerError::from(error.into())),
        }
    }
}
