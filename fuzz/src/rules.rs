//! Sequences of commands on one execution, at any times. Each command fits the current record.
//! After each command the invariants hold that one record can show. A command that a rule refuses
//! or recognises as a repeat has no effect.

use arbitrary::{Result, Unstructured};
use ff_core::execution::{BlockKind, Start};
use ff_core::policy::{Backoff, ReclaimMode};

use crate::common::run::Run;
use crate::common::steps::{
    Action, CallChoice, ClaimChoice, Clock, FenceChoice, GrantChoice, Step,
};
use crate::common::waits::{
    CONDITIONS, FrameChoice, POLICIES, PendingChoice, SignalChoice, SuspendChoice, TIMEOUTS,
};
use crate::common::{START, Submission, at, category, ms};

/// The maximum number of steps in a sequence.
const STEPS: usize = 120;

/// Decodes the bytes as a submission and the steps that follow it, and runs them.
pub fn check(data: &[u8]) {
    let u = &mut Unstructured::new(data);
    let Ok(submission) = submission(u) else { return };
    let mut run = Run::new(submission);
    run.begin();
    for _ in 0..STEPS {
        if u.is_empty() {
            return;
        }
        let Ok(step) = step(u) else { return };
        run.step(&step);
    }
}

fn submission(u: &mut Unstructured<'_>) -> Result<Submission> {
    let start = match u.int_in_range(0..=4)? {
        0 => Start::At(at(START.saturating_add_signed(u.int_in_range(-2_000..=9_000)?))),
        1 => Start::After(ms(u.int_in_range(0..=9_000)?)),
        _ => Start::Now,
    };
    let mut submission = Submission::new().payload(b"payload").start(start);
    if u.ratio(1, 4)? {
        submission.0.deadline = Some(at(START + u.int_in_range(1..=400_000)?));
    }
    if u.arbitrary()? {
        submission = submission.requires(&["gpu"]);
    }
    let policy = &mut submission.0.policy;
    policy.retry.max_retries = u.int_in_range(0..=2)?;
    policy.max_reclaim_count = u.int_in_range(0..=2)?;
    policy.max_replay_count = u.int_in_range(0..=2)?;
    policy.retry.backoff = *u.choose(&[
        Backoff::Fixed { delay_ms: ms(0) },
        Backoff::Fixed { delay_ms: ms(2_000) },
        Backoff::default(),
    ])?;
    policy.timeout.attempt_timeout_ms =
        if u.ratio(1, 3)? { Some(ms(u.int_in_range(1..=60_000)?)) } else { None };
    policy.retention_ms = ms(*u.choose(&[0, 10_000, 86_400_000])?);
    if u.arbitrary()? {
        policy.reclaim_mode = ReclaimMode::OnRequest;
    }
    if u.arbitrary()? {
        policy.retry.retryable_categories = vec![category("broken")];
    }
    Ok(submission)
}

fn step(u: &mut Unstructured<'_>) -> Result<Step> {
    let clock = match u.int_in_range(0..=15)? {
        0..=6 => Clock::Stay,
        7..=9 => Clock::Tick,
        10..=12 => Clock::Due { pick: u.choose_index(4)?, nudge: u.int_in_range(-1..=1)? },
        13 | 14 => Clock::Forward(*u.choose(&[500, 31_000, 90_000, 90_000_000])?),
        _ => Clock::Back(*u.choose(&[1, 2_000, 100_000, 4_000_000])?),
    };
    Ok(Step { clock, action: action(u)? })
}

fn action(u: &mut Unstructured<'_>) -> Result<Action> {
    Ok(match u.int_in_range(0..=47)? {
        0..=9 => Action::Promising(u.int_in_range(0..=59)?),
        10..=15 => admission(u)?,
        16..=22 => by_holder(u)?,
        23 => Action::Cancel(call(u)?),
        24 => Action::Revoke(call(u)?),
        25 => Action::ChangePriority { call: call(u)?, priority: u.int_in_range(-1..=9_001)? },
        26 => Action::Replay(call(u)?),
        27 => Action::Create { creator: u.int_in_range(1..=2)?, idempotent: u.arbitrary()? },
        28 => {
            let after = if u.arbitrary()? { Some(5_000) } else { None };
            Action::Block { kind: *u.choose(&BlockKind::ALL)?, after }
        }
        29 => {
            let offered = if u.arbitrary()? { Some(u.arbitrary()?) } else { None };
            Action::Unblock { kind: *u.choose(&BlockKind::ALL)?, offered }
        }
        30..=45 => waits(u)?,
        _ => Action::OnDue,
    })
}

