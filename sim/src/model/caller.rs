//! Who sends requests to the store.

use ff_core::execution::{AnyCommand, Complete, Decide, Execution, Fence};
use ff_core::id::ExecutionId;
use ff_core::time::DurationMs;

use crate::report::coverage::CommandKind;

/// Who sent a request, and what it was about; remembered for the whole run, since requests can
/// arrive long after their sender is gone.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The number of the operation.
    pub number: u64,
    /// The process.
    pub process: usize,
    /// The command, where the operation carries one.
    pub command: Option<AnyCommand>,
    /// What it carries to each execution, a command of its own or those of an agent.
    pub carries: Option<CommandKind>,
    /// The grace of the secret before, where it rotates secrets.
    pub rotates: Option<DurationMs>,
    /// Whether a request of it was sent again without its knowing.
    pub resent: bool,
    /// Whether a request of it failed, or got no reply in time.
    pub failed: bool,
    /// For each command that it carries together with others, that one's side of it.
    pub parts: Vec<Caller>,
    /// Whether the caller was told that the command is refused for certain.
    pub refused: bool,
    /// How many of its commits changed something.
    pub applied: u64,
}

impl Caller {
    /// Who sends an operation that carries no command.
    pub const fn new(number: u64, process: usize) -> Self {
        Self {
            number,
            process,
            command: None,
            carries: None,
            rotates: None,
            resent: false,
            failed: false,
            parts: Vec::new(),
            refused: false,
            applied: 0,
        }
    }

    /// Who sends a command.
    pub fn of(number: u64, process: usize, command: AnyCommand) -> Self {
        let carries = Some(CommandKind::from(&command));
        Self { command: Some(command), carries, ..Self::new(number, process) }
    }

    /// Notes the record that a reply was about.
    pub fn sees(&mut self, record: Option<&Execution>) {
        if let (Some(AnyCommand::Resume(resume)), Some(record)) = (&mut self.command, record) {
            resume.suspension.observe(record);
        }
    }

    /// Whether nobody knows what it carries: a user's program sends by the sdk.
    pub const fn is_unknown(&self) -> bool {
        self.command.is_none() && self.carries.is_none() && self.parts.is_empty()
    }

    /// Whether it carries commands that somebody wishes to be carried out.
    pub const fn carries_commands(&self) -> bool {
        self.command.is_some() || !self.parts.is_empty()
    }

    /// How many commits of it have changed something, and of each of its parts.
    pub fn applied_each(&self) -> Vec<u64> {
        [self].into_iter().chain(&self.parts).map(|caller| caller.applied).collect()
    }

    /// Forgets all that was lost since its commits and those of its parts were so many, and what
    /// it was told.
    pub fn fall_back(&mut self, applied: &[u64]) {
        let mut applied = applied.iter().copied();
        self.applied = applied.next().unwrap_or(0);
        self.refused = false;
        for part in &mut self.parts {
            part.fall_back(applied.next().as_slice());
        }
    }

    /// What is too late by a clock may be in time by one that was set back.
    pub fn clock_set_back(&mut self) {
        self.refused = false;
        self.parts.iter_mut().for_each(Self::clock_set_back);
    }

    /// The side of the command that writes the record of an execution, of which `record` is what
    /// was there before.
    pub fn part(&mut self, id: ExecutionId, record: Option<&Execution>) -> &mut Self {
        let about = |part: &Self| part.command.as_ref().is_some_and(|c| c.execution_id() == id);
        let holds = |part: &Self| {
            part.proof()
                .is_some_and(|fence| record.is_some_and(|record| record.last_fence == Some(fence)))
        };
        let of_holder = self.parts.iter().position(|part| about(part) && holds(part));
        match of_holder.or_else(|| self.parts.iter().position(about)) {
            Some(number) => &mut self.parts[number],
            None => self,
        }
    }

    /// The fence of the completion that it sends.
    fn proof(&self) -> Option<Fence> {
        match &self.command {
            Some(AnyCommand::Complete(Complete { fence, .. })) => fence.complete(),
            _ => None,
        }
    }
}
