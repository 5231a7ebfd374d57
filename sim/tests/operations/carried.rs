//! A sequence of commands on one execution, carried by operations to the simulator's store, which
//! checks every request and every answer against every invariant. The fuzz target `rules` compiles
//! this file too.

use ff_core::entropy::Entropy;
use ff_core::execution::{AnyCommand, Decide, IdentityKind, MAX_FRAME_PAYLOAD};
use ff_core::limits::Limits;
use ff_core::op::{ApplyDue, RotateSecret};
use ff_core::partition::PartitionConfig;
use ff_core::time::DurationMs;
use ff_sim::scripted::{Scripted, Trace};

use crate::common::suspending::known_secret;
use crate::common::{Bench, Submission, execution_id};
use crate::one_record::steps::{Clock, Step};

/// One execution in a store that always answers.
pub struct Carried {
    /// The store.
    pub world: Scripted,
    submission: Submission,
    sent: Vec<AnyCommand>,
    /// Those that were applied.
    applied: Vec<AnyCommand>,
}

impl Carried {
    /// A store with the secret of the steps, to which this submission was sent.
    pub fn new(mut submission: Submission) -> Self {
        // The store has no budgets and quotas.
        submission.0.limits = Limits::default();
        let mut world = Scripted::new();
        let (kid, secret) = known_secret();
        world.script.grace = Some(DurationMs::ZERO);
        let patience = Scripted::patience(10_000);
        let rotation = RotateSecret::new(kid, secret, DurationMs::ZERO, patience);
        world.drive(rotation).expect("the store answers");
        world.script.grace = None;
        world.perform(submission.clone().into());
        Self { world, submission, sent: Vec::new(), applied: Vec::new() }
    }

    /// Sends the command of a step. The clock never goes back: in the simulator that is a fault of
    /// the store, which excuses a part of the checks.
    pub fn step(&mut self, step: Step) {
        let record = self.world.record(&execution_id());
        let record = record.map(|loaded| (*loaded.execution).clone());
        if !matches!(step.clock, Clock::Back(_)) {
            self.world.set(step.clock.moved(record.as_ref(), self.world.now()).get());
        }
        let bench = Bench { record, ..Bench::default() };
        let command = step.action.command(&self.submission, &bench, &self.sent, self.world.now());
        let trace = self.world.trace_of(&command);
        if self.is_sent_by_no_program(&command, trace) {
            return;
        }
        self.sent.push(command.clone());
        match command.clone() {
            // Only the store knows which signals there are.
            AnyCommand::ForgetSignals(_) => tick(&mut self.world),
            command => self.world.perform(command),
        }
        if trace == Trace::NotApplied && self.world.trace_of(&command) != Trace::NotApplied {
            self.applied.push(command);
        }
    }

    /// Whether a command has the id of another one that was applied, or repeats one of which the
    /// record has no trace any more.
    fn is_sent_by_no_program(&self, command: &AnyCommand, trace: Trace) -> bool {
        use IdentityKind::{Grant, Lease, Suspension, Waitpoint};
        let is_another_frame = matches!(
            command,
            AnyCommand::AppendFrame(sent) if sent.frame.payload.len() > MAX_FRAME_PAYLOAD
        );
        let has_own_id = matches!(command.spec().identity, Grant | Lease | Suspension | Waitpoint);
        match trace {
            Trace::NotApplied => is_another_frame,
            Trace::Kept => has_own_id && !self.applied.contains(command),
            Trace::Gone => true,
        }
    }
}

/// Applies the due timers, and removes the signals of executions whose retention is over.
pub fn tick(world: &mut Scripted) {
    let partitions = execution_id().partition().index + 1;
    let config = PartitionConfig { num_flow_partitions: partitions, ..Default::default() };
    let tick = ApplyDue::new(config, Scripted::context(), Entropy::from_u64(1));
    world.drive(tick).expect("the store answers");
}
