//! What happens to processes from outside: crashes, restarts, wrong clocks, and the end of it all.

use crate::fault::{FaultKind, clock_offset, crash};
use crate::heal::{HEALED_WITHIN_MS, pending};
use crate::host::{Kind, Start, host};
use crate::invariant::readers;
use crate::report::Broken;

use super::{Happening, World};

impl World {
    pub(super) fn crash(&mut self, crash: crash::Crash) {
        let idle = self.healing_since.is_some() || !self.hosts[crash.process].up;
        if idle || !self.chances.inject(FaultKind::Crash, crash.number) {
            return;
        }
        let host = &mut self.hosts[crash.process];
        (host.up, host.wake) = (false, None);
        self.running.retain(|_, running| running.process != crash.process);
        let process = crash.process;
        self.queue.push(self.now + crash.down_ms, Happening::Restart { process });
    }

    pub(super) fn restart(&mut self, process: usize) {
        if self.hosts[process].up {
            return;
        }
        let (start, now) = (self.hosts[process].start + 1, self.now);
        let skew = if self.healing_since.is_some() {
            0
        } else {
            clock_offset::at_start(&mut self.chances, &self.settings, process, start)
        };
        let start = Start { process, start, now, skew };
        let seed = self.chances.plan().seed;
        let fresh = host(seed, &self.settings, &self.profiles, start);
        let old = std::mem::replace(&mut self.hosts[process], fresh);
        let host = &mut self.hosts[process];
        let local = host.clock.local(self.now);
        match (old.kind, &mut host.kind) {
            (Kind::Client(client), kind) => *kind = Kind::Client(client.restarted(local)),
            (Kind::Reader(old), Kind::Reader(fresh)) => fresh.goes_on_from(old, local),
            _ => {}
        }
        self.hosts[process].wake = Some(self.now);
        self.queue.push(self.now, Happening::Wake { process });
    }

    pub(super) fn lapse(&mut self, lapse: clock_offset::Lapse) {
        if self.healing_since.is_none() && self.chances.inject(FaultKind::ClockOffset, lapse.number)
        {
            self.hosts[lapse.process].clock.forget(lapse.skew);
        }
    }

    /// The faults are over: what is down comes back, and handlers do their work.
    pub(super) fn heal(&mut self) {
        self.healing_since = Some(self.now);
        self.server.condition.recover();
        for process in 0..self.hosts.len() {
            self.restart(process);
        }
        self.queue.push(self.now + 500, Happening::Look);
    }

    /// Looks whether everything is settled.
    pub(super) fn look(&mut self) -> Result<(), Broken> {
        let now = self.server.condition.clock(self.now);
        let pending = pending(&self.server.model, &self.profiles, now);
        let commands = self.running.keys().any(|number| self.callers[number].command.is_some());
        let unread = readers::behind(&self.server.model, &self.followed);
        if pending.is_empty() && unread.is_empty() && !commands && self.travelling == 0 {
            self.finished = true;
            return Ok(());
        }
        let since = self.healing_since.unwrap_or(self.now);
        if self.now >= since + HEALED_WITHIN_MS {
            let (count, pending) = (pending.len(), pending.join("; "));
            return self.stuck(|| {
                format!(
                    "{count} executions are pending ten minutes after the last fault, and the \
                     journals of {unread:?} are not read: {pending}"
                )
            });
        }
        self.queue.push(self.now + 250, Happening::Look);
        Ok(())
    }
}
