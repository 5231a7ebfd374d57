//! Random steps: a time, and one command of the systematic arguments for the execution as it
//! stands.

use std::collections::BTreeSet;

use ff_core::execution::{AnyCommand, Decide, Execution, Next, Start, Verdict, due_times};
use ff_core::policy::{Backoff, ReclaimMode};
use ff_core::time::TimestampMs;
use proptest::prelude::*;

use super::arguments::arguments;
use crate::common::{Bench, START, Submission, at, ms, on_due};

/// One command at one time.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub clock: Clock,
    pub action: Action,
}

/// How the store's clock moves before a command.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    Stay,
    Tick,
    /// To one of the due times that are still to come, or 1 ms before or after it.
    Due {
        pick: usize,
        nudge: i64,
    },
    Forward(u64),
    Back(u64),
}

/// The command of a step. A number picks one of those that fit.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Any command with any kind of arguments. Its ids are new.
    Any(usize),
    /// The same with ids that other commands use too.
    Reusing(usize),
    /// A command that changes the execution, so that sequences get far. Its ids are new.
    Likely(usize),
    /// The execution's submission again, by the same creator.
    Create,
    /// A command that was sent before.
    Again(usize),
}

/// Any submission: without bounds, or with every bound so low that it is met.
pub fn submissions() -> impl Strategy<Value = Submission> {
    let backoff = prop_oneof![
        Just(Backoff::Fixed { delay_ms: ms(0) }),
        Just(Backoff::Fixed { delay_ms: ms(2_000) }),
        Just(Backoff::default()),
    ];
    let limits = (0..3_u32, 0..3_u32, 0..3_u32, backoff);
    let attempt_timeout = prop_oneof![2 => Just(None), 1 => (1..60_000_u64).prop_map(Some)];
    let deadline = prop_oneof![3 => Just(None), 1 => (1..400_000_u64).prop_map(Some)];
    let retention = prop_oneof![Just(0), Just(10_000_u64), Just(86_400_000)];
    let start = prop_oneof![
        3 => Just(Start::Now),
        1 => (-2_000..9_000_i64).prop_map(|off| Start::At(at(START.saturating_add_signed(off)))),
        1 => (0..9_000_u64).prop_map(|after| Start::After(ms(after))),
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (limits, attempt_timeout, deadline, retention, start, flags).prop_map(
        |((retries, reclaims, replays, backoff), timeout, deadline, retention, start, flags)| {
            let (on_request, choosy, picky, limited) = flags;
            let mut submission = Submission::new().payload(b"payload").start(start);
            submission.0.deadline = deadline.map(|after| at(START + after));
            if choosy {
                submission = submission.requires(&["gpu"]);
            }
            if limited {
                submission = submission.limited();
            }
            submission.policy(|policy| {
                policy.retry.max_retries = retries;
                policy.retry.backoff = backoff;
                if picky {
                    policy.retry.retryable_categories = vec![crate::common::category("broken")];
                }
                policy.timeout.attempt_timeout_ms = timeout.map(ms);
                policy.max_reclaim_count = reclaims;
                policy.max_replay_count = replays;
                policy.retention_ms = ms(retention);
                if on_request {
                    policy.reclaim_mode = ReclaimMode::OnRequest;
                }
            })
        },
    )
}

pub fn sequences() -> impl Strategy<Value = Vec<Step>> {
    let step = (clocks(), actions()).prop_map(|(clock, action)| Step { clock, action });
    proptest::collection::vec(step, 1..100)
}

fn actions() -> impl Strategy<Value = Action> {
    let pick = || 0..1_000_000_usize;
    prop_oneof![
        12 => pick().prop_map(Action::Likely),
        3 => pick().prop_map(Action::Any),
        3 => pick().prop_map(Action::Reusing),
        2 => pick().prop_map(Action::Again),
        1 => Just(Action::Create),
    ]
}

fn clocks() -> impl Strategy<Value = Clock> {
    prop_oneof![
        16 => Just(Clock::Stay),
        6 => Just(Clock::Tick),
        6 => (0..4_usize, -1..=1_i64).prop_map(|(pick, nudge)| Clock::Due { pick, nudge }),
        2 => prop_oneof![Just(500), Just(31_000), Just(90_000), Just(90_000_000_u64)]
            .prop_map(Clock::Forward),
        1 => prop_oneof![Just(1), Just(2_000), Just(100_000), Just(4_000_000_u64)]
            .prop_map(Clock::Back),
    ]
}

impl Clock {
    /// The time after this move.
    pub fn moved(self, record: Option<&Execution>, now: TimestampMs) -> TimestampMs {
        match self {
            Self::Stay => now,
            Self::Tick => now.plus(ms(1)),
            Self::Forward(milliseconds) => now.plus(ms(milliseconds)),
            Self::Back(milliseconds) => now.minus(ms(milliseconds)).max(at(1_000)),
            Self::Due { pick, nudge } => {
                let later = record.into_iter().flat_map(due_times).map(|(at, _)| at);
                let mut later: Vec<TimestampMs> = later.filter(|at| *at > now).collect();
                later.sort();
                match later.get(pick % later.len().max(1)) {
                    Some(due) => at(due.get().saturating_add_signed(nudge)),
                    None => now,
                }
            }
        }
    }
}

impl Action {
    /// The command that this means for an execution; `sent` are those that were sent before.
    pub fn command(
        self,
        submission: &Submission,
        bench: &Bench,
        sent: &[AnyCommand],
        now: TimestampMs,
    ) -> AnyCommand {
        let fresh = 2_000 + sent.len() as u64;
        match self {
            Self::Again(pick) if !sent.is_empty() => sent[pick % sent.len()].clone(),
            Self::Any(pick) | Self::Reusing(pick) if bench.record.is_some() => {
                let reusing = matches!(self, Self::Reusing(_));
                let ids = if reusing { 1 + (pick % 7) as u64 } else { fresh };
                let all = arguments(bench, now, ids);
                by_name(&all, pick).next().expect("there are commands").clone()
            }
            Self::Likely(pick) if bench.record.is_some() => {
                let all = arguments(bench, now, fresh);
                let changes = |command: &&AnyCommand| bench.is_changed_by(command, now);
                by_name(&all, pick).find(changes).cloned().unwrap_or_else(|| on_due().into())
            }
            _ => submission.clone().into(),
        }
    }
}

/// All commands in an order that a number picks: by kinds, so that each kind is as likely to be
/// first as any other.
fn by_name(all: &[AnyCommand], pick: usize) -> impl Iterator<Item = &AnyCommand> {
    let names: BTreeSet<&str> = all.iter().map(Decide::name).collect();
    let mut names: Vec<&str> = names.into_iter().collect();
    let mut state = pick as u64;
    names.sort_by_cached_key(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
        state >> 33
    });
    names.into_iter().flat_map(move |name| {
        let named: Vec<&AnyCommand> = all.iter().filter(|one| one.name() == name).collect();
        let count = named.len();
        (0..count).map(move |offset| named[(pick % count + offset) % count])
    })
}

impl Bench {
    /// Whether a command would write or remove the record.
    fn is_changed_by(&self, command: &AnyCommand, now: TimestampMs) -> bool {
        match self.reads(command, now).decide(command, self.record.as_ref(), now) {
            Ok(Verdict::Apply(decision)) => decision.next != Next::Keep,
            _ => false,
        }
    }
}
