//! The commands that a process has sent, to repeat them.

use std::collections::VecDeque;

use ff_core::execution::{AnyCommand, BlockKind, Decide, IdentityKind};
use ff_core::id::ExecutionId;

use crate::determinism::random::Source;

/// The latest commands of a process that it may repeat at any time.
#[derive(Debug, Default)]
pub struct SentCommands {
    sent: VecDeque<AnyCommand>,
}

/// More than most executions ever get.
const MOST: usize = 64;

impl SentCommands {
    /// Remembers a command. A requested grant, and an offer, are recognised only while the grant or
    /// its lease is outstanding: only the operation itself repeats those.
    pub fn note(&mut self, command: &AnyCommand) {
        let forgotten = match command {
            AnyCommand::Offer(_) => true,
            other => other.spec().identity == IdentityKind::Grant,
        };
        if forgotten {
            return;
        }
        if let AnyCommand::Suspend(suspend) = command {
            // Only the latest suspension is recognised.
            let id = suspend.execution_id;
            self.sent.retain(|sent| match sent {
                AnyCommand::Suspend(sent) => sent.execution_id != id,
                _ => true,
            });
        }
        if self.sent.len() == MOST {
            self.sent.pop_front();
        }
        self.sent.push_back(command.clone());
    }

    /// Any of them.
    pub fn any(&self, source: &mut impl Source) -> Option<AnyCommand> {
        self.sent.get(source.below(self.sent.len() as u64) as usize).cloned()
    }

    /// Any of those about an execution.
    pub fn about(&self, id: ExecutionId, source: &mut impl Source) -> Option<AnyCommand> {
        let about = || self.sent.iter().filter(|command| command.execution_id() == id);
        let chosen = source.below(about().count() as u64);
        about().nth(chosen as usize).cloned()
    }

    /// The kind of the latest block of an execution.
    pub fn block_of(&self, id: ExecutionId) -> Option<BlockKind> {
        self.sent.iter().rev().find_map(|command| match command {
            AnyCommand::Block(block) if block.execution_id == id => Some(block.kind),
            _ => None,
        })
    }
}
