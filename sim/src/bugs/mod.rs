//! The planted bugs and the hunt for them: a green run is worth something once the same run with a
//! bug is red.
//!
//! The table of bugs is `planted.rs`; only a build with the feature `planted-bugs` has them. Each
//! is hunted with every invariant. An invariant that has found it is switched off and the seed is
//! run again, so that the result says what each invariant finds by itself.
//!
//! To plant a bug, write the function that spoils a ruling (`rulings/`), a request or a reply
//! (`store.rs`), and add it to the table.

mod table;

#[cfg(feature = "planted-bugs")]
mod hunt;
#[cfg(feature = "planted-bugs")]
mod planted;
#[cfg(feature = "planted-bugs")]
mod rulings;
#[cfg(feature = "planted-bugs")]
mod store;

#[cfg(feature = "planted-bugs")]
pub use hunt::{Limits, hunt, hunt_with, sightings};
#[cfg(feature = "planted-bugs")]
pub use planted::{PlantedBug, select};
pub use table::{Matrix, Row, Sighting};
