//! The store's side of the world: which store answers, and what is checked after each request.

mod backing;
mod behind;
mod condition;
mod failover;
mod kind;
#[cfg(feature = "lua")]
mod lua;
mod server;

pub use condition::Reception;
pub use kind::StoreKind;
pub use server::Server;
