//! The adapter: sends requests to real servers, standalone and in a cluster.

mod backend;
mod failure;
mod hub;
mod info;
mod node;
mod polls;
mod target;
mod topology;
mod writes;

pub use backend::ValkeyBackend;
pub use target::{ConnectError, Target};
