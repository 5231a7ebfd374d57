//! Failover: a replica of the store that has not received the last commits takes over. And the loss
//! of everything, which is the failover to an empty replica.

use std::collections::BTreeMap;

use ff_core::time::TimestampMs;

use crate::determinism::hash::Fnv;
use crate::model::caller::Caller;
use crate::report::Broken;

use super::Server;
use super::backing::Behind;

impl Server {
    /// Cuts a replica off from the primary.
    pub fn fall_behind(&mut self, number: u64, callers: &BTreeMap<u64, Caller>) {
        let applied =
            callers.values().map(|caller| (caller.number, caller.applied_each())).collect();
        let (store, model) = (self.store.replicate(), self.model.clone());
        self.behind = Some(Behind { number, store, model, applied });
    }

    /// Makes the replica of a failover the store; returns whether there is one.
    pub fn fail_over(
        &mut self,
        number: u64,
        callers: &mut BTreeMap<u64, Caller>,
        now: TimestampMs,
    ) -> Result<bool, Broken> {
        let Some(behind) = self.behind.take_if(|behind| behind.number == number) else {
            return Ok(false);
        };
        self.take_over(behind, false, callers, now)?;
        Ok(true)
    }

    /// Loses everything. The identity of the store is a part of the history that readers compare,
    /// so that it has another history.
    pub fn lose_everything(
        &mut self,
        callers: &mut BTreeMap<u64, Caller>,
        now: TimestampMs,
    ) -> Result<(), Broken> {
        let (store, model) = (self.store.empty_replica(), self.model.of_empty_store());
        self.behind = None;
        let empty = Behind { number: 0, store, model, applied: BTreeMap::new() };
        self.take_over(empty, is_identity_ignored(), callers, now)
    }

    fn take_over(
        &mut self,
        behind: Behind,
        keeps_history: bool,
        callers: &mut BTreeMap<u64, Caller>,
        now: TimestampMs,
    ) -> Result<(), Broken> {
        self.store.take_over(behind.store);
        self.model.note_loss(&behind.model);
        for caller in callers.values_mut() {
            // Its refusals rested on commits that are lost now.
            let applied = behind.applied.get(&caller.number).map_or(&[][..], Vec::as_slice);
            caller.fall_back(applied);
        }
        if keeps_history {
            self.store.set_history(self.history);
        } else {
            self.change_history();
        }
        let waits = &self.model.waits;
        self.dirty = waits.signals.keys().chain(waits.frames.keys()).copied().collect();
        self.check_all(now)
    }

    /// Gives the store another history.
    pub fn change_history(&mut self) {
        let mut history = Fnv::default();
        history.number(self.history);
        self.history = history.get();
        self.hash.number(self.history);
        self.store.set_history(self.history);
    }
}

/// Whether the bug is planted that readers see only the server's part of the history.
#[cfg(feature = "planted-bugs")]
fn is_identity_ignored() -> bool {
    use ff_core::planted::{PlantedBug, is_selected};
    is_selected(PlantedBug::IdentityIgnored)
}

#[cfg(not(feature = "planted-bugs"))]
const fn is_identity_ignored() -> bool {
    false
}
