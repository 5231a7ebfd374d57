//! Handlers: `async` functions of up to four arguments that can be extracted from a task.

use ff_core::backend::BoxFuture;

use super::extract::{FromTask, TaskContext};
use super::outcome::{IntoTaskOutcome, TaskOutcome};

/// An `async` function that runs tasks of one kind. It is implemented for functions and closures
/// with up to four arguments that implement [`FromTask`], and with a return type that implements
/// [`IntoTaskOutcome`]. Register one with [`WorkerRuntime::handle`](crate::WorkerRuntime::handle).
pub trait Handler<Args>: Send + Sync + 'static {
    /// Runs a task.
    fn call(&self, context: TaskContext) -> BoxFuture<'static, TaskOutcome>;
}

macro_rules! handler {
    ($($argument:ident),*) => {
        #[allow(non_snake_case, unused_variables)] // Type names serve as variables.
        impl<F, Fut, $($argument),*> Handler<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Fut + Send + Sync + 'static,
            Fut: Future + Send + 'static,
            Fut::Output: IntoTaskOutcome,
            $($argument: FromTask + Send + 'static,)*
        {
            fn call(&self, context: TaskContext) -> BoxFuture<'static, TaskOutcome> {
                $(let $argument = match $argument::from_task(&context) {
                    Ok(argument) => argument,
                    Err(error) => {
                        return Box::pin(std::future::ready(TaskOutcome::Fail(error)));
                    }
                };)*
                let work = self($($argument),*);
                Box::pin(async move { work.await.into_task_outcome() })
            }
        }
    };
}

handler!();
handler!(A1);
handler!(A1, A2);
handler!(A1, A2, A3);
handler!(A1, A2, A3, A4);

/// A handler of any argument types.
pub(super) type AnyHandler =
    Box<dyn Fn(TaskContext) -> BoxFuture<'static, TaskOutcome> + Send + Sync>;

pub(super) fn any<Args>(handler: impl Handler<Args>) -> AnyHandler {
    Box::new(move |context| handler.call(context))
}
