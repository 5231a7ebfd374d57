//! The hunt for planted bugs: a green run is worth something once the same run with a bug is red.
//!
//! The bugs stand in `ff-core` and its feature `planted-bugs` alone compiles them in. Each is hunted
//! with every invariant; an invariant that has seen it is switched off and the seed is run again,
//! so that the table says what each of them sees by itself.

mod table;

#[cfg(feature = "planted-bugs")]
mod hunt;

#[cfg(feature = "planted-bugs")]
pub use hunt::{Limits, hunt, hunt_with, sightings};
pub use table::{Matrix, Row, Sighting};
