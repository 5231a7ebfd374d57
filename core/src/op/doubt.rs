//! What an operation knows of the commits that it sent: which of them a record disproves, and
//! whether one may be applied although no reply says so.

use crate::error::Applied;
use crate::execution::Mark;
use crate::planted::planted;
use crate::store::{Failure, Version};
use crate::time::TimestampMs;

/// A commit that was sent.
#[derive(Clone, Debug)]
pub(super) struct SentCommit {
    /// The version that it replaces.
    pub(super) expected: Version,
    /// The nonce of the version that it writes.
    pub(super) nonce: u64,
    /// The end of its window, by the store's clock: it cannot apply afterwards.
    pub(super) until: TimestampMs,
    /// What the record that it replaces shows of commands of its kind.
    pub(super) mark: Option<Mark>,
}

/// What a record shows of the commits that were meant for it.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    /// Its version; [`Version::ABSENT`] without a record.
    pub(super) version: Version,
    /// What it shows of commands of the operation's kind.
    pub(super) mark: Option<Mark>,
}

/// The commits of one operation that may be applied although no reply says so.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubt {
    /// Commits whose reply was lost.
    unanswered: Vec<SentCommit>,
    /// Commits that the store refused. They stay here until a record disproves them: a client of
    /// the store that resends a request by itself returns one reply for both copies, and the second
    /// copy may be refused because of the first, or because the store no longer takes writes.
    refused: Vec<SentCommit>,
}

impl Doubt {
    /// Notes a commit that was refused because the record has this version.
    pub(super) fn conflicted(&mut self, sent: SentCommit, found: Version) {
        if !sent.is_disproved_by(found) {
            self.refused.push(sent);
        }
    }

    /// Notes a commit that was refused for another reason.
    pub(super) fn refused(&mut self, sent: SentCommit) {
        self.refused.push(sent);
    }

    /// Notes a commit that got no reply.
    pub(super) fn failed(&mut self, sent: SentCommit, failure: &Failure) {
        match failure {
            Failure::NotSent(_) => {}
            Failure::Refused(_) => self.refused.push(sent),
            Failure::MaybeApplied(_) if planted!(LostReplyForgotten) => {}
            Failure::MaybeApplied(_) => self.unanswered.push(sent),
        }
    }

    /// Forgets the refused commits if the record disproves all of them.
    pub(super) fn settle_refused(&mut self, evidence: &Evidence) {
        if evidence.disproves(&self.refused) || planted!(ResendForgotten) {
            self.refused.clear();
        }
    }

    /// Whether the operation may be applied, as far as replies show.
    pub(super) const fn applied(&self) -> Applied {
        if self.unanswered.is_empty() { Applied::No } else { Applied::Unknown }
    }

    /// Whether every commit was answered, and none of the refused ones is in doubt.
    pub(super) const fn is_empty(&self) -> bool {
        self.unanswered.is_empty() && self.refused.is_empty()
    }

    /// Whether the reply of a commit was lost.
    pub(super) const fn has_unanswered(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Whether no commit has applied: all refused ones are settled, and the record disproves those
    /// whose reply was lost.
    pub(super) fn is_disproved(&self, evidence: &Evidence) -> bool {
        self.refused.is_empty() && self.unanswered_are_disproved(evidence)
    }

    /// Whether the record shows that none of the commits whose reply was lost has applied.
    pub(super) fn unanswered_are_disproved(&self, evidence: &Evidence) -> bool {
        evidence.disproves(&self.unanswered)
    }

    /// Whether the record shows that no commit of the operation has applied.
    pub(super) fn all_are_disproved(&self, evidence: &Evidence) -> bool {
        evidence.disproves(&self.unanswered) && evidence.disproves(&self.refused)
    }

    /// Whether a commit whose reply was lost may still arrive and apply to a record of this version
    /// at this time of the store's clock.
    pub(super) fn may_still_apply(&self, version: Version, at: TimestampMs) -> bool {
        self.unanswered.iter().any(|sent| version == sent.expected && at < sent.until)
    }

    /// Whether the operation wrote this version.
    pub(super) fn wrote(&self, version: Version) -> bool {
        self.unanswered.iter().chain(&self.refused).any(|sent| sent.nonce == version.nonce)
    }
}

impl SentCommit {
    /// Whether a record of this version shows that the commit has not applied.
    fn is_disproved_by(&self, found: Version) -> bool {
        found == self.expected
            || (found.count == self.expected.count + 1 && found.nonce != self.nonce)
    }
}

impl Evidence {
    /// Whether none of these commits has applied: the version shows it, or no command of their kind
    /// was applied since they were decided.
    fn disproves(&self, commits: &[SentCommit]) -> bool {
        let unmarked = |sent: &SentCommit| {
            self.mark.is_some() && self.mark == sent.mark && !planted!(ConflictDoubted)
        };
        commits.iter().all(|sent| sent.is_disproved_by(self.version) || unmarked(sent))
    }
}
