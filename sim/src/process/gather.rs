//! Completions that are ready together travel in one call, as the shell's do: those of one
//! partition that are ready while a call of that partition is under way wait for its return.

use std::collections::BTreeMap;

use ff_core::execution::{AnyCommand, Decide};
use ff_core::op::{Batch, CarryCommand, Known, Patience};
use ff_core::partition::Partition;
use ff_core::store::bounds::MAX_UNITS;

use crate::process::task::{Errand, Output};

use super::context::Context;

/// The completions of one worker, by partition.
#[derive(Debug, Default)]
pub struct Gatherer {
    /// The partitions with a call under way.
    under_way: BTreeMap<Partition, Call>,
}

/// A call that is under way.
#[derive(Debug)]
struct Call {
    /// What it carries, if that is a single completion.
    single: Option<Errand>,
    /// What waits for its return.
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    errand: Errand,
    command: AnyCommand,
    operation: CarryCommand<AnyCommand>,
}

impl Gatherer {
    /// Carries a completion: at once where no call of its partition is under way, otherwise
    /// together with the others that are ready when that one returns.
    pub fn complete(
        &mut self,
        errand: Errand,
        command: AnyCommand,
        known: Known,
        patience: Patience,
        cx: &mut Context<'_>,
    ) {
        let partition = command.execution_id().partition();
        match self.under_way.get_mut(&partition) {
            Some(call) => {
                let operation = CarryCommand::knowing(command.clone(), known, patience);
                call.waiting.push(Waiting { errand, command, operation });
            }
            None => {
                let call = Call { single: Some(errand), waiting: Vec::new() };
                self.under_way.insert(partition, call);
                cx.command_knowing(errand, command, known, patience);
            }
        }
    }

    /// A single command was answered; if it was a completion, what waited for it goes next.
    pub fn answered(&mut self, errand: Errand, cx: &mut Context<'_>) {
        let carries = |(_, call): &(&Partition, &Call)| call.single == Some(errand);
        if let Some(partition) = self.under_way.iter().find(carries).map(|(at, _)| *at) {
            self.returned(partition, cx);
        }
    }

    /// The call of a partition has returned: what waits goes next.
    pub fn returned(&mut self, partition: Partition, cx: &mut Context<'_>) {
        let Some(call) = self.under_way.get_mut(&partition) else { return };
        let next: Vec<Waiting> = call.waiting.drain(..call.waiting.len().min(MAX_UNITS)).collect();
        call.single = None;
        if next.is_empty() {
            self.under_way.remove(&partition);
            return;
        }
        let errands: Vec<Errand> = next.iter().map(|waiting| waiting.errand).collect();
        let commands = next.iter().map(|waiting| waiting.command.clone()).collect();
        let operations = next.into_iter().map(|waiting| waiting.operation).collect();
        let batch = Batch::new(partition, operations);
        cx.together(commands, batch, move |results| {
            Output::Gathered(partition, errands.iter().copied().zip(results).collect())
        });
    }
}
