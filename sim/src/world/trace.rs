//! The steps of a run as text.

use ff_core::execution::{AnyCommand, Decide};

use crate::report::describe::{self, shortened};

use super::messages::{Arrival, Call, Delivery};
use super::{World, WorldEvent};

impl World {
    pub(super) fn trace_event(&mut self, event: &WorldEvent) {
        if self.options.trace {
            let text = match event {
                WorldEvent::CheckSettled | WorldEvent::Wake { .. } => return,
                WorldEvent::Arrive(Arrival { call: Call { number, .. }, request, .. }) => {
                    let now = self.server.condition.clock(self.now);
                    let request = describe::request(request, now);
                    let caller = self.describe(*number);
                    format!("{caller} reaches the store: {}", shortened(&request))
                }
                WorldEvent::Deliver(Delivery { call: Call { number, .. }, .. }) => {
                    format!("{} gets its reply", self.describe(*number))
                }
                WorldEvent::Fail { call: Call { number, .. }, failure } => {
                    format!("{} gets no reply: {failure}", self.describe(*number))
                }
                WorldEvent::WaitOver { number } => format!("{} continues", self.describe(*number)),
                other => shortened(&format!("{other:?}")).to_owned(),
            };
            self.note(text);
        }
    }

    pub(super) fn describe(&self, number: u64) -> String {
        let caller = &self.callers[&number];
        let name = caller.command.as_ref().map_or("agent", AnyCommand::name);
        format!("operation {number} ({name}) of process {}", caller.process)
    }

    pub(super) fn note(&mut self, text: String) {
        self.trace.push(format!("{:>6} ms  {text}", self.now));
    }
}
