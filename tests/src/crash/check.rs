//! The checks of a run's evidence, which must hold for all faults.

use std::collections::{BTreeMap, BTreeSet};

use ff_sdk::core::execution::{Event, Outcome};
use ff_sdk::core::store::{IndexName, JournalEntry};
use ff_sdk::{ExecutionId, PublicState};

/// The evidence of a run after its end.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The number of submitted executions.
    pub expected: usize,
    /// The executions whose submission was acknowledged.
    pub acknowledged: BTreeSet<ExecutionId>,
    /// The executions in the store's list.
    pub listed: BTreeMap<ExecutionId, Seen>,
    /// The number of records that cannot be read.
    pub unreadable: usize,
    /// The journals, one after the other, each in its order.
    pub journal: Vec<JournalEntry>,
    /// The number of journals whose oldest entries were dropped, so that they cannot be checked.
    pub gaps: usize,
    /// The remaining entries of indexes that must be empty.
    pub left: Vec<(IndexName, ExecutionId)>,
    /// The next due time of each execution, in milliseconds from the time of the read.
    pub due: BTreeMap<ExecutionId, i64>,
    /// The started commands, with the epoch of the lease of each.
    pub started: Vec<(ExecutionId, u64)>,
}

/// An execution in the store's list.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its state.
    pub state: PublicState,
    /// Its outcome, if it has ended.
    pub outcome: Option<Outcome>,
    /// The fencing epoch of its latest lease.
    pub epoch: u64,
}

/// A problem that the evidence shows.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    /// Fewer or more executions than were submitted.
    #[error("{expected} executions were submitted, but the store lists {listed}")]
    Count {
        /// The number of submitted executions.
        expected: usize,
        /// The number of listed executions.
        listed: usize,
    },
    /// An acknowledged execution does not exist.
    #[error("{0} was acknowledged but is lost")]
    Lost(ExecutionId),
    /// An execution has not ended.
    #[error("{0} has not ended: {1:?}, due in {2:?} ms")]
    NotEnded(ExecutionId, PublicState, Option<i64>),
    /// An execution failed although its command succeeds.
    #[error("{0} did not succeed: {1:?}")]
    Outcome(ExecutionId, Outcome),
    /// Records cannot be read.
    #[error("{0} records cannot be read")]
    Unreadable(usize),
    /// Journals do not have the whole run.
    #[error("{0} journals have lost their oldest entries")]
    Gap(usize),
    /// The journal has not exactly one creation.
    #[error("{0} was created {1} times, by its journal")]
    Created(ExecutionId, usize),
    /// The journal has not exactly one terminal event.
    #[error("{0} ended {1} times, by its journal")]
    Ended(ExecutionId, usize),
    /// The journal has an event after the end.
    #[error("{0} has an event after its end: {1:?}")]
    AfterTheEnd(ExecutionId, Event),
    /// A lease without a higher epoch than the one before.
    #[error("{id} got epoch {epoch} after epoch {before}")]
    Epoch {
        /// The execution.
        id: ExecutionId,
        /// The epoch of the lease before.
        before: u64,
        /// The epoch of the next lease.
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
    /// The epoch of the record is not the last one of the journal.
    #[error("the record of {id} has epoch {record}, but its journal has {journal}")]
    RecordEpoch {
        /// The execution.
        id: ExecutionId,
        /// The epoch of its record.
        record: u64,
        /// The epoch of its last lease by the journal.
        journal: u64,
    },
    /// The journal has an execution that is not listed.
    #[error("the journal has events of {0}, which the store does not list")]
    Unlisted(ExecutionId),
    /// An index has a remaining entry.
    #[error("{1} is still in {0:?}")]
    Left(IndexName, ExecutionId),
    /// A command was started twice under one lease.
    #[error("the command of {0} was started {2} times under epoch {1}")]
    StartedTwice(ExecutionId, u64, usize),
    /// A command was started without a lease.
    #[error("the command of {0} was started under epoch {1}, which the journal does not have")]
    StartedWithoutLease(ExecutionId, u64),
    /// An execution completed although its command was never started.
    #[error("{0} completed without its command")]
    NeverStarted(ExecutionId),
}

/// Returns all problems.
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
                problems.push(Problem::NotEnded(*id, seen.state, due));
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
    let mut histories: BTreeMap<ExecutionId, History> = BTreeMap::new();
    for entry in &evidence.journal {
        histories.entry(entry.execution).or_default().add(entry, problems);
    }
    for id in histories.keys().filter(|id| !evidence.listed.contains_key(id)) {
        problems.push(Problem::Unlisted(*id));
    }
    let mut started: BTreeMap<(ExecutionId, u64), usize> = BTreeMap::new();
    for start in &evidence.started {
        *started.entry(*start).or_default() += 1;
    }
    for (id, seen) in &evidence.listed {
        let history = histories.entry(*id).or_default();
        if history.created != 1 {
            problems.push(Problem::Created(*id, history.created));
        }
        // An execution that has not ended was reported already.
        if history.ended != 1 && (seen.outcome.is_some() || history.ended > 1) {
            problems.push(Problem::Ended(*id, history.ended));
        }
        let journal = history.epochs.last().copied().unwrap_or_default();
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
        if !histories.get(&id).is_some_and(|history| history.epochs.contains(&epoch)) {
            problems.push(Problem::StartedWithoutLease(id, epoch));
        }
    }
}

/// The events of one execution in the journal so far.
#[derive(Default)]
struct History {
    version: u64,
    created: usize,
    ended: usize,
    epochs: Vec<u64>,
}

