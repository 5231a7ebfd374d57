//! The answers of operations on budgets.

use ff_core::budget::{Budget, BudgetChanged};
use ff_core::error::EngineError;
use ff_core::op::ResourceChanged;

use crate::invariant::budget;
use crate::model::budgets::{BudgetCall, ChargeEffect};
use crate::model::identity::is_certain;
use crate::process::task::ChargeOutcomes;
use crate::report::Broken;
use crate::report::invariants::Invariant;

use super::World;

impl World {
    /// Checks what an operator's request of a budget reports.
    pub(super) fn check_budget_set(
        &self,
        number: u64,
        jumps: u64,
        result: &Result<ResourceChanged<Budget, BudgetChanged>, EngineError>,
    ) -> Result<(), Broken> {
        if !self.checks_budgets(jumps) {
            return Ok(());
        }
        let wrote = match result {
            Ok(changed) => Some(!changed.outcome.repeated),
            Err(error) => is_certain(error).then_some(false),
        };
        budget::check_answer(&self.server.model, number, wrote)
    }

    /// Checks what charges report.
    pub(super) fn check_charged(
        &self,
        number: u64,
        jumps: u64,
        result: &Result<ResourceChanged<Budget, ChargeOutcomes>, EngineError>,
    ) -> Result<(), Broken> {
        let model = &self.server.model;
        let Some(BudgetCall::Report(charges)) = &self.callers[&number].budget else {
            return Ok(());
        };
        if !self.checks_budgets(jumps) {
            return Ok(());
        }
        let wrote = match result {
            Ok(changed) => {
                budget::check_outcomes(model, number, &changed.outcome)?;
                let written =
                    |((_, key), outcome): (&(_, Option<_>), _)| match ChargeEffect::from(outcome) {
                        ChargeEffect::Applied => true,
                        ChargeEffect::Refused => key.is_some(),
                        ChargeEffect::Repeated | ChargeEffect::Unknown => false,
                    };
                Some(charges.iter().zip(&changed.outcome).any(written))
            }
            Err(error) => is_certain(error).then_some(false),
        };
        budget::check_answer(model, number, wrote)
    }

    fn checks_budgets(&self, jumps: u64) -> bool {
        let model = &self.server.model;
        jumps == model.jumps && model.watched.contains(Invariant::Budget)
    }
}
