//! What goes wrong on purpose, one file for each fault. A seed switches each on or off with a
//! weight of its own (`docs/architecture.md`, Simulation).

pub mod clock_offset;
pub mod crash;
pub mod late_execution;
pub mod reply_lost;
