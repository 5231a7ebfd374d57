//! The processes of the world: loops around the agents of core, as a real shell would be.

pub mod beliefs;
pub mod client;
pub mod context;
pub mod job;
pub mod reader;
pub mod timekeeper;
pub mod wishes;
pub mod worker;
