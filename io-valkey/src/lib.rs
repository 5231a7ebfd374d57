//! The FlowFabric backend for Valkey and Redis.
//!
//! `ff-core` makes every decision. A server runs the function library `lua/flowfabric.lua`, which
//! replaces records if their versions have not changed, and takes the next entries of an index.
//!
//! - [`ValkeyBackend`] sends requests to a server or a cluster (feature `redis`, on by default).
//! - [`wire`] encodes requests as function calls and decodes their replies.
//! - The module `model` runs the library in process, for tests and simulations (feature
//!   `lua-model`).

#[cfg(feature = "lua-model")]
pub mod model;
pub mod wire;

#[cfg(feature = "redis")]
mod server;

#[cfg(feature = "redis")]
pub use server::{ConnectError, Target, ValkeyBackend};
