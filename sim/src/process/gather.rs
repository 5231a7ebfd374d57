//! Completions that are ready together travel in one call, as in the SDK: while a call of a
//! partition is in flight, the completions of that partition wait for its return.

use std::collections::BTreeMap;

use ff_core::execution::{AnyCommand, Decide};
use ff_core::op::{Batch, Known, Patience, Transact};
use ff_core::partition::Partition;
use ff_core::store::bounds::MAX_UNITS;

use crate::process::task::{Origin, Output};

use super::context::{About, Context};

/// The completions of one worker, by partition.
#[derive(Debug, Default)]
pub struct Gatherer {
    /// The partitions with a call in flight.
    in_flight: BTreeMap<Partition, Call>,
}

/// A call in flight.
#[derive(Debug)]
struct Call {
    /// The origin of its command, if it carries a single completion.
    single: Option<Origin>,
    /// The completions that wait for its return.
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    origin: Origin,
    command: AnyCommand,
    operation: Transact<AnyCommand>,
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
        match self.in_flight.get_mut(&partition) {
            Some(call) => {
                let operation = Transact::knowing(command.clone(), known, patience);
                call.waiting.push(Waiting { origin, command, operation });
            }
            None => {
                let call = Call { single: Some(origin), waiting: Vec::new() };
                self.in_flight.insert(partition, call);
                cx.command_knowing(origin, command, known, patience);
            }
        }
    }

    /// Takes over the answer to a single command. If it was a completion, the waiting ones go next.
    pub fn answered(&mut self, origin: Origin, cx: &mut Context<'_>) {
        let carries = |(_, call): &(&Partition, &Call)| call.single == Some(origin);
        if let Some(partition) = self.in_flight.iter().find(carries).map(|(at, _)| *at) {
            self.returned(partition, cx);
        }
    }

    /// Takes over the return of a partition's call: the waiting completions go next.
    pub fn returned(&mut self, partition: Partition, cx: &mut Context<'_>) {
        let Some(call) = self.in_flight.get_mut(&partition) else { return };
        let next: Vec<Waiting> = call.waiting.drain(..call.waiting.len().min(MAX_UNITS)).collect();
        call.single = None;
        if next.is_empty() {
            self.in_flight.remove(&partition);
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
