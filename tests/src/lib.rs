//! The shared parts of the suites that cross crates: fixtures, a backend that injects faults, real
//! servers, and the scenarios, each of which runs against every backend from one source.

pub mod captured;
pub mod conformance;
pub mod crash;
pub mod faulty_backend;
pub mod fixture;
pub mod kit;
pub mod scenario;
pub mod server;
pub mod sqlite_subject;
pub mod virtual_sqlite;
pub mod virtual_time;
pub mod watchdog;
pub mod workspace_build;

pub use faulty_backend::FaultyBackend;
pub use fixture::Fixture;
pub use virtual_time::VirtualTimeBackend;
