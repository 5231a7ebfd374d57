//! Handlers: `async` functions of up to four arguments that can be extracted from a task.

use std::marker::PhantomData;
use std::time::Duration;

use ff_core::backend::BoxFuture;

use super::extract::{FromTask, SharedState, TaskContext};
use super::failure::HandlerError;
use super::outcome::{IntoTaskOutcome, TaskOutcome};

/// An `async` function of up to four arguments. Functions and closures implement it;
/// [`WorkerRuntime::handle`](crate::WorkerRuntime::handle) registers one whose arguments implement
/// [`FromTask`], and whose future is [`Send`] and returns a type that implements
/// [`IntoTaskOutcome`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "expected an `async fn`, or a closure that returns a future",
    note = "a handler has at most four arguments, captures only values that are \
            `Send + Sync + 'static`, and can be called many times: it must not move a captured \
            value into its future, but a clone of it"
)]
pub trait Handler<Args>: Send + Sync + 'static {
    /// The future that it returns.
    type Future;

    /// Calls the function.
    fn call(&self, arguments: Args) -> Self::Future;
}

macro_rules! handler {
    ($($argument:ident),*) => {
        #[allow(non_snake_case)] // Type names serve as variables.
        impl<F, Fut, $($argument),*> Handler<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Fut + Send + Sync + 'static,
        {
            type Future = Fut;

            fn call(&self, arguments: ($($argument,)*)) -> Fut {
                let ($($argument,)*) = arguments;
                self($($argument),*)
            }
        }

        impl<$($argument: FromTask),*> FromTask for ($($argument,)*) {
            #[allow(unused_variables)] // Without arguments.
            fn from_task(context: &TaskContext) -> Result<Self, HandlerError> {
                Ok(($($argument::from_task(context)?,)*))
            }

            #[allow(unused_variables)] // Without arguments.
            fn missing_state(shared: &SharedState) -> Option<&'static str> {
                None$(.or_else(|| $argument::missing_state(shared)))*
            }
        }
    };
}

handler!();
handler!(A1);
handler!(A1, A2);
handler!(A1, A2, A3);
handler!(A1, A2, A3, A4);

/// The options of a handler, for [`WorkerRuntime::handle_with`](crate::WorkerRuntime::handle_with).
///
/// ```
/// use std::time::Duration;
/// use ff_sdk::HandlerOptions;
///
/// let options = HandlerOptions::default().timeout(Duration::from_secs(30));
/// # let _ = |runtime: ff_sdk::WorkerRuntime| runtime.handle_with("mail", || async {}, options);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandlerOptions {
    pub(super) timeout: Option<Duration>,
    pub(super) concurrency: Option<usize>,
}

impl HandlerOptions {
    /// Limits the time of each call of the handler. When it is over, the handler's future is
    /// dropped and the attempt fails with category `handler_timeout`; the retry policy decides
    /// whether it is retried. A handler that blocks its thread cannot be interrupted. Default: no
    /// limit.
    ///
    /// This is a setting of the worker. The engine itself applies the timeout of a submission
    /// ([`attempt_timeout`](crate::Submission::attempt_timeout)).
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Limits how many tasks of the kind this runtime runs at the same time, at least 1. It claims
    /// no more of them, so that the others stay available to other workers and take no slot.
    /// Default: the slots of the worker.
    ///
    /// The runtime claims the kind separately: priorities and ages are compared among its tasks,
    /// and those of the kinds without a limit among themselves. An idle kind with a limit costs the
    /// store as many calls as an idle worker.
    #[must_use]
    pub const fn concurrency(mut self, limit: usize) -> Self {
        self.concurrency = Some(if limit == 0 { 1 } else { limit });
        self
    }
}

/// A handler of any argument types.
pub(crate) trait AnyHandler: Send + Sync {
    fn call(&self, context: &TaskContext) -> BoxFuture<'static, TaskOutcome>;

    fn missing_state(&self, shared: &SharedState) -> Option<&'static str>;
}

struct Typed<H, Args>(H, PhantomData<fn(Args)>);

impl<H, Args> AnyHandler for Typed<H, Args>
where
    Args: FromTask,
    H: Handler<Args, Future: Future<Output: IntoTaskOutcome> + Send + 'static>,
{
    fn call(&self, context: &TaskContext) -> BoxFuture<'static, TaskOutcome> {
        match Args::from_task(context) {
            Ok(arguments) => {
                let work = self.0.call(arguments);
                Box::pin(async move { work.await.into_task_outcome() })
            }
            Err(error) => Box::pin(std::future::ready(TaskOutcome::Fail(error))),
        }
    }

    fn missing_state(&self, shared: &SharedState) -> Option<&'static str> {
        Args::missing_state(shared)
    }
}

/// A handler with its options.
pub(super) struct Registered {
    pub(super) handler: Box<dyn AnyHandler>,
    pub(super) options: HandlerOptions,
}

impl Registered {
    pub(super) fn new<H, Args>(handler: H, options: HandlerOptions) -> Self
    where
        Args: FromTask + 'static,
        H: Handler<Args, Future: Future<Output: IntoTaskOutcome> + Send + 'static>,
    {
        Self { handler: Box::new(Typed(handler, PhantomData)), options }
    }
}
