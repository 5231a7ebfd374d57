//! The function library in process: the same Lua text that a server loads, run over a model of the
//! server commands that it calls.
//!
//! For tests, fuzzers and simulations, where a real server is too slow, too far away or not
//! deterministic. The model knows the commands that the library calls and no others; what it knows,
//! it does as a server does, with the wrong kind of value, a missing key and a read-only function
//! refused in the same words. Everything is held in ordered maps, and time is an argument.

mod answer;
mod keyspace;
mod library;
mod server;
mod store;
#[cfg(test)]
mod tests;

pub use keyspace::{Keyspace, Sorted, Value};
pub use library::LoadError;
pub use store::ModelStore;
