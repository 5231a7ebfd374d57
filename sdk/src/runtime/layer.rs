//! Middleware: tower layers around the handlers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use ff_core::backend::BoxFuture;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt};

use super::extract::TaskContext;
use super::failure::{BoxError, HandlerError};
use super::handler::Registered;
use super::outcome::TaskOutcome;

/// The handlers as a [`Service`] of tower, which a layer wraps
/// ([`WorkerRuntime::layer`](crate::WorkerRuntime::layer)). A call runs the handler of the task's
/// kind. The failure of a handler is an error, a [`HandlerError`].
#[derive(Clone)]
pub struct HandlerService(BoxCloneSyncService<TaskContext, TaskOutcome, BoxError>);

impl Service<TaskContext> for HandlerService {
    type Response = TaskOutcome;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<TaskOutcome, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, task: TaskContext) -> Self::Future {
        self.0.call(task)
    }
}

impl std::fmt::Debug for HandlerService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandlerService").finish_non_exhaustive()
    }
}

impl HandlerService {
    /// The service without layers.
    fn innermost(handlers: Arc<BTreeMap<String, Registered>>) -> Self {
        Self(BoxCloneSyncService::new(tower::service_fn(move |task: TaskContext| {
            let handlers = handlers.clone();
            async move {
                let Some(registered) = handlers.get(task.execution_kind().as_str()) else {
                    // The runtime claims no such execution.
                    return Err("the kind has no handler".into());
                };
                match registered.handler.call(&task).await {
                    TaskOutcome::Fail(error) => Err(error.into()),
                    outcome => Ok(outcome),
                }
            }
        })))
    }

    /// Runs the handler of a task through all layers.
    pub(super) async fn run(self, task: TaskContext) -> TaskOutcome {
        match self.oneshot(task).await {
            Ok(outcome) => outcome,
            Err(error) => TaskOutcome::Fail(HandlerError::from(error)),
        }
    }
}

/// The layers of a runtime, from the inside to the outside.
#[derive(Default)]
pub(super) struct Layers(Vec<Box<dyn FnOnce(HandlerService) -> HandlerService + Send + Sync>>);

impl Layers {
    pub(super) fn push<L>(&mut self, layer: L)
    where
        L: Layer<HandlerService> + Send + Sync + 'static,
        L::Service: Service<TaskContext, Response = TaskOutcome> + Clone + Send + Sync + 'static,
        <L::Service as Service<TaskContext>>::Error: Into<BoxError>,
        <L::Service as Service<TaskContext>>::Future: Send + 'static,
    {
        self.0.push(Box::new(move |inner| {
            let wrapped = ServiceExt::map_err(layer.layer(inner), Into::<BoxError>::into);
            HandlerService(BoxCloneSyncService::new(wrapped))
        }));
    }

