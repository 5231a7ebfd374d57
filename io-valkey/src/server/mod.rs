//! The adapter: sends requests to real servers, standalone and in a cluster.

mod backend;
mod failure;
mod hub;
mod info;
mod node;
mod polls;
mod stream;
mod target;
mod topology;
mod trouble;
mod writes;

pub use backend::ValkeyBackend;
pub use failure::is_access_refused;
pub use target::{ConnectError, Target};
