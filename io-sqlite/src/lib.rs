//! The FlowFabric backend for SQLite: a store in one file, which the processes of one machine
//! share.
//!
//! `ff-core` makes every decision. [`SqliteBackend`] keeps records, values, indexes and streams as
//! bytes that it never looks into, and answers the requests of the store contract as the reference
//! store does. One thread of each process writes, and gathers the requests that wait into one
//! transaction; two more threads read (`docs/architecture.md`, The SQLite backend).

mod backend;
mod clock;
mod commit;
mod disk;
mod examine;
mod failure;
mod keeper;
mod location;
mod reader;
mod rows;
mod schema;
mod stream;
mod take;
mod turn;
mod wake;
mod writer;

pub use backend::SqliteBackend;
pub use clock::Clock;
pub use location::{Durability, Location, OpenError};
pub use schema::new_history;
