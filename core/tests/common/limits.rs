//! Executions with a budget and a quota, and what these say to a grant: its id names the limit that
//! holds the execution back, if one does.

use ff_core::error::Rejection;
use ff_core::execution::{Admission, AnyCommand, BlockKind, Decide, Execution, Held, RateTurn};
use ff_core::id::{BudgetId, Dimension, GrantId, QuotaId, SlotId};
use ff_core::limits::Limits;
use ff_core::quota_ref::QuotaRef;
use ff_core::time::TimestampMs;
use uuid::Uuid;

use super::{Submission, grant_id, ms};

/// A limit that holds an execution back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The budget is at its hard limit, and resets itself after 5 s.
    Budget,
    /// The quota does not exist.
    NoQuota,
    /// As many run as may run.
    Concurrency,
    /// It may start after 1.5 s.
    Rate,
}

impl Limit {
    pub const ALL: [Self; 4] = [Self::Budget, Self::NoQuota, Self::Concurrency, Self::Rate];

    pub fn kind(self) -> BlockKind {
        match self {
            Self::Budget => BlockKind::Budget,
            _ => BlockKind::Quota,
        }
    }

    pub fn rejection(self) -> Rejection {
        let QuotaRef { quota, .. } = quota();
        match self {
            Self::Budget => Rejection::BudgetExhausted {
                budget: BudgetId::new("llm"),
                dimension: Dimension::new("tokens"),
                limit: 10,
                resets_at: None,
            },
            Self::NoQuota => Rejection::QuotaNotFound { quota },
            Self::Concurrency => {
                Rejection::ConcurrencyLimitExceeded { quota: self::quota(), limit: 1 }
            }
            Self::Rate => {
                Rejection::RateLimitExceeded { quota: self::quota(), retry_after: ms(1_500) }
            }
        }
    }
}

pub fn quota() -> QuotaRef {
    QuotaRef { quota: QuotaId::new("exports"), key: None }
}

impl Submission {
    /// With a budget and a quota.
    pub fn limited(mut self) -> Self {
        self.0.limits = Limits { budgets: vec![BudgetId::new("llm")], quotas: vec![quota()] };
        self
    }
}

pub fn slot_id(number: u64) -> SlotId {
    slot_for(grant_id(number))
}

/// The slot that is taken for a grant.
pub fn slot_for(grant: GrantId) -> SlotId {
    SlotId::from_uuid(grant.uuid())
}

/// The id of a grant that this limit does not allow.
pub fn held_grant_id(number: u64, limit: Limit) -> GrantId {
    let place = Limit::ALL.iter().position(|other| *other == limit).unwrap() as u128;
    GrantId::from_uuid(Uuid::from_u128(grant_id(number).uuid().as_u128() | (place + 1) << 64))
}

/// The answer of an execution's limits to the grant of a command, if it has any.
pub fn admission(command: &AnyCommand, record: Option<&Execution>) -> Option<Admission> {
    record?.limits.as_ref()?;
    let grant = command.spec().needs.grant?;
    let place = (grant.uuid().as_u128() >> 64) as usize & 0xff;
    let held = place.checked_sub(1).and_then(|place| Limit::ALL.get(place)).map(|limit| Held {
        kind: limit.kind(),
        quota: (*limit == Limit::Concurrency).then_some(0),
        rejection: limit.rejection(),
        retry_after: match limit {
            Limit::Budget => Some(ms(5_000)),
            Limit::Rate => Some(ms(1_500)),
            Limit::NoQuota | Limit::Concurrency => None,
        },
        turn: (*limit == Limit::Rate).then_some(RateTurn { quota: 0, at: TimestampMs::new(7) }),
    });
    Some(Admission { grant, slot: Some(slot_for(grant)), held })
}
