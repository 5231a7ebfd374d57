//! Which faults happen: what a seed draws for each step, unless the plan leaves it out.

use crate::determinism::random::{Choices, Draws};
use crate::plan::{FaultId, FaultKind, Plan};

/// Draws for faults, and what they came to.
#[derive(Debug)]
pub struct Chances {
    plan: Plan,
    choices: Choices,
    injected: Vec<FaultId>,
}

impl Chances {
    /// The chances of a plan. Bytes that are chosen decide first.
    pub fn new(plan: Plan, choices: Vec<u8>) -> Self {
        Self { plan, choices: Choices::new(choices), injected: Vec::new() }
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

    /// Notes that a fault is to happen; it is not when the plan leaves it out.
    pub fn inject(&mut self, kind: FaultKind, key: u64) -> bool {
        let id = FaultId { kind, key };
        if !self.plan.without_faults.is_empty() && self.plan.without_faults.contains(&id) {
            return false;
        }
        self.injected.push(id);
        true
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
