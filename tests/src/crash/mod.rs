//! Crashes with real processes: workers, a submitter and a server, and something that strikes them.

pub mod binary;
pub mod check;
pub mod fleet;
pub mod gather;
pub mod scenario;
pub mod submitter;

pub use scenario::Scenario;
