//! The work on quotas that the operations of a process leave behind, which it does next.

use ff_core::op::HandOver;

use crate::determinism::random::stream;
use crate::process::context::{About, Effect};
use crate::process::task::{Output, driven};
use crate::report::Broken;
use crate::report::coverage::CommandKind;

use super::World;

/// How many tasks a process does at a time.
const MAX_AT_ONCE: usize = 4;

impl World {
    /// Begins the tasks that a process has to do next, as far as it does so many at a time. A process
    /// that crashes forgets them.
    pub(super) fn hand_over(&mut self, process: usize) -> Result<(), Broken> {
        loop {
            let host = &self.hosts[process];
            if !host.up || host.kind.context().uses().is_empty() {
                return Ok(());
            }
            let begun = |(number, running): &(&u64, &super::Running)| {
                running.process == process && self.callers[number].hands_over()
            };
            if self.running.iter().filter(begun).count() >= MAX_AT_ONCE {
                return Ok(());
            }
            let context = host.kind.context().clone();
            let Some(task) = context.uses().take() else { return Ok(()) };
            let number = self.callers.len() as u64;
            let entropy = stream(self.chances.plan().seed, "hand over", number);
            let operation = HandOver::new(task, &context, entropy);
            let (task, about) =
                (driven(operation, Output::HandedOver), About::Each(CommandKind::Unblock));
            self.carry_out(process, Effect::Start { task, about })?;
        }
    }
}
