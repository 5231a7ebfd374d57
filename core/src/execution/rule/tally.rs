//! Counting signals for a condition: one evaluation for buffered signals and for those that are
//! sent during the suspension (`docs/spec.md`, 5). \[INV-SUSPEND-1\]

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::condition::{Condition, CountKind};
use crate::error::Rejection;
use crate::execution::record::{Counted, Join, SignalRecord, Tallies, Tally};
use crate::id::{SignalId, SignalSource};

/// Tallies of the parts of a condition, in which nothing has counted yet.
///
/// # Errors
///
/// `InvalidInput` for an invalid condition.
pub(super) fn begin(condition: &Condition) -> Result<Tallies, Rejection> {
    let parts = condition.parts()?.into_iter();
    let mut joins = Vec::new();
    if has_alternatives(condition) {
        join(condition, &mut joins);
    }
    Ok(Tallies { parts: parts.map(|part| Tally { part, counted: Vec::new() }).collect(), joins })
}

fn has_alternatives(condition: &Condition) -> bool {
    match condition {
        Condition::AnyOf { .. } => true,
        Condition::AllOf { members } => members.iter().any(has_alternatives),
        _ => false,
    }
}

/// Appends a condition in postfix order.
fn join(condition: &Condition, joins: &mut Vec<Join>) {
    match condition {
        Condition::AllOf { members } | Condition::AnyOf { members } => {
            members.iter().for_each(|member| join(member, joins));
            // A condition has at most 64 parts.
            let count = members.len() as u32;
            joins.push(match condition {
                Condition::AnyOf { .. } => Join::AnyOf(count),
                _ => Join::AllOf(count),
            });
        }
        _ => joins.push(Join::Part),
    }
}

/// Counts a signal for each part that it fits, and returns whether it fitted any.
pub(super) fn count(tallies: &mut Tallies, signal: &SignalRecord) -> bool {
    let mut counted = false;
    for tally in &mut tallies.parts {
        counted |= tally.count(signal);
    }
    counted
}

/// Whether the condition is satisfied.
pub(super) fn is_satisfied(tallies: &Tallies) -> bool {
    satisfied(tallies).is_some()
}

/// The signals that have satisfied the condition, each once: part by part, and within a part in the
/// order in which they did. Those of members of `any_of` that are not satisfied are left out.
pub(super) fn counted(tallies: &Tallies) -> Vec<SignalId> {
    let mut signals = Vec::new();
    let parts = satisfied(tallies).unwrap_or_default();
    for counted in parts.iter().flat_map(|part| &part.counted) {
        if !signals.contains(&counted.signal) {
            signals.push(counted.signal);
        }
    }
    signals
}

/// The parts that satisfy the condition, if it is satisfied.
fn satisfied(tallies: &Tallies) -> Option<Vec<&Tally>> {
    let mut parts = tallies.parts.iter();
    if tallies.joins.is_empty() {
        return parts.clone().all(Tally::is_satisfied).then(|| parts.collect());
    }
    let mut results: Vec<Option<Vec<&Tally>>> = Vec::new();
    for join in &tallies.joins {
        let (Join::AllOf(count) | Join::AnyOf(count)) = *join else {
            let part = parts.next().filter(|part| part.is_satisfied());
            results.push(part.map(|part| vec![part]));
            continue;
        };
        let members = results.split_off(results.len().saturating_sub(count as usize));
        let joined: Option<Vec<_>> = match join {
            Join::AnyOf(_) => Some(members.into_iter().flatten().collect()),
            _ => members.into_iter().collect(),
        };
        let joined = joined.map(|members: Vec<Vec<_>>| members.concat());
        results.push(joined.filter(|parts| !parts.is_empty()));
    }
    results.pop().flatten()
}

impl Tally {
    pub(in crate::execution) const fn is_satisfied(&self) -> bool {
        self.counted.len() >= self.part.n as usize
    }

    fn count(&mut self, signal: &SignalRecord) -> bool {
        let part = &self.part;
        let here = part.waitpoints.contains(&signal.waitpoint_key);
        if self.is_satisfied() || !here || !part.matcher.matches(&signal.name) {
            return false;
        }
        let Some(fingerprint) = fingerprint(part.kind, signal) else { return false };
        if self.counted.iter().any(|counted| counted.fingerprint == fingerprint) {
            return false;
        }
        self.counted.push(Counted { fingerprint, signal: signal.id });
        true
    }
}

/// The value of a signal that must be distinct among those that count.
fn fingerprint(kind: CountKind, signal: &SignalRecord) -> Option<Uuid> {
    match kind {
        CountKind::DistinctWaitpoints => Some(signal.waitpoint_id.uuid()),
        CountKind::DistinctSignals => Some(signal.id.uuid()),
        CountKind::DistinctSources => signal.source.as_ref().map(digest),
    }
}

fn digest(source: &SignalSource) -> Uuid {
    let digest = Sha256::digest(source.as_str().as_bytes());
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(first)
}
