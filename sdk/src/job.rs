//! Jobs as types: the kind, the options and the result of an execution in one place.

use std::marker::PhantomData;

use ff_core::backend::BoxFuture;
use ff_core::id::ExecutionId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::error::SdkError;
use crate::runtime::{
    AnyHandler, BoxError, FromTask, Handler, HandlerOptions, IntoTaskOutcome, Json, SharedState,
    TaskContext, TaskOutcome, WorkerRuntime,
};
use crate::submission::{IntoSubmission, Submission};

/// A job as a type. `#[derive(Job)]` implements it, with options in `#[job(..)]`
/// ([`derive@Job`](derive@crate::Job)).
///
/// ```
/// use ff_sdk::{BoxError, FlowFabric, Job};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Job)]
/// #[job(kind = "email", timeout = "30s", retries = 5, lane = "mail", output = usize)]
/// struct Email {
///     to: String,
/// }
///
/// async fn send(email: Email) -> Result<usize, BoxError> {
///     Ok(email.to.len())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let ff = FlowFabric::connect("memory:").await?;
/// let id = ff.client().submit(Email { to: "ada@example.org".to_owned() }).await?.id();
///
/// let runtime = ff.worker("mailer").lanes(["mail"]).runtime().await?.job(send);
/// let sent = runtime.run_until(ff.client().output::<Email>(&id)).await??;
/// assert_eq!(sent, 15);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a job",
    note = "derive it: `#[derive(Serialize, Deserialize, Job)]`",
    note = "the first argument of the handler of a job is the job"
)]
pub trait Job: FromTask + Serialize + DeserializeOwned + Send + 'static {
    /// The kind of its executions, which selects the handler.
    const KIND: &'static str;

    /// The type of the result, which is stored as JSON.
    type Output: Serialize + DeserializeOwned;

    /// Returns a submission with its options, without a payload. Default: its kind alone.
    fn options() -> Submission {
        Submission::new(Self::KIND)
    }

    /// Returns the submission of this job, to set more options.
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] when the job cannot be serialized as JSON.
    fn submission(&self) -> Result<Submission, SdkError> {
        Self::options().json(self)
    }
}

impl<J: Job> IntoSubmission for J {
    fn into_submission(self) -> Result<Submission, SdkError> {
        self.submission()
    }
}

/// The arguments of the handler of a job: the job, then any others that implement [`FromTask`].
#[diagnostic::on_unimplemented(
    message = "the first argument of this handler is not a job",
    note = "the first argument of the handler of a job is a type that derives `Job`"
)]
pub trait JobArguments: FromTask + 'static {
    /// The job.
    type Job: Job;
}

macro_rules! job_arguments {
    ($($argument:ident),*) => {
        impl<J: Job, $($argument: FromTask + 'static),*> JobArguments for (J, $($argument,)*) {
            type Job = J;
        }
    };
}

job_arguments!();
job_arguments!(A2);
job_arguments!(A2, A3);
job_arguments!(A2, A3, A4);

impl Client {
    /// Waits for the end of an execution of this job and returns its result.
    ///
    /// # Errors
    ///
    /// - [`SdkError::ExecutionFailed`] when the execution failed, was cancelled or expired.
    /// - [`SdkError::Decode`] when its result is not of this type.
    /// - Otherwise as for [`Client::result`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn output<J: Job>(&self, id: &ExecutionId) -> Result<J::Output, SdkError> {
        self.result(id).await?.json()
    }
}

impl WorkerRuntime {
    /// Registers the handler of a job: an `async` function whose first argument is the job, and
    /// that returns the job's output or an error ([`IntoTaskOutcome`] lists which). It replaces an
    /// earlier handler of the same kind.
    ///
    /// A handler that suspends its execution returns a [`TaskOutcome`] instead: register it with
    /// [`handle`](Self::handle) and `J::KIND`.
    #[must_use]
    pub fn job<Args: JobArguments>(self, handler: impl JobHandler<Args>) -> Self {
        self.job_with(handler, HandlerOptions::default())
    }

    /// Registers the handler of a job with options, such as a timeout.
    #[must_use]
    pub fn job_with<Args: JobArguments>(
        self,
        handler: impl JobHandler<Args>,
        options: HandlerOptions,
    ) -> Self {
        let handler = Typed { handler, arguments: PhantomData::<fn(Args)> };
        self.register(&<Args::Job as Job>::options(), Box::new(handler), options)
    }
}

/// The handler of a job. Every [`Handler`] implements it whose first argument is the job, and whose
/// future is [`Send`] and returns the job's output or an error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the handler of a job",
    label = "expected an `async fn` that returns `Result<Output, E>`",
    note = "the first argument is a type that derives `Job`; `Output` is the type in \
            `#[job(output = ..)]`, by default `()`",
    note = "the error converts to `Box<dyn Error + Send + Sync>`"
)]
pub trait JobHandler<Args: JobArguments>: Handler<Args> {
    /// Runs the handler.
    fn run(&self, arguments: Args) -> BoxFuture<'static, TaskOutcome>;
}

impl<H, Args, E> JobHandler<Args> for H
where
    Args: JobArguments,
    E: Into<BoxError> + 'static,
    H: Handler<
            Args,
            Future: Future<Output = Result<<Args::Job as Job>::Output, E>> + Send + 'static,
        >,
{
    fn run(&self, arguments: Args) -> BoxFuture<'static, TaskOutcome> {
        let work = self.call(arguments);
        Box::pin(async move { work.await.map(Json).into_task_outcome() })
    }
}

struct Typed<H, Args> {
    handler: H,
    arguments: PhantomData<fn(Args)>,
}

impl<Args: JobArguments, H: JobHandler<Args>> AnyHandler for Typed<H, Args> {
    fn call(&self, context: &TaskContext) -> BoxFuture<'static, TaskOutcome> {
        match Args::from_task(context) {
            Ok(arguments) => self.handler.run(arguments),
            Err(error) => Box::pin(std::future::ready(TaskOutcome::Fail(error))),
        }
    }

    fn missing_state(&self, shared: &SharedState) -> Option<&'static str> {
        Args::missing_state(shared)
    }
}
