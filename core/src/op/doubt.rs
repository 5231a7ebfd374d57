//! The commits that an operation sent and that may have been applied although no reply confirms it.
//!
//! A record _disproves_ a commit if it shows that the commit was not applied.

use crate::error::Applied;
use crate::execution::{Fingerprint, Origin};
use crate::planted::planted;
use crate::store::{Failure, Version};
use crate::time::{DurationMs, TimestampMs};

/// A commit that was sent.
#[derive(Clone, Debug)]
pub(super) struct SentCommit {
    /// The version that the commit replaces.
    pub(super) expected: Version,
    /// The creation of the record that the commit replaces; `None` if it replaces none.
    pub(super) origin: Option<Origin>,
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
    /// The creation of the record, which differs when the id was created again.
    pub(super) origin: Option<Origin>,
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
    /// Adds a commit that the store refused because of the record that it found, unless the version
    /// of that record disproves it.
    pub(super) fn conflicted(&mut self, sent: SentCommit, found: &Evidence) {
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

    /// Whether the window of a commit whose reply was lost has ended this long before `at`, by the
    /// store's clock.
    pub(super) fn have_ended_for(&self, time: DurationMs, at: TimestampMs) -> bool {
        self.unanswered.iter().any(|sent| at >= sent.until.plus(time))
    }

    /// Whether a commit in doubt wrote this version.
    pub(super) fn wrote(&self, version: Version) -> bool {
        self.unanswered.iter().chain(&self.refused).any(|sent| sent.nonce == version.nonce)
    }
}

impl SentCommit {
    /// Whether the version of a record disproves the commit: it is still the version that the
    /// commit replaces, or another commit wrote the version after it. The versions of a record that
    /// was created again under the same id count from the beginning, and say nothing.
    fn is_disproved_by(&self, found: &Evidence) -> bool {
        let (version, same) = (found.version, self.origin.is_none() || self.origin == found.origin);
        version == self.expected
            || (same && version.count == self.expected.count + 1 && version.nonce != self.nonce)
    }
}

impl Evidence {
    /// Whether the record disproves all of these commits. It disproves a commit by its version, or
    /// by its fingerprint: if that has not changed, no command of that kind was applied since the
    /// commit was decided. A record of the same execution with a lower version than the commit
    /// replaces is from a store that has lost commits, this one among them if it was applied.
    fn disproves(&self, commits: &[SentCommit]) -> bool {
        let unchanged = |sent: &SentCommit| {
            self.fingerprint.is_some()
                && self.fingerprint == sent.fingerprint
                && !planted!(ConflictDoubted)
        };
        let lost = |sent: &SentCommit| {
            let same = self.fingerprint.as_ref().zip(sent.fingerprint.as_ref());
            self.version.count < sent.expected.count
                && same.is_some_and(|(found, sent)| found.is_of_same_execution(sent))
        };
        let is_disproved =
            |sent: &SentCommit| sent.is_disproved_by(self) || unchanged(sent) || lost(sent);
        commits.iter().all(is_disproved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Nonce;

    fn version(count: u64, nonce: u64) -> Version {
        Version { count, nonce }
    }

    fn origin(creator: u64, created_at: u64) -> Origin {
        Origin { creator: Nonce(creator), created_at: TimestampMs::new(created_at) }
    }

    /// The commit replaces version 3 of a record that nonce 1 created at 5 ms.
    fn disproved_by(version: Version, origin: Option<Origin>) -> bool {
        let sent = SentCommit {
            expected: self::version(3, 30),
            origin: Some(self::origin(1, 5)),
            nonce: 40,
            until: TimestampMs::ZERO,
            fingerprint: None,
        };
        let mut doubt = Doubt::default();
        doubt.failed(sent, &Failure::MaybeApplied("lost".to_owned()));
        doubt.unanswered_are_disproved(&Evidence { version, origin, fingerprint: None })
    }

    #[test]
    fn the_next_version_disproves_a_commit_unless_the_id_was_created_again() {
        let (same, other) = (Some(origin(1, 5)), Some(origin(2, 5)));
        assert!(disproved_by(version(3, 30), same), "nothing was written");
        assert!(disproved_by(version(4, 41), same), "another commit wrote the next version");
        assert!(!disproved_by(version(4, 40), same), "the commit wrote it");
        assert!(!disproved_by(version(5, 51), same));
        assert!(!disproved_by(version(4, 41), other), "a record that was created again");
        let later = Some(origin(1, 6));
        assert!(!disproved_by(version(4, 41), later), "by the same submission, sent again");
        assert!(!disproved_by(Version::ABSENT, None), "a record that was removed");
    }
}
