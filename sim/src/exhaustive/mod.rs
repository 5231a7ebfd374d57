//! Exhaustive searches: every crash point of every operation, and every interleaving of small worlds.

mod carrier;
pub mod crash_points;
pub mod explore;
pub mod scripted;
