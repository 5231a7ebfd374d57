//! The outcomes of handlers.

use ff_core::time::TimestampMs;
use serde::Serialize;

use crate::suspension::Suspension;

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

/// The failure of a handler. Any other error converts to one of category `handler_error`.
///
/// ```
/// use ff_sdk::{HandlerError, Payload};
///
/// async fn parse(Payload(text): Payload<String>) -> Result<String, HandlerError> {
///     let number: u64 = text.parse()?; // Category `handler_error`; the retry policy decides.
///     if number == 0 {
///         return Err(HandlerError::new("bad_input", "zero is not allowed").permanent());
///     }
///     Ok(number.to_string())
/// }
/// # let _ = |runtime: ff_sdk::WorkerRuntime| runtime.handle("parse", parse);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerError {
    /// The category, by which the retry policy decides: 1 to 64 printable ASCII bytes without
    /// space.
    pub category: String,
    /// The reason, for people.
    pub reason: String,
    /// Whether the execution fails without a retry.
    pub permanent: bool,
}

impl HandlerError {
    /// Creates a failure; the retry policy decides whether the execution is retried.
    pub fn new(category: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { category: category.into(), reason: reason.into(), permanent: false }
    }

    /// Makes the failure permanent: the execution is not retried.
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

/// A result that is serialized as JSON. A value that cannot be serialized fails the execution
/// permanently with category `invalid_result`.
#[derive(Clone, Debug)]
pub struct Json<T>(
    /// The value.
    pub T,
);

/// A return type of handlers: `()`, bytes, text, [`Json`], [`Suspension`], [`TaskOutcome`], or a
/// `Result` of one of them.
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
