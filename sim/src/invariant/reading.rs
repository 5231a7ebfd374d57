//! \[LISTS\] \[INV-DURABLE-1\] \[INV-INDEX-1\] Lists, reads and audits show the state of the store.

use std::collections::BTreeSet;

use ff_core::execution::Execution;
use ff_core::id::ExecutionId;
use ff_core::op::{Fault, ListPage, Suspect};
use ff_core::store::{Fetched, IndexName};
use ff_core::time::TimestampMs;

use crate::invariant::durable;
use crate::model::Model;
use crate::report::{Broken, ensure, when_watched};

const LISTS: &str = "LISTS";
const INDEX: &str = "INV-INDEX-1";
const DURABLE: &str = "INV-DURABLE-1";

/// A list shows every execution that existed all the while. `present`: the executions at its
/// beginning, and how often each was created.
pub fn check_list(
    model: &Model,
    present: &[(ExecutionId, u32)],
    page: &ListPage,
) -> Result<(), Broken> {
    when_watched!(model, Lists);
    let shown: BTreeSet<ExecutionId> =
        page.executions.iter().map(|shown| shown.execution_id).collect();
    for (id, generation) in present {
        let stayed = model.records.contains_key(id) && model.generation(id) == *generation;
        ensure!(
            !stayed || shown.contains(id),
            LISTS,
            "{id} existed while everything was listed, but is not on the list"
        );
    }
    Ok(())
}

/// A read returns the requested execution, with the payload of its submission. `present`: the
/// executions at its beginning, and how often each was created.
pub fn check_read(
    model: &Model,
    id: &ExecutionId,
    present: &[(ExecutionId, u32)],
    record: &Execution,
    values: &[Fetched],
) -> Result<(), Broken> {
    when_watched!(model, Durable);
    ensure!(record.id == *id, DURABLE, "{} was read instead of {id}", record.id);
    if model.stayed(id, present) && record.continuation.is_none() {
        let payload = match values.first() {
            Some(Fetched::Value(value)) => Some(value),
            _ => None,
        };
        durable::check_payload(model, id, payload)?;
    }
    Ok(())
}

/// A fault that two looks of an auditor find, with longer than a hold between them, is real if the
/// record is still that of the looks; except for an entry that a `Take` moved between two pages of
/// the look, from an index that was still to be read to one that had been read, or that returned to
/// a queue after the list of queues was read. `begun`: when the later look began, by the store's
/// clock.
pub fn check_suspects(
    model: &Model,
    mut found: Vec<Suspect>,
    begun: TimestampMs,
) -> Result<(), Broken> {
    when_watched!(model, Index);
    let passed_by = |suspect: &Suspect| {
        let moved = model.moved.get(&suspect.execution).is_some_and(|at| *at >= begun);
        let of_a_queue = match &suspect.fault {
            Fault::Missing { index } => matches!(index, IndexName::Eligible { .. }),
            Fault::Unlisted { .. } => true,
            _ => false,
        };
        moved && of_a_queue
    };
    found.retain(|suspect| !passed_by(suspect));
    ensure!(found.is_empty(), INDEX, "the audit found {found:?}");
    Ok(())
}
