//! The timekeeper's process: one round after the other.

use ff_core::agent::Timekeeper;
use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::op::TickReport;

use crate::marks::CommandKind;
use crate::settings::Settings;
use crate::task::Output;

use super::context::Context;

/// A process that runs a timekeeper.
#[derive(Debug)]
pub struct TimekeeperProcess {
    agent: Timekeeper,
    ticking: bool,
}

impl TimekeeperProcess {
    /// A timekeeper that begins at once.
    pub fn new(settings: &Settings, entropy: Entropy) -> Self {
        let agent = Timekeeper::new(settings.partitions, settings.terms(), entropy);
        Self { agent, ticking: false }
    }

    /// Begins a round when it is time.
    pub fn wake(&mut self, cx: &mut Context<'_>) {
        if self.ticking {
            return;
        }
        if self.agent.next_wakeup() <= cx.now.local {
            self.ticking = true;
            cx.start(CommandKind::OnDue, self.agent.tick(), Output::Ticked);
        } else {
            cx.wake_at(self.agent.next_wakeup());
        }
    }

    /// Notes what came of a round.
    pub fn ticked(&mut self, report: &Result<TickReport, EngineError>, cx: &mut Context<'_>) {
        self.ticking = false;
        self.agent.ticked(report, cx.now);
        self.wake(cx);
    }
}
