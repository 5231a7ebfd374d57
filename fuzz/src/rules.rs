//! Sequences of commands on one execution, at any times. Each command fits the current record.
//!
//! The rules decide the sequence first, and after each command the record is consistent and a
//! command that is refused or recognised as a repeat has no effect. Then operations carry the same
//! sequence to the simulator's store, which checks every step and every answer against every
//! invariant.

use arbitrary::{Result, Unstructured};
use ff_core::execution::Start;
use ff_core::policy::{Backoff, ReclaimMode};

use crate::carried::Carried;
use crate::common::{START, Submission, at, category, ms};
use crate::one_record::run::Run;
use crate::one_record::steps::{Action, Clock, Step};

/// The maximum number of steps in a sequence.
const STEPS: usize = 120;

/// Decodes the bytes as a submission and the steps that follow it, and runs them.
pub fn check(data: &[u8]) {
    let u = &mut Unstructured::new(data);
    let Ok(submission) = submission(u) else { return };
    let steps: Vec<Step> =
        (0..STEPS).map_while(|_| if u.is_empty() { None } else { step(u).ok() }).collect();
    let mut run = Run::new(submission.clone());
    run.begin();
    for step in &steps {
        run.step(step);
    }
    let mut carried = Carried::new(submission);
    for step in steps {
        carried.step(step);
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
    if u.ratio(1, 4)? {
        submission = submission.limited();
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
    Ok(match u.int_in_range(0..=15)? {
        0..=7 => Action::Likely(u.arbitrary()?),
        8..=10 => Action::Any(u.arbitrary()?),
        11..=13 => Action::Reusing(u.arbitrary()?),
        14 => Action::Again(u.arbitrary()?),
        _ => Action::Create,
    })
}
