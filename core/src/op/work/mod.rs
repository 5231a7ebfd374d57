//! Looking for executions that need something, over all partitions: work in lanes, executions that
//! no worker fitted, and timers that are due.

mod apply_due;
mod blocked_pages;
mod clear_signals;
mod fetched;
mod hand_over;
mod ready_queues;
mod restore_timers;
mod store_clocks;
mod take_from_lane;

pub use apply_due::{ApplyDue, DueReport, FirstTimer};
pub use hand_over::HandOver;
pub use ready_queues::ReadyQueues;
pub use store_clocks::StoreClocks;
pub use take_from_lane::{HeldBack, TakeFromLane, TakenFromLane, Taker};
