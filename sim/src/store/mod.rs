//! The store's side of the world: which store answers, and what is checked after each request.

mod backing;
#[cfg(feature = "lua")]
mod lua;
mod server;

pub use backing::StoreKind;
pub use server::Server;
