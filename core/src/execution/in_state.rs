//! Commands that depend on the state that a user sees.

use crate::error::Rejection;
use crate::state::PublicState;
use crate::time::TimestampMs;

use super::command::{CommandSpec, Decide};
use super::facts::Facts;
use super::record::{Ruling, Verdict};
use super::view::snapshot;

/// A command that applies only to an execution in one of these states. In any other state it is
/// refused with `OtherState`, unless it is a repeat.
#[derive(Clone, Debug, PartialEq)]
pub struct InState<C> {
    /// The states.
    pub states: Vec<PublicState>,
    /// The command.
    pub command: C,
}

impl<C: Decide> Decide for InState<C> {
    type Outcome = C::Outcome;

    fn spec(&self) -> CommandSpec {
        self.command.spec()
    }

    fn decide(&self, facts: &Facts<'_>, now: TimestampMs) -> Ruling<C::Outcome> {
        let verdict = self.command.decide(facts, now)?;
        if let (Verdict::Apply(_), Ok(current)) = (&verdict, facts.execution()) {
            let state = snapshot(current, now).state.public_state;
            if !self.states.contains(&state) {
                return Err(Rejection::OtherState { state });
            }
        }
        Ok(verdict)
    }
}
