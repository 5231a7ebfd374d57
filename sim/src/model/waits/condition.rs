//! The evaluation of conditions, implemented from the specification, independently of the rule that
//! counts signals (`docs/spec.md`, 5).

use std::collections::BTreeSet;

use ff_core::condition::{Condition, CountKind, SignalMatcher};
use ff_core::execution::SignalRecord;
use ff_core::id::{SignalId, WaitpointKey};

/// Whether these signals, in their order, satisfy a condition. No signals satisfy `OperatorOnly` or
/// `TimeoutOnly`.
pub fn is_satisfied(condition: &Condition, signals: &[&SignalRecord]) -> bool {
    match condition {
        Condition::OperatorOnly | Condition::TimeoutOnly => false,
        Condition::AllOf { members } => members.iter().all(|member| is_satisfied(member, signals)),
        Condition::AnyOf { members } => members.iter().any(|member| is_satisfied(member, signals)),
        Condition::Single { .. } => !counted(condition, signals).is_empty(),
        Condition::Count { n, .. } => counted(condition, signals).len() as u32 >= *n,
    }
}

/// The signals that satisfy a condition: those that its satisfied members count. All that it counts
/// if it is not satisfied.
pub fn satisfying(condition: &Condition, signals: &[&SignalRecord]) -> BTreeSet<SignalId> {
    match condition {
        Condition::AllOf { members } if is_satisfied(condition, signals) => {
            members.iter().flat_map(|member| satisfying(member, signals)).collect()
        }
        Condition::AnyOf { members } if is_satisfied(condition, signals) => {
            let satisfied = members.iter().filter(|member| is_satisfied(member, signals));
            satisfied.flat_map(|member| satisfying(member, signals)).collect()
        }
        _ => counted(condition, signals),
    }
}

/// The signals that a condition counts: the first ones that match.
pub fn counted(condition: &Condition, signals: &[&SignalRecord]) -> BTreeSet<SignalId> {
    match condition {
        Condition::OperatorOnly | Condition::TimeoutOnly => BTreeSet::new(),
        Condition::AllOf { members } | Condition::AnyOf { members } => {
            members.iter().flat_map(|member| counted(member, signals)).collect()
        }
        Condition::Single { waitpoint, matcher } => {
            let waitpoints = std::slice::from_ref(waitpoint);
            first(1, CountKind::DistinctSignals, matcher, waitpoints, signals)
        }
        Condition::Count { n, kind, matcher, waitpoints } => {
            first(*n, *kind, matcher, waitpoints, signals)
        }
    }
}

/// The first `n` signals that match and differ in the property that is counted.
fn first(
    n: u32,
    kind: CountKind,
    matcher: &SignalMatcher,
    waitpoints: &[WaitpointKey],
    signals: &[&SignalRecord],
) -> BTreeSet<SignalId> {
    let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for signal in signals {
        let named = match matcher {
            SignalMatcher::Wildcard => true,
            SignalMatcher::ByName(name) => name.as_str() == signal.name.as_str(),
        };
        let here = waitpoints.iter().any(|key| key.as_str() == signal.waitpoint_key.as_str());
        let mark = match kind {
            CountKind::DistinctWaitpoints => Some(signal.waitpoint_id.to_string()),
            CountKind::DistinctSignals => Some(signal.id.to_string()),
            CountKind::DistinctSources => signal.source.as_ref().map(|s| s.as_str().to_owned()),
        };
        let Some(mark) = mark.filter(|_| named && here) else { continue };
        if (found.len() as u32) < n && seen.insert(mark) {
            found.insert(signal.id);
        }
    }
    found
}
