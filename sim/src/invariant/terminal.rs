//! \[INV-TERMINAL-1\] There is one terminal event for each life of an execution; after it no lease
//! and no grant, no entry in `eligible`, and in `due` only retention or a continuation.

use ff_core::execution::{Event, Execution, Phase};
use ff_core::store::IndexName;

use crate::model::Model;
use crate::model::change::{Change, is_terminal};
use crate::model::index_positions::positions_of;
use crate::report::{Broken, ensure};

const TAG: &str = "INV-TERMINAL-1";

/// A life ends once and stays ended until it is replayed or removed.
pub fn check(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    let count = |wanted: fn(&Event) -> bool| change.events.iter().filter(|e| wanted(e)).count();
    let ended = count(|event| matches!(event, Event::Ended { .. }));
    let replayed = count(|event| matches!(event, Event::Replayed { .. }));
    ensure!(
        ended == usize::from(change.ends_life()),
        TAG,
        "{} has {ended} terminal events in a step that ends its life: {}",
        change.id,
        change.ends_life()
    );
    if let (true, Some(after)) = (change.ends_life(), &change.after) {
        let life = (change.id, model.generation(&change.id), after.counts.replays);
        ensure!(!model.ended.contains(&life), TAG, "life {life:?} ended twice");
    }
    if let (Some(before), Some(after)) = (&change.before, &change.after)
        && is_terminal(Some(before))
    {
        if is_terminal(Some(after)) {
            let same = ending(before) == ending(after);
            ensure!(same, TAG, "{} ended again differently: {:?}", change.id, after.phase);
        } else {
            let next = after.counts.replays == before.counts.replays + 1;
            ensure!(next && replayed == 1, TAG, "{} continues without a replay", change.id);
        }
    }
    match &change.after {
        Some(after) if is_terminal(Some(after)) => check_places(change, after),
        _ => Ok(()),
    }
}

fn ending(record: &Execution) -> Option<(&ff_core::execution::Outcome, u64)> {
    match &record.phase {
        Phase::Terminal(terminal) => Some((&terminal.outcome, terminal.at.get())),
        _ => None,
    }
}

/// A terminal execution has entries only in `retention`, until that or a continuation, and in
/// lists.
fn check_places(change: &Change<'_>, record: &Execution) -> Result<(), Broken> {
    if !is_terminal(Some(record)) {
        return Ok(());
    }
    let allowed = positions_of(record).retention;
    for write in &change.writes {
        let right = match &write.index {
            IndexName::All { .. } => true,
            IndexName::Retention => write.score == allowed,
            _ => write.score.is_none(),
        };
        ensure!(right, TAG, "{} is over but got the index entry {write:?}", change.id);
    }
    Ok(())
}
