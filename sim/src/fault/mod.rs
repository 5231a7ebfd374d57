//! What goes wrong on purpose, one file for each fault. A seed switches each on or off with a
//! weight of its own (`docs/architecture.md`, Simulation).

pub mod busy;
pub mod chances;
pub mod clock_drift;
pub mod clock_freeze;
pub mod clock_offset;
pub mod clock_step;
pub mod connections_dropped;
pub mod crash;
pub mod delay;
pub mod episode;
pub mod error_inside;
pub mod failover;
pub mod journey;
pub mod late_execution;
pub mod library_missing;
pub mod loading;
pub mod out_of_memory;
pub mod partition;
pub mod pause;
pub mod planned;
pub mod read_only;
pub mod reordering;
pub mod reply_lost;
pub mod request_lost;
pub mod resend;
pub mod same_instance;
pub mod slow_store;
pub mod stays_down;
pub mod store_clock;
pub mod wake_up_lost;
