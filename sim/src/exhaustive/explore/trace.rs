//! The steps of a way in words.

use crate::report::describe::{self, shortened};

use super::parts::Way;
use super::state::{Choice, Slot, State, place};

impl State {
    /// What happens by a choice.
    pub fn tell(&self, choice: Choice) -> String {
        let (Choice::Arrive(slot)
        | Choice::Deliver(slot)
        | Choice::LoseRequest(slot)
        | Choice::LoseReply(slot)) = choice
        else {
            return format!("{choice:?}{}", self.late_request(choice));
        };
        let what = self.running[place(slot)].as_ref().map(|part| match &part.get().way {
            Way::There(request) => describe::request(request, self.store()),
            Way::Back(reply) => describe::reply(&reply.body, self.store()),
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
