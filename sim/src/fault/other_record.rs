//! Replies with the records of another execution, as after a proxy or a client mixed up replies.

use std::collections::BTreeMap;
use std::rc::Rc;

use ff_core::execution::Execution;
use ff_core::id::ExecutionId;
use ff_core::op::load;
use ff_core::store::codec::{Codec, FORMAT, encode};
use ff_core::store::{Reply, ReplyBody, Stored, UnitReply, Version};

use crate::determinism::random::{Source, happens};

/// The reply with the records of other executions of the same partition, if the fault happens and
/// the reply has records that were requested by key or taken. Pages of an index stay as they are:
/// lists and audits report what they find there.
pub fn with_other_records(
    reply: &Reply,
    records: &BTreeMap<ExecutionId, Rc<Execution>>,
    draws: &mut impl Source,
    per_mille: u64,
) -> Option<Reply> {
    if !happens(draws, per_mille) {
        return None;
    }
    let (mut other, codec, mut replaced) = (reply.clone(), Codec::default(), false);
    for stored in records_of(&mut other.body) {
        let Ok(loaded) = load(stored, &codec) else { continue };
        let id = loaded.execution.id;
        let is_other = |known: &&ExecutionId| **known != id && known.partition() == id.partition();
        let count = records.keys().filter(is_other).count() as u64;
        if count == 0 || !records.contains_key(&id) {
            continue;
        }
        let index = draws.below(count) as usize;
        let Some(found) = records.keys().filter(is_other).nth(index) else { continue };
        let version = Version::ABSENT.next(draws.below(u64::MAX));
        *stored = Stored { version, bytes: encode(&*records[found], FORMAT) };
        replaced = true;
    }
    replaced.then_some(other)
}

fn records_of(body: &mut ReplyBody) -> Vec<&mut Stored> {
    match body {
        ReplyBody::Read(read) => read.records.iter_mut().flatten().collect(),
        ReplyBody::Take(taken) => {
            taken.entries.iter_mut().filter_map(|taken| taken.entry.record.as_mut()).collect()
        }
        ReplyBody::Commit(units) => {
            let current = units.iter_mut().filter_map(|unit| match unit {
                UnitReply::Conflict { current } => Some(current.iter_mut().flatten()),
                _ => None,
            });
            current.flatten().collect()
        }
        _ => Vec::new(),
    }
}
