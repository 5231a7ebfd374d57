//! The work on quotas that the operations of a process leave behind, which it does next.

use ff_core::op::{HandOver, UseWork};

use crate::determinism::random::stream;
use crate::process::context::{About, Effect};
use crate::process::task::{Output, driven};
use crate::report::Broken;
use crate::report::coverage::CommandKind;

use super::World;

/// How many tasks a process does at a time.
const MAX_AT_ONCE: usize = 4;

impl World {
    /// Takes over the tasks that operations of a process have left.
    pub(super) fn note_tasks(&mut self, process: usize) {
        let host = &mut self.hosts[process];
        let uses = host.kind.context().uses().clone();
        while let Some(task) = uses.take() {
            if let UseWork::Free { slot, .. } = task.work {
                host.freed.insert(slot);
            }
            host.tasks.push_back(task);
        }
    }

    /// Begins the tasks that a process has to do next, as far as it does so many at a time. A
    /// process that crashes forgets them.
    pub(super) fn hand_over(&mut self, process: usize) -> Result<(), Broken> {
        loop {
            let host = &self.hosts[process];
            if !host.up || host.tasks.is_empty() {
                return Ok(());
            }
            let begun = |(number, running): &(&u64, &super::Running)| {
                running.process == process && self.callers[number].hands_over()
            };
            if self.running.iter().filter(begun).count() >= MAX_AT_ONCE {
                return Ok(());
            }
            let host = &mut self.hosts[process];
            let Some(task) = host.tasks.pop_front() else { return Ok(()) };
            let gives_back = match task.work {
                UseWork::Free { slot, .. } => Some(slot),
                _ => None,
            };
            let number = self.callers.len() as u64;
            let entropy = stream(self.chances.plan().seed, "hand over", number);
            let operation = HandOver::new(task, host.kind.context(), entropy);
            let (task, about) =
                (driven(operation, |_| Output::HandedOver), About::Each(CommandKind::Unblock));
            self.carry_out(process, Effect::Start { task, about })?;
            if let Some(caller) = self.callers.get_mut(&number) {
                caller.gives_back = gives_back;
            }
        }
    }
}
