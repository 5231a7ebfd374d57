//! Looking for executions that need something, over all partitions: work in lanes, timers that are
//! due, and executions that no worker fitted.

mod apply_due;
mod clear_signals;
mod fetched;
mod ready_queues;
mod restore_timers;
mod store_clocks;
mod take_from_lane;
mod unblock_routes;

pub use apply_due::{ApplyDue, DueReport, FirstTimer};
pub use ready_queues::ReadyQueues;
pub use store_clocks::StoreClocks;
pub use take_from_lane::{TakeFromLane, TakenFromLane, Taker};
pub use unblock_routes::{RouteOffer, UnblockRoutes};
