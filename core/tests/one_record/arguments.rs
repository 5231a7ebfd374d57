//! Every command with right and wrong arguments, for an execution as it stands.

use std::sync::{Arc, LazyLock};

use ff_core::capability::Capabilities;
use ff_core::execution::{
    Admit, AnyCommand, Block, BlockKind, ChangePriority, CheckSlot, Claim, DEFAULT_PAYLOAD_LIMIT,
    DelayExecution, Execution, Fail, Fence, FenceParts, IssueClaimGrant, IssueReclaimGrant, Offer,
    OperatorCall, Phase, ReleaseGrant, RetryAdvice, Start, TakeNew, TakeOver, TakeResumed, Unblock,
    UpdateProgress,
};
use ff_core::id::LaneId;
use ff_core::policy::{Backoff, Priority, ReclaimMode};
use ff_core::time::TimestampMs;

use super::waits::waits;
use crate::common::limits::{Limit, held_grant_id, slot_id};
use crate::common::suspending::resume;
use crate::common::{
    Bench, Submission, attempt_id, call_for, cancel, cancel_by_holder, claim, complete, delay,
    epoch, execution_id, fail, grant, lease_id, ms, offer, offer_plain, on_due, release, renew,
    replay, revoke, wait_for_children, worker,
};

/// One byte more than a result may have.
static TOO_LARGE: LazyLock<Arc<[u8]>> =
    LazyLock::new(|| Arc::from(vec![0; DEFAULT_PAYLOAD_LIMIT + 1]));

/// Every command with every kind of arguments. `fresh` numbers the ids that are chosen anew.
pub fn arguments(bench: &Bench, now: TimestampMs, fresh: u64) -> Vec<AnyCommand> {
    let record = bench.record.as_ref();
    let mut all = creates(now, fresh);
    all.extend(grants(fresh));
    all.extend(claims(record, fresh));
    all.extend(offers(fresh));
    for fence in fences(record) {
        all.extend(by_holder(fence, now));
    }
    all.extend(waits(bench, fences(record), fresh));
    all.extend(odd_calls_of_holders(record, now));
    all.extend(by_operators(record, fresh));
    all.extend(record.into_iter().flat_map(copies));
    all.extend(held_back(record, fresh));
    all.extend(checks(record, fresh));
    all.extend(blocks(now));
    all.push(on_due().into());
    all
}

/// An execution without bounds in time that any worker can run.
pub fn plain() -> Submission {
    Submission::new().payload(b"payload").policy(|policy| {
        policy.retry.max_retries = 1;
        policy.retry.backoff = Backoff::Fixed { delay_ms: ms(1_000) };
        policy.max_reclaim_count = 1;
        policy.max_replay_count = 1;
    })
}

/// An execution with every bound in time, which only some workers can run and no worker takes over
/// unasked.
pub fn bounded(now: TimestampMs) -> Submission {
    let deadline = now.get() + 3_600_000;
    plain().attempt_timeout(40_000).requires(&["gpu"]).deadline(deadline).policy(|policy| {
        policy.reclaim_mode = ReclaimMode::OnRequest;
        policy.retry.retryable_categories =
            ["broken", "attempt_timeout"].map(crate::common::category).to_vec();
    })
}

fn creates(now: TimestampMs, fresh: u64) -> Vec<AnyCommand> {
    let mut too_large = plain();
    too_large.0.payload_limit = 3;
    let no_backoff = Backoff::Exponential { initial_ms: ms(1), multiplier: 0, max_ms: ms(1) };
    let bad_policy = plain().policy(|policy| policy.retry.backoff = no_backoff);
    let later = Start::After(ms(5_000));
    let all = [
        plain(),
        plain().creator(fresh).start(later),
        plain().creator(fresh).idempotent(),
        plain().creator(fresh).limited(),
        bounded(now),
        bounded(now).start(later),
        too_large.creator(fresh),
        bad_policy.creator(fresh),
        plain().creator(fresh).deadline(now.get()),
    ];
    all.map(AnyCommand::from).to_vec()
}

