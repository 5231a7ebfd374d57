//! \[INV-COUNT-1\] The counts of a partition are those of its executions: each is counted once, in
//! its namespace, its lane and its state.
//!
//! The check finds the state of an execution with its own code.

use std::collections::BTreeMap;

use ff_core::execution::{BlockKind, Execution, Interruption, NextAttempt, Outcome, Phase};
use ff_core::id::{ExecutionId, LaneId, Namespace};
use ff_core::partition::Partition;
use ff_core::state::CountedState;
use ff_core::store::{CountName, Member};

use crate::model::Model;
use crate::report::{Broken, ensure, when_watched};

const TAG: &str = "INV-COUNT-1";

/// The counts of a partition are those of its executions, and none is 0.
pub fn check<'s>(
    model: &Model,
    counts: impl Iterator<Item = (&'s CountName, i64)>,
    partition: Partition,
) -> Result<(), Broken> {
    when_watched!(model, Count);
    let of = |uuid| ExecutionId::from_parts(partition.index, uuid);
    let records = model.records.range(of(Member::nil())..=of(Member::max()));
    let mut expected: BTreeMap<Name<'_>, i64> = BTreeMap::new();
    for (_, record) in records.filter(|(id, _)| id.partition() == partition) {
        let name = (&record.namespace, &record.lane, state_of(record));
        *expected.entry(name).or_default() += 1;
    }
    let name = |name: &'s CountName| (&name.namespace, &name.lane, name.state);
    let counts: BTreeMap<Name<'_>, i64> =
        counts.map(|(count, number)| (name(count), number)).collect();
    ensure!(
        counts == expected,
        TAG,
        "{partition} has the counts {counts:?} instead of {expected:?}"
    );
    Ok(())
}

/// The name of a count: its namespace, its lane and its state.
type Name<'a> = (&'a Namespace, &'a LaneId, CountedState);

/// The state in which an execution is counted: the first reason that holds it back, in the order of
/// the specification.
fn state_of(record: &Execution) -> CountedState {
    let waiting = match &record.phase {
        Phase::Active(_) => return CountedState::Active,
        Phase::Suspended(_) => return CountedState::Suspended,
        Phase::Terminal(terminal) => {
            return match terminal.outcome {
                Outcome::Success => CountedState::Completed,
                Outcome::Failed(_) => CountedState::Failed,
                Outcome::Cancelled { .. } => CountedState::Cancelled,
                Outcome::Expired => CountedState::Expired,
            };
        }
        Phase::Runnable(waiting) => waiting,
    };
    let order = [
        (BlockKind::Operator, CountedState::BlockedByOperator),
        (BlockKind::Lane, CountedState::BlockedByLaneState),
        (BlockKind::Dependencies, CountedState::BlockedByDependencies),
        (BlockKind::Budget, CountedState::BlockedByBudget),
        (BlockKind::Quota, CountedState::BlockedByQuota),
        (BlockKind::Route, CountedState::BlockedByRoute),
    ];
    let blocked = order.iter().find(|(kind, _)| waiting.blocks.get(*kind).is_some());
    let after_suspension =
        matches!(waiting.next, NextAttempt::Resume { interruption: Interruption::Suspension, .. });
    match (blocked, waiting.not_before) {
        (Some((_, state)), _) => *state,
        (None, Some(_)) => CountedState::Delayed,
        (None, None) if after_suspension => CountedState::Resumable,
        (None, None) => CountedState::Waiting,
    }
}
