//! The record of a budget, and what follows from it at a time.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bounded::Bounded;
use crate::error::Rejection;
use crate::id::{BudgetId, Dimension, Namespace, RequestId};
use crate::partition::PartitionConfig;
use crate::resource::{Resource, ResourceId, ResourceKind};
use crate::time::{DurationMs, TimestampMs, Window};

/// The maximum number of dimensions of a budget.
pub const MAX_DIMENSIONS: usize = 16;

/// The number of requests that a budget remembers.
const REQUESTS: usize = 8;

/// The shortest time between two resets.
const MIN_RESET: DurationMs = DurationMs::from_secs(1);
/// The longest time between two resets: 366 days.
const MAX_RESET: DurationMs = DurationMs::from_secs(366 * 24 * 60 * 60);

/// When the usage of a budget goes back to zero by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BudgetReset {
    /// Only when an operator resets it.
    #[default]
    Never,
    /// At the start of each period, by the store's clock.
    Every {
        /// The length of a period: 1 s to 366 days.
        every: DurationMs,
        /// The start of one period, from which those of all others follow.
        anchor: TimestampMs,
    },
}

impl BudgetReset {
    /// Checks the length of the period.
    pub(super) fn check(self) -> Result<(), Rejection> {
        match self {
            Self::Every { every, .. } if !(MIN_RESET..=MAX_RESET).contains(&every) => {
                let problem = format!("is {every}: expected 1 s to 366 days");
                Err(Rejection::InvalidInput { field: "reset interval", problem })
            }
            _ => Ok(()),
        }
    }

    /// Returns the start of the period that contains `now`; `now` itself if there are no periods.
    pub(super) fn start_of(self, now: TimestampMs) -> TimestampMs {
        match self {
            Self::Never => now,
            Self::Every { every, anchor } => {
                let every = every.get().max(1);
                let into = (now.get() % every + every - anchor.get() % every) % every;
                now.minus(DurationMs::new(into))
            }
        }
    }
}

/// The change that an operator requested of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BudgetRequest {
    /// Its creation.
    Create,
    /// Other limits.
    Update,
    /// A reset.
    Reset,
}

/// The limits of one dimension; 0 means no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DimensionLimits {
    /// The dimension.
    pub dimension: Dimension,
    /// The usage above which charges are reported as a soft breach.
    pub soft: u64,
    /// The usage that no charge exceeds.
    pub hard: u64,
}

impl DimensionLimits {
    /// Checks the limits against each other.
    pub(super) fn check(&self) -> Result<(), Rejection> {
        let Self { dimension, soft, hard } = self;
        if *hard == 0 || soft <= hard {
            return Ok(());
        }
        let problem = format!("of {dimension} is {soft}, above the hard limit {hard}");
        Err(Rejection::InvalidInput { field: "soft limit", problem })
    }
}

/// The limits of one dimension and its usage in this period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The dimension.
    pub dimension: Dimension,
    /// The soft limit; 0 means none.
    pub soft: u64,
    /// The hard limit; 0 means none.
    pub hard: u64,
    /// The sum of the charges in this period. Without a hard limit it stops at [`u64::MAX`].
    pub used: u64,
}

/// A dimension at its hard limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// The dimension.
    pub dimension: Dimension,
    /// Its hard limit.
    pub limit: u64,
    /// When the budget resets itself; `None` if it does not.
    pub resets_at: Option<TimestampMs>,
}

/// A budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The namespace.
    pub namespace: Namespace,
    /// The id, which users choose.
    pub id: BudgetId,
    /// A random uuid, drawn at its creation. A later budget with the same id has another one.
    pub uid: Uuid,
    /// The dimensions, with their limits and usage; at most [`MAX_DIMENSIONS`].
    pub dimensions: Vec<Usage>,
    /// When it resets itself.
    pub reset: BudgetReset,
    /// The start of the period that the usage is of.
    pub period_start: TimestampMs,
    /// When it was created.
    pub created_at: TimestampMs,
    /// The latest requests of operators.
    pub(super) requests: Bounded<(RequestId, BudgetRequest), REQUESTS>,
}

impl Resource for Budget {
    const KIND: ResourceKind = ResourceKind::Budgets;

    fn listed(&self) -> Option<(&Namespace, TimestampMs)> {
        Some((&self.namespace, self.created_at))
    }
}

impl Budget {
    /// Returns the name of a budget's record.
    pub fn key(namespace: &Namespace, id: &BudgetId, config: &PartitionConfig) -> ResourceId {
        let names = [namespace.as_str(), id.as_str()];
        ResourceId::of_names(ResourceKind::Budgets, &names, config)
    }

    /// Returns the budget as it is at a time: if a period has begun since its last change, nothing
    /// is used of it. A clock that steps back begins no period: until it has caught up, charges
    /// count towards the later period.
    #[must_use]
    pub fn at(&self, now: TimestampMs) -> Self {
        let mut budget = self.clone();
        budget.roll(now);
        budget
    }

    /// Begins the period of this time, if it is later. Returns whether it was.
    pub(super) fn roll(&mut self, now: TimestampMs) -> bool {
        let start = self.reset.start_of(now);
        let begins = match self.reset {
            BudgetReset::Never => false,
            BudgetReset::Every { .. } => start > self.period_start,
        };
        if begins {
            self.restart(start);
        }
        begins
    }

    /// Begins a period without usage.
    pub(super) fn restart(&mut self, start: TimestampMs) {
        self.dimensions.iter_mut().for_each(|usage| usage.used = 0);
        self.period_start = start;
    }

    /// Returns the times at which a decision on this budget holds: its period, whose start matters
    /// only if the decision begins it.
    pub(super) fn window(&self, begins: bool) -> Window {
        let until = self.resets_at().map_or(Window::ALWAYS, Window::until);
        if begins { until.and(Window::from(self.period_start)) } else { until }
    }

    /// Returns when the present period ends; `None` if the budget never resets itself.
    pub fn resets_at(&self) -> Option<TimestampMs> {
        match self.reset {
            BudgetReset::Never => None,
            BudgetReset::Every { every, .. } => Some(self.period_start.plus(every)),
        }
    }

    /// Returns the first dimension that is at its hard limit at this time. Such a budget admits
    /// nothing.
    pub fn exhausted(&self, now: TimestampMs) -> Option<Exhausted> {
        let budget = self.at(now);
        let full =
            budget.dimensions.iter().find(|usage| usage.hard > 0 && usage.used >= usage.hard);
        full.map(|usage| Exhausted {
            dimension: usage.dimension.clone(),
            limit: usage.hard,
            resets_at: budget.resets_at(),
        })
    }

    /// Sets the limits of dimensions, and adds those that are new.
    pub(super) fn set_limits(&mut self, limits: &[DimensionLimits]) -> Result<(), Rejection> {
        let mut dimensions = self.dimensions.clone();
        for set in limits {
            set.check()?;
            let DimensionLimits { dimension, soft, hard } = set.clone();
            match dimensions.iter_mut().find(|usage| usage.dimension == dimension) {
                Some(usage) => (usage.soft, usage.hard) = (soft, hard),
                None => dimensions.push(Usage { dimension, soft, hard, used: 0 }),
            }
        }
        if dimensions.is_empty() || dimensions.len() > MAX_DIMENSIONS {
            let count = dimensions.len();
            let problem = format!("are {count}: expected 1 to {MAX_DIMENSIONS}");
            return Err(Rejection::InvalidInput { field: "dimensions", problem });
        }
        self.dimensions = dimensions;
        Ok(())
    }
}