fn grants(fresh: u64) -> Vec<AnyCommand> {
    let mut all = Vec::new();
    let incapable = Capabilities::default();
    for request in [
        grant(fresh),
        IssueClaimGrant { capabilities: incapable, ..grant(fresh) },
        IssueClaimGrant { ttl: ms(0), ..grant(fresh) },
        IssueClaimGrant { lane: Some(LaneId::new("elsewhere")), ..grant(fresh) },
    ] {
        all.push(request.clone().into());
        all.push(Admit(request.clone()).into());
        all.push(IssueReclaimGrant(request).into());
    }
    all
}

fn claims(record: Option<&Execution>, fresh: u64) -> Vec<AnyCommand> {
    let out = record.and_then(Execution::grant).map(|grant| grant.id);
    let right = Claim { grant_id: out.unwrap_or(claim(fresh).grant_id), ..claim(fresh) };
    let wrong = [
        Claim { grant_id: crate::common::grant_id(fresh + 1_000_000), ..right.clone() },
        Claim { worker: worker(2), ..right.clone() },
        Claim { lane: Some(LaneId::new("elsewhere")), ..right.clone() },
        Claim { lease_ttl: ms(0), ..right.clone() },
    ];
    let mut all = Vec::new();
    for claim in [right].into_iter().chain(wrong) {
        all.push(TakeNew(claim.clone()).into());
        all.push(TakeResumed(claim.clone()).into());
        all.push(TakeOver(claim).into());
    }
    let grant_id = out.unwrap_or(release(fresh).grant_id);
    all.push(ReleaseGrant { grant_id, ..release(fresh) }.into());
    all.push(ReleaseGrant { grant_id, worker: worker(2), ..release(fresh) }.into());
    all
}

fn offers(fresh: u64) -> Vec<AnyCommand> {
    let mut without_ttl = offer(fresh);
    without_ttl.claim.lease_ttl = ms(0);
    let mut long = offer(fresh);
    long.claim.lease_ttl = ms(3_600_000);
    [offer(fresh), long, offer_plain(fresh), without_ttl].map(AnyCommand::from).to_vec()
}

/// Grants that a limit of the execution does not allow.
fn held_back(record: Option<&Execution>, fresh: u64) -> Vec<AnyCommand> {
    let mut all = Vec::new();
    if record.is_none_or(|record| record.limits.is_none()) {
        return all;
    }
    for limit in Limit::ALL {
        let grant_id = held_grant_id(fresh, limit);
        let request = IssueClaimGrant { grant_id, ..grant(fresh) };
        all.push(request.clone().into());
        all.push(Admit(request.clone()).into());
        all.push(IssueReclaimGrant(request).into());
        all.push(Offer { claim: Claim { grant_id, ..claim(fresh) }, ..offer(fresh) }.into());
    }
    all
}

/// Checks of a slot that it never had, and of the one that it took last.
fn checks(record: Option<&Execution>, fresh: u64) -> Vec<AnyCommand> {
    let execution_id = execution_id();
    let taken = record.and_then(|record| record.limits.as_ref()?.slot);
    let slots = [Some(slot_id(fresh)), taken.map(|taken| taken.slot)];
    slots.into_iter().flatten().map(|slot| CheckSlot { execution_id, slot }.into()).collect()
}

/// The fence of the latest lease, one that was never given, none, and a part of one.
fn fences(record: Option<&Execution>) -> [FenceParts; 4] {
    let forged = Fence {
        lease_id: lease_id(u64::MAX),
        lease_epoch: epoch(1),
        attempt_id: attempt_id(u64::MAX),
    };
    let latest = record.and_then(|record| record.last_fence).unwrap_or(forged);
    let partial = FenceParts { lease_epoch: None, ..latest.into() };
    [latest.into(), forged.into(), FenceParts::MISSING, partial]
}

