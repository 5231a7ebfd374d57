//! What a suspended execution waits for: reasons, conditions, timeouts and how it goes on
//! (`docs/spec.md`, 5).

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
use crate::id::{SignalName, WaitpointKey};
use crate::time::{DurationMs, TimestampMs};

/// The most waitpoints that are open in one execution at a time, and that are remembered once they
/// are closed.
pub const MAX_WAITPOINTS: usize = 16;
/// The most signals that one condition asks for, over all its parts.
pub const MAX_CONDITION_SIGNALS: usize = 64;
/// The most waitpoints that one condition names, over all its parts, each time counted.
pub const MAX_CONDITION_WAITPOINTS: usize = 64;
/// The deepest nesting of a condition.
pub const MAX_CONDITION_DEPTH: usize = 4;

/// Why a worker suspends; it shows as the blocking reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuspensionReason {
    /// It waits for a signal.
    #[default]
    Signal,
    /// It waits for a person's approval.
    Approval,
    /// It waits for another system to call back.
    Callback,
    /// It waits for the result of a tool.
    ToolResult,
    /// It is paused until an operator resumes it.
    Operator,
    /// A policy pauses it.
    Policy,
    /// It waits for a budget.
    Budget,
}

/// Which signals count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalMatcher {
    /// Every signal.
    #[default]
    Wildcard,
    /// Signals of this name only.
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

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountKind {
    /// Waitpoints that had a signal.
    DistinctWaitpoints,
    /// Signals.
    DistinctSignals,
    /// Sources that sent a signal; one without a source does not count.
    DistinctSources,
}

/// What resumes a suspended execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// One signal at one waitpoint.
    Single {
        /// The waitpoint.
        waitpoint: WaitpointKey,
        /// Which signals count; without a matcher every one does.
        #[serde(default)]
        matcher: SignalMatcher,
    },
    /// No signal: an operator resumes it.
    OperatorOnly,
    /// No signal: its timeout resumes or ends it.
    TimeoutOnly,
    /// All of these. They are signals' conditions: an operator and a timeout need no condition.
    AllOf {
        /// At least one.
        members: Vec<Condition>,
    },
    /// So many different ones.
    Count {
        /// At least 1; of waitpoints at most as many as there are.
        n: u32,
        /// What is counted.
        kind: CountKind,
        /// Which signals count.
        #[serde(default)]
        matcher: SignalMatcher,
        /// The waitpoints at which they count.
        waitpoints: Vec<WaitpointKey>,
    },
}

impl Condition {
    /// One signal of whatever name at a waitpoint.
    pub const fn any_signal(waitpoint: WaitpointKey) -> Self {
        Self::Single { waitpoint, matcher: SignalMatcher::Wildcard }
    }

    /// One signal of this name at a waitpoint.
    pub const fn signal(waitpoint: WaitpointKey, name: SignalName) -> Self {
        Self::Single { waitpoint, matcher: SignalMatcher::ByName(name) }
    }

    /// The condition as parts that must all be satisfied; none where no signal resumes it.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a condition that cannot be satisfied as it is written: an empty `AllOf`,
    /// `n` of zero or above the number of waitpoints, nesting deeper than [`MAX_CONDITION_DEPTH`],
    /// more than [`MAX_CONDITION_SIGNALS`] signals or [`MAX_CONDITION_WAITPOINTS`] waitpoints.
    pub fn parts(&self) -> Result<Vec<ConditionPart>, Rejection> {
        let mut parts = Vec::new();
        self.gather(1, &mut parts)?;
        let asked: u64 = parts.iter().map(|part| u64::from(part.n)).sum();
        if asked > MAX_CONDITION_SIGNALS as u64 {
            return Err(wrong(format!("asks for {asked} signals, at most 64 are possible")));
        }
        let named: usize = parts.iter().map(|part| part.waitpoints.len()).sum();
        if named > MAX_CONDITION_WAITPOINTS {
            return Err(wrong(format!("names waitpoints {named} times, at most 64 are possible")));
        }
        Ok(parts)
    }

