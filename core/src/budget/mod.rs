//! Budgets: what may be spent, by dimension, and what has been (`docs/spec.md`, 7).

mod charge;
mod create;
mod delete;
mod look;
mod record;
mod report;
mod request;
mod reset;
mod update;

#[cfg(test)]
mod tests;

pub use charge::{Charge, ChargeOutcome, ChargeRecord, DEDUP_KEY_MAX_BYTES, ReportUsageResult};
pub use create::CreateBudget;
pub use delete::DeleteBudget;
pub use look::LookAtBudget;
pub use record::{
    Budget, BudgetRequest, BudgetReset, DimensionLimits, Exhausted, MAX_DIMENSIONS, Usage,
};
pub use report::{MAX_CHARGES, ReportUsage};
pub use request::BudgetChanged;
pub use reset::ResetBudget;
pub use update::UpdateLimits;