fn by_holder(fence: FenceParts, now: TimestampMs) -> Vec<AnyCommand> {
    vec![
        renew(fence, 60_000).into(),
        complete(fence, Some(b"result")).into(),
        fail(fence, "broken").into(),
        delay(fence, now.get() + 7_000).into(),
        wait_for_children(fence).into(),
        progress(fence, 100).into(),
        cancel_by_holder(fence).into(),
    ]
}

fn progress(fence: FenceParts, percent: u8) -> UpdateProgress {
    UpdateProgress { execution_id: execution_id(), fence, percent, message: None }
}

/// Wrong and rare calls of a holder.
fn odd_calls_of_holders(record: Option<&Execution>, now: TimestampMs) -> Vec<AnyCommand> {
    let [fence, ..] = fences(record);
    let mut too_large = complete(fence, None);
    too_large.result = Some(TOO_LARGE.clone());
    vec![
        renew(fence, 0).into(),
        too_large.into(),
        Fail { retry: RetryAdvice::After(ms(3_000)), ..fail(fence, "broken") }.into(),
        Fail { retry: RetryAdvice::Never, ..fail(fence, "broken") }.into(),
        fail(fence, "hopeless").into(),
        delay(fence, now.get()).into(),
        DelayExecution { keeps_resumption: true, ..delay(fence, now.get()) }.into(),
        progress(fence, 101).into(),
    ]
}

fn by_operators(record: Option<&Execution>, fresh: u64) -> Vec<AnyCommand> {
    let life = record.map_or(0, |record| record.counts.replays);
    let calls = [life, life + 1].map(|life| call_for(fresh, life));
    calls.iter().flat_map(calls_of_operators).collect()
}

fn calls_of_operators(call: &OperatorCall) -> Vec<AnyCommand> {
    let (execution_id, priority) = (execution_id(), Priority::clamped(5));
    vec![
        cancel(call.clone()).into(),
        revoke(call.clone()).into(),
        replay(call.clone()).into(),
        resume(call.clone()).into(),
        ChangePriority { execution_id, call: call.clone(), priority }.into(),
    ]
}

/// Late copies of what the record remembers: its grant, its lease, how the latest lease was given
/// back, and the calls of operators.
fn copies(record: &Execution) -> Vec<AnyCommand> {
    let mut all = Vec::new();
    let lease = match &record.phase {
        Phase::Active(active) => Some(&active.lease),
        _ => None,
    };
    let consumed = lease.map(|lease| lease.grant.id);
    if let Some(grant_id) = record.grant().map(|grant| grant.id).or(consumed) {
        let request = IssueClaimGrant { grant_id, ..grant(0) };
        all.push(request.clone().into());
        all.push(Admit(request.clone()).into());
        all.push(IssueReclaimGrant(request).into());
    }
    if let Some(lease) = lease {
        let claim = Claim { lease_id: lease.id, grant_id: lease.grant.id, ..claim(0) };
        all.push(TakeNew(claim.clone()).into());
        all.push(TakeResumed(claim.clone()).into());
        all.push(TakeOver(claim.clone()).into());
        all.push(Offer { claim, ..offer(0) }.into());
    }
    if let Some(release) = &record.last_release {
        all.extend(by_holder(release.fence.into(), record.updated_at));
    }
    for (request_id, _) in record.requests.iter() {
        all.extend(calls_of_operators(&OperatorCall::new(request_id.clone())));
    }
    all
}

fn blocks(now: TimestampMs) -> Vec<AnyCommand> {
    let execution_id = execution_id();
    let mut all = Vec::new();
    for kind in BlockKind::ALL {
        let reset = Some(now.plus(ms(9_000)));
        all.push(Block { execution_id, kind, recheck_at: reset }.into());
        all.push(Unblock { execution_id, kind }.into());
    }
    all
}
