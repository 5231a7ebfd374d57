//! The completions of a worker that travel in one call, by its agent.

use std::collections::BTreeMap;

use ff_core::agent::Completions;
use ff_core::execution::{AnyCommand, Decide};
use ff_core::op::{Batch, CarryCommand, Known, Patience};
use ff_core::partition::Partition;

use crate::process::task::{Origin, Output};

use super::context::{About, Context};

/// The completions of one worker.
#[derive(Debug, Default)]
pub struct Gatherer {
    completions: Completions<Waiting>,
    /// The origins of the completions that travel alone.
    alone: BTreeMap<Partition, Origin>,
}

#[derive(Debug)]
struct Waiting {
    origin: Origin,
    command: AnyCommand,
    operation: CarryCommand<AnyCommand>,
}

impl Gatherer {
    /// Carries a completion: immediately if no call of its partition is in flight, otherwise
    /// together with the others that are ready when that call returns.
    pub fn complete(
        &mut self,
        origin: Origin,
        command: AnyCommand,
        known: Known,
        patience: Patience,
        cx: &mut Context<'_>,
    ) {
        let partition = command.execution_id().partition();
        match self.completions.queue(partition) {
            Some(queue) => {
                let operation = CarryCommand::knowing(command.clone(), known, patience);
                queue.push(Waiting { origin, command, operation });
            }
            None => {
                self.alone.insert(partition, origin);
                cx.command_knowing(origin, command, known, patience);
            }
        }
    }

    /// Takes over the answer to a single command. If it was a completion, the waiting ones go next.
    pub fn answered(&mut self, origin: Origin, cx: &mut Context<'_>) {
        let carries = |(_, alone): &(&Partition, &Origin)| **alone == origin;
        if let Some(partition) = self.alone.iter().find(carries).map(|(at, _)| *at) {
            self.alone.remove(&partition);
            self.returned(partition, cx);
        }
    }

    /// Takes over the return of a partition's call: the waiting completions go next.
    pub fn returned(&mut self, partition: Partition, cx: &mut Context<'_>) {
        let next = self.completions.returned(partition);
        if next.is_empty() {
            return;
        }
        let origins: Vec<Origin> = next.iter().map(|waiting| waiting.origin).collect();
        let commands = next.iter().map(|waiting| waiting.command.clone()).collect();
        let operations = next.into_iter().map(|waiting| waiting.operation).collect();
        let batch = Batch::new(partition, operations);
        cx.begin(About::Together(commands), batch, move |results| {
            Output::Gathered(partition, origins.iter().copied().zip(results).collect())
        });
    }
}
