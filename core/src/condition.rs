//! The arguments of a suspension: its reason, the condition that resumes the execution, the timeout
//! and the resume policy (`docs/spec.md`, 5).

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
use crate::id::{SignalName, WaitpointKey};
use crate::null::{or_default, or_true};
use crate::time::{DurationMs, TimestampMs};

/// The maximum number of open waitpoints of one execution. Its record also keeps at most this many
/// closed ones.
pub const MAX_WAITPOINTS: usize = 16;
/// The maximum number of signals that one condition asks for, over all its parts.
pub const MAX_CONDITION_SIGNALS: usize = 64;
/// The maximum number of waitpoints that one condition names, over all its parts. A waitpoint that
/// is named twice counts twice.
pub const MAX_CONDITION_WAITPOINTS: usize = 64;
/// The maximum nesting depth of a condition.
pub const MAX_CONDITION_DEPTH: usize = 4;

/// The reason for which a worker suspends an execution. It determines the blocking reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuspensionReason {
    /// The execution waits for a signal.
    #[default]
    Signal,
    /// The execution waits for a person's approval.
    Approval,
    /// The execution waits for a callback from another system.
    Callback,
    /// The execution waits for the result of a tool.
    ToolResult,
    /// The execution is paused until an operator resumes it.
    Operator,
    /// A policy pauses the execution.
    Policy,
    /// The execution waits for a budget.
    Budget,
}

/// The signals that a condition counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalMatcher {
    /// Every signal.
    #[default]
    Wildcard,
    /// Only signals of this name.
    ByName(SignalName),
}

impl SignalMatcher {
    /// Whether a signal of this name counts.
    pub fn matches(&self, name: &SignalName) -> bool {
        match self {
            Self::Wildcard => true,
            Self::ByName(wanted) => wanted == name,
        }
    }
}

/// The unit in which a condition counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountKind {
    /// Waitpoints that received a signal.
    DistinctWaitpoints,
    /// Signals.
    DistinctSignals,
    /// Sources that sent a signal. A signal without a source does not count.
    DistinctSources,
}

/// The condition that resumes a suspended execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// One signal at one waitpoint.
    Single {
        /// The waitpoint.
        waitpoint: WaitpointKey,
        /// The signals that count; every signal by default.
        #[serde(default, deserialize_with = "or_default")]
        matcher: SignalMatcher,
    },
    /// No signal: only an operator resumes the execution.
    OperatorOnly,
    /// No signal: only the suspension's timeout resumes or ends the execution.
    TimeoutOnly,
    /// Every member is satisfied. The members are conditions on signals, so neither `OperatorOnly`
    /// nor `TimeoutOnly`.
    AllOf {
        /// The members, at least one.
        members: Vec<Condition>,
    },
    /// At least one member is satisfied. The members are conditions on signals, as for `AllOf`.
    /// The worker gets the signals of the satisfied members.
    AnyOf {
        /// The members, at least one.
        members: Vec<Condition>,
    },
    /// At least `n` distinct waitpoints, signals or sources.
    Count {
        /// The required number, at least 1. For [`CountKind::DistinctWaitpoints`] at most the
        /// number of waitpoints.
        n: u32,
        /// The unit in which signals are counted.
        kind: CountKind,
        /// The signals that count.
        #[serde(default, deserialize_with = "or_default")]
        matcher: SignalMatcher,
        /// The waitpoints at which signals count.
        waitpoints: Vec<WaitpointKey>,
    },
}

impl Condition {
    /// Creates a condition that one signal of any name at this waitpoint satisfies.
    pub const fn any_signal(waitpoint: WaitpointKey) -> Self {
        Self::Single { waitpoint, matcher: SignalMatcher::Wildcard }
    }

    /// Creates a condition that one signal of any of these names at this waitpoint satisfies.
    pub fn any_signal_of(
        waitpoint: WaitpointKey,
        names: impl IntoIterator<Item = SignalName>,
    ) -> Self {
        let member = |name| Self::signal(waitpoint.clone(), name);
        Self::AnyOf { members: names.into_iter().map(member).collect() }
    }

    /// Creates a condition that one signal of this name at this waitpoint satisfies.
    pub const fn signal(waitpoint: WaitpointKey, name: SignalName) -> Self {
        Self::Single { waitpoint, matcher: SignalMatcher::ByName(name) }
    }

