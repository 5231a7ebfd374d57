//! FlowFabric on Valkey and Redis: the function library, its wire form and the adapter.

#[cfg(feature = "lua-model")]
pub mod model;
pub mod wire;
