//! The commits that an operation sent and that may have been applied although no reply confirms it.
//!
//! A record _disproves_ a commit if it shows that the commit was not applied.

use crate::error::Applied;
use crate::execution::Fingerprint;
use crate::planted::planted;
use crate::store::{Failure, Version};
use crate::time::TimestampMs;

/// A commit that was sent.
#[derive(Clone, Debug)]
pub(super) struct SentCommit {
    /// The version that the commit replaces.
    pub(super) expected: Version,
    /// The nonce of the version that the commit writes.
    pub(super) nonce: u64,
    /// The end of the commit's window, by the store's clock. The commit cannot be applied from then
    /// on.
    pub(super) until: TimestampMs,
    /// The fingerprint of the replaced record for commands of this kind
    /// (`IdentityKind::fingerprint`).
    pub(super) fingerprint: Option<Fingerprint>,
}

/// The parts of a record that can disprove commits.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    /// The version of the record; [`Version::ABSENT`] if there is none.
    pub(super) version: Version,
    /// The fingerprint of the record for commands of the operation's kind.
    pub(super) fingerprint: Option<Fingerprint>,
}

/// The commits of one operation that may have been applied although no reply confirms it.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubt {
    /// Commits whose reply was lost.
    unanswered: Vec<SentCommit>,
    /// Commits that the store refused, and that no record has disproved yet. A refusal is not
    /// certain: a client of the store may resend a request by itself and return only the reply to
    /// the second copy. The store may have applied the first copy and then refused the second:
    /// because of the first, or because it no longer accepts writes.
    refused: Vec<SentCommit>,
}

impl Doubt {
    /// Adds a commit that the store refused because the record had the version `found`, unless that
    /// version disproves it.
    pub(super) fn conflicted(&mut self, sent: SentCommit, found: Version) {
        if !sent.is_disproved_by(found) {
            self.refused.push(sent);
        }
    }

    /// Adds a commit that the store refused for another reason.
    pub(super) fn refused(&mut self, sent: SentCommit) {
        self.refused.push(sent);
    }

    /// Adds a commit whose call failed, unless the call was never sent.
    pub(super) fn failed(&mut self, sent: SentCommit, failure: &Failure) {
        match failure {
            Failure::NotSent(_) => {}
            Failure::Refused(_) => self.refused.push(sent),
            Failure::MaybeApplied(_) if planted!(LostReplyForgotten) => {}
            Failure::MaybeApplied(_) => self.unanswered.push(sent),
        }
    }

    /// Removes the refused commits if the record disproves all of them.
    pub(super) fn settle_refused(&mut self, evidence: &Evidence) {
        if evidence.disproves(&self.refused) || planted!(ResendForgotten) {
            self.refused.clear();
        }
    }

    /// Whether the operation may have been applied, judged by the lost replies alone. Refused
    /// commits do not count.
    pub(super) const fn applied(&self) -> Applied {
        if self.unanswered.is_empty() { Applied::No } else { Applied::Unknown }
    }

    /// Whether no commit is in doubt: no reply was lost, and records disproved all refused commits.
    pub(super) const fn is_empty(&self) -> bool {
        self.unanswered.is_empty() && self.refused.is_empty()
    }

    /// Whether the reply of a commit was lost.
    pub(super) const fn has_unanswered(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Whether no commit was applied: earlier records disproved all refused commits, and this one
    /// disproves all commits whose reply was lost.
    pub(super) fn is_disproved(&self, evidence: &Evidence) -> bool {
        self.refused.is_empty() && self.unanswered_are_disproved(evidence)
    }

    /// Whether the record disproves all commits whose reply was lost.
    pub(super) fn unanswered_are_disproved(&self, evidence: &Evidence) -> bool {
        evidence.disproves(&self.unanswered)
    }

    /// Whether the record disproves all commits that are in doubt.
    pub(super) fn all_are_disproved(&self, evidence: &Evidence) -> bool {
        evidence.disproves(&self.unanswered) && evidence.disproves(&self.refused)
    }

    /// Whether a commit whose reply was lost may still arrive and be applied: the record has the
    /// version that the commit replaces, and its window is open at `at`, by the store's clock.
    pub(super) fn may_still_apply(&self, version: Version, at: TimestampMs) -> bool {
        self.unanswered.iter().any(|sent| version == sent.expected && at < sent.until)
    }

    /// Whether a commit in doubt wrote this version.
    pub(super) fn wrote(&self, version: Version) -> bool {
        self.unanswered.iter().chain(&self.refused).any(|sent| sent.nonce == version.nonce)
    }
}

impl SentCommit {
    /// Whether a record of the version `found` disproves the commit: it is still the version that
    /// the commit replaces, or another commit wrote the version after it.
    fn is_disproved_by(&self, found: Version) -> bool {
        found == self.expected
            || (found.count == self.expected.count + 1 && found.nonce != self.nonce)
    }
}

impl Evidence {
    /// Whether the record disproves all of these commits. It disproves a commit by its version, or
    /// by its fingerprint: if that has not changed, no command of that kind was applied since the
    /// commit was decided.
    fn disproves(&self, commits: &[SentCommit]) -> bool {
        let unchanged = |sent: &SentCommit| {
            self.fingerprint.is_some()
                && self.fingerprint == sent.fingerprint
                && !planted!(ConflictDoubted)
        };
        commits.iter().all(|sent| sent.is_disproved_by(self.version) || unchanged(sent))
    }
}
