//! What must hold after a run, whatever struck it.

use std::collections::{BTreeMap, BTreeSet};

use ff_sdk::core::execution::{Event, Outcome};
use ff_sdk::core::store::{IndexName, JournalEntry};
use ff_sdk::{ExecutionId, PublicState};

/// All that is known of a run once it is over.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// How many executions were handed in.
    pub expected: usize,
    /// Those whose submission was acknowledged.
    pub acknowledged: BTreeSet<ExecutionId>,
    /// What the store lists.
    pub listed: BTreeMap<ExecutionId, Seen>,
    /// Records that cannot be read.
    pub unreadable: usize,
    /// The journals, one after the other, each in its order.
    pub journal: Vec<JournalEntry>,
    /// Journals whose oldest entries are not kept any more: nothing can be said of them.
    pub gaps: usize,
    /// Entries left in indexes of which nothing may be left.
    pub left: Vec<(IndexName, ExecutionId)>,
    /// When something is due about each, in milliseconds from when it was looked at.
    pub due: BTreeMap<ExecutionId, i64>,
    /// The commands that were started, with the epoch of the lease that each was started under.
    pub started: Vec<(ExecutionId, u64)>,
}

/// What the store lists of an execution.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its state.
    pub state: PublicState,
    /// How it ended, if it did.
    pub outcome: Option<Outcome>,
    /// The fencing token of its latest lease.
    pub epoch: u64,
}

/// Something that may not be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    /// Fewer or more executions than were handed in.
    #[error("{expected} executions were handed in, and the store lists {listed}")]
    Count {
        /// How many were handed in.
        expected: usize,
        /// How many there are.
        listed: usize,
    },
    /// A submission was acknowledged and the execution is not there.
    #[error("{0} was acknowledged and is lost")]
    Lost(ExecutionId),
    /// It is not over.
    #[error("{0} is left {1:?}, due in {2:?} ms")]
    NotOver(ExecutionId, PublicState, Option<i64>),
    /// Its command succeeds, and it did not.
    #[error("{0} ended otherwise than its command: {1:?}")]
    Outcome(ExecutionId, Outcome),
    /// Records cannot be read.
    #[error("{0} records cannot be read")]
    Unreadable(usize),
    /// The journal does not tell the whole run.
    #[error("{0} journals have lost their oldest entries")]
    Gap(usize),
    /// The journal does not begin with its creation, or tells of another.
    #[error("{0} was created {1} times by its journal")]
    Created(ExecutionId, usize),
    /// Not exactly one terminal event.
    #[error("{0} ended {1} times by its journal")]
    Ended(ExecutionId, usize),
    /// Something happened to it behind its end.
    #[error("{0} goes on behind its end: {1:?}")]
    BehindTheEnd(ExecutionId, Event),
    /// A lease without a higher epoch than the one before.
    #[error("{id} got epoch {epoch} after epoch {before}")]
    Epoch {
        /// The execution.
        id: ExecutionId,
        /// The epoch of the lease before.
        before: u64,
        /// That of the next lease.
        epoch: u64,
    },
    /// A commit without a higher version than the one before.
    #[error("{id} got version {version} after version {before}")]
    Version {
        /// The execution.
        id: ExecutionId,
        /// The version before.
        before: u64,
        /// The next one.
        version: u64,
    },
    /// The record's epoch is not the last one that the journal tells of.
    #[error("the record of {id} has epoch {record}, its journal {journal}")]
    RecordEpoch {
        /// The execution.
        id: ExecutionId,
        /// The epoch of its record.
        record: u64,
        /// The epoch of its last lease by the journal.
        journal: u64,
    },
    /// The journal tells of an execution that nobody lists.
    #[error("the journal tells of {0}, which the store does not list")]
    Unlisted(ExecutionId),
    /// Something is left in an index.
    #[error("{1} is left in {0:?}")]
    Left(IndexName, ExecutionId),
    /// One lease started its command twice.
    #[error("the command of {0} was started {2} times under epoch {1}")]
    StartedTwice(ExecutionId, u64, usize),
    /// A command was started without a lease.
    #[error("the command of {0} was started under epoch {1}, which the journal does not know")]
    StartedWithoutLease(ExecutionId, u64),
    /// It completed, and its command was never started.
    #[error("{0} completed without its command")]
    NeverStarted(ExecutionId),
}

/// Everything that is wrong.
pub fn check(evidence: &Evidence) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Evidence { expected, acknowledged, listed, .. } = evidence;
    if listed.len() != *expected {
        problems.push(Problem::Count { expected: *expected, listed: listed.len() });
    }
    let lost = acknowledged.iter().filter(|id| !listed.contains_key(id));
    problems.extend(lost.map(|id| Problem::Lost(*id)));
    if evidence.unreadable > 0 {
        problems.push(Problem::Unreadable(evidence.unreadable));
    }
    if evidence.gaps > 0 {
        problems.push(Problem::Gap(evidence.gaps));
    }
    for (id, seen) in listed {
        match &seen.outcome {
            None => {
                let due = evidence.due.get(id).copied();
                problems.push(Problem::NotOver(*id, seen.state, due));
            }
            Some(Outcome::Success) => {}
            Some(other) => problems.push(Problem::Outcome(*id, other.clone())),
        }
    }
    let left = evidence.left.iter().map(|(index, id)| Problem::Left(index.clone(), *id));
    problems.extend(left);
    check_journal(evidence, &mut problems);
    problems
}

