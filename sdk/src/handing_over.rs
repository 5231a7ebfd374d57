//! Handing slots of quotas over to the executions that wait, beside the calls that freed them.

use std::sync::Arc;

use ff_core::backend::EngineBackend;
use ff_core::entropy::Entropy;
use ff_core::op::{HandOver, OperationContext};
use tokio::sync::Semaphore;

use crate::drive::drive_within;
use crate::host::HostClock;
use crate::metrics::Meter;

/// How many slots a connection offers at a time.
const MAX_AT_ONCE: usize = 16;

/// The hand-overs of a connection that are under way.
pub(crate) struct HandOvers(Arc<Semaphore>);

impl Default for HandOvers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_AT_ONCE)))
    }
}

impl HandOvers {
    /// Begins what calls have left to do, beside the caller. What is not finished when the program
    /// ends is found by others within about a minute.
    pub(crate) fn begin(
        &self,
        backend: &Arc<dyn EngineBackend>,
        clock: &Arc<HostClock>,
        context: &OperationContext,
        meter: &Arc<Meter>,
        mut entropy: impl FnMut() -> Entropy,
    ) {
        while !context.uses().is_empty() {
            // Those under way take the rest.
            let Ok(permit) = self.0.clone().try_acquire_owned() else { return };
            let Some(first) = context.uses().take() else { return };
            let (backend, clock, context) = (backend.clone(), clock.clone(), context.clone());
            let (permits, mut entropy, meter) = (self.0.clone(), entropy(), meter.clone());
            tokio::spawn(async move {
                let (mut permit, mut next) = (permit, Some(first));
                loop {
                    while let Some(task) = next {
                        let operation = HandOver::new(task, &context, entropy.fork());
                        let store = Some(&meter.store);
                        let done = drive_within(&*backend, &clock, operation, None, store).await;
                        meter.handed_over(done.is_ok());
                        if let Err(error) = done {
                            tracing::debug!(%error, "cannot hand over a slot of a quota");
                        }
                        next = context.uses().take();
                    }
                    drop(permit);
                    // A call that has added one since may have found all permits taken.
                    if context.uses().is_empty() {
                        return;
                    }
                    let Ok(again) = permits.clone().try_acquire_owned() else { return };
                    (permit, next) = (again, context.uses().take());
                }
            });
        }
    }

    /// Waits until all that were begun have ended.
    pub(crate) async fn ended(&self) {
        // The semaphore is never closed.
        let all = self.0.acquire_many(MAX_AT_ONCE as u32).await;
        drop(all);
    }
}
