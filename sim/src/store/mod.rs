//! The store's side of the world: which store answers, and what is checked after each request.

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
