//! Commits of records beside executions, outside the partition of the shared configuration.

use std::collections::BTreeMap;

use ff_core::budget::{Budget, ChargeRecord};
use ff_core::lane::Lanes;
use ff_core::quota::{Quota, QuotaUse};
use ff_core::registry::Worker;
use ff_core::resource::{Kept, ResourceKind};
use ff_core::store::codec::{FORMAT, decode};
use ff_core::store::{Bytes, Member, RecordKey, Unit};
use ff_core::time::TimestampMs;

use crate::determinism::hash::Fnv;
use crate::invariant::budget::BudgetCommit;
use crate::invariant::quota::UseCommit;
use crate::invariant::registry::RegistryCommit;
use crate::model::Model;
use crate::model::caller::Caller;
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure};

/// The records beside executions that a unit writes and removes.
pub(super) struct ResourceWrites {
    put: Vec<(RecordKey, Bytes)>,
    remove: Vec<RecordKey>,
}

impl ResourceWrites {
    /// The writes of a unit; `None` if it is about something else.
    pub(super) fn of(unit: &Unit) -> Option<Self> {
        let (RecordKey::Resource(..), _) = unit.expect.first()? else { return None };
        Some(Self { put: unit.put.clone(), remove: unit.remove.clone() })
    }

    /// Takes over that a unit with these writes was committed, and checks it. \[INV-BUDGET-1\]
    /// \[INV-REGISTRY-1\]
    pub(super) fn committed(
        self,
        model: &mut Model,
        hash: &mut Fnv,
        caller: &Caller,
        now: TimestampMs,
    ) -> Result<(), Broken> {
        let (mut budgets, mut charges) = (BTreeMap::new(), BTreeMap::new());
        for (key, bytes) in &self.put {
            hash.bytes(bytes);
            match key {
                RecordKey::Resource(ResourceKind::Budgets, id) => {
                    budgets.insert(*id, understood::<Kept<Budget>>(bytes)?.record);
                }
                RecordKey::Resource(ResourceKind::Charges, id) => {
                    charges.insert(*id, understood::<Kept<ChargeRecord>>(bytes)?.record);
                }
                RecordKey::Resource(ResourceKind::Workers, id) => {
                    let after = understood::<Kept<Worker>>(bytes)?.record;
                    note_worker(model, caller, *id, Some(after), now)?;
                }
                RecordKey::Resource(ResourceKind::Lanes, _) => {
                    understood::<Kept<Lanes>>(bytes)?;
                }
                RecordKey::Resource(ResourceKind::Quotas, id) => {
                    let quota = understood::<Kept<Quota>>(bytes)?.record;
                    model.quotas.note_limits(*id, Some(quota.limits), model.at);
                }
                RecordKey::Resource(ResourceKind::QuotaUses, id) => {
                    let usage = understood::<Kept<QuotaUse>>(bytes)?.record;
                    UseCommit { after: Some(&usage), caller, now }.note(model, *id)?;
                }
                _ => ensure!(false, "BOUNDS", "{key:?} is written with a record of another kind"),
            }
        }
        let changes = model.resource_changes.entry(caller.number).or_default();
        *changes += 1;
        let again = *changes > 1;
        let watched = model.watched.contains(Invariant::Budget);
        if let Some(call) = &caller.budget {
            ensure!(!again || !watched, "INV-BUDGET-1", "{call:?} was committed again");
            for (id, after) in &budgets {
                let before = model.budgets.records.get(id);
                let commit = BudgetCommit { call, before, after, charges: &charges, now };
                if let Some(effects) = watched.then(|| commit.check(model)).transpose()? {
                    model.budgets.effects.extend(effects.map(|done| (caller.number, done)));
                }
            }
        }
        let request = caller.budget.as_ref().and_then(|call| call.request_id());
        let known = &mut model.budgets;
        known.charges.extend(charges);
        let at = model.at;
        budgets.into_iter().for_each(|(id, budget)| known.note(id, budget, request, at));
        self.removed(model, caller, now)
    }

    /// Takes over the removals, and checks them.
    fn removed(&self, model: &mut Model, caller: &Caller, now: TimestampMs) -> Result<(), Broken> {
        let (at, watched) = (model.at, model.watched.contains(Invariant::Budget));
        for key in &self.remove {
            if let RecordKey::Resource(ResourceKind::Workers, id) = key {
                note_worker(model, caller, *id, None, now)?;
            } else if let RecordKey::Resource(ResourceKind::Quotas, id) = key {
                model.quotas.note_limits(*id, None, at);
            } else if let RecordKey::Resource(ResourceKind::QuotaUses, id) = key {
                UseCommit { after: None, caller, now }.note(model, *id)?;
            } else if let RecordKey::Resource(_, id) = key {
                let known = &mut model.budgets;
                let early = known.charges.get(id).filter(|charge| now < charge.expires_at);
                ensure!(
                    early.is_none() || !watched,
                    "INV-BUDGET-1",
                    "at {now} the record of a dedup key is removed: {early:?}"
                );
                known.note_removed(*id, at);
                known.charges.remove(id);
            }
        }
        Ok(())
    }
}

/// Takes over a commit of the record of a worker, and checks it.
fn note_worker(
    model: &mut Model,
    caller: &Caller,
    id: Member,
    after: Option<Worker>,
    now: TimestampMs,
) -> Result<(), Broken> {
    let before = model.workers.remove(&id);
    if model.watched.contains(Invariant::Registry) {
        let (before, after) = (before.as_ref(), after.as_ref());
        RegistryCommit { call: caller.registry, before, after, now }.check()?;
    }
    model.workers.extend(after.map(|after| (id, after)));
    Ok(())
}

/// Decodes written bytes.
pub(super) fn understood<T: serde::de::DeserializeOwned>(bytes: &Bytes) -> Result<T, Broken> {
    decode(bytes, FORMAT).map_err(|error| {
        let detail = format!("something was written that does not decode: {error}");
        Broken { tag: "BOUNDS", detail }
    })
}
