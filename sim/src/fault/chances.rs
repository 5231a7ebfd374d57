//! The faults that happen: those that the seed draws at each step, unless the plan leaves them out.

use crate::determinism::random::{Choices, Draws, happens};
use crate::plan::{FaultId, FaultKind, FaultWeights, Plan};

/// Draws faults, and records those that happened.
#[derive(Debug)]
pub struct Chances {
    plan: Plan,
    weights: FaultWeights,
    choices: Choices,
    injected: Vec<FaultId>,
    over: bool,
}

impl Chances {
    /// The chances of a plan. The chosen bytes decide before the seed does.
    pub fn new(plan: Plan, weights: FaultWeights, choices: Vec<u8>) -> Self {
        let choices = Choices::new(choices);
        Self { plan, weights, choices, injected: Vec::new(), over: false }
    }

    /// The stream of a fault at a step, which no other step draws from.
    pub fn draws(&mut self, kind: FaultKind, key: u64) -> Draws<'_> {
        self.stream(kind as u64 + 1, key)
    }

    /// The stream of the network's ordinary delays at a step.
    pub fn delays(&mut self, key: u64) -> Draws<'_> {
        self.stream(0, key)
    }

    fn stream(&mut self, concern: u64, key: u64) -> Draws<'_> {
        Draws::chosen(self.plan.seed, concern, key, &mut self.choices)
    }

    /// Draws whether a fault happens at a step. `draw` gets the fault's weight and returns the
    /// extent of the fault, if it happens.
    pub fn strike<T>(
        &mut self,
        kind: FaultKind,
        key: u64,
        draw: impl FnOnce(&mut Draws<'_>, u64) -> Option<T>,
    ) -> Option<T> {
        let weight = self.weights.on(kind).filter(|_| !self.over)?;
        let drawn = draw(&mut self.draws(kind, key), weight)?;
        self.inject(kind, key).then_some(drawn)
    }

    /// Draws whether a fault without further parameters happens at a step.
    pub fn strikes(&mut self, kind: FaultKind, key: u64) -> bool {
        self.strike(kind, key, |draws, weight| happens(draws, weight).then_some(())).is_some()
    }

    /// Records that a fault happens; returns `false` where the plan leaves it out.
    pub fn inject(&mut self, kind: FaultKind, key: u64) -> bool {
        let id = FaultId { kind, key };
        let happens = self.plan.has_fault(&id);
        if happens {
            self.injected.push(id);
        }
        happens
    }

    /// Ends all faults.
    pub const fn end(&mut self) {
        self.over = true;
    }

    /// The plan.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The faults that happened, in order.
    pub fn injected(&self) -> &[FaultId] {
        &self.injected
    }
}
