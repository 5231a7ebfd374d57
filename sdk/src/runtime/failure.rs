//! The failures of handlers: any error, with a category and a decision about retries.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use ff_core::bounded::truncated;
use ff_core::execution::{RetryAdvice, WorkFailure};
use ff_core::time::DurationMs;

use crate::task::DEFAULT_CATEGORY;

/// Any error that a handler can return.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The number of sources of an error that are looked at: an error may be its own source.
const MAX_SOURCES: usize = 64;

/// The failure of an attempt, with the category by which the retry policy decides. A handler can
/// return any error; it creates this one to choose the category, or to prevent a retry.
///
/// It is also found among the sources of another error, so it can be wrapped, for example with
/// `context` of `anyhow` or in a variant of your own error type. The outermost one counts.
///
/// `?` converts an [`SdkError`](crate::SdkError), a [`BoxError`], and the errors of I/O and of
/// `serde_json`. A handler that uses `?` on other errors returns `Result<_, BoxError>` or an error
/// of `anyhow` or `eyre`.
///
/// ```
/// use ff_sdk::{BoxError, HandlerError, Payload};
///
/// async fn invert(Payload(text): Payload<String>) -> Result<String, BoxError> {
///     let number: f64 = text.parse()?; // Category `handler_error`; the retry policy decides.
///     if number == 0.0 {
///         let zero = HandlerError::permanent("zero cannot be inverted");
///         return Err(zero.with_category("bad_input").into());
///     }
///     Ok((1.0 / number).to_string())
/// }
/// # let _ = |runtime: ff_sdk::WorkerRuntime| runtime.handle("invert", invert);
/// ```
///
/// Your own error type chooses its category with a conversion:
///
/// ```
/// use ff_sdk::HandlerError;
///
/// #[derive(Clone, Copy)]
/// enum ShopError {
///     SoldOut,
///     Busy,
/// }
///
/// impl From<ShopError> for HandlerError {
///     fn from(error: ShopError) -> Self {
///         match error {
///             ShopError::SoldOut => Self::permanent("sold out").with_category("sold_out"),
///             ShopError::Busy => Self::new("busy", "the shop is busy"),
///         }
///     }
/// }
///
/// async fn order() -> Result<(), HandlerError> {
///     reserve()?;
///     Ok(())
/// }
/// # fn reserve() -> Result<(), ShopError> {
/// #     [Err(ShopError::Busy), Err(ShopError::SoldOut)][0]
/// # }
/// # let _ = |runtime: ff_sdk::WorkerRuntime| runtime.handle("order", order);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerError {
    reason: String,
    class: FailureClass,
}

/// The class of a failure. It is the source of its [`HandlerError`], so that it is also found where
/// another error hides the type of the error that it wraps, as those of `anyhow` do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FailureClass {
    category: String,
    retry: RetryAdvice,
}

impl HandlerError {
    /// Creates a failure with a category: 1 to 64 printable ASCII bytes without space. The retry
    /// policy decides by the category whether the execution is retried.
    ///
    /// `error` is a text or any error; the reason of the failure has its message and those of all
    /// its sources, at most 4,096 bytes in all.
    pub fn new(category: impl Into<String>, error: impl Into<BoxError>) -> Self {
        Self::from(error.into()).with_category(category)
    }

    /// Creates a permanent failure: the execution is not retried, whatever its policy. The category
    /// is the one of a `HandlerError` in the error, otherwise `handler_error`.
    ///
    /// ```
    /// use ff_sdk::HandlerError;
    ///
    /// let error = "seven".parse::<u8>().map_err(HandlerError::permanent).unwrap_err();
    /// assert!(error.is_permanent());
    /// assert_eq!(error.category(), "handler_error");
    /// assert_eq!(error.reason(), "invalid digit found in string");
    /// ```
    pub fn permanent(error: impl Into<BoxError>) -> Self {
        let mut failure = Self::from(error.into());
        failure.class.retry = RetryAdvice::Never;
        failure
    }

    /// Creates a failure that says when a retry can help, such as that of a service with a limit
    /// of calls: if the retry policy allows a retry, it starts after this time, which is rounded
    /// to milliseconds, instead of after the policy's backoff. The category is the one of a
    /// `HandlerError` in the error, otherwise `handler_error`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ff_sdk::HandlerError;
    ///
    /// let busy = HandlerError::retry_after(Duration::from_secs(30), "429 Too Many Requests");
    /// assert_eq!(busy.retry_delay(), Some(Duration::from_secs(30)));
    /// ```
    pub fn retry_after(after: Duration, error: impl Into<BoxError>) -> Self {
        let mut failure = Self::from(error.into());
        failure.class.retry = RetryAdvice::After(DurationMs::from(after));
        failure
    }

    /// Replaces the category.
    #[must_use]
    pub fn with_category(mut self, category: impl Into<String>) -> Self {
        self.class.category = category.into();
        self
    }

    /// The category, by which the retry policy decides.
    pub fn category(&self) -> &str {
        &self.class.category
    }

    /// The reason, for people.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether the execution fails without a retry.
    pub const fn is_permanent(&self) -> bool {
        matches!(self.class.retry, RetryAdvice::Never)
    }

    /// The time after which a retry can help, if the failure says it.
    pub const fn retry_delay(&self) -> Option<Duration> {
        match self.class.retry {
            RetryAdvice::After(after) => Some(Duration::from_millis(after.get())),
            RetryAdvice::ByPolicy | RetryAdvice::Never => None,
        }
    }

    /// The advice about a retry.
    pub(crate) const fn retry(&self) -> RetryAdvice {
        self.class.retry
    }
}

impl fmt::Display for HandlerError {
    /// Shows the reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Error for HandlerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.class)
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failure category {}, ", self.category)?;
        match self.retry {
            RetryAdvice::ByPolicy => f.write_str("retried by policy"),
            RetryAdvice::After(after) => write!(f, "retried by policy after {after}"),
            RetryAdvice::Never => f.write_str("permanent"),
        }
    }
}

impl Error for FailureClass {}

impl From<BoxError> for HandlerError {
    /// Joins the messages of the error and of its sources. A source whose message already ends the
    /// text is not repeated.
    fn from(error: BoxError) -> Self {
        let (mut reason, mut class) = (String::new(), None);
        let first: &(dyn Error + 'static) = &*error;
        let sources = std::iter::successors(Some(first), |error: &&_| Error::source(*error));
        for error in sources.take(MAX_SOURCES) {
            if let Some(found) = error.downcast_ref::<FailureClass>() {
                class.get_or_insert_with(|| found.clone());
                continue;
            }
            let message = error.to_string();
            if reason.is_empty() {
                reason = message;
            } else if !reason.ends_with(&message) {
                reason = format!("{reason}: {message}");
            }
        }
        reason.truncate(truncated(&reason, WorkFailure::REASON_MAX_BYTES).len());
        let default =
            || FailureClass { category: DEFAULT_CATEGORY.to_owned(), retry: RetryAdvice::ByPolicy };
        Self { reason, class: class.unwrap_or_else(default) }
    }
}

impl From<crate::SdkError> for HandlerError {
    fn from(error: crate::SdkError) -> Self {
        Self::from(BoxError::from(error))
    }
}

impl From<std::io::Error> for HandlerError {
    fn from(error: std::io::Error) -> Self {
        Self::from(BoxError::from(error))
    }
}

impl From<serde_json::Error> for HandlerError {
    fn from(error: serde_json::Error) -> Self {
        Self::from(BoxError::from(error))
    }
}