fn check_journal(evidence: &Evidence, problems: &mut Vec<Problem>) {
    let mut stories: BTreeMap<ExecutionId, Story> = BTreeMap::new();
    for entry in &evidence.journal {
        stories.entry(entry.execution).or_default().tell(entry, problems);
    }
    for id in stories.keys().filter(|id| !evidence.listed.contains_key(id)) {
        problems.push(Problem::Unlisted(*id));
    }
    let mut started: BTreeMap<(ExecutionId, u64), usize> = BTreeMap::new();
    for start in &evidence.started {
        *started.entry(*start).or_default() += 1;
    }
    for (id, seen) in &evidence.listed {
        let story = stories.entry(*id).or_default();
        if story.created != 1 {
            problems.push(Problem::Created(*id, story.created));
        }
        // One that is not over is told of already.
        if story.ended != 1 && (seen.outcome.is_some() || story.ended > 1) {
            problems.push(Problem::Ended(*id, story.ended));
        }
        let journal = story.epochs.last().copied().unwrap_or_default();
        if seen.epoch != journal {
            problems.push(Problem::RecordEpoch { id: *id, record: seen.epoch, journal });
        }
        let has_started = started.range((*id, 0)..=(*id, u64::MAX)).next().is_some();
        if seen.outcome == Some(Outcome::Success) && !has_started {
            problems.push(Problem::NeverStarted(*id));
        }
    }
    for ((id, epoch), times) in started {
        if times > 1 {
            problems.push(Problem::StartedTwice(id, epoch, times));
        }
        if !stories.get(&id).is_some_and(|story| story.epochs.contains(&epoch)) {
            problems.push(Problem::StartedWithoutLease(id, epoch));
        }
    }
}

/// What the journal told of one execution so far.
#[derive(Default)]
struct Story {
    version: u64,
    created: usize,
    ended: usize,
    epochs: Vec<u64>,
}

