//! The request `Take`: takes the first entries of some indexes, and keeps each in `due`.

use std::collections::VecDeque;

use ff_core::score::Score;
use ff_core::store::{
    IndexName, ScanEntry, ScanPosition, Take, TakeUntil, Taken, TakenEntry, Wake,
};
use ff_core::time::TimestampMs;
use rusqlite::{Connection, Result};

use crate::rows;

/// Processes a take inside a transaction, and adds its wake-up.
pub(crate) fn take(
    db: &Connection,
    take: &Take,
    now: TimestampMs,
    wakes: &mut Vec<Wake>,
) -> Result<Taken> {
    let partition = take.partition;
    let limit = match take.until {
        TakeUntil::End => Score::MAX,
        TakeUntil::Score(score) => score,
        TakeUntil::Now => Score::at(now),
    };
    // One more than it examines, so that the first entry that is left is known.
    let first = |index: &IndexName| {
        let found = rows::first_entries(db, partition, &index.column(), take.count + 1)?;
        Ok(VecDeque::from(found))
    };
    let mut queues = take.from.iter().map(first).collect::<Result<Vec<_>>>()?;
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for examined in 0..take.count {
        if examined > 0 && bytes >= take.bytes as usize {
            break;
        }
        let Some((position, from)) = next(&queues, limit) else { break };
        queues[from].pop_front();
        let index = &take.from[from];
        rows::remove_entry(db, partition, &index.column(), position.member)?;
        if let Some(record) = rows::record(db, partition, &index.record_of(position.member))? {
            bytes += record.size();
            let entry = ScanEntry { position, record: Some(record) };
            entries.push(TakenEntry { from, entry });
        }
    }
    let mut rest = Vec::with_capacity(queues.len());
    for (queue, index) in queues.iter().zip(&take.from) {
        let first = queue.front().map(|first| first.score);
        rows::list(db, partition, index, first)?;
        rest.push(first);
    }
    let score = Score::at(now.plus(take.hold));
    for taken in &entries {
        let member = taken.entry.position.member;
        rows::hold(db, partition, ScanPosition { score, member })?;
    }
    let taken = Taken { entries, rest };
    wakes.extend(take.wake(&taken));
    Ok(taken)
}

/// Returns the first entry of all queues within the range, and the number of its queue. Of two
/// entries with equal scores, that of the earlier queue comes first.
fn next(queues: &[VecDeque<ScanPosition>], limit: Score) -> Option<(ScanPosition, usize)> {
    let firsts = queues.iter().enumerate();
    let firsts = firsts.filter_map(|(number, queue)| Some((*queue.front()?, number)));
    firsts
        .filter(|(first, _)| first.score <= limit)
        .min_by_key(|(first, number)| (first.score, *number))
}
