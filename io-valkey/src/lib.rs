//! The FlowFabric backend for Valkey and Redis.
//!
//! `ff-core` makes every decision. A server runs the function library `lua/flowfabric.lua`, which
//! replaces records if their versions have not changed, and takes the next entries of an index.
//!
//! [`ValkeyBackend`] (feature `redis`, on by default) sends requests to a server or a cluster;
//! [`wire`] encodes requests as function calls; the module `model` (feature `lua-model`) runs the
//! library in process, for tests and simulations.

#[cfg(feature = "lua-model")]
pub mod model;
pub mod wire;

#[cfg(feature = "redis")]
mod redaction;
#[cfg(feature = "redis")]
mod server;

#[cfg(feature = "redis")]
pub use redaction::redacted_url;
#[cfg(feature = "redis")]
pub use server::{ConnectError, Target, ValkeyBackend, is_access_refused};
