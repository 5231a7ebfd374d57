//! FlowFabric on Valkey and Redis: the function library, its wire form and the adapter.

pub mod wire;
