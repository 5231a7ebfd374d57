//! The hunt for planted bugs: a green run is worth something once the same run with a bug is red.
//!
//! The bugs stand in `ff-core` and are compiled in by `--cfg ff_planted_bugs` alone. Each is hunted
//! with every invariant; an invariant that has seen it is switched off and the seed is run again,
//! so that the table says what each of them sees by itself.

mod table;

#[cfg(ff_planted_bugs)]
mod hunt;

#[cfg(ff_planted_bugs)]
pub use hunt::{Limits, hunt, hunt_with, sightings};
pub use table::{Matrix, Row, Sighting};
