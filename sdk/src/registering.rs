//! The registration of a worker: heartbeats within its upkeep, and the end of it
//! (`docs/spec.md`, 7).

use std::sync::Arc;

use ff_core::agent::Standing;
use ff_core::error::{EngineError, Rejection};
use ff_core::op::ResourceChanged;
use ff_core::registry::Worker;
use ff_core::time::{HostTime, TimestampMs};

use crate::error::SdkError;
use crate::shared::lock;
use crate::upkeep::WorkerState;

impl WorkerState {
    /// Registers the worker for the first time.
    ///
    /// # Errors
    ///
    /// `WorkerInstanceInUse`; that the store does not answer.
    pub(crate) async fn register(&self) -> Result<(), EngineError> {
        let now = self.connection.clock.now();
        let call = lock(&self.registration).due(0, now);
        let Some(call) = call else { return Ok(()) };
        let result = self.connection.drive(call).await;
        let failed = result.as_ref().err().cloned();
        lock(&self.registration).answered(result, self.connection.clock.now());
        self.hurry();
        failed.map_or(Ok(()), Err)
    }

    /// Begins the call that is due. Returns when to look again.
    pub(crate) fn keep_registered(self: &Arc<Self>, now: HostTime) -> Option<TimestampMs> {
        let active = lock(&self.agent).leases.len();
        let mut registration = lock(&self.registration);
        if let Some(call) = registration.due(active, now) {
            let state = self.clone();
            tokio::spawn(async move {
                let result = state.connection.drive(call).await;
                state.registered(result);
                state.hurry();
            });
        }
        registration.next_wakeup()
    }

    /// Notes the result of a call, and reports what changed.
    fn registered(&self, result: Result<ResourceChanged<Worker, ()>, EngineError>) {
        let failed = result.as_ref().err().cloned();
        let now = self.connection.clock.now();
        let (before, after, instance) = {
            let mut registration = lock(&self.registration);
            let before = registration.standing();
            registration.answered(result, now);
            (before, registration.standing(), registration.info().instance.clone())
        };
        match failed {
            Some(error) if after == Standing::Superseded && before != after => {
                tracing::error!(%instance, %error, "this worker claims no more executions");
            }
            Some(error) if after != Standing::Ended => {
                tracing::warn!(%instance, %error, "a heartbeat of this worker failed");
            }
            None if after == Standing::Draining && before == Standing::Live => {
                tracing::warn!(%instance, "an operator drains this worker: it claims nothing more");
            }
            _ => {}
        }
    }

    /// Returns whether the worker may claim now.
    pub(crate) fn may_claim(&self) -> bool {
        lock(&self.registration).may_claim()
    }

    /// Returns whether the worker may claim now. `false`: it drains, is about to register anew, or
    /// has ended.
    ///
    /// # Errors
    ///
    /// `WorkerSuperseded`.
    pub(crate) fn check_claim(&self) -> Result<bool, SdkError> {
        let registration = lock(&self.registration);
        if registration.standing() == Standing::Superseded {
            let instance = registration.info().instance.clone();
            return Err(EngineError::from(Rejection::WorkerSuperseded { instance }).into());
        }
        Ok(registration.may_claim())
    }

    /// Whether no other worker of this process has its instance id.
    fn is_alone(&self) -> bool {
        Arc::strong_count(&self.instance) == 1
    }

    /// Says with a heartbeat that the worker claims nothing more.
    pub(crate) fn drain(&self) {
        if self.is_alone() {
            lock(&self.registration).drain();
            self.hurry();
        }
    }

    /// Gives up the instance id.
    ///
    /// # Errors
    ///
    /// That the store does not answer. Then the registration expires.
    pub(crate) async fn deregister(&self) -> Result<(), EngineError> {
        let end = lock(&self.registration).deregister().filter(|_| self.is_alone());
        match end {
            Some(end) => self.connection.drive(end).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// Gives up the instance id in a task, unless that was done or there is no runtime any more.
    pub(crate) fn deregister_later(&self) {
        let end = lock(&self.registration).deregister().filter(|_| self.is_alone());
        let (Some(end), Ok(runtime)) = (end, tokio::runtime::Handle::try_current()) else { return };
        let connection = self.connection.clone();
        runtime.spawn(async move {
            if let Err(error) = connection.drive(end).await {
                tracing::debug!(%error, "the registration of a worker expires");
            }
        });
    }
}
