//! FlowFabric on Valkey and Redis.
//!
//! Every decision is made in `ff-core`; a server only swaps records if nobody changed them and
//! hands out the next entries of an index, in the function library `lua/flowfabric.lua`. [`wire`]
//! is the form in which requests and replies travel; [`ValkeyBackend`] sends them to a server or a
//! cluster. The module `model` runs the library in process, for tests and simulations.

#[cfg(feature = "lua-model")]
pub mod model;
pub mod wire;

#[cfg(feature = "redis")]
mod server;

#[cfg(feature = "redis")]
pub use server::{ConnectError, Target, ValkeyBackend};
