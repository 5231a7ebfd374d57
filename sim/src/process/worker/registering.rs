//! The registration of a worker's process, and its shutdown.

use ff_core::agent::Standing;
use ff_core::error::{EngineError, Rejection};
use ff_core::op::ResourceChanged;
use ff_core::registry::Worker;
use ff_core::time::TimestampMs;

use crate::model::registry::RegistryCall;
use crate::process::context::{About, Context};
use crate::process::task::Output;

use super::WorkerProcess;

impl WorkerProcess {
    /// Whether it may claim.
    pub(super) fn may_claim(&self) -> bool {
        self.registration.as_ref().is_none_or(|registration| registration.may_claim())
    }

    /// Makes the call that is due, and shuts down when it is time to.
    pub(super) fn keep_registered(&mut self, cx: &mut Context<'_>) {
        let Some(registration) = &mut self.registration else { return };
        let lives = self.lives.take();
        self.ends_at = self.ends_at.or(lives.map(|lives| cx.now.local.plus(lives)));
        if cx.healing {
            self.ends_at = None;
        }
        if self.ends_at.take_if(|at| *at <= cx.now.local).is_some() {
            registration.drain();
        }
        if let Some(call) = registration.due(self.jobs.len(), cx.now) {
            cx.begin(About::Registry(RegistryCall::from(&call)), call, Output::Registered);
        }
        if !self.jobs.is_empty() || self.claiming {
            return;
        }
        // A supervisor starts the process again.
        match registration.standing() {
            Standing::Superseded => cx.exit(),
            Standing::Draining => {
                let call = RegistryCall::Deregister(registration.nonce());
                if let Some(end) = registration.deregister() {
                    cx.begin(About::Registry(call), end, Output::Deregistered);
                }
            }
            Standing::Unregistered | Standing::Live | Standing::Ended => {}
        }
    }

    /// When the next call of its registration or its shutdown is due.
    pub(super) fn next_registering(&self) -> Option<TimestampMs> {
        let registration = self.registration.as_ref()?;
        let ends_at = self.ends_at.filter(|_| registration.standing() == Standing::Live);
        registration.next_wakeup().into_iter().chain(ends_at).min()
    }

    /// Takes over the answer to a call of its registration.
    pub fn registered(
        &mut self,
        result: Result<ResourceChanged<Worker, ()>, EngineError>,
        cx: &mut Context<'_>,
    ) {
        let Some(registration) = &mut self.registration else { return };
        let rejection = result.as_ref().err().and_then(EngineError::rejection);
        let in_use = matches!(rejection, Some(Rejection::WorkerInstanceInUse { .. }));
        registration.answered(result, cx.now);
        if in_use && registration.standing() == Standing::Unregistered {
            // As a program does that cannot connect.
            cx.exit();
            return;
        }
        self.wake(cx);
    }

    /// Ends: it has given up its instance id, or tried to.
    pub fn deregistered(&self, cx: &mut Context<'_>) {
        cx.exit();
    }
}
