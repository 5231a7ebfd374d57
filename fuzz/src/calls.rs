//! Commands of every kind on an execution, as a caller that knows the record would send them.

use ff_core::capability::Capabilities;
use ff_core::execution::{
    Admit, AnyCommand, Block, BlockKind, Cancel, CancelledBy, ChangePriority, CheckSlot, Claim,
    Complete, DelayExecution, Execution, Fail, FenceParts, GrantAudit, IssueClaimGrant,
    IssueReclaimGrant, MoveToWaitingChildren, Offer, OnDue, OperatorCall, ReleaseGrant, Renew,
    Replay, RetryAdvice, RevokeLease, TakeNew, TakeOver, TakeResumed, Unblock, UpdateProgress,
};
use ff_core::id::{
    AttemptId, FailureCategory, GrantId, LeaseId, RequestId, SlotId, WorkerId, WorkerInstanceId,
};
use ff_core::policy::Priority;
use ff_core::time::{DurationMs, TimestampMs};
use uuid::Uuid;

/// Returns at least one command of every kind.
pub(crate) fn all(record: &Execution, now: TimestampMs) -> Vec<AnyCommand> {
    let mut all = by_workers(record);
    all.extend(by_holder(record, now));
    all.extend(by_operators(record));
    all.extend(checks(record));
    all.push(AnyCommand::OnDue(OnDue { execution_id: record.id }));
    all
}

fn by_workers(record: &Execution) -> Vec<AnyCommand> {
    let execution_id = record.id;
    let worker = record.grant().map(|grant| grant.worker.clone());
    let worker = worker.unwrap_or_else(|| WorkerId::try_new("worker").expect("a valid id"));
    let uuid = Uuid::from_u128(1);
    let granted = record.grant().map(|grant| grant.id);
    let claim = Claim {
        execution_id,
        grant_id: granted.unwrap_or(GrantId::from_uuid(uuid)),
        worker: worker.clone(),
        instance: WorkerInstanceId::try_new("instance").expect("a valid id"),
        lane: None,
        lease_id: LeaseId::from_uuid(uuid),
        attempt_id: AttemptId::from_uuid(uuid),
        lease_ttl: DurationMs::new(30_000),
    };
    let mut all = Vec::new();
    for capabilities in [Capabilities::default(), record.requires.clone()] {
        let grant = IssueClaimGrant {
            execution_id,
            lane: None,
            grant_id: GrantId::from_uuid(uuid),
            worker: worker.clone(),
            capabilities: capabilities.clone(),
            ttl: DurationMs::new(30_000),
            audit: GrantAudit::default(),
        };
        all.push(AnyCommand::IssueReclaimGrant(IssueReclaimGrant(grant.clone())));
        all.push(AnyCommand::Admit(Admit(grant.clone())));
        all.push(AnyCommand::IssueClaimGrant(grant));
        all.push(AnyCommand::Offer(Offer { claim: claim.clone(), capabilities }));
    }
    let (grant_id, lane) = (claim.grant_id, Some(record.lane.clone()));
    all.push(ReleaseGrant { execution_id, grant_id, worker }.into());
    all.push(AnyCommand::Claim(TakeNew(Claim { lane, ..claim.clone() })));
    all.push(AnyCommand::Claim(TakeNew(claim.clone())));
    all.push(AnyCommand::ClaimResumed(TakeResumed(claim.clone())));
    all.push(AnyCommand::Reclaim(TakeOver(claim)));
    all
}

fn by_holder(record: &Execution, now: TimestampMs) -> Vec<AnyCommand> {
    let execution_id = record.id;
    let fence = record.last_fence.map_or(FenceParts::MISSING, FenceParts::of);
    let category = FailureCategory::try_new("broken").expect("a valid category");
    let reason = "it broke".to_owned();
    let fail = |retry| {
        let (category, reason) = (category.clone(), reason.clone());
        Fail { execution_id, fence, reason, category, retry }.into()
    };
    let until = now.plus(DurationMs::new(1));
    let by = CancelledBy::Holder(fence);
    let message = Some(reason.clone());
    vec![
        Renew { execution_id, fence, lease_ttl: DurationMs::new(1) }.into(),
        Complete { execution_id, fence, result: None }.into(),
        fail(RetryAdvice::ByPolicy),
        fail(RetryAdvice::After(DurationMs::new(7))),
        DelayExecution { execution_id, fence, until, keeps_resumption: false }.into(),
        DelayExecution { execution_id, fence, until, keeps_resumption: true }.into(),
        MoveToWaitingChildren { execution_id, fence }.into(),
        UpdateProgress { execution_id, fence, percent: 50, message }.into(),
        Cancel { execution_id, by, reason }.into(),
    ]
}

fn by_operators(record: &Execution) -> Vec<AnyCommand> {
    let execution_id = record.id;
    let call = OperatorCall::new(RequestId::try_new("request").expect("a valid id"));
    let by = CancelledBy::Operator(call.clone());
    let mut all = vec![
        Cancel { execution_id, by, reason: String::new() }.into(),
        RevokeLease { execution_id, call: call.clone() }.into(),
        Replay { execution_id, call: call.clone() }.into(),
        ChangePriority { execution_id, call, priority: Priority::MAX }.into(),
    ];
    for kind in BlockKind::ALL {
        all.push(Block { execution_id, kind, recheck_at: None }.into());
        all.push(Unblock { execution_id, kind }.into());
    }
    all
}

/// Checks of the slot that the execution took last, and of one that it never had.
fn checks(record: &Execution) -> Vec<AnyCommand> {
    let execution_id = record.id;
    let taken = record.limits.as_ref().and_then(|limited| limited.slot);
    let slots = [Some(SlotId::from_uuid(Uuid::from_u128(1))), taken.map(|taken| taken.slot)];
    slots.into_iter().flatten().map(|slot| CheckSlot { execution_id, slot }.into()).collect()
}
