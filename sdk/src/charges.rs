//! Charges of one budget that are ready together travel in one commit. One that is ready while a
//! commit of its budget is in progress waits for the end of that commit. No timer is involved.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ff_core::budget::{Budget, Charge, MAX_CHARGES, ReportUsageResult};
use ff_core::error::EngineError;
use ff_core::op::LoadedResource;
use ff_core::resource::ResourceId;
use tokio::sync::oneshot;

pub(crate) type Outcome = Result<ReportUsageResult, EngineError>;

/// The charges of a connection, by budget.
#[derive(Default)]
pub(crate) struct Charges {
    budgets: Mutex<BTreeMap<ResourceId, Charged>>,
}

/// A budget that the program charges.
#[derive(Default)]
struct Charged {
    waiting: Vec<Waiting>,
    /// Whether a task sends its charges.
    is_busy: bool,
    /// The sender of its commits, one after the other.
    writer: u64,
    /// The record after the latest commit, so that the next commit needs no read.
    known: Option<LoadedResource<Budget>>,
}

/// A charge that waits for the next commit.
pub(crate) struct Waiting {
    pub(crate) charge: Charge,
    pub(crate) answer: oneshot::Sender<Outcome>,
}

/// The number of budgets above which those that are not being charged are forgotten.
const MAX_KNOWN: usize = 1_024;

impl Charges {
    /// No holder of the lock panics between two changes that belong together.
    fn locked(&self) -> MutexGuard<'_, BTreeMap<ResourceId, Charged>> {
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a charge. Returns whether no task sends those of its budget yet.
    pub(crate) fn join(
        &self,
        target: ResourceId,
        waiting: Waiting,
        writer: impl FnOnce() -> u64,
    ) -> bool {
        let mut budgets = self.locked();
        if budgets.len() >= MAX_KNOWN && !budgets.contains_key(&target) {
            budgets.retain(|_, charged| charged.is_busy);
        }
        let charged = budgets
            .entry(target)
            .or_insert_with(|| Charged { writer: writer(), ..Charged::default() });
        charged.waiting.push(waiting);
        !std::mem::replace(&mut charged.is_busy, true)
    }

    /// Takes the charges of the next commit, the writer and the record. Without any charge no task
    /// sends those of the budget any more.
    pub(crate) fn next(&self, target: ResourceId) -> Option<Round> {
        let mut budgets = self.locked();
        let charged = budgets.get_mut(&target)?;
        let count = charged.waiting.len().min(MAX_CHARGES);
        charged.is_busy = count > 0;
        charged.is_busy.then(|| Round {
            waiting: charged.waiting.drain(..count).collect(),
            writer: charged.writer,
            known: charged.known.take(),
        })
    }

    pub(crate) fn learn(&self, target: ResourceId, known: Option<LoadedResource<Budget>>) {
        if let Some(charged) = self.locked().get_mut(&target) {
            charged.known = known;
        }
    }
}

/// The charges of one commit.
pub(crate) struct Round {
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) writer: u64,
    pub(crate) known: Option<LoadedResource<Budget>>,
}
