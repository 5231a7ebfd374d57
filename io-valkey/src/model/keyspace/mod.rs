//! The keyspace of a server: values by key, and the commands on each kind of value.

mod list;
mod sorted;
mod sorted_commands;
mod text;
mod value;

pub use sorted::Sorted;
pub use value::{Keyspace, Value};
