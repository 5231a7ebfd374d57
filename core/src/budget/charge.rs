//! A charge, its outcome, and the record of one that has a dedup key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Rejection;
use crate::id::{BudgetId, Dimension};
use crate::planted::planted;
use crate::resource::{Resource, ResourceKind};
use crate::time::{DurationMs, TimestampMs};

use super::record::{Budget, MAX_DIMENSIONS};

/// The maximum size of a dedup key, in bytes.
pub const DEDUP_KEY_MAX_BYTES: usize = 256;

/// The time for which a dedup key is remembered: 24 h.
const REMEMBERED: DurationMs = DurationMs::from_secs(24 * 60 * 60);

/// Amounts that are charged together: all of them, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The amounts, by dimension.
    amounts: BTreeMap<Dimension, u64>,
    dedup_key: Option<String>,
}

impl Charge {
    /// Creates a charge. Amounts of the same dimension are added up.
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidId`] for a dimension; [`Rejection::InvalidInput`] for no dimension, for
    /// more than [`MAX_DIMENSIONS`], and for a dedup key that does not have 1 to
    /// [`DEDUP_KEY_MAX_BYTES`] bytes.
    pub fn try_new(amounts: &[(&str, u64)], dedup_key: Option<&str>) -> Result<Self, Rejection> {
        let mut added: BTreeMap<Dimension, u64> = BTreeMap::new();
        for (dimension, amount) in amounts {
            let sum = added.entry(Dimension::try_new(dimension)?).or_default();
            *sum = sum.saturating_add(*amount);
        }
        let invalid = |field, problem| Err(Rejection::InvalidInput { field, problem });
        let count = added.len();
        if !(1..=MAX_DIMENSIONS).contains(&count) {
            let problem = format!("of a charge are {count}: expected 1 to {MAX_DIMENSIONS}");
            return invalid("dimensions", problem);
        }
        let bytes = dedup_key.map_or(1, str::len);
        if !(1..=DEDUP_KEY_MAX_BYTES).contains(&bytes) {
            let problem = format!("has {bytes} bytes: expected 1 to {DEDUP_KEY_MAX_BYTES}");
            return invalid("dedup key", problem);
        }
        Ok(Self { amounts: added, dedup_key: dedup_key.map(str::to_owned) })
    }

    /// Returns the dedup key.
    pub fn dedup_key(&self) -> Option<&str> {
        self.dedup_key.as_deref()
    }

    /// Iterates over the amounts.
    pub fn amounts(&self) -> impl Iterator<Item = (&Dimension, u64)> {
        self.amounts.iter().map(|(dimension, amount)| (dimension, *amount))
    }
}

/// The first outcome of a charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChargeOutcome {
    /// It was applied.
    Ok,
    /// It was applied, and a dimension is above its soft limit.
    SoftBreach {
        /// The first such dimension.
        dimension: Dimension,
        /// Its usage after the charge.
        current: u64,
        /// Its soft limit.
        limit: u64,
    },
    /// Nothing of it was applied, since a dimension would exceed its hard limit.
    HardBreach {
        /// The first such dimension.
        dimension: Dimension,
        /// Its usage without the charge.
        current: u64,
        /// Its hard limit.
        limit: u64,
    },
}

/// The outcome of a report of usage.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReportUsageResult {
    /// The charge was applied.
    Ok,
    /// The charge was applied, and a dimension is above its soft limit.
    SoftBreach {
        /// The first such dimension.
        dimension: Dimension,
        /// Its usage after the charge.
        current: u64,
        /// Its soft limit.
        limit: u64,
    },
    /// Nothing of the charge was applied, since a dimension would exceed its hard limit.
    HardBreach {
        /// The first such dimension.
        dimension: Dimension,
        /// Its usage without the charge.
        current: u64,
        /// Its hard limit.
        limit: u64,
    },
    /// The dedup key was used within 24 h. This charge changed nothing.
    AlreadyApplied(
        /// The outcome of the first charge with the key, whatever it was.
        ChargeOutcome,
    ),
}

impl From<ChargeOutcome> for ReportUsageResult {
    fn from(outcome: ChargeOutcome) -> Self {
        match outcome {
            ChargeOutcome::Ok => Self::Ok,
            ChargeOutcome::SoftBreach { dimension, current, limit } => {
                Self::SoftBreach { dimension, current, limit }
            }
            ChargeOutcome::HardBreach { dimension, current, limit } => {
                Self::HardBreach { dimension, current, limit }
            }
        }
    }
}

/// The record of a charge with a dedup key, in the partition of its budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargeRecord {
    /// The uuid of the budget: a later budget with the same id does not know the key.
    pub budget: Uuid,
    /// The outcome.
    pub outcome: ChargeOutcome,
    /// When the key is forgotten.
    pub expires_at: TimestampMs,
}

impl Resource for ChargeRecord {
    const KIND: ResourceKind = ResourceKind::Charges;

    fn expires_at(&self) -> Option<TimestampMs> {
        Some(self.expires_at)
    }
}

/// The space of the uuids of charges.
const CHARGES: Uuid = Uuid::from_u128(0x71c6_54f2_0f6e_4f0c_8f2d_2b5e_63d1_9a40);

impl ChargeRecord {
    /// The record of a charge of this budget that was decided now.
    pub(super) fn new(budget: &Budget, outcome: ChargeOutcome, now: TimestampMs) -> Self {
        let expires_at = now.plus(REMEMBERED);
        Self { budget: budget.uid, outcome, expires_at }
    }

    /// Whether the record holds for this budget at this time.
    pub(super) fn holds(&self, budget: &Budget, now: TimestampMs) -> bool {
        self.budget == budget.uid && now < self.expires_at
    }

    /// The uuid of the record of a dedup key, which is scoped to the budget with this record.
    pub(super) fn uuid_of(budget: Uuid, dedup_key: &str) -> Uuid {
        Uuid::new_v5(&Uuid::new_v5(&CHARGES, budget.as_bytes()), dedup_key.as_bytes())
    }
}

impl Budget {
    /// Applies a charge: all of it, or nothing after a hard breach.
    ///
    /// # Errors
    ///
    /// `UnknownDimension`; then nothing changes.
    pub(super) fn apply(&mut self, charge: &Charge) -> Result<ChargeOutcome, Rejection> {
        let known = |dimension: &Dimension| {
            self.dimensions.iter().any(|usage| usage.dimension == *dimension)
        };
        if let Some((unknown, _)) = charge.amounts().find(|(dimension, _)| !known(dimension)) {
            let (budget, dimension): (BudgetId, Dimension) = (self.id.clone(), unknown.clone());
            return Err(Rejection::UnknownDimension { budget, dimension });
        }
        let (mut after, mut soft, mut hard) = (self.dimensions.clone(), None, None);
        for usage in &mut after {
            let Some(amount) = charge.amounts.get(&usage.dimension) else { continue };
            let (dimension, current) = (usage.dimension.clone(), usage.used);
            let exceeds =
                |limit: u64, used: Option<u64>| limit > 0 && used.is_none_or(|used| used > limit);
            let used = current.checked_add(*amount);
            usage.used = used.unwrap_or(u64::MAX);
            if exceeds(usage.hard, used) {
                let limit = usage.hard;
                hard.get_or_insert(ChargeOutcome::HardBreach { dimension, current, limit });
            } else if exceeds(usage.soft, used) {
                let (current, limit) = (usage.used, usage.soft);
                soft.get_or_insert(ChargeOutcome::SoftBreach { dimension, current, limit });
            }
        }
        if let Some(breach) = hard {
            if planted!(BreachApplied) {
                self.dimensions = after;
            }
            return Ok(breach);
        }
        self.dimensions = after;
        Ok(soft.unwrap_or(ChargeOutcome::Ok))
    }
}
