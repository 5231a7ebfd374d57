//! The simulated store, which checks every request that it serves.

mod backing;
mod condition;
mod failover;
#[cfg(feature = "lua")]
mod lua;
mod resources;
mod server;
#[cfg(feature = "planted-bugs")]
pub mod spoil;

pub use condition::Reception;
pub use server::Server;
