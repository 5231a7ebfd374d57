//! Crashes with real processes: workers, a submitter and a server, and something that strikes them.

pub mod check;
pub mod gather;
