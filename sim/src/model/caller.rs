//! The senders of requests.

use ff_core::execution::{AnyCommand, Complete, Decide, Execution, Fence};
use ff_core::id::{ExecutionId, SlotId};
use ff_core::time::DurationMs;

use crate::model::budgets::BudgetCall;
use crate::model::registry::RegistryCall;
use crate::report::coverage::CommandKind;

/// The sender of a request. Remembered for the whole run, because a request can arrive long after
/// its sender has ended.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The number of the operation.
    pub number: u64,
    /// The process.
    pub process: usize,
    /// When the operation began, in simulated time.
    pub begun: u64,
    /// Whether all its requests are known to be its own.
    pub is_traced: bool,
    /// When the store served its latest request about a quota, in simulated time.
    pub asked_quota_at: Option<u64>,
    /// The grant whose slot it frees because nothing was started under it.
    pub gives_back: Option<SlotId>,
    /// Whether one of its commits met a conflict or was too late. For all that it knows, a first
    /// copy of it may still be applied.
    pub was_refused: bool,
    /// The command, if the operation carries one.
    pub command: Option<AnyCommand>,
    /// The life that its operator's call is meant for, if the sender knew it.
    pub life: Option<u32>,
    /// The kind of command that it carries to each execution, its own or an agent's.
    pub carries: Option<CommandKind>,
    /// The grace of the previous secret, if it rotates secrets.
    pub rotates: Option<DurationMs>,
    /// The change that it makes to a budget, if it makes one.
    pub budget: Option<BudgetCall>,
    /// The change that it makes to the registry of workers, if it makes one.
    pub registry: Option<RegistryCall>,
    /// Whether a client library sent one of its requests twice.
    pub resent: bool,
    /// Whether one of its requests failed, or got no reply in time.
    pub failed: bool,
    /// The callers of the commands that it carries together, one for each command.
    pub parts: Vec<Caller>,
    /// Whether the caller got a certain refusal of the command.
    pub refused: bool,
    /// How many of its commits changed something.
    pub applied: u64,
}

impl Caller {
    /// The caller of an operation that carries no command.
    pub const fn new(number: u64, process: usize) -> Self {
        Self {
            number,
            process,
            begun: 0,
            is_traced: false,
            asked_quota_at: None,
            gives_back: None,
            was_refused: false,
            command: None,
            life: None,
            carries: None,
            rotates: None,
            budget: None,
            registry: None,
            resent: false,
            failed: false,
            parts: Vec::new(),
            refused: false,
            applied: 0,
        }
    }

    /// The caller of a command.
    pub fn of(number: u64, process: usize, command: AnyCommand) -> Self {
        let carries = Some(CommandKind::from(&command));
        Self { command: Some(command), carries, ..Self::new(number, process) }
    }

    /// Takes over the record that a reply was about.
    pub fn sees(&mut self, record: Option<&Execution>) {
        if let (Some(AnyCommand::Resume(resume)), Some(record)) = (&mut self.command, record) {
            let seen = record.suspension().map(|suspension| suspension.id);
            resume.suspension = resume.suspension.or(seen);
        }
    }

    /// Whether its commands are unknown, because a user's program sends them through the SDK.
    pub const fn is_unknown(&self) -> bool {
        self.command.is_none() && self.carries.is_none() && self.parts.is_empty()
    }

    /// Whether it hands slots of quotas over.
    pub fn hands_over(&self) -> bool {
        self.command.is_none() && self.carries == Some(CommandKind::Unblock)
    }

    /// Whether it carries commands for which a process waits.
    pub const fn carries_commands(&self) -> bool {
        self.command.is_some() || !self.parts.is_empty()
    }

    /// How many of its commits have changed something, and of the commits of each of its parts.
    pub fn applied_each(&self) -> Vec<u64> {
        [self].into_iter().chain(&self.parts).map(|caller| caller.applied).collect()
    }

    /// Returns to the time when its commits and those of its parts were so many, and forgets the
    /// refusals.
    pub fn fall_back(&mut self, applied: &[u64]) {
        let mut applied = applied.iter().copied();
        self.applied = applied.next().unwrap_or(0);
        self.refused = false;
        for part in &mut self.parts {
            part.fall_back(applied.next().as_slice());
        }
    }

    /// Forgets the refusals: a command that is too late by one clock may be in time after a step
    /// back.
    pub fn clock_set_back(&mut self) {
        self.refused = false;
        self.parts.iter_mut().for_each(Self::clock_set_back);
    }

    /// The caller of the command that writes the record of an execution. `record`: the record
    /// before.
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

    /// The fence of its completion, if it carries one.
    fn proof(&self) -> Option<Fence> {
        match &self.command {
            Some(AnyCommand::Complete(Complete { fence, .. })) => fence.complete(),
            _ => None,
        }
    }
}
