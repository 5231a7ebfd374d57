//! The adapter: requests to real servers, standalone and cluster.

mod backend;
mod failure;
mod hub;
mod info;
mod node;
mod target;
mod topology;

pub use backend::ValkeyBackend;
pub use target::{ConnectError, Target};