    /// The handlers with the layers around them; `None` without layers.
    pub(super) fn around(
        self,
        handlers: &Arc<BTreeMap<String, Registered>>,
    ) -> Option<HandlerService> {
        if self.0.is_empty() {
            return None;
        }
        let innermost = HandlerService::innermost(handlers.clone());
        Some(self.0.into_iter().fold(innermost, |inner, layer| layer(inner)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use ff_core::policy::RetryPolicy;
    use tower::limit::ConcurrencyLimitLayer;
    use tower::timeout::TimeoutLayer;

    use super::*;
    use crate::{FlowFabric, Submission, WorkerRuntime};

    async fn runtime() -> (FlowFabric, WorkerRuntime) {
        let ff = FlowFabric::connect("memory:").await.unwrap();
        let runtime = ff.worker("w").max_concurrent_tasks(8).runtime().await.unwrap();
        (ff, runtime)
    }

    /// The category and the reason of the failure of one execution, or `None` if it completes.
    async fn failure(ff: &FlowFabric, kind: &str) -> Option<(String, String)> {
        let submission = Submission::new(kind).retry(RetryPolicy::never());
        let id = ff.client().submit(submission).await.unwrap().id();
        let error = ff.client().result(&id).await.unwrap().into_result().err()?;
        let failure = error.failure().unwrap();
        Some((failure.category.to_string(), failure.reason.clone()))
    }

    /// A layer that notes each call and its end.
    #[derive(Clone)]
    struct Noting(&'static str, Arc<Mutex<Vec<String>>>);

    impl<S> Layer<S> for Noting {
        type Service = Noted<S>;

        fn layer(&self, inner: S) -> Noted<S> {
            Noted(self.clone(), inner)
        }
    }

    #[derive(Clone)]
    struct Noted<S>(Noting, S);

    impl<S> Service<TaskContext> for Noted<S>
    where
        S: Service<TaskContext, Response = TaskOutcome, Error = BoxError>,
        S::Future: Send + 'static,
    {
        type Response = TaskOutcome;
        type Error = BoxError;
        type Future = BoxFuture<'static, Result<TaskOutcome, BoxError>>;

        fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            self.1.poll_ready(context)
        }

        fn call(&mut self, task: TaskContext) -> Self::Future {
            let Noting(name, notes) = self.0.clone();
            let kind = task.execution_kind().clone();
            notes.lock().unwrap().push(format!("{name} {kind}"));
            let call = self.1.call(task);
            Box::pin(async move {
                let ended = call.await;
                let end = if ended.is_ok() { "completed" } else { "failed" };
                notes.lock().unwrap().push(format!("{name} {end}"));
                ended
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn layers_see_each_call_and_its_failure_and_the_last_one_is_outside() {
        let (ff, runtime) = runtime().await;
        let notes = Arc::new(Mutex::new(Vec::new()));
        let declined = || async { Err::<(), _>(HandlerError::new("declined", "no money")) };
        let runtime = runtime
            .layer(Noting("inner", notes.clone()))
            .layer(Noting("outer", notes.clone()))
            .handle("greet", || async {})
            .handle("pay", declined)
            .handle("panic", |task: TaskContext| async move {
                assert_ne!(task.execution_kind().as_str(), "panic")
            });
        let work = async {
            assert_eq!(failure(&ff, "greet").await, None);
            let noted = std::mem::take(&mut *notes.lock().unwrap());
            assert_eq!(noted, ["outer greet", "inner greet", "inner completed", "outer completed"]);
            let expected = Some(("declined".to_owned(), "no money".to_owned()));
            assert_eq!(failure(&ff, "pay").await, expected);
            let noted = std::mem::take(&mut *notes.lock().unwrap());
            assert_eq!(noted, ["outer pay", "inner pay", "inner failed", "outer failed"]);
            assert_eq!(failure(&ff, "panic").await.unwrap().0, "handler_panic");
        };
        runtime.run_until(work).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_of_tower_fails_the_attempt() {
        let (ff, runtime) = runtime().await;
        let runtime = runtime
            .handle("sleep", || tokio::time::sleep(Duration::from_secs(3_600)))
            .layer(TimeoutLayer::new(Duration::from_secs(5)));
        let failed = runtime.run_until(failure(&ff, "sleep")).await.unwrap().unwrap();
        assert_eq!(failed, ("handler_error".to_owned(), "request timed out".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_concurrency_limit_of_tower_holds() {
        let (ff, runtime) = runtime().await;
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let handler = {
            let (running, most) = (running.clone(), most.clone());
            move || {
                let (running, most) = (running.clone(), most.clone());
                async move {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    running.fetch_sub(1, Ordering::SeqCst);
                }
            }
        };
        let runtime = runtime.handle("work", handler).layer(ConcurrencyLimitLayer::new(3));
        let work = async {
            let all: Vec<_> = (0..20).map(|_| Submission::new("work")).collect();
            for created in ff.client().submit_many(all).await {
                assert!(ff.client().result(&created.unwrap().id()).await.unwrap().is_success());
            }
        };
        runtime.run_until(work).await.unwrap();
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }
}