    /// Checks the condition, and returns the parts that count signals, in their order. Returns no
    /// part if no signal resumes the execution.
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidInput`] for a condition that is malformed or over a bound: an `AllOf` or
    /// `AnyOf` without members, `OperatorOnly` or `TimeoutOnly` as a member, `n` of zero or above
    /// the number of waitpoints, a count without waitpoints or with the same waitpoint twice,
    /// nesting deeper than [`MAX_CONDITION_DEPTH`], more than [`MAX_CONDITION_SIGNALS`] signals or
    /// [`MAX_CONDITION_WAITPOINTS`] waitpoints.
    pub fn parts(&self) -> Result<Vec<ConditionPart>, Rejection> {
        let mut parts = Vec::new();
        self.gather(1, &mut parts)?;
        let asked: u64 = parts.iter().map(|part| u64::from(part.n)).sum();
        if asked > MAX_CONDITION_SIGNALS as u64 {
            return Err(invalid(format!("asks for {asked} signals; at most 64 are allowed")));
        }
        let named: usize = parts.iter().map(|part| part.waitpoints.len()).sum();
        if named > MAX_CONDITION_WAITPOINTS {
            return Err(invalid(format!("names {named} waitpoints; at most 64 are allowed")));
        }
        Ok(parts)
    }

    fn gather(&self, depth: usize, parts: &mut Vec<ConditionPart>) -> Result<(), Rejection> {
        if depth > MAX_CONDITION_DEPTH {
            return Err(invalid(format!("is nested deeper than {MAX_CONDITION_DEPTH} levels")));
        }
        match self {
            Self::Single { waitpoint, matcher } => parts.push(ConditionPart {
                n: 1,
                kind: CountKind::DistinctSignals,
                matcher: matcher.clone(),
                waitpoints: vec![waitpoint.clone()],
            }),
            Self::OperatorOnly | Self::TimeoutOnly if depth == 1 => {}
            Self::OperatorOnly | Self::TimeoutOnly => {
                let problem = "has operator_only or timeout_only as a member of all_of or any_of; \
                               only conditions on signals are allowed there";
                return Err(invalid(problem.to_owned()));
            }
            Self::AllOf { members } | Self::AnyOf { members } if members.is_empty() => {
                let problem = "has an all_of or any_of without members; give at least one";
                return Err(invalid(problem.to_owned()));
            }
            Self::AllOf { members } | Self::AnyOf { members } => {
                for member in members {
                    member.gather(depth + 1, parts)?;
                }
            }
            Self::Count { n, kind, matcher, waitpoints } => {
                check_count(*n, *kind, waitpoints)?;
                parts.push(ConditionPart {
                    n: *n,
                    kind: *kind,
                    matcher: matcher.clone(),
                    waitpoints: waitpoints.clone(),
                });
            }
        }
        Ok(())
    }
}

fn check_count(n: u32, kind: CountKind, waitpoints: &[WaitpointKey]) -> Result<(), Rejection> {
    if n == 0 {
        return Err(invalid("has a count with n = 0; n must be at least 1".to_owned()));
    }
    if waitpoints.is_empty() {
        return Err(invalid("has a count without waitpoints; give at least one".to_owned()));
    }
    let mut different: Vec<&WaitpointKey> = waitpoints.iter().collect();
    different.sort_unstable();
    different.dedup();
    if different.len() < waitpoints.len() {
        return Err(invalid("names the same waitpoint twice in one count".to_owned()));
    }
    if kind == CountKind::DistinctWaitpoints && n as usize > waitpoints.len() {
        let count = waitpoints.len();
        let problem = format!("has a count with n = {n}, but only {count} waitpoints to count");
        return Err(invalid(problem));
    }
    Ok(())
}

fn invalid(problem: String) -> Rejection {
    Rejection::InvalidInput { field: "condition", problem }
}

/// One part of a condition: `n` distinct waitpoints, signals or sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionPart {
    /// The required number.
    pub n: u32,
    /// The unit in which signals are counted.
    pub kind: CountKind,
    /// The signals that count.
    pub matcher: SignalMatcher,
    /// The waitpoints at which signals count.
    pub waitpoints: Vec<WaitpointKey>,
}

/// The timeout of a suspension, and its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspensionTimeout {
    /// The time of the timeout.
    pub when: TimeoutAt,
    /// The effect of the timeout.
    #[serde(default, deserialize_with = "or_default")]
    pub behaviour: TimeoutBehaviour,
}

impl SuspensionTimeout {
    /// Creates a timeout that fires `after` this time from the suspension.
    pub const fn after(after: DurationMs, behaviour: TimeoutBehaviour) -> Self {
        Self { when: TimeoutAt::After(after), behaviour }
    }
}

/// The time of a timeout: an instant, or a duration from the suspension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutAt {
    /// An instant of the store's clock.
    At(TimestampMs),
    /// A duration from the suspension. The sum saturates at [`TimestampMs::MAX`].
    After(DurationMs),
}

/// The effect of a suspension's timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutBehaviour {
    /// Fails the execution with category `suspension_timeout`. It is not retried.
    #[default]
    Fail,
    /// Cancels the execution.
    Cancel,
    /// Ends the execution as expired.
    Expire,
    /// Resumes the execution without a signal.
    AutoResume,
    /// Resumes the execution. Its worker sees a signal named `timeout`.
    AutoResumeWithTimeoutSignal,
    /// Keeps the execution suspended, open for signals, and writes an event to the journal.
    Escalate,
}

impl TimeoutBehaviour {
    /// Every behaviour, in order.
    pub const ALL: [Self; 6] = [
        Self::Fail,
        Self::Cancel,
        Self::Expire,
        Self::AutoResume,
        Self::AutoResumeWithTimeoutSignal,
        Self::Escalate,
    ];
}

/// The settings for resuming an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResumePolicy {
    /// The delay between the resumption and the first possible claim, in milliseconds; 0 by
    /// default.
    #[serde(deserialize_with = "or_default")]
    pub resume_delay_ms: DurationMs,
    /// Whether the waitpoints of the suspension are closed; true by default. Waitpoints that stay
    /// open accept signals for a later suspension, under the same tokens.
    #[serde(deserialize_with = "or_true")]
    pub close_waitpoints: bool,
    /// Whether signals up to the one that resumed the execution are used up, so that a later
    /// suspension does not count them at a waitpoint that stays open; true by default.
    #[serde(deserialize_with = "or_true")]
    pub consume_signals: bool,
}

impl Default for ResumePolicy {
    fn default() -> Self {
        let resume_delay_ms = DurationMs::ZERO;
        Self { resume_delay_ms, close_waitpoints: true, consume_signals: true }
    }
}
