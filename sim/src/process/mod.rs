//! The processes of the world: loops around the agents of core, as a real shell would be.

pub mod beliefs;
pub mod calls;
pub mod client;
pub mod context;
pub mod gather;
pub mod job;
pub mod memory;
pub mod operator;
pub mod reader;
pub mod signaller;
pub mod suspending;
pub mod timekeeper;
pub mod wishes;
pub mod worker;
