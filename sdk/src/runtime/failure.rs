//! The failures of handlers: any error, with a category and a decision about retries.

use std::error::Error;
use std::fmt;

use ff_core::bounded::truncated;
use ff_core::execution::WorkFailure;

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
/// `serde_json`. A handler that uses `?` on other errors returns `Result<_, BoxError>` or an error of
/// `anyhow` or `eyre`.
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
/// # fn reserve() -> Result<(), ShopError> { Err(if true { ShopError::Busy } else { ShopError::SoldOut }) }
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
    permanent: bool,
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
        failure.class.permanent = true;
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
        self.class.permanent
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
        let retried = if self.permanent { "permanent" } else { "retried by policy" };
        write!(f, "failure category {}, {retried}", self.category)
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
        let default = || FailureClass { category: DEFAULT_CATEGORY.to_owned(), permanent: false };
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
