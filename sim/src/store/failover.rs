//! Failover: a replica of the store that has not heard of the last commits takes over.

use std::collections::BTreeMap;

use ff_core::time::TimestampMs;

use crate::determinism::hash::Fnv;
use crate::model::caller::Caller;
use crate::report::Broken;

use super::Server;
use super::behind::Behind;

impl Server {
    /// A replica hears nothing more from now on.
    pub fn fall_behind(&mut self, number: u64, callers: &BTreeMap<u64, Caller>) {
        let applied =
            callers.values().map(|caller| (caller.number, caller.applied_each())).collect();
        let (store, model) = (self.store.replicate(), self.model.clone());
        self.behind = Some(Behind { number, store, model, applied });
    }

    /// The replica of a failover takes over; tells whether there is one.
    ///
    /// # Errors
    ///
    /// When it does not hold what was promised before it fell behind.
    pub fn fail_over(
        &mut self,
        number: u64,
        callers: &mut BTreeMap<u64, Caller>,
        now: TimestampMs,
    ) -> Result<bool, Broken> {
        let Some(behind) = self.behind.take_if(|behind| behind.number == number) else {
            return Ok(false);
        };
        self.store.take_over(behind.store);
        self.model.note_loss(&behind.model);
        for caller in callers.values_mut() {
            // What it was told rested on what is lost now.
            let applied = behind.applied.get(&caller.number).map_or(&[][..], Vec::as_slice);
            caller.fall_back(applied);
        }
        self.change_history();
        let waits = &self.model.waits;
        self.dirty = waits.signals.keys().chain(waits.frames.keys()).copied().collect();
        self.check_all(now)?;
        Ok(true)
    }

    /// The store goes on under another history.
    pub fn change_history(&mut self) {
        let mut history = Fnv::default();
        history.number(self.history);
        self.history = history.get();
        self.hash.number(self.history);
        self.store.set_history(self.history);
    }
}
