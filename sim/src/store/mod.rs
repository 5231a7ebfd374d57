//! The simulated store, which checks every request that it serves.

mod backing;
mod behind;
mod condition;
mod failover;
#[cfg(feature = "lua")]
mod lua;
mod memory;
mod server;

pub use condition::Reception;
pub use server::Server;
