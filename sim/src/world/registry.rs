//! Checks that processes keep to their registrations.

use ff_core::error::{EngineError, Rejection};
use ff_core::op::ResourceChanged;
use ff_core::registry::Worker;

use crate::invariant::registry;
use crate::model::identity::is_certain;
use crate::model::registry::RegistryCall;
use crate::process::context::About;
use crate::report::Broken;
use crate::report::coverage::CommandKind;
use crate::report::invariants::Invariant;

use super::host::{Kind, KnownRegistration};
use super::{Running, World};

impl World {
    /// A worker claims only while it is registered, as far as it knows. \[INV-REGISTRY-1\]
    pub(super) fn check_registered(&self, process: usize, about: &About) -> Result<(), Broken> {
        let host = &self.hosts[process];
        let claims = match about {
            About::Each(carries) => carries.claims(),
            About::Command(command, _) => CommandKind::from(command).claims(),
            _ => false,
        };
        let is_worker = matches!(host.kind, Kind::Worker(_));
        if !claims || !is_worker || self.settings.wait_rates.registry == 0 {
            return Ok(());
        }
        let KnownRegistration { is_registered, lost } = &host.registration;
        registry::check_starts(&self.server.model, *is_registered, lost.as_ref())
    }

    /// Notes and checks what a process learns about its registration.
    pub(super) fn note_registration(
        &mut self,
        number: u64,
        running: &Running,
        result: &Result<ResourceChanged<Worker, ()>, EngineError>,
    ) -> Result<(), Broken> {
        let known = &mut self.hosts[running.process].registration;
        let call = self.callers[&number].registry;
        match result {
            Ok(_) => *known = KnownRegistration { is_registered: true, lost: None },
            Err(error) => {
                let lost = error.rejection().filter(|rejection| {
                    matches!(
                        rejection,
                        Rejection::WorkerSuperseded { .. }
                            | Rejection::WorkerNotFound { .. }
                            | Rejection::WorkerInstanceInUse { .. }
                    )
                });
                if let Some(lost) = lost {
                    let lost = Some(lost.clone());
                    *known = KnownRegistration { is_registered: false, lost };
                }
            }
        }
        let model = &self.server.model;
        let is_watched =
            running.jumps == model.jumps && model.watched.contains(Invariant::Registry);
        // A heartbeat may be repeated after a lost reply.
        if !is_watched || !matches!(call, Some(RegistryCall::Register { .. })) {
            return Ok(());
        }
        let done = match result {
            Ok(_) => Some(true),
            Err(error) => is_certain(error).then_some(false),
        };
        registry::check_answer(model, number, done)
    }
}
