//! The function library in process: the same Lua text that a server loads, run over a model of the
//! server commands that it calls.
//!
//! It is for tests, fuzzers and simulations, where a real server is too slow, not at hand or not
//! deterministic. The model implements the commands that the library calls and no others. It
//! behaves like a server, and refuses a value of the wrong kind, a missing key and a write in a
//! read-only function with the same texts. All values are in ordered maps, and time is an argument.

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
