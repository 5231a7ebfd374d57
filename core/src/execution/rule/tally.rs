//! Counting signals for a condition: one evaluation for buffered signals and for those that are
//! sent during the suspension (`docs/spec.md`, 5). \[INV-SUSPEND-1\]

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::condition::{ConditionPart, CountKind};
use crate::execution::record::{Counted, SignalRecord, Tally};
use crate::id::{SignalId, SignalSource};

/// Tallies of these parts in which nothing has counted yet.
pub(super) fn begin(parts: Vec<ConditionPart>) -> Vec<Tally> {
    parts.into_iter().map(|part| Tally { part, counted: Vec::new() }).collect()
}

/// Counts a signal for each part that it fits, and returns whether it fitted any.
pub(super) fn count(tallies: &mut [Tally], signal: &SignalRecord) -> bool {
    let mut counted = false;
    for tally in tallies {
        counted |= tally.count(signal);
    }
    counted
}

/// Whether all parts are satisfied.
pub(super) fn is_satisfied(tallies: &[Tally]) -> bool {
    tallies.iter().all(Tally::is_satisfied)
}

/// The signals that have counted, each once: part by part, and within a part in the order in which
/// they did.
pub(super) fn counted(tallies: &[Tally]) -> Vec<SignalId> {
    let mut signals = Vec::new();
    for counted in tallies.iter().flat_map(|tally| &tally.counted) {
        if !signals.contains(&counted.signal) {
            signals.push(counted.signal);
        }
    }
    signals
}

impl Tally {
    fn is_satisfied(&self) -> bool {
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