impl Story {
    fn tell(&mut self, entry: &JournalEntry, problems: &mut Vec<Problem>) {
        let id = entry.execution;
        if entry.version <= self.version {
            let (before, version) = (self.version, entry.version);
            problems.push(Problem::Version { id, before, version });
        }
        self.version = entry.version;
        for event in &entry.events {
            if self.ended > 0 && !matches!(event, Event::Ended { .. }) {
                problems.push(Problem::BehindTheEnd(id, event.clone()));
            }
            match event {
                Event::Created { .. } => self.created += 1,
                Event::Ended { .. } => self.ended += 1,
                Event::Claimed { epoch, .. } => {
                    let before = self.epochs.last().copied().unwrap_or_default();
                    if epoch.0 <= before {
                        problems.push(Problem::Epoch { id, before, epoch: epoch.0 });
                    }
                    self.epochs.push(epoch.0);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_sdk::core::entropy::Entropy;
    use ff_sdk::core::execution::ClaimKind;
    use ff_sdk::core::id::{AttemptIndex, LeaseEpoch, WorkerInstanceId};
    use ff_sdk::core::state::TerminalOutcome;
    use ff_sdk::core::tags::Tags;

    use crate::ground::{eligible, lane, namespace};

    fn id(number: u64) -> ExecutionId {
        ExecutionId::from_parts(0, Entropy::from_u64(number).uuid())
    }

    fn entry(execution: ExecutionId, version: u64, events: Vec<Event>) -> JournalEntry {
        JournalEntry { execution, version, epoch: LeaseEpoch(0), attempt: None, events }
    }

    fn created() -> Event {
        Event::Created { namespace: namespace(), lane: lane() }
    }

    fn claimed(epoch: u64) -> Event {
        let instance = WorkerInstanceId::try_new("w-1").unwrap();
        let (how, attempt) = (ClaimKind::New, AttemptIndex(0));
        Event::Claimed { how, instance, attempt, epoch: LeaseEpoch(epoch) }
    }

    fn ended() -> Event {
        let (namespace, lane, tags) = (namespace(), lane(), Tags::default());
        Event::Ended { namespace, lane, tags, outcome: TerminalOutcome::Success, failure: None }
    }

    /// Two executions; the first was reclaimed once.
    fn sound() -> Evidence {
        let (a, b) = (id(1), id(2));
        let seen =
            |epoch| Seen { state: PublicState::Completed, outcome: Some(Outcome::Success), epoch };
        Evidence {
            expected: 2,
            acknowledged: [a, b].into(),
            listed: [(a, seen(2)), (b, seen(1))].into(),
            journal: vec![
                entry(a, 1, vec![created()]),
                entry(b, 1, vec![created()]),
                entry(a, 2, vec![claimed(1)]),
                entry(b, 2, vec![claimed(1)]),
                entry(a, 5, vec![Event::LeaseExpired { epoch: LeaseEpoch(1) }, claimed(2)]),
                entry(b, 3, vec![ended()]),
                entry(a, 6, vec![ended()]),
            ],
            started: vec![(a, 1), (b, 1), (a, 2)],
            ..Evidence::default()
        }
    }

    /// What is wrong when one thing is.
    fn wrong(spoil: impl FnOnce(&mut Evidence)) -> Vec<Problem> {
        let mut evidence = sound();
        spoil(&mut evidence);
        check(&evidence)
    }

    #[test]
    fn nothing_is_wrong_with_a_sound_run() {
        assert_eq!(check(&sound()), []);
    }

    #[test]
    fn two_terminal_events_are_found() {
        let problems = wrong(|run| run.journal.push(entry(id(1), 7, vec![ended()])));
        assert_eq!(problems, [Problem::Ended(id(1), 2)]);
        let problems = wrong(|run| run.journal[6].events.push(ended()));
        assert_eq!(problems, [Problem::Ended(id(1), 2)]);
    }

    #[test]
    fn a_missing_terminal_event_is_found() {
        let problems = wrong(|run| drop(run.journal.pop()));
        assert_eq!(problems, [Problem::Ended(id(1), 0)]);
    }

    #[test]
    fn what_happens_behind_the_end_is_found() {
        let late = Event::LeaseExpired { epoch: LeaseEpoch(2) };
        let problems = wrong(|run| run.journal.push(entry(id(1), 7, vec![late.clone()])));
        assert_eq!(problems, [Problem::BehindTheEnd(id(1), late)]);
    }

    #[test]
    fn an_epoch_that_goes_back_or_repeats_is_found() {
        for epoch in [0, 1] {
            let problems = wrong(|run| {
                run.journal[4].events[1] = claimed(epoch);
                run.listed.get_mut(&id(1)).unwrap().epoch = epoch;
                run.started = vec![(id(1), 1), (id(2), 1)];
            });
            assert_eq!(problems, [Problem::Epoch { id: id(1), before: 1, epoch }]);
        }
    }

    #[test]
    fn a_version_that_goes_back_is_found() {
        let problems = wrong(|run| run.journal[4].version = 2);
        assert_eq!(problems, [Problem::Version { id: id(1), before: 2, version: 2 }]);
    }

    #[test]
    fn a_record_of_another_epoch_is_found() {
        let problems = wrong(|run| run.listed.get_mut(&id(1)).unwrap().epoch = 3);
        assert_eq!(problems, [Problem::RecordEpoch { id: id(1), record: 3, journal: 2 }]);
    }

    #[test]
    fn an_acknowledged_execution_that_is_lost_is_found() {
        let problems = wrong(|run| {
            run.listed.remove(&id(2));
            run.journal.retain(|entry| entry.execution != id(2));
            run.started.retain(|(started, _)| *started != id(2));
        });
        assert_eq!(problems, [Problem::Count { expected: 2, listed: 1 }, Problem::Lost(id(2))]);
    }

    #[test]
    fn one_that_the_journal_alone_knows_is_found() {
        let problems = wrong(|run| run.journal.push(entry(id(3), 1, vec![created()])));
        assert_eq!(problems, [Problem::Unlisted(id(3))]);
    }

    #[test]
    fn a_creation_that_is_missing_or_repeated_is_found() {
        let problems = wrong(|run| drop(run.journal.remove(1)));
        assert_eq!(problems, [Problem::Created(id(2), 0)]);
        let problems = wrong(|run| run.journal[1].events.push(created()));
        assert_eq!(problems, [Problem::Created(id(2), 2)]);
    }

    #[test]
    fn one_that_is_not_over_or_failed_is_found() {
        let problems = wrong(|run| {
            let seen = run.listed.get_mut(&id(2)).unwrap();
            (seen.state, seen.outcome) = (PublicState::Active, None);
            run.journal.remove(5);
        });
        assert_eq!(problems, [Problem::NotOver(id(2), PublicState::Active, None)]);
        let problems =
            wrong(|run| run.listed.get_mut(&id(2)).unwrap().outcome = Some(Outcome::Expired));
        assert_eq!(problems, [Problem::Outcome(id(2), Outcome::Expired)]);
    }

    #[test]
    fn what_is_left_or_cannot_be_read_is_found() {
        let problems = wrong(|run| run.left.push((eligible(), id(1))));
        assert_eq!(problems, [Problem::Left(eligible(), id(1))]);
        assert_eq!(wrong(|run| run.unreadable = 1), [Problem::Unreadable(1)]);
        assert_eq!(wrong(|run| run.gaps = 1), [Problem::Gap(1)]);
    }

    #[test]
    fn commands_that_no_lease_or_two_starts_explain_are_found() {
        let problems = wrong(|run| run.started.push((id(1), 2)));
        assert_eq!(problems, [Problem::StartedTwice(id(1), 2, 2)]);
        let problems = wrong(|run| run.started.push((id(1), 3)));
        assert_eq!(problems, [Problem::StartedWithoutLease(id(1), 3)]);
        let problems = wrong(|run| run.started.retain(|(started, _)| *started != id(2)));
        assert_eq!(problems, [Problem::NeverStarted(id(2))]);
    }
}
