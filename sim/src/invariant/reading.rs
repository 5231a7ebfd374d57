//! \[LISTS\] \[INV-DURABLE-1\] \[INV-INDEX-1\] Who lists, reads or audits sees what is there.

use std::collections::BTreeSet;

use ff_core::execution::Execution;
use ff_core::id::ExecutionId;
use ff_core::op::{AuditLook, Fault, ListPage, Suspect};
use ff_core::store::{Fetched, IndexName};
use ff_core::time::TimestampMs;

use crate::invariant::durable;
use crate::model::Model;
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure};

const LISTS: &str = "LISTS";
const INDEX: &str = "INV-INDEX-1";
const DURABLE: &str = "INV-DURABLE-1";

/// What was there all the while is on the list. `present`: what was there when it was begun, and
/// how often each was created.
///
/// # Errors
///
/// When something is missing.
pub fn check_list(
    model: &Model,
    present: &[(ExecutionId, u32)],
    page: &ListPage,
) -> Result<(), Broken> {
    if !model.watched.contains(Invariant::Lists) {
        return Ok(());
    }
    let shown: BTreeSet<ExecutionId> =
        page.executions.iter().map(|shown| shown.execution_id).collect();
    for (id, generation) in present {
        let stayed = model.records.contains_key(id) && model.generation(id) == *generation;
        ensure!(
            !stayed || shown.contains(id),
            LISTS,
            "{id} was there while everything was listed, and is not on the list"
        );
    }
    Ok(())
}

/// What is read is what was asked for, with the payload that was handed in. `present`: what was
/// there when it was asked for, and how often each was created.
///
/// # Errors
///
/// When it is another execution, or has another payload.
pub fn check_read(
    model: &Model,
    id: &ExecutionId,
    present: &[(ExecutionId, u32)],
    (record, values): (&Execution, &[Fetched]),
) -> Result<(), Broken> {
    if !model.watched.contains(Invariant::Durable) {
        return Ok(());
    }
    ensure!(record.id == *id, DURABLE, "{} was read in place of {id}", record.id);
    if present.contains(&(*id, model.generation(id))) && record.continuation.is_none() {
        let payload = match values.first() {
            Some(Fetched::Value(value)) => Some(value),
            _ => None,
        };
        durable::check_payload(model, id, payload)?;
    }
    Ok(())
}

/// What an auditor sees twice, with longer than a hold between, is wrong; but for an entry that was
/// taken away between two pages of the look, from what it had still to read to what it had read.
/// `begun`: when the later look began, by the store's clock.
///
/// # Errors
///
/// When there is any such thing.
pub fn check_looks(
    model: &Model,
    earlier: &AuditLook,
    (look, begun): (&AuditLook, TimestampMs),
) -> Result<(), Broken> {
    if !model.watched.contains(Invariant::Index) {
        return Ok(());
    }
    let passed_by = |suspect: &Suspect| {
        let taken = model.taken.get(&suspect.execution).is_some_and(|at| *at >= begun);
        taken && matches!(suspect.fault, Fault::Missing { index: IndexName::Eligible { .. } })
    };
    let mut found = look.confirms(earlier);
    found.retain(|suspect| !passed_by(suspect));
    ensure!(found.is_empty(), INDEX, "the audit found {found:?}");
    Ok(())
}