impl History {
    fn add(&mut self, entry: &JournalEntry, problems: &mut Vec<Problem>) {
        let id = entry.execution;
        if entry.version <= self.version {
            let (before, version) = (self.version, entry.version);
            problems.push(Problem::Version { id, before, version });
        }
        self.version = entry.version;
        for event in &entry.events {
            if self.ended > 0 && !matches!(event, Event::Ended { .. }) {
                problems.push(Problem::AfterTheEnd(id, event.clone()));
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

    use crate::fixture::{eligible, lane, namespace};

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

    /// The evidence of two executions without a problem; the first was reclaimed once.
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

    /// The problems after one change to it.
    fn problems_of(change: impl FnOnce(&mut Evidence)) -> Vec<Problem> {
        let mut evidence = sound();
        change(&mut evidence);
        check(&evidence)
    }

    #[test]
    fn a_sound_run_has_no_problems() {
        assert_eq!(check(&sound()), []);
    }

    #[test]
    fn two_terminal_events_are_found() {
        let problems = problems_of(|run| run.journal.push(entry(id(1), 7, vec![ended()])));
        assert_eq!(problems, [Problem::Ended(id(1), 2)]);
        let problems = problems_of(|run| run.journal[6].events.push(ended()));
        assert_eq!(problems, [Problem::Ended(id(1), 2)]);
    }

    #[test]
    fn a_missing_terminal_event_is_found() {
        let problems = problems_of(|run| drop(run.journal.pop()));
        assert_eq!(problems, [Problem::Ended(id(1), 0)]);
    }

    #[test]
    fn an_event_after_the_end_is_found() {
        let late = Event::LeaseExpired { epoch: LeaseEpoch(2) };
        let problems = problems_of(|run| run.journal.push(entry(id(1), 7, vec![late.clone()])));
        assert_eq!(problems, [Problem::AfterTheEnd(id(1), late)]);
    }

    #[test]
    fn an_epoch_that_goes_back_or_repeats_is_found() {
        for epoch in [0, 1] {
            let problems = problems_of(|run| {
                run.journal[4].events[1] = claimed(epoch);
                run.listed.get_mut(&id(1)).unwrap().epoch = epoch;
                run.started = vec![(id(1), 1), (id(2), 1)];
            });
            assert_eq!(problems, [Problem::Epoch { id: id(1), before: 1, epoch }]);
        }
    }

    #[test]
    fn a_version_that_goes_back_is_found() {
        let problems = problems_of(|run| run.journal[4].version = 2);
        assert_eq!(problems, [Problem::Version { id: id(1), before: 2, version: 2 }]);
    }

    #[test]
    fn a_record_of_another_epoch_is_found() {
        let problems = problems_of(|run| run.listed.get_mut(&id(1)).unwrap().epoch = 3);
        assert_eq!(problems, [Problem::RecordEpoch { id: id(1), record: 3, journal: 2 }]);
    }

    #[test]
    fn an_acknowledged_execution_that_is_lost_is_found() {
        let problems = problems_of(|run| {
            run.listed.remove(&id(2));
            run.journal.retain(|entry| entry.execution != id(2));
            run.started.retain(|(started, _)| *started != id(2));
        });
        assert_eq!(problems, [Problem::Count { expected: 2, listed: 1 }, Problem::Lost(id(2))]);
    }

    #[test]
    fn an_execution_that_only_the_journal_has_is_found() {
        let problems = problems_of(|run| run.journal.push(entry(id(3), 1, vec![created()])));
        assert_eq!(problems, [Problem::Unlisted(id(3))]);
    }

    #[test]
    fn a_creation_that_is_missing_or_repeated_is_found() {
        let problems = problems_of(|run| drop(run.journal.remove(1)));
        assert_eq!(problems, [Problem::Created(id(2), 0)]);
        let problems = problems_of(|run| run.journal[1].events.push(created()));
        assert_eq!(problems, [Problem::Created(id(2), 2)]);
    }

    #[test]
    fn an_execution_that_has_not_ended_or_failed_is_found() {
        let problems = problems_of(|run| {
            let seen = run.listed.get_mut(&id(2)).unwrap();
            (seen.state, seen.outcome) = (PublicState::Active, None);
            run.journal.remove(5);
        });
        assert_eq!(problems, [Problem::NotEnded(id(2), PublicState::Active, None)]);
        let problems =
            problems_of(|run| run.listed.get_mut(&id(2)).unwrap().outcome = Some(Outcome::Expired));
        assert_eq!(problems, [Problem::Outcome(id(2), Outcome::Expired)]);
    }

    #[test]
    fn remaining_entries_unreadable_records_and_gaps_are_found() {
        let problems = problems_of(|run| run.left.push((eligible(), id(1))));
        assert_eq!(problems, [Problem::Left(eligible(), id(1))]);
        assert_eq!(problems_of(|run| run.unreadable = 1), [Problem::Unreadable(1)]);
        assert_eq!(problems_of(|run| run.gaps = 1), [Problem::Gap(1)]);
    }

    #[test]
    fn commands_without_a_lease_or_with_two_starts_are_found() {
        let problems = problems_of(|run| run.started.push((id(1), 2)));
        assert_eq!(problems, [Problem::StartedTwice(id(1), 2, 2)]);
        let problems = problems_of(|run| run.started.push((id(1), 3)));
        assert_eq!(problems, [Problem::StartedWithoutLease(id(1), 3)]);
        let problems = problems_of(|run| run.started.retain(|(started, _)| *started != id(2)));
        assert_eq!(problems, [Problem::NeverStarted(id(2))]);
    }
}
