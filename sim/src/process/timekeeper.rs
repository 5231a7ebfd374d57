//! The timekeeper's process: one round after the other.

use ff_core::agent::Timekeeper;
use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::op::{DueReport, OperationContext, Patience};

use crate::determinism::random::happens;
use crate::plan::WishKind;
use crate::plan::settings::Settings;
use crate::process::task::{Errand, Output};
use crate::report::coverage::CommandKind;

use super::context::Context;
use super::mistaken;

/// A process that runs a timekeeper.
#[derive(Debug)]
pub struct TimekeeperProcess {
    agent: Timekeeper,
    ticking: bool,
    terms: OperationContext,
    entropy: Entropy,
}

impl TimekeeperProcess {
    /// A timekeeper that begins at once.
    pub fn new(settings: &Settings, mut entropy: Entropy) -> Self {
        let terms = settings.terms();
        let agent = Timekeeper::new(settings.partitions, terms.clone(), entropy.fork());
        Self { agent, ticking: false, terms, entropy }
    }

    /// Begins a round when it is time.
    pub fn wake(&mut self, cx: &mut Context<'_>) {
        if self.ticking {
            return;
        }
        if self.agent.next_wakeup() <= cx.now.local {
            self.ticking = true;
            self.hurry(cx);
            cx.start(CommandKind::OnDue, self.agent.apply_due(), Output::Ticked);
        } else {
            cx.wake_at(self.agent.next_wakeup());
        }
    }

    /// Acts now and then on what it knows, before it asks for what is due.
    fn hurry(&mut self, cx: &mut Context<'_>) {
        if cx.healing || !happens(&mut self.entropy, 300) {
            return;
        }
        let key = self.entropy.next_u64();
        let command = mistaken::act(cx.copies, cx.now.store, &mut self.entropy);
        let patience = Patience::new(self.terms.clone(), self.entropy.fork());
        if let Some(command) = command
            && cx.wishes_for(WishKind::Hurry, key)
        {
            cx.command(Errand::Wish, command, true, patience);
        }
    }

    /// Notes what came of a round.
    pub fn ticked(&mut self, report: &Result<DueReport, EngineError>, cx: &mut Context<'_>) {
        self.ticking = false;
        self.agent.applied(report, cx.now);
        self.wake(cx);
    }
}
