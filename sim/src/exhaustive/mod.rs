//! Exhaustive searches: the crash points of every operation, and the interleavings of small worlds.

mod carrier;
pub mod crash_points;
pub mod explore;
mod inputs;
pub mod scripted;
