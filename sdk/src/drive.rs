//! The loop between an operation and a backend.

use ff_core::backend::EngineBackend;
use ff_core::op::{Operation, Step};

use crate::host::HostClock;

/// Carries an operation to its end: sends what it wants sent, waits when it wants to wait.
///
/// Dropping the future gives the operation up; what it has sent may be applied.
pub async fn drive<O: Operation>(
    backend: &dyn EngineBackend,
    clock: &HostClock,
    mut operation: O,
) -> O::Output {
    let mut step = operation.start(clock.now());
    loop {
        step = match step {
            Step::Done(output) => return output,
            Step::Wait(wait) => {
                tokio::time::sleep(wait.into()).await;
                operation.on_wake(clock.now())
            }
            Step::Send(request) => match backend.call(request).await {
                Ok(reply) => {
                    clock.observe(reply.at);
                    operation.on_reply(reply, clock.now())
                }
                Err(failure) => {
                    tracing::debug!(backend = backend.name(), %failure, "call failed");
                    operation.on_failure(&failure, clock.now())
                }
            },
        };
    }
}
