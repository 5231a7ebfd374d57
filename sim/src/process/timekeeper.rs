//! The timekeeper's process: one round after the other.

use ff_core::agent::{ExpirySweep, Timekeeper};
use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::op::{DueReport, OperationContext, Patience};
use ff_core::store::Wake;

use crate::determinism::random::happens;
use crate::plan::ActionKind;
use crate::plan::settings::Settings;
use crate::process::task::{Origin, Output};
use crate::report::coverage::CommandKind;

use super::context::{About, Context};
use super::mistaken;

/// A process that runs a timekeeper.
#[derive(Debug)]
pub struct TimekeeperProcess {
    agent: Timekeeper,
    ticking: bool,
    /// The removal of records beside executions, in runs that have quotas.
    sweep: Option<ExpirySweep>,
    sweeping: bool,
    timekeepers: u64,
    context: OperationContext,
    entropy: Entropy,
}

impl TimekeeperProcess {
    /// A timekeeper that begins immediately.
    pub fn new(settings: &Settings, mut entropy: Entropy) -> Self {
        let context = settings.context();
        let agent = Timekeeper::new(settings.partitions, context.clone(), entropy.fork());
        let sweep = (settings.wait_rates.limits > 0)
            .then(|| ExpirySweep::new(settings.partitions, context.clone(), entropy.fork()));
        let timekeepers = settings.timekeepers as u64;
        Self { agent, ticking: false, sweep, sweeping: false, timekeepers, context, entropy }
    }

    /// The context of its operations.
    pub const fn context(&self) -> &OperationContext {
        &self.context
    }

    /// Visits records beside executions when that is due.
    fn visit(&mut self, cx: &mut Context<'_>) {
        let Some(sweep) = self.sweep.as_mut().filter(|_| !self.sweeping) else { return };
        let next = sweep.next_wakeup(cx.now);
        if next <= cx.now.local {
            self.sweeping = true;
            cx.begin(About::Nothing, sweep.visit(), Output::Swept);
        } else {
            cx.wake_at(next);
        }
    }

    /// Takes over the result of a visit.
    pub fn swept(&mut self, removed: &Result<usize, EngineError>, cx: &mut Context<'_>) {
        self.sweeping = false;
        if let Some(sweep) = &mut self.sweep {
            sweep.visited(removed, self.timekeepers, cx.now);
        }
        self.visit(cx);
    }

    /// Begins a round when it is due.
    pub fn wake(&mut self, cx: &mut Context<'_>) {
        self.visit(cx);
        if self.ticking {
            return;
        }
        if self.agent.next_wakeup() <= cx.now.local {
            self.ticking = true;
            self.hurry(cx);
            cx.begin(About::Each(CommandKind::OnDue), self.agent.apply_due(cx.now), Output::Ticked);
        } else {
            cx.wake_at(self.agent.next_wakeup());
        }
    }

    /// Acts on old copies of records from time to time, before it reads the due timers.
    fn hurry(&mut self, cx: &mut Context<'_>) {
        if cx.healing || !happens(&mut self.entropy, 300) {
            return;
        }
        let key = self.entropy.next_u64();
        let command = mistaken::act(cx.copies, cx.now.store, &mut self.entropy);
        let patience = Patience::new(self.context.clone(), self.entropy.fork());
        if let Some(command) = command
            && cx.performs(ActionKind::Hurry, key)
        {
            cx.command(Origin::Detached, command, true, patience);
        }
    }

    /// Takes over a wake-up of the timers.
    pub fn ring(&mut self, wake: &Wake, cx: &mut Context<'_>) {
        self.agent.wake(wake, cx.now);
        self.wake(cx);
    }

    /// Takes over the result of a round.
    pub fn ticked(&mut self, report: &Result<DueReport, EngineError>, cx: &mut Context<'_>) {
        self.ticking = false;
        self.agent.applied(report, cx.now);
        self.wake(cx);
    }
}