    fn gather(&self, depth: usize, parts: &mut Vec<ConditionPart>) -> Result<(), Rejection> {
        if depth > MAX_CONDITION_DEPTH {
            return Err(wrong(format!("is nested deeper than {MAX_CONDITION_DEPTH}")));
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
                return Err(wrong("has an operator or a timeout as a part of all_of".to_owned()));
            }
            Self::AllOf { members } if members.is_empty() => {
                return Err(wrong("has an empty all_of".to_owned()));
            }
            Self::AllOf { members } => {
                for member in members {
                    member.gather(depth + 1, parts)?;
                }
            }
            Self::Count { n, kind, matcher, waitpoints } => {
                check_count(*n, *kind, waitpoints)?;
                let (n, kind, matcher) = (*n, *kind, matcher.clone());
                let waitpoints = waitpoints.clone();
                parts.push(ConditionPart { n, kind, matcher, waitpoints });
            }
        }
        Ok(())
    }
}

fn check_count(n: u32, kind: CountKind, waitpoints: &[WaitpointKey]) -> Result<(), Rejection> {
    if n == 0 {
        return Err(wrong("counts to zero".to_owned()));
    }
    if waitpoints.is_empty() {
        return Err(wrong("counts at no waitpoint".to_owned()));
    }
    let mut different: Vec<&WaitpointKey> = waitpoints.iter().collect();
    different.sort_unstable();
    different.dedup();
    if different.len() < waitpoints.len() {
        return Err(wrong("names a waitpoint twice in one count".to_owned()));
    }
    if kind == CountKind::DistinctWaitpoints && n as usize > waitpoints.len() {
        let count = waitpoints.len();
        return Err(wrong(format!("counts to {n} waitpoints of {count}")));
    }
    Ok(())
}

fn wrong(problem: String) -> Rejection {
    Rejection::InvalidInput { field: "condition", problem }
}

/// A part of a condition: so many different ones at these waitpoints. All parts must be satisfied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionPart {
    /// How many.
    pub n: u32,
    /// What is counted.
    pub kind: CountKind,
    /// Which signals count.
    pub matcher: SignalMatcher,
    /// Where they count.
    pub waitpoints: Vec<WaitpointKey>,
}

/// When a suspension ends by itself, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspensionTimeout {
    /// When.
    pub when: TimeoutAt,
    /// What happens then.
    #[serde(default)]
    pub behaviour: TimeoutBehaviour,
}

impl SuspensionTimeout {
    /// A timeout after that time from the suspension.
    pub const fn after(after: DurationMs, behaviour: TimeoutBehaviour) -> Self {
        Self { when: TimeoutAt::After(after), behaviour }
    }
}

/// An instant, or a time from the suspension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutAt {
    /// At an instant of the store's clock.
    At(TimestampMs),
    /// After a time from the suspension; it saturates at the latest instant there is.
    After(DurationMs),
}

/// What happens when a suspension takes too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutBehaviour {
    /// The execution has failed, with category `suspension_timeout`; it is not retried.
    #[default]
    Fail,
    /// The execution is cancelled.
    Cancel,
    /// The execution has expired.
    Expire,
    /// The execution goes on, without a signal.
    AutoResume,
    /// The execution goes on, and its worker sees a signal named `timeout`.
    AutoResumeWithTimeoutSignal,
    /// The execution stays suspended and can still be signalled; the journal tells of it.
    Escalate,
}

/// How an execution goes on when it is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResumePolicy {
    /// How long it waits before it can be claimed, in milliseconds; 0 by default.
    pub resume_delay_ms: DurationMs,
    /// Whether the waitpoints of the suspension are closed, which they are by default. Those that
    /// stay open take signals for a later suspension, under the same tokens.
    pub close_waitpoints: bool,
    /// Whether signals up to the one that resumed are not counted by a later suspension at a
    /// waitpoint that stays open; they are not, by default.
    pub consume_signals: bool,
}

impl Default for ResumePolicy {
    fn default() -> Self {
        let resume_delay_ms = DurationMs::ZERO;
        Self { resume_delay_ms, close_waitpoints: true, consume_signals: true }
    }
}