fn waits(u: &mut Unstructured<'_>) -> Result<Action> {
    Ok(match u.int_in_range(0..=15)? {
        0..=3 => Action::Suspend(SuspendChoice {
            fence: fence(u)?,
            number: u.int_in_range(1..=5)?,
            condition: u.choose_index(CONDITIONS)?,
            timeout: u.choose_index(TIMEOUTS)?,
            policy: u.choose_index(POLICIES)?,
            open: u.arbitrary()?,
        }),
        4 | 5 => Action::CreatePending(PendingChoice {
            fence: fence(u)?,
            number: u.int_in_range(1..=8)?,
            key: u.choose_index(4)?,
            expires_in: *u.choose(&[None, Some(3_000), Some(0)])?,
        }),
        6..=11 => Action::Signal(SignalChoice {
            pick: u.choose_index(20)?,
            good_token: u.ratio(7, 8)?,
            number: u.int_in_range(0..=39)?,
            by_another: u.ratio(1, 8)?,
            approved: u.arbitrary()?,
            source: u.choose_index(3)?,
        }),
        12 => Action::Resume(call(u)?),
        13 | 14 => Action::Append(FrameChoice { fence: fence(u)?, ahead: u.int_in_range(0..=2)? }),
        _ => Action::Forget,
    })
}

fn admission(u: &mut Unstructured<'_>) -> Result<Action> {
    Ok(match u.int_in_range(0..=7)? {
        0 => Action::IssueClaimGrant(grant(u)?),
        1 => Action::IssueReclaimGrant(grant(u)?),
        2 => Action::Admit(grant(u)?),
        3 => Action::Claim(claim(u)?),
        4 => Action::ClaimResumed(claim(u)?),
        5 => Action::Reclaim(claim(u)?),
        _ => Action::Offer { claim: claim(u)?, capable: u.ratio(4, 5)? },
    })
}

fn by_holder(u: &mut Unstructured<'_>) -> Result<Action> {
    let fence = fence(u)?;
    Ok(match u.int_in_range(0..=7)? {
        0 | 1 => Action::Renew { fence, ttl: *u.choose(&[30_000, 5_000, 1, 0])? },
        2 => Action::Complete { fence, result: u.arbitrary()? },
        3 => {
            let category = *u.choose(&["broken", "odd"])?;
            Action::Fail { fence, category, permanent: u.ratio(1, 8)? }
        }
        4 => Action::Delay { fence, milliseconds: *u.choose(&[-1_500, 0, 1, 8_000])? },
        5 => Action::WaitForChildren(fence),
        6 => Action::Progress { fence, percent: *u.choose(&[0, 100, 101])? },
        _ => Action::CancelByHolder(fence),
    })
}

fn fence(u: &mut Unstructured<'_>) -> Result<FenceChoice> {
    Ok(match u.int_in_range(0..=7)? {
        0 => FenceChoice::Stale(u.choose_index(9)?),
        1 => *u.choose(&[FenceChoice::Forged, FenceChoice::Partial, FenceChoice::Missing])?,
        _ => FenceChoice::Current,
    })
}

fn call(u: &mut Unstructured<'_>) -> Result<CallChoice> {
    let off = *u.choose(&[None, Some(0), Some(1)])?;
    Ok(CallChoice { number: u.int_in_range(0..=11)?, off })
}

fn grant(u: &mut Unstructured<'_>) -> Result<GrantChoice> {
    let ttl = *u.choose(&[20_000, 20_000, 20_000, 20_000, 20_000, 0, 1, 60_001])?;
    Ok(GrantChoice { number: u.int_in_range(0..=5)?, capable: u.ratio(4, 5)?, ttl })
}

fn claim(u: &mut Unstructured<'_>) -> Result<ClaimChoice> {
    Ok(ClaimChoice {
        right_grant: u.ratio(7, 8)?,
        right_worker: u.ratio(7, 8)?,
        number: u.int_in_range(0..=5)?,
        ttl: *u.choose(&[30_000, 30_000, 30_000, 30_000, 30_000, 0, 1, 86_400_001])?,
    })
}
