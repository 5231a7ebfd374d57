//! Calls of a process with old records and a wrong clock: it applies timers that are not due, or
//! requests a grant on an execution that is not lost. Mistaken calls must have no effect.

use std::collections::BTreeMap;

use ff_core::entropy::Entropy;
use ff_core::execution::{
    AnyCommand, Execution, GrantAudit, IssueClaimGrant, IssueReclaimGrant, LeaseFate, OnDue, Phase,
};
use ff_core::id::{GrantId, WorkerId};
use ff_core::op::Loaded;
use ff_core::store::Member;
use ff_core::time::{DurationMs, TimestampMs};

use crate::determinism::random::happens;
use crate::model::index_positions::due_of;

/// The call about one of the copies, by a clock that shows `now`.
pub fn act(
    copies: &BTreeMap<Member, Loaded>,
    now: TimestampMs,
    entropy: &mut Entropy,
) -> Option<AnyCommand> {
    let takes_over = happens(entropy, 500);
    let believed =
        |copy: &&Execution| if takes_over { is_lost(copy, now) } else { is_due(copy, now) };
    let copies: Vec<_> = copies.values().map(|copy| &*copy.execution).filter(believed).collect();
    let copy = copies.get(entropy.below(copies.len() as u64) as usize)?;
    let execution_id = copy.id;
    if !takes_over {
        return Some(OnDue { execution_id }.into());
    }
    let request = IssueClaimGrant {
        execution_id,
        lane: None,
        grant_id: GrantId::random(entropy),
        worker: WorkerId::try_new("nobody").expect("a valid id"),
        capabilities: copy.requires.clone(),
        ttl: DurationMs::new(200),
        audit: GrantAudit::default(),
    };
    Some(IssueReclaimGrant(request).into())
}

fn is_due(copy: &Execution, now: TimestampMs) -> bool {
    due_of(copy).is_some_and(|due| due <= now)
}

fn is_lost(copy: &Execution, now: TimestampMs) -> bool {
    match &copy.phase {
        Phase::Active(active) => active.fate == LeaseFate::Held && active.lease.expires_at <= now,
        _ => false,
    }
}
