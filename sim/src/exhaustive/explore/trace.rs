//! The steps of a path as text.

use crate::report::describe::{self, shortened};

use super::parts::Message;
use super::state::{Choice, Slot, State, slot_number};

impl State {
    /// Describes a choice.
    pub fn describe(&self, choice: Choice) -> String {
        let (Choice::Arrive(slot)
        | Choice::Deliver(slot)
        | Choice::LoseRequest(slot)
        | Choice::LoseReply(slot)) = choice
        else {
            return format!("{choice:?}{}", self.late_request(choice));
        };
        let what = self.running[slot_number(slot)].as_ref().map(|part| match &part.get().message {
            Message::Request(request) => describe::request(request, self.store()),
            Message::Reply(reply) => describe::reply(&reply.body, self.store()),
        });
        format!("{}: {}", verb(choice, slot), shortened(&what.unwrap_or_default()))
    }

    fn late_request(&self, choice: Choice) -> String {
        let Choice::Late(number) = choice else { return String::new() };
        let request = describe::request(&self.late[number].get().request, self.store());
        format!(": {}", shortened(&request))
    }
}

fn verb(choice: Choice, slot: Slot) -> String {
    match choice {
        Choice::Arrive(_) => format!("{slot:?} reaches the store"),
        Choice::Deliver(_) => format!("{slot:?} gets its reply"),
        Choice::LoseRequest(_) => format!("{slot:?} loses its request"),
        _ => format!("{slot:?} loses its reply"),
    }
}
